"""Replay: run the loop again over recorded events and say where it first does something else. Pure.

The model's replies and the tools' results come from the record; what the loop concludes, which requests it renders
and which tools it shows are recomputed. A run that replays without divergence would do the same today.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

import msgspec

from ooda.errors import JournalError
from ooda.events import Body, Entry, ModelAsked, ToolStarted
from ooda.runtime.agent import AgentSpec
from ooda.runtime.commands import CallModel, CallTool, Command, RunCli
from ooda.runtime.context import Message, Prompt, request_digest
from ooda.runtime.loop import Loop
from ooda.runtime.normalise import normalise
from ooda.runtime.state import RunState

__all__ = ["Divergence", "ReplayReport", "prompt_diff", "replay"]

_SHOWN = 40
"""Lines of a difference that are shown."""


class Divergence(msgspec.Struct, frozen=True):
    """The first event at which the loop of today leaves the record."""

    seq: int
    what: str
    """What was expected and what was found, for a person; several lines."""


class ReplayReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay covered, and where it left the record, if it did."""

    run: str
    events: int
    model_calls: int
    tool_calls: int
    state: RunState | None
    divergence: Divergence | None = None


def replay(
    run: str,
    entries: Iterable[Entry],
    agent: AgentSpec,
    schemas: Callable[[tuple[str, ...]], bytes],
    text_of: Callable[[Body], str],
) -> ReplayReport:
    """Run the loop over `entries` and compare everything it concludes and asks for.

    Args:
        schemas: Encoded definitions of the named tools, as requests carry them.
        text_of: Opens a body that is kept by reference.
    """
    loop, prompt = Loop(agent), Prompt(text_of)
    events = asks = calls = same = 0
    state: RunState | None = None
    pending: dict[str, Command] = {}
    watched: list[tuple[int, Entry]] = []

    def watch() -> Iterable[Entry]:
        for seq, entry in enumerate(entries):
            watched.append((seq, entry))
            yield entry

    try:
        for reached, commands in loop.states(run, watch()):
            for seq, entry in watched:
                events += 1
                match entry.event:
                    case ModelAsked() as asked:
                        asks += 1
                        command = pending.pop(asked.ask, None)
                        if (what := _request(asked, command, prompt, schemas, same)) is not None:
                            return _report(run, events, asks, calls, state, Divergence(seq, what))
                        same = len(prompt.messages)
                    case ToolStarted() as started:
                        calls += 1
                        if not isinstance(pending.get(started.call), CallTool | RunCli):
                            what = (
                                f"the record starts `{started.tool}` ({started.call}), which the loop does not ask for"
                            )
                            return _report(run, events, asks, calls, state, Divergence(seq, what))
                prompt.feed(seq, entry.event)
            watched.clear()
            state = reached
            for command in commands:
                if isinstance(command, CallModel):
                    pending[command.ask] = command
                elif isinstance(command, CallTool | RunCli):
                    pending[command.call] = command
    except JournalError as error:
        at = error.facts.get("seq")
        what = str(error) + _event_diff(error.facts.get("found"), error.facts.get("expected"))
        return _report(run, events, asks, calls, state, Divergence(at if isinstance(at, int) else events, what))
    return _report(run, events + len(watched), asks, calls, state, None)


def prompt_diff(recorded: Iterable[Message], rendered: Iterable[Message]) -> str:
    """The first messages in which two requests differ, as a unified diff of their normalised text."""
    left, right = list(recorded), list(rendered)
    for number, (old, new) in enumerate(zip(left, right, strict=False)):
        if old.digest != new.digest:
            return f"message {number} differs:\n" + _diff(_lines(old), _lines(new))
    if len(left) != len(right):
        shorter, longer = (left, right) if len(left) < len(right) else (right, left)
        extra = "\n".join(_lines(longer[len(shorter)])[:_SHOWN])
        return (
            f"the recorded request holds {len(left)} messages, this one {len(right)}; the first one more is:\n{extra}"
        )
    return "the messages are the same; the tools shown to the model differ"


def _request(
    asked: ModelAsked,
    command: Command | None,
    prompt: Prompt,
    schemas: Callable[[tuple[str, ...]], bytes],
    same: int,
) -> str | None:
    """What differs in a request; None when nothing does. `same` messages stood in the last one that did not differ."""
    if not isinstance(command, CallModel):
        return f"the record asks the model ({asked.ask}), which the loop does not"
    digest = request_digest(prompt, schemas(command.tools))
    if digest == asked.digest:
        return None
    if len(prompt.messages) != asked.messages:
        return f"request {asked.ask} was recorded with {asked.messages} messages and now has {len(prompt.messages)}"
    news = [line for message in prompt.messages[same:] for line in _lines(message)][:_SHOWN]
    return (
        f"request {asked.ask} renders to {digest[:12]}, recorded was {asked.digest[:12]}: a prompt template, a message "
        "format or a tool definition has changed since, or the record itself. A record keeps of a request its digest "
        "only; new in it since the last one that is the same are:\n" + "\n".join(f"+{line}" for line in news)
    )


def _report(
    run: str, events: int, asks: int, calls: int, state: RunState | None, divergence: Divergence | None
) -> ReplayReport:
    return ReplayReport(run=run, events=events, model_calls=asks, tool_calls=calls, state=state, divergence=divergence)


def _lines(message: Message) -> list[str]:
    decoded = msgspec.json.decode(message.encoded)
    text = decoded.get("content") or ""
    calls = [f"{c['function']['name']}({c['function']['arguments']})" for c in decoded.get("tool_calls") or []]
    return normalise(f"[{decoded.get('role')}] {text}").splitlines() + [normalise(call) for call in calls]


def _event_diff(recorded: object, concluded: object) -> str:
    """The two events of a contradiction, member by member; nothing where it is not about two events."""
    if not isinstance(recorded, str) or not isinstance(concluded, str):
        return ""
    return "\n" + _diff(*(msgspec.json.format(text).splitlines() for text in (recorded, concluded)))


def _diff(old: list[str], new: list[str]) -> str:
    return "\n".join(list(difflib.unified_diff(old, new, "recorded", "now", lineterm=""))[:_SHOWN])
