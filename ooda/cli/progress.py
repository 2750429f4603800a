"""Live progress of a run on stderr: phase, step, tool, cost, budget left. Events in, lines out."""

from __future__ import annotations

from typing import TextIO

from ooda.cli.style import Style, amount, duration
from ooda.events import (
    ApprovalAsked,
    CallRefused,
    Compacted,
    Decided,
    Entry,
    LimitReached,
    ModelAsked,
    ModelFailed,
    ModelReplied,
    Observed,
    PhaseEntered,
    Resumed,
    RunStarted,
    Stopped,
    ToolInterrupted,
    ToolReturned,
    ToolStarted,
)
from ooda.models.request import Attempt

__all__ = ["Progress"]

_WIDTH = 96


class Progress:
    """Writes a line for every event a follower wants to see.

    Args:
        details: Also show the first line of each result.
    """

    def __init__(self, stream: TextIO, style: Style, *, cap_nano: int = 0) -> None:
        self._stream = stream
        self._style = style
        self._cap_nano = cap_nano
        self._cost_nano = 0
        self._tokens = 0
        self._step = 0
        self._model = ""

    def heard(self, seq: int, entry: Entry) -> None:
        """Show one committed event."""
        line = self._line(entry)
        if line:
            print(line, file=self._stream, flush=True)

    def attempted(self, attempt: Attempt) -> None:
        """Show a failed attempt at a model call."""
        wait = f"; again in {duration(attempt.wait_s)}" if attempt.wait_s else ""
        print(self._style(f"     ! {attempt.problem}{wait}", "yellow"), file=self._stream, flush=True)

    def _line(self, entry: Entry) -> str:
        paint = self._style
        match entry.event:
            case RunStarted() as event:
                self._cap_nano = event.limits.cost_nano
                self._model = event.model
                source = "replies from a cassette" if event.cassette else f"model {event.model}"
                return paint(f"run started · agent {event.agent} · {source}", "bold")
            case Resumed():
                return paint("run resumed", "bold")
            case PhaseEntered() as event:
                label = f"{event.phase}" + (f" (round {event.round})" if event.round > 1 else "")
                return paint(f"── {label} ", "bold", "cyan") + paint("─" * max(0, 60 - len(label)), "dim")
            case Decided() as event:
                self._step = event.step
                return ""
            case ModelAsked():
                return ""
            case ModelReplied() as event:
                self._cost_nano += event.cost_nano
                self._tokens += event.usage.total_tokens
                said = _first(event.content.text or (event.content.ref.head if event.content.ref else ""))
                return paint(f"  ∙ {said}", "dim") if said else ""
            case ModelFailed() as event:
                self._cost_nano += event.cost_nano
                return paint(f"  ✗ model: {_first(event.message)}", "red")
            case ToolStarted() as event:
                return ""
            case ToolReturned() as event:
                mark = paint("✓", "green") if event.status == "ok" else paint(event.status, "yellow")
                first = _first(event.text.text or (event.text.ref.head if event.text.ref else ""))
                return f"  {self._step:>3} {event.tool} {mark} {paint(first, 'dim')}{self._money()}"
            case ToolInterrupted() as event:
                return paint(f"  {self._step:>3} {event.tool} interrupted ({event.outcome})", "yellow")
            case CallRefused() as event:
                return paint(f"  {self._step:>3} {event.tool} refused ({event.why}): {_first(event.reason)}", "yellow")
            case ApprovalAsked() as event:
                return paint(f"  ? {event.tool} waits for a person ({event.approval})", "yellow", "bold")
            case LimitReached() as event:
                return paint(f"  ✗ limit {event.limit}: {event.value} of {event.cap}", "red")
            case Compacted() as event:
                return paint(f"  ∙ prompt compacted: {event.reason}", "dim")
            case Observed(source="ooda") as event:
                return paint(f"  ∙ told the model: {_first(event.text.text)}", "dim")
            case Stopped() as event:
                look = "green" if event.status == "success" else "yellow" if event.status == "unverified" else "red"
                return paint(f"{event.status}: ", look, "bold") + event.reason
            case _:
                return ""

    def _money(self) -> str:
        if not self._tokens:
            return ""
        left = self._cap_nano - self._cost_nano
        return self._style(f"  [{amount(self._cost_nano)} spent, {amount(left)} left]", "dim")


def _first(text: str) -> str:
    line = text.strip().partition("\n")[0]
    clean = "".join(char if char.isprintable() else " " for char in line)
    return clean if len(clean) <= _WIDTH else clean[: _WIDTH - 1] + "…"
