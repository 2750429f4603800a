"""Reading runs back: summaries, entries, replay, export. Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from ooda import __version__
from ooda.api.cassette import Cassette, export_lines, load_cassette
from ooda.api.session import Session
from ooda.errors import ConfigError, JournalError, nearest
from ooda.events import Body, Entry, RunStarted, ToolStarted
from ooda.labels import Label
from ooda.runtime.agent import AgentSpec
from ooda.runtime.journal import event_of, verify
from ooda.runtime.loop import Loop
from ooda.runtime.replay import ReplayReport, replay
from ooda.runtime.state import RunState
from ooda.store import Tx, is_alive, leases, runs
from ooda.store.runs import RunSummary
from ooda.task import Task, parse_task
from ooda.task.secrets import resolve_secrets

__all__ = [
    "agent_of",
    "entries_of",
    "export_cassette",
    "intent_of",
    "is_carried",
    "known_run",
    "remove_leavings",
    "replay_run",
    "started_of",
    "state_of",
    "summaries",
    "task_of",
    "text_of",
]


_CARRIED = ("starting", "running")
INTERRUPTED = "interrupted"
"""How a run stands that its journal calls running and that no process carries: killed, or its machine went down."""


def summaries(session: Session, *, limit: int, status: str = "") -> list[RunSummary]:
    """Runs, the newest first; those whose process is gone stand as `interrupted`."""
    wanted: tuple[str | None, ...] = _CARRIED if status in (*_CARRIED, INTERRUPTED) else (status or None,)

    def work(tx: Tx) -> list[RunSummary]:
        found = [run for word in wanted for run in runs.listed(tx, limit=limit, status=word)]
        return [_standing(tx, run, session.clock.now_ns()) for run in found]

    found = session.store.read(work)
    if status in (*_CARRIED, INTERRUPTED):
        found = [run for run in found if (run.status == INTERRUPTED) == (status == INTERRUPTED)]
    return sorted(found, key=lambda run: run.created_ns, reverse=True)[:limit]


def is_carried(session: Session, run: str) -> bool:
    """Whether a process has this run open now."""
    return session.store.read(lambda tx: _is_held(tx, run, session.clock.now_ns()))


def _is_held(tx: Tx, run: str, now_ns: int) -> bool:
    lease = leases.find(tx, run)
    return lease is not None and lease.expires_ns > now_ns and is_alive(lease.owner)


def _standing(tx: Tx, summary: RunSummary, now_ns: int) -> RunSummary:
    if summary.status not in _CARRIED or _is_held(tx, summary.run, now_ns):
        return summary
    return msgspec.structs.replace(summary, status=INTERRUPTED)


def known_run(session: Session, run: str) -> RunSummary:
    """The summary of a run.

    Raises:
        ConfigError: no run has this id; the nearest one is named.
    """

    def work(tx: Tx) -> RunSummary | None:
        summary = runs.find(tx, run)
        return _standing(tx, summary, session.clock.now_ns()) if summary is not None else None

    found = session.store.read(work)
    if found is None:
        near = nearest(run, [summary.run for summary in summaries(session, limit=1000)])
        hint = f"did you mean `{near}`?" if near else "`ooda runs list` shows those that are kept"
        raise ConfigError(f"there is no run {run!r}; {hint}")
    return found


def entries_of(session: Session, run: str) -> list[Entry]:
    """The verified journal of a run.

    Raises:
        JournalError: the chain is broken, or a newer version wrote it.
    """
    rows = list(session.store.rows(run))
    verify(rows)
    return [Entry(event_of(row), row.at_ns, Label.parse(row.label)) for row in rows]


def intent_of(session: Session, run: str, call: str) -> int:
    """Journal position of the last intent of a call; JournalError when the call was never begun."""
    found = -1
    for seq, entry in enumerate(entries_of(session, run)):
        if isinstance(entry.event, ToolStarted) and entry.event.call == call:
            found = seq
    if found < 0:
        raise JournalError(f"call {call!r} of run {run} has no intent in its journal", run=run)
    return found


def text_of(session: Session) -> Callable[[Body], str]:
    """Opens bodies kept in this session's blobs."""
    return lambda body: session.store.blobs.get(body.ref.digest) if body.ref else body.text


def started_of(session: Session, run: str) -> RunStarted:
    """The first event of a run."""
    first = next(iter(session.store.rows(run)), None)
    return _started(run, [Entry(event_of(first), first.at_ns)] if first is not None else [])


def task_of(session: Session, run: str) -> Task:
    """The task of a run; inline secrets are references."""
    return parse_task(msgspec.json.decode(text_of(session)(started_of(session, run).task)), f"task of {run}").task


def agent_of(session: Session, task: Task, started: RunStarted) -> AgentSpec:
    """The agent of a recorded run, as it was told."""
    from ooda.api.kinds import agent_for

    return msgspec.structs.replace(agent_for(session.settings, task), rules=started.rules, brief=started.brief)


def state_of(session: Session, run: str) -> RunState:
    """How a run stands after its last event.

    Raises:
        JournalError: the journal is damaged, or this version concludes something else from it.
    """
    agent = agent_of(session, task_of(session, run), started_of(session, run))
    state, _ = Loop(agent).fold(run, entries_of(session, run))
    return state


def remove_leavings(session: Session) -> tuple[str, ...]:
    """Remove what killed processes of this user left of their sandboxes; gives the sandboxes' names."""
    from ooda.sandbox import reap

    return asyncio.run(reap(session.places.cache))


def export_cassette(session: Session, run: str, *, nothing_to_redact: bool = False) -> Iterator[bytes]:
    """The lines of a cassette of this run.

    Args:
        nothing_to_redact: The person says that its credentials never showed in it, as those of a push never do. Each
            is looked for all the same, and redacted where it stands.

    Raises:
        ConfigError: there is no such run, or it used credentials and nothing had to be redacted.
        CredentialError: a credential is not there any more, so that it cannot be looked for.
    """
    known_run(session, run)
    entries = entries_of(session, run)
    started = _started(run, entries)
    task = text_of(session)(started.task)
    if nothing_to_redact:
        for name, value in resolve_secrets(task_of(session, run).secret_refs(), {}, session.environ).items():
            session.register_secrets(name.replace(".", "_").replace(":", "_"), [value.get_secret_value()])
    return export_lines(
        run,
        entries,
        load=session.store.blobs.get,
        redact=lambda text: session.redactor.redact(text).text,
        used_credentials='"secret_ref"' in task and not nothing_to_redact,
        made_by=f"ooda {__version__}",
    )


def replay_run(session: Session, what: str) -> ReplayReport:
    """Run the loop again over a journal (a run id) or a cassette (a file), and compare.

    Raises:
        ConfigError: there is neither such a run nor such a file.
    """
    path = Path(what)
    if path.suffix or path.exists():
        cassette: Cassette = load_cassette(path)
        return _replayed(session, cassette.run, list(cassette.entries), lambda body: body.text)
    known_run(session, what)
    return _replayed(session, what, entries_of(session, what), text_of(session))


def _replayed(session: Session, run: str, entries: list[Entry], text: Callable[[Body], str]) -> ReplayReport:
    # Agents and tools are heavy, and those who only list or answer do without.
    from ooda.api.kinds import tools_of
    from ooda.tools.room import ToolRoom
    from ooda.tools.toolbox import BoundToolbox

    started = _started(run, entries)
    task = parse_task(msgspec.json.decode(text(started.task)), f"task of {run}").task
    toolbox = BoundToolbox(tools_of(task), ToolRoom(run=run, clock=session.clock))
    return replay(run, entries, agent_of(session, task, started), toolbox.schemas, text)


def _started(run: str, entries: list[Entry]) -> RunStarted:
    first = entries[0].event if entries else None
    if not isinstance(first, RunStarted):
        raise ConfigError(f"the record of {run} does not begin with RunStarted; it is damaged")
    return first
