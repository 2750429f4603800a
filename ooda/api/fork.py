"""A new run from the beginning of another: its journal up to a step, and its workspace as it was then.

The copy is sealed anew under its own id and names where it comes from; the run it was copied from is only read. Its
feature branch gets a name of its own, so that both can be pushed.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import cast

import msgspec

from ooda.api.runs import agent_of, entries_of, is_carried, known_run, started_of, task_of
from ooda.api.session import Session
from ooda.errors import ConfigError
from ooda.events import (
    Decided,
    Entry,
    Event,
    Foreign,
    ModelAsked,
    ModelReplied,
    Notified,
    RunStarted,
    ToolReturned,
    is_derived,
)
from ooda.governance.audit import AuditFact
from ooda.governance.audit import append as append_audit
from ooda.runtime.journal import GENESIS, Row, seal
from ooda.runtime.loop import Loop
from ooda.runtime.state import RunState
from ooda.services.git import ForkPoint, fork_repository, snapshots_in
from ooda.store import Tx, journal, leases, process_owner
from ooda.task import CodingTask

__all__ = ["Forked", "cut_before", "fork_run"]


class Forked(msgspec.Struct, frozen=True, kw_only=True):
    """A run made from the beginning of another."""

    run: str
    source: str
    step: int
    """The first step that is the new run's own."""
    events: int
    workspace: str
    """Where its workspace comes from, for people."""
    branch: str = ""


def cut_before(entries: Sequence[Entry], step: int) -> int:
    """How many events of a journal come before `step` was begun: before its model call, or before its policy's calls.

    Raises:
        ConfigError: the run has no such step.
    """
    decided = [(seq, e.event.step) for seq, e in enumerate(entries) if isinstance(e.event, Decided)]
    at = next((seq for seq, number in decided if number == step), None)
    if step < 1 or at is None:
        last = max((number for _, number in decided), default=0)
        raise ConfigError(f"the run has no step {step}; its steps are 1 to {last} (`ooda runs show RUN` lists them)")
    given = next(seq for seq in range(at, -1, -1) if not is_derived(entries[seq].event))
    reply = entries[given].event
    if isinstance(reply, ModelReplied):
        asked = (seq for seq in range(given, -1, -1) if _asks(entries[seq].event, reply.ask))
        return next(asked)
    return next((seq for seq in range(at, len(entries)) if not is_derived(entries[seq].event)), len(entries))


async def fork_run(session: Session, source: str, step: int) -> Forked:
    """Make a new run that begins as `source` did, up to `step`; resume it to go on from there.

    Raises:
        ConfigError: no such run, or no such step.
        JournalError: the journal is damaged, or this version concludes something else from it.
        IntegrationError: its repository is damaged.
    """
    known_run(session, source)
    entries = entries_of(session, source)
    cut = cut_before(entries, step)
    before = next(row for row in session.store.rows(source, cut - 1))
    run = session.ids.new("run")
    origin = f"{source}@{before.seq}:{before.hash}"
    copied = [msgspec.structs.replace(e, event=_readdressed(e.event, source, run, origin)) for e in entries[:cut]]
    state, _ = Loop(agent_of(session, task_of(session, source), started_of(session, source))).fold(run, copied)
    places = session.places.run(run)
    for folder in (session.places.runs, places.folder, places.workspace, places.spool):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        workspace, branch = await _workspace(session, source, run, state, cut)
        _copy_outputs(session, source, run, copied)
        _write(session, run, copied, origin, step)
    except BaseException:
        shutil.rmtree(places.folder, ignore_errors=True)
        raise
    return Forked(run=run, source=source, step=step, events=cut, workspace=workspace, branch=branch)


def _asks(event: Event | Foreign, ask: str) -> bool:
    return isinstance(event, ModelAsked) and event.ask == ask


def _readdressed(event: Event | Foreign, source: str, run: str, origin: str) -> Event | Foreign:
    """The event with what names its run naming the new one."""
    match event:
        case RunStarted():
            return msgspec.structs.replace(event, forked=origin)
        case Notified():
            return msgspec.structs.replace(event, notice=event.notice.replace(source, run))
        case _:
            return event


async def _workspace(session: Session, source: str, run: str, state: RunState, cut: int) -> tuple[str, str]:
    """Make repository and workspace of the new run; where they come from, and its branch."""
    if not isinstance(task_of(session, source), CodingTask):
        return "none of its own: it works where the other one does", ""
    facts = state.facts
    base, base_branch = str(facts.get("base_commit", "")), str(facts.get("base_branch", ""))
    theirs, ours = session.places.run(source), session.places.run(run)
    if not base:
        return "empty: nothing was cloned yet", ""
    if not theirs.git.exists():
        raise ConfigError(f"the repository of {source} is gone (`ooda runs gc`); only a fork at step 1 is possible")
    branch = str(facts.get("branch", ""))
    point = ForkPoint(
        base_branch=base_branch,
        base=base,
        branch=f"{branch}-{run[-6:]}" if branch else "",
        commit=str(facts.get("commit", "")),
        snapshots_below=cut,
    )
    kept = {seq: commit for seq, commit in (await snapshots_in(theirs.git)).items() if seq >= cut}
    if kept:
        # What stood before the first later call that changes the workspace is what stood at the cut.
        point = msgspec.structs.replace(point, snapshot=kept[min(kept)])
        origin = f"the snapshot before event {min(kept)}"
    elif theirs.workspace.exists() and not is_carried(session, source):
        point = msgspec.structs.replace(point, as_it_is=theirs.workspace)
        origin = "the other run's workspace as it is"
    else:
        origin = f"commit {(point.commit or base)[:12]}"
    files = await fork_repository(theirs.git, ours.git, ours.workspace, point)
    return f"{origin}, {files} files", point.branch


def _copy_outputs(session: Session, source: str, run: str, entries: Sequence[Entry]) -> None:
    """Full outputs that the copied results name, so that they can be read back."""
    theirs, ours = session.places.run(source).spool, session.places.run(run).spool
    for entry in entries:
        if isinstance(entry.event, ToolReturned) and entry.event.spool and (theirs / entry.event.spool).is_file():
            shutil.copyfile(theirs / entry.event.spool, ours / entry.event.spool)


def _write(session: Session, run: str, entries: Sequence[Entry], origin: str, step: int) -> None:
    """Seal the copy under its own id, and say in the audit where it comes from, in one transaction."""
    rows: list[Row] = []
    for seq, entry in enumerate(entries):
        before = rows[-1].hash if rows else GENESIS
        rows.append(seal(run, seq, cast("Event", entry.event), entry.at_ns, str(entry.label), before))
    owner = process_owner(session.ids.new("own"))
    now_ns = session.clock.now_ns()
    fact = AuditFact(
        at_ns=now_ns,
        actor=session.user,
        action="fork",
        run=run,
        subject=origin,
        decision="allow",
        details={"step": step, "events": len(rows)},
    )

    def work(tx: Tx) -> None:
        lease = leases.take(tx, run, owner, 60, now_ns)
        journal.append(tx, rows, lease.fence, load=session.store.blobs.get, status="created")
        append_audit(tx, fact)
        leases.release(tx, lease)

    session.store.write_now(work)
