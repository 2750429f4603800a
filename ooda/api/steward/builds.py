"""Making builds for the steward: at their pace, written down before and after, asked about when in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from ooda.agents.steward.instants import DAY_NS
from ooda.agents.steward.records import Workspace
from ooda.api.steward.gather import few
from ooda.clock import Clock
from ooda.errors import IntegrationError
from ooda.governance.call import ProbeAnswer
from ooda.services.coder import Build, BuildIntent, BuildOutcome, CoderClient, happened, kind_of
from ooda.services.coder import Workspace as SeenWorkspace
from ooda.store import Store
from ooda.store import steward as rows
from ooda.tools.coder_desk import WantedBuild

__all__ = ["BuildMaker", "Ended", "unguarded"]

_MINUTE_NS = 60_000_000_000
_NOT_MADE = "not made before the interruption"
_UNSEEN_NS = 7 * DAY_NS
"""How long a build stays open whose workspace Coder does not show: 404 says absent and forbidden alike, and rights come
back. What is deleted is 410."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How the builds of a run ended."""

    done: int = 0
    failed: int = 0
    open: int = 0
    """Not ended when the patience was at an end."""


async def unguarded() -> None:
    """Whoever builds is alone."""


class BuildMaker:
    """Makes builds of one run on one deployment."""

    def __init__(
        self,
        client: CoderClient,
        store: Store,
        clock: Clock,
        run: str,
        *,
        stops_per_minute: int,
        at_once: int,
        guard: Callable[[], Awaitable[None]] = unguarded,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`guard` raises LeaseLostError for whoever may not build any more."""
        self._client = client
        self._store = store
        self._clock = clock
        self._run = run
        self._stops_per_minute = stops_per_minute
        self._at_once = at_once
        self._guard = guard
        self._sleep = sleep

    async def wait_for_turn(self) -> None:
        """Wait until one more stop keeps to the most in a minute, whoever made the others."""
        while True:
            now_ns = self._clock.now_ns()
            recent = self._store.read(
                lambda tx, now_ns=now_ns: rows.stops_since(tx, self._client.url, now_ns - _MINUTE_NS + 1)  # type: ignore[misc]
            )
            if len(recent) < self._stops_per_minute:
                return
            free_ns = recent[-self._stops_per_minute] + _MINUTE_NS
            await self._sleep(max(0.01, (free_ns - now_ns) / 1_000_000_000))

    async def make(
        self,
        wanted: WantedBuild,
        key: str,
        seen: Workspace,
        still: Callable[[SeenWorkspace], Awaitable[bool]],
    ) -> BuildOutcome:
        """Ask for one build, once, and write down before and after.

        Args:
            still: whether it is still wanted of the workspace as read right before a try.

        Raises:
            IntegrationError: Coder refused, or nobody knows what came of it; then the row stays open.
            LeaseLostError: another steward may build here now; nothing was asked for.
        """
        intent = await self._intent(wanted)
        row = rows.BuildRow(
            key=key,
            run=self._run,
            deployment=self._client.url,
            workspace=wanted.workspace,
            title=seen.title,
            owner=seen.owner,
            template=seen.template,
            transition="start" if wanted.transition == "start" else "stop",
            cause=wanted.cause,
            after_build=wanted.build,
            after_number=wanted.number,
            template_version=wanted.template_version or seen.template_version,
            would_end_ns=min(
                (end for end in (seen.deadline_ns, seen.max_deadline_ns) if end is not None), default=None
            ),
            undoes=wanted.undoes,
            asked_ns=self._clock.now_ns(),
        )

        async def may(record: SeenWorkspace) -> bool:
            is_wanted = await still(record)
            await self._guard()
            return is_wanted

        await self._guard()
        await self._store.write(lambda tx: rows.ask(tx, row))
        try:
            outcome = await self._client.make_build(intent, may)
        except IntegrationError as error:
            if kind_of(error) not in ("unknown", "protocol"):
                state: rows.BuildState = "left" if error.facts["status"] == 410 else "error"
                await self._settle(key, state, detail=str(error), is_ended=True)
            raise
        if outcome.status == "made" and outcome.build is not None:
            await self._settle(key, "made", build=outcome.build.id)
        else:
            await self._settle(key, "left", detail=outcome.status, is_ended=True)
        return outcome

    async def probe(self, wanted: WantedBuild, key: str) -> ProbeAnswer:
        """Whether a build that was asked for under this key exists; its row is settled accordingly."""
        if self._store.read(lambda tx: rows.find(tx, key)) is None:
            return "did_not"  # it is written down before it is asked for
        intent = await self._intent(wanted)
        builds = await self._client.builds(wanted.workspace)
        answer = happened(builds, intent)
        if answer is None:
            return "unknown"
        if answer:
            await self._settle(key, "made", build=next(found.id for found in builds if intent.is_met_by(found)))
            return "happened"
        await self._settle(key, "left", detail=_NOT_MADE, is_ended=True)
        return "did_not"

    async def settle_open(self) -> None:
        """Ask Coder what became of every build nobody knows the outcome of, of whatever run."""
        open_rows = self._store.read(lambda tx: rows.open_builds(tx, self._client.url))
        await few(open_rows, self._settle_row, self._at_once)

    async def follow(self, patience_s: float) -> Ended:
        """Wait until the builds of this run have ended."""
        mine = [row for row in self._store.read(lambda tx: rows.of_run(tx, self._run)) if row.state == "made"]

        async def ended(row: rows.BuildRow) -> str:
            build = await self._client.finished_build(row.build, patience_s=patience_s)
            return await self._ended(row.key, build)

        states = await few(mine, ended, self._at_once)
        return Ended(done=states.count("done"), failed=states.count("failed"), open=states.count("made"))

    async def _settle_row(self, row: rows.BuildRow) -> None:
        try:
            if row.state == "asked":
                wanted = WantedBuild(
                    workspace=row.workspace,
                    transition=row.transition,
                    build=row.after_build,
                    number=row.after_number,
                    cause=row.cause,
                )
                if await self.probe(wanted, row.key) == "unknown":
                    await self._settle(row.key, "left", detail="too long ago to be known", is_ended=True)
            elif row.build:
                await self._ended(row.key, await self._client.build(row.build))
        except IntegrationError as error:
            is_gone = error.facts["status"] == 410
            if not is_gone and kind_of(error) not in ("not_found", "forbidden"):
                raise
            if is_gone or self._clock.now_ns() - row.asked_ns > _UNSEEN_NS:
                state: rows.BuildState = "left" if row.state == "asked" else "done"
                await self._settle(row.key, state, detail="the workspace is gone", is_ended=True)

    async def _ended(self, key: str, build: Build) -> rows.BuildState:
        if build.job.is_active:
            return "made"
        state: rows.BuildState = "done" if build.job.status == "succeeded" else "failed"
        await self._settle(key, state, build=build.id, detail=build.job.error, is_ended=True)
        return state

    async def _settle(
        self, key: str, state: rows.BuildState, *, build: str = "", detail: str = "", is_ended: bool = False
    ) -> None:
        at_ns = self._clock.now_ns()
        await self._store.write(
            lambda tx: rows.settle(tx, key, state, at_ns, build=build, detail=detail[:500], is_ended=is_ended)
        )

    async def _intent(self, wanted: WantedBuild) -> BuildIntent:
        assert wanted.transition != "extend", "extending makes no build"
        return BuildIntent(
            workspace=wanted.workspace,
            transition=wanted.transition,
            after=wanted.build,
            after_number=wanted.number,
            by=(await self._client.me()).id,
            template_version=wanted.template_version or None,
        )
