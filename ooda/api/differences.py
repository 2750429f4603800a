"""What two runs did differently: their ends, their steps side by side, their workspaces. Changes neither.

Forks share a beginning; runs of one task share their phases. Steps are compared by what was done and how it ended,
not by when.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator, Sequence

import msgspec

from ooda.api.lease import held_lease
from ooda.api.runs import entries_of, is_carried, known_run, state_of, task_of, text_of
from ooda.api.session import Session
from ooda.errors import ConfigError
from ooda.events import (
    ApprovalAnswered,
    Body,
    CallRefused,
    Decided,
    Entry,
    ModelFailed,
    ModelReplied,
    PhaseEntered,
    Resumed,
    RunStarted,
    Stopped,
    ToolInterrupted,
    ToolReturned,
    UserMessage,
    encode,
)
from ooda.services.git import Diff, WorkRepo
from ooda.task import CodingTask

__all__ = ["Difference", "Fact", "Pair", "compare_runs"]

_WORDS = 160
_PATCH_BYTES = 64 << 10


class Fact(msgspec.Struct, frozen=True):
    """One figure of both runs."""

    name: str
    left: str
    right: str


class Pair(msgspec.Struct, frozen=True):
    """One line of both runs; empty where one has none."""

    left: str
    right: str

    @property
    def is_same(self) -> bool:
        return self.left == self.right


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Two runs beside each other."""

    left: str
    right: str
    facts: tuple[Fact, ...]
    """Status, model, steps, calls, tokens, cost, branch and commit."""
    shared_events: int
    """Events at the beginning that are the same in both, times and ids of the runs left out."""
    lines: tuple[Pair, ...]
    """Phases, decisions and results, aligned."""
    workspace: Diff | None = None
    """What turns the left workspace into the right one."""
    unread: str = ""
    """Why the workspaces are not compared; empty when they are."""


async def compare_runs(session: Session, left: str, right: str) -> Difference:
    """Compare two runs.

    Raises:
        ConfigError: one of them does not exist, or both are the same.
        JournalError: a journal is damaged.
    """
    if left == right:
        raise ConfigError(f"{left} is compared with itself; name two runs")
    journals = []
    for run in (left, right):
        known_run(session, run)
        journals.append(entries_of(session, run))
    said = [list(_lines(session, entries)) for entries in journals]
    workspace, unread = await _workspaces(session, left, right)
    return Difference(
        left=left,
        right=right,
        facts=tuple(_facts(session, left, right)),
        shared_events=_shared(left, journals[0], right, journals[1]),
        lines=tuple(_aligned(*said)),
        workspace=workspace,
        unread=unread,
    )


def _facts(session: Session, left: str, right: str) -> Iterator[Fact]:
    summaries = [known_run(session, run) for run in (left, right)]
    states = [state_of(session, run) for run in (left, right)]
    for name in ("status", "reason", "model"):
        yield Fact(name, *(str(getattr(summary, name)) for summary in summaries))
    for name in ("steps", "rounds", "model_calls", "tool_calls", "tokens", "cost_nano"):
        yield Fact(name, *(str(getattr(state.spent, name)) for state in states))
    for name in ("branch", "commit"):
        yield Fact(name, *(str(state.facts.get(name, "")) for state in states))


def _shared(left: str, ours: Sequence[Entry], right: str, theirs: Sequence[Entry]) -> int:
    """Length of the common beginning."""
    pairs = zip(ours, theirs, strict=False)
    same = (_anonymous(one, left) == _anonymous(other, right) for one, other in pairs)
    return sum(1 for _ in itertools.takewhile(bool, same))


def _anonymous(entry: Entry, run: str) -> bytes:
    """An event without what names its run."""
    event = entry.event
    if isinstance(event, RunStarted):
        event = msgspec.structs.replace(event, forked="", enclosure=Body())
    return encode(event).replace(run.encode(), b"")


def _lines(session: Session, entries: Sequence[Entry]) -> Iterator[str]:
    """A journal as one line for each phase, decision and result."""
    opened = text_of(session)
    arguments: dict[str, str] = {}
    step = 0
    for entry in entries:
        match entry.event:
            case PhaseEntered() as event:
                yield f"── {event.phase}" + (f" (round {event.round})" if event.round > 1 else "")
            case Decided() as event:
                step = event.step
            case UserMessage() as event:
                yield f"    {event.author or 'person'}: {_short(opened(event.text))}"
            case ModelReplied() as event:
                arguments |= {call.id: opened(call.arguments) for call in event.calls}
                if words := opened(event.content).strip():
                    yield f"    says {_short(words)}"
            case ModelFailed() as event:
                yield f"    the model failed ({event.error})"
            case ToolReturned() as event:
                yield f"{step:>3} {event.tool} {_short(arguments.get(event.call, ''))} → {event.status}"
            case CallRefused() as event:
                yield f"{step:>3} {event.tool} {_short(arguments.get(event.call, ''))} → refused ({event.why})"
            case ToolInterrupted() as event:
                yield f"{step:>3} {event.tool} → interrupted ({event.outcome})"
            case ApprovalAnswered() as event:
                yield f"    {event.by} answers {event.answer}"
            case Resumed():
                yield "    resumed"
            case Stopped() as event:
                yield f"── {event.status}: {_short(event.reason)}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WORDS else line[: _WORDS - 1] + "…"


def _aligned(left: Sequence[str], right: Sequence[str]) -> Iterator[Pair]:
    matcher = difflib.SequenceMatcher(a=left, b=right, autojunk=False)
    for _, from_left, to_left, from_right, to_right in matcher.get_opcodes():
        ours, theirs = left[from_left:to_left], right[from_right:to_right]
        for number in range(max(len(ours), len(theirs))):
            yield Pair(ours[number] if number < len(ours) else "", theirs[number] if number < len(theirs) else "")


async def _workspaces(session: Session, left: str, right: str) -> tuple[Diff | None, str]:
    """What differs between the workspaces, or why that cannot be said."""
    for run in (left, right):
        if not isinstance(task_of(session, run), CodingTask):
            return None, f"{run} has no workspace of its own"
        if not session.places.run(run).git.exists():
            return None, f"the workspace of {run} is gone, or was never made"
        if is_carried(session, run):
            return None, f"{run} is being carried on; its workspace changes"
    repositories = [WorkRepo(places.git, places.workspace) for places in map(session.places.run, (left, right))]
    try:
        async with held_lease(session, left), held_lease(session, right):
            return await repositories[0].diff_to(repositories[1], text_bytes=_PATCH_BYTES), ""
    finally:
        for repository in repositories:
            repository.close()
