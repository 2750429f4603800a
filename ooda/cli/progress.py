"""Live progress of a run on stderr: phase, step, tool, cost, budget left. Events in, lines out."""

from __future__ import annotations

from typing import TextIO

import msgspec

from ooda.cli.style import Style, amount, duration
from ooda.events import (
    ApprovalAnswered,
    ApprovalAsked,
    Body,
    CallRefused,
    Compacted,
    Decided,
    Entry,
    LimitReached,
    Limits,
    ModelFailed,
    ModelReplied,
    Observed,
    PhaseEntered,
    Resumed,
    RunStarted,
    Stopped,
    ToolCall,
    ToolInterrupted,
    ToolReturned,
)
from ooda.models.request import Attempt
from ooda.runtime.decide import Spent

__all__ = ["Progress"]

_WIDTH = 96
_ARGUMENT = 48
"""Characters of a call's telling argument."""
_TELLING = ("command", "pattern")
"""Arguments to show beside the tool; other calls say in their result what they were about."""


class Progress:
    """Writes a line for every event a follower wants to see.

    Args:
        shows_end: Also the last line, with status and reason; off where the result says them beside it.
        shows_questions: Also that a person is asked; off where the question itself is put to one.
    """

    def __init__(self, stream: TextIO, style: Style, *, shows_end: bool = True, shows_questions: bool = True) -> None:
        self._stream = stream
        self._style = style
        self._shows_end = shows_end
        self._shows_questions = shows_questions
        self._cap_nano = 0
        self._cost_nano = 0
        self._tokens = 0
        self._step = 0
        self._arguments: dict[str, str] = {}
        self._asked: dict[str, str] = {}
        """The tool of each question to a person."""

    def take_up(self, limits: Limits, spent: Spent) -> None:
        """Count on from here: a run that is resumed has spent before."""
        self._cap_nano = limits.cost_nano
        self._cost_nano, self._tokens, self._step = spent.cost_nano, spent.tokens, spent.steps

    def heard(self, seq: int, entry: Entry) -> None:
        """Show one committed event."""
        line = self._line(entry)
        if line:
            print(line, file=self._stream, flush=True)

    def count(self, event: ModelReplied) -> None:
        """Take in what a reply cost and what it calls, without a line."""
        self._cost_nano += event.cost_nano
        self._tokens += event.usage.total_tokens
        self._arguments = {call.id: _telling(call) for call in event.calls}

    def attempted(self, attempt: Attempt) -> None:
        """Show a failed attempt at a model call; the last one is told by the event it leads to."""
        if attempt.wait_s:
            said = f"     ! {attempt.problem}; again in {duration(attempt.wait_s)}"
            print(self._style(said, "yellow"), file=self._stream, flush=True)

    def _line(self, entry: Entry) -> str:
        paint = self._style
        match entry.event:
            case RunStarted() as event:
                self._cap_nano = event.limits.cost_nano
                source = "replies from a cassette" if event.cassette else f"model {event.model}"
                return paint(f"run started · agent {event.agent} · {source}", "bold")
            case Resumed() as event:
                self._cap_nano = event.limits.cost_nano if event.limits is not None else self._cap_nano
                return paint("run resumed", "bold")
            case PhaseEntered() as event:
                label = f"{event.phase}" + (f" (round {event.round})" if event.round > 1 else "")
                return paint(f"── {label} ", "bold", "cyan") + paint("─" * max(0, 60 - len(label)), "dim")
            case Decided() as event:
                self._step = event.step
                return ""
            case ModelReplied() as event:
                self.count(event)
                said = _first(_head(event.content))
                return paint(f"  ∙ {said}", "dim") if said else ""
            case ModelFailed(error="cancelled" | "interrupted") as event:
                self._charged(event)
                return paint("  ∙ the model's answer was not waited for", "dim")
            case ModelFailed() as event:
                self._charged(event)
                return paint(f"  ✗ model: {_first(event.message)}", "red")
            case ToolReturned() as event:
                mark = paint("✓", "green") if event.status == "ok" else paint(event.status, "yellow")
                return f"  {self._call(event)} {mark} {paint(_first(_head(event.text)), 'dim')}{self._money()}"
            case ToolInterrupted() as event:
                return paint(f"  {self._call(event)} interrupted ({event.outcome})", "yellow")
            case CallRefused() as event:
                return paint(f"  {self._call(event)} refused ({event.why}): {_first(event.reason)}", "yellow")
            case ApprovalAsked() as event:
                self._asked[event.approval] = event.tool
                if not self._shows_questions:
                    return ""
                return paint(f"  ? {event.tool} waits for a person ({event.approval})", "yellow", "bold")
            case ApprovalAnswered(answer="reject") as event:
                why = f": {_first(event.note)}" if event.note else ""
                tool = self._asked.get(event.approval, "the call")
                return paint(f"  {self._step:>3} {tool} refused by {event.by}{why}", "yellow")
            case LimitReached() as event:
                return paint(f"  ✗ limit {event.limit}: {event.value} of {event.cap}", "red")
            case Compacted() as event:
                return paint(f"  ∙ prompt compacted: {event.reason}", "dim")
            case Observed(source="ooda") as event:
                return paint(f"  ∙ told the model: {_first(event.text.text)}", "dim")
            case Stopped() as event if self._shows_end:
                look = "green" if event.status == "success" else "yellow" if event.status == "unverified" else "red"
                return paint(f"{event.status}: ", look, "bold") + event.reason
            case _:
                return ""

    def _charged(self, event: ModelFailed) -> None:
        self._cost_nano += event.cost_nano
        self._tokens += event.tokens

    def _call(self, event: ToolReturned | ToolInterrupted | CallRefused) -> str:
        """The step, the tool, and what it was called with, where a model called it."""
        argument = self._arguments.get(event.call, "")
        return f"{self._step:>3} {event.tool}" + (f" {argument}" if argument else "")

    def _money(self) -> str:
        if not self._tokens:
            return ""
        left = max(0, self._cap_nano - self._cost_nano)
        return self._style(f"  [{amount(self._cost_nano)} spent, {amount(left)} left]", "dim")


def _telling(call: ToolCall) -> str:
    try:
        arguments = msgspec.json.decode(call.arguments.text)
    except msgspec.DecodeError:
        return ""  # a long one, kept as a blob, or no JSON: the refusal says that
    found = [arguments.get(name) for name in _TELLING] if isinstance(arguments, dict) else []
    return _first(next((value for value in found if isinstance(value, str)), ""), _ARGUMENT)


def _head(body: Body) -> str:
    return body.text or (body.ref.head if body.ref else "")


def _first(text: str, width: int = _WIDTH) -> str:
    line = text.strip().partition("\n")[0]
    clean = "".join(char if char.isprintable() else " " for char in line)
    return clean if len(clean) <= width else clean[: width - 1] + "…"
