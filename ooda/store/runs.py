"""One line per run: who, what, how it stands, what it cost. A reading of its events, kept by the append itself.

The line also carries the head of the run's chain, so that an append and its place in the chain are decided by one
conditional statement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ooda.errors import JournalError
from ooda.events import Body, Usage
from ooda.runtime.journal import FIRST_SEQ, GENESIS, Row
from ooda.store import messages
from ooda.store.tx import Tx, columns, records

__all__ = ["RunSummary", "advance", "find", "listed", "remove"]


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """How a run stands after its last event."""

    run: str
    agent: str
    task_id: str
    title: str
    model: str
    parent: str
    run_by: str
    loop_version: int
    status: str
    """starting, running, waiting, or how it stopped."""
    reason: str
    phase: str
    steps: int
    cost_nano: int
    """Nano-USD of its model calls and of its children's."""
    tokens: int
    created_ns: int
    updated_ns: int
    last_seq: int
    last_hash: str


_STATUS = {
    "RunStarted": "starting",
    "UserMessage": "running",
    "PhaseEntered": "running",
    "ApprovalAsked": "waiting",
    "ApprovalAnswered": "running",
    "Resumed": "running",
}


class _Facts(msgspec.Struct, frozen=True):
    """What the line needs of an event; all else in the body is skipped."""

    usage: Usage = Usage()
    tokens: int = 0
    cost_nano: int = 0
    phase: str | None = None
    step: int | None = None
    status: str | None = None
    reason: str | None = None


class _Start(msgspec.Struct, frozen=True):
    """What the line takes from RunStarted."""

    agent: str
    loop_version: int
    task: Body
    model: str = ""
    parent: str = ""
    run_by: str = ""


class _Task(msgspec.Struct, frozen=True):
    """Where the kinds of task keep their id and what they are about."""

    task: Any = None
    """An object with id and title (coding), or words (ops)."""
    incident: Any = None


_TELLING = frozenset({"ModelReplied", "ModelFailed", "ChildStopped", "PhaseEntered", "Decided", "Stopped"})
_facts = msgspec.json.Decoder(_Facts)
_start = msgspec.json.Decoder(_Start)
_task = msgspec.json.Decoder(_Task)
_TITLE_CHARS = 120

_INSERT = (
    "INSERT INTO runs (run, agent, task_id, title, loop_version, model, parent, run_by, created_ns, updated_ns, "
    "status, last_seq, last_hash) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'created', ?, ? "
    "WHERE EXISTS (SELECT 1 FROM leases WHERE run = ? AND fence = ?) ON CONFLICT DO NOTHING"
)
_UPDATE = (
    "UPDATE runs SET last_seq = ?, last_hash = ?, updated_ns = ?, status = COALESCE(?, status), "
    "reason = COALESCE(?, reason), phase = COALESCE(?, phase), steps = COALESCE(?, steps), "
    "cost_nano = cost_nano + ?, tokens = tokens + ? "
    "WHERE run = ? AND last_seq = ? AND last_hash = ? "
    "AND EXISTS (SELECT 1 FROM leases WHERE run = ? AND fence = ?)"
)


def advance(tx: Tx, rows: Sequence[Row], fence: int, status: str | None, load: Callable[[str], str]) -> bool:
    """Move the run's line on by `rows`; False, changing nothing, when they do not stand on its head or the lease is
    another's."""
    first, last = rows[0], rows[-1]
    if first.seq == FIRST_SEQ and first.prev_hash == GENESIS and not _begin(tx, first, fence, load):
        return False
    derived: str | None = None
    reason = phase = None
    step: int | None = None
    cost_nano = tokens = 0
    for row in rows:
        derived = _STATUS.get(row.kind, derived)
        if row.kind in _TELLING:
            facts = _facts.decode(row.body)
            cost_nano += facts.cost_nano
            tokens += facts.tokens + facts.usage.input_tokens + facts.usage.output_tokens
            phase = facts.phase or phase
            step = facts.step if facts.step is not None else step
            if row.kind == "Stopped":
                derived, reason = facts.status, facts.reason
        elif row.kind == "Resumed":
            reason = ""
    state = (status or derived, reason, phase, step, cost_nano, tokens)
    # The line of a run that has just begun stands, for this one statement, before its first row.
    place = (first.run, first.seq - 1, first.prev_hash, first.run, fence)
    return bool(tx.change(_UPDATE, (last.seq, last.hash, last.at_ns, *state, *place)))


def _begin(tx: Tx, row: Row, fence: int, load: Callable[[str], str]) -> bool:
    if row.kind != "RunStarted":
        raise JournalError(
            f"the first row of run `{row.run}` is a {row.kind}, expected RunStarted; nothing was written",
            run=row.run,
            seq=row.seq,
            problem="gap",
        )
    start = _start.decode(row.body)
    task = start.task.text if start.task.ref is None else load(start.task.ref.digest)
    line = (row.run, start.agent, *_named(task), start.loop_version, start.model, start.parent, start.run_by)
    return bool(tx.change(_INSERT, (*line, row.at_ns, row.at_ns, FIRST_SEQ - 1, GENESIS, row.run, fence)))


def _named(task: str) -> tuple[str, str]:
    """The id and title a task spec gives itself; empty where it gives none."""
    try:
        spec = _task.decode(task)
    except msgspec.MsgspecError:
        return "", ""
    named = spec.task if isinstance(spec.task, dict) else spec.incident if isinstance(spec.incident, dict) else {}
    title = spec.task if isinstance(spec.task, str) else named.get("title", "")
    return str(named.get("id", "")), str(title).strip().partition("\n")[0][:_TITLE_CHARS]


def find(tx: Tx, run: str) -> RunSummary | None:
    """How the run stands; None when there is no such run."""
    found = _select(tx, "WHERE run = ?", (run,))
    return found[0] if found else None


def listed(tx: Tx, *, limit: int = 100, status: str | None = None, parent: str | None = None) -> list[RunSummary]:
    """The newest runs first, at most `limit`, of one status or one parent when given."""
    conditions = {"status": status, "parent": parent}
    asked = {name: value for name, value in conditions.items() if value is not None}
    where = "WHERE " + " AND ".join(f"{name} = ?" for name in asked) if asked else ""
    return _select(tx, f"{where} ORDER BY created_ns DESC, run DESC LIMIT ?", (*asked.values(), limit))


def remove(tx: Tx, run: str) -> None:
    """Remove a run: its events, its line, its lease, its questions and its delivered notices.

    What was spent, the activities of its task and the audit stay: they are not the run's own.
    """
    messages.remove_of(tx, run)
    for statement in (
        "DELETE FROM approvals WHERE run = ?",
        "DELETE FROM outbox WHERE run = ? AND sent_ns IS NOT NULL",
        "DELETE FROM leases WHERE run = ?",
        "DELETE FROM events WHERE run = ?",
        "DELETE FROM runs WHERE run = ?",
    ):
        tx.change(statement, (run,))


def _select(tx: Tx, rest: str, params: tuple[object, ...]) -> list[RunSummary]:
    return records(RunSummary, tx.execute(f"SELECT {columns(RunSummary)} FROM runs {rest}", params))  # noqa: S608
