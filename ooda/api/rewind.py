"""Putting the workspace of a run that is not running back to what it was before a step.

What is put back is shown first. The state it had is kept under a reference of the run's repository, and the run's
journal says what a person did, so that whoever decides next knows that files changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ooda.api.fork import cut_before
from ooda.api.lease import held_lease
from ooda.api.runs import agent_of, entries_of, known_run, started_of, task_of
from ooda.api.session import Session
from ooda.errors import ConfigError
from ooda.events import Body, Observed
from ooda.governance.recorder import Intent, Recorder
from ooda.runtime.loop import Loop
from ooda.services.git import Restoration, WorkRepo, snapshots_in
from ooda.task import CodingTask

__all__ = ["Rewinding", "rewinding"]

_SHOWN = 50


class Rewinding:
    """A workspace about to be put back; the run's lease is held meanwhile."""

    def __init__(self, session: Session, run: str, step: int, position: int, repository: WorkRepo, fence: int) -> None:
        self._session, self._run, self._step = session, run, step
        self._position, self._repository, self._fence = position, repository, fence

    async def preview(self) -> Restoration:
        """What `put_back` would write and remove; changes nothing."""
        return await self._repository.preview(self._position)

    async def put_back(self) -> Restoration:
        """Put the workspace back, and tell the run."""
        session = self._session
        done = await self._repository.restore(self._position)
        task, started = task_of(session, self._run), started_of(session, self._run)
        recorder = Recorder(
            run=self._run,
            loop=Loop(agent_of(session, task, started)),
            store=session.store,
            redactor=session.redactor,
            clock=session.clock,
            fence=self._fence,
        )
        recorder.load()
        told = Observed(source="rewind", text=Body(_told(session.user, self._step, done)))
        await recorder.record(Intent(told))
        return done


@asynccontextmanager
async def rewinding(session: Session, run: str, step: int) -> AsyncIterator[Rewinding]:
    """Prepare to put the workspace of `run` back to what it was before `step`.

    Raises:
        ConfigError: no such run or step, or nothing was changed from that step on.
        LeaseLostError: a process carries the run on; stop it first.
    """
    known_run(session, run)
    if not isinstance(task_of(session, run), CodingTask):
        raise ConfigError(f"run {run} has no workspace of its own; only coding runs can be put back")
    cut = cut_before(entries_of(session, run), step)
    places = session.places.run(run)
    async with held_lease(session, run) as keeper:
        known = await snapshots_in(places.git) if places.git.exists() else {}
        position = min((seq for seq in known if seq >= cut), default=None)
        if position is None:
            raise ConfigError(f"run {run} changed nothing from step {step} on, so there is nothing to put back")
        repository = WorkRepo(places.git, places.workspace)
        try:
            yield Rewinding(session, run, step, position, repository, keeper.lease.fence)
        finally:
            repository.close()


def _told(person: str, step: int, done: Restoration) -> str:
    """What the decider reads."""
    lines = [
        f"{person} put the workspace back to what it was before step {step}. Read files again before you change them."
    ]
    for word, paths in (("put back", done.written), ("removed", done.removed), ("left as they are", done.kept)):
        if paths:
            more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
            lines.append(f"{word}: {', '.join(paths[:_SHOWN])}{more}")
    return "\n".join(lines)
