"""A fleet's odd nights, each through gate, journal and server: what is stopped, what is left, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ooda.api.steward.daemon import Job, StewardDaemon
from ooda.api.steward.open import PassOptions
from ooda.api.steward.passes import make_pass
from ooda.api.steward.tasks import steward_task
from ooda.testing.fake_coder import FleetClock
from ooda.testing.fake_coder.entities import FakeWorkspace
from tests.api.steward.bench import NIGHT, StewardBench, steward_bench
from tests.services.coder.fleet import client_of

LOOK = "/api/v2/workspaces/{}"
HOUR_MS = 3_600_000


def owner_builds(bench: StewardBench, space: FakeWorkspace, transition: str, *, ends: bool = False) -> None:
    bench.fake.world.build(space, transition, space.owner)
    if ends:
        bench.fake.clock.advance(60)
        bench.fake.world.settle()


def prebuilt(bench: StewardBench, space: FakeWorkspace) -> None:
    space.is_prebuild, space.rendered = True, b""


def deleted(bench: StewardBench, space: FakeWorkspace) -> None:
    owner_builds(bench, space, "delete", ends=True)


def failed(bench: StewardBench, space: FakeWorkspace) -> None:
    bench.fake.world.build(space, "start", space.owner, fails=True)
    bench.fake.clock.advance(60)
    bench.fake.world.settle()


def dormant(bench: StewardBench, space: FakeWorkspace) -> None:
    bench.fake.world.set_dormant(space, True)


def stopped(bench: StewardBench, space: FakeWorkspace) -> None:
    owner_builds(bench, space, "stop", ends=True)


def starting(bench: StewardBench, space: FakeWorkspace) -> None:
    owner_builds(bench, space, "start")


@pytest.mark.parametrize("when", ["before the plan", "before the look", "before the request"])
@pytest.mark.parametrize("becomes", [prebuilt, deleted, failed, dormant, stopped, starting])
async def test_what_is_not_simply_running_is_not_stopped(
    tmp_path: Path, becomes: Callable[[StewardBench, FakeWorkspace], None], when: str
) -> None:
    """Whenever it becomes so; the pass goes on with the others, and no build of ours is made."""
    async with steward_bench(tmp_path) as bench:
        odd, plain = bench.person("ada", 2)
        bench.at(NIGHT)
        bench.fake.world.settle()
        if when == "before the plan":
            becomes(bench, odd)
        else:
            skip = int(when == "before the request")
            bench.fake.faults.before(lambda: becomes(bench, odd), path=LOOK.format(odd.id), skip=skip)
        before = [build.id for build in odd.builds]
        assert (await bench.carry()).status == "success"
        assert plain.latest.transition == "stop"
        assert [build.id for build in odd.builds if build.initiator is bench.fake.admin] == []
        assert bench.fake.posts() == [plain.id]
        assert [build.id for build in odd.builds][: len(before)] == before


@pytest.mark.parametrize(
    ("at", "stops"),
    [("18:59", 0), ("19:00", 1), ("07:59", 1), ("08:00", 0), ("12:00", 0)],
)
async def test_a_missed_pass_acts_inside_the_window_only(tmp_path: Path, at: str, stops: int) -> None:
    """However late it is made: 18:00 to 08:00 with an hour of grace."""
    async with steward_bench(tmp_path) as bench:
        bench.person("ada", 1)
        hour, minute = map(int, at.split(":"))
        moment = NIGHT.replace(hour=hour, minute=minute)
        bench.at(moment if hour >= 18 else moment + timedelta(days=1))
        await bench.carry()
        assert len(bench.fake.posts()) == stops


NEW_YORK = {"steward.quiet_hours.timezone": "America/New_York", "steward.quiet_hours.end": "07:00"}


@pytest.mark.parametrize(
    ("start", "due"),
    [
        pytest.param("02:30", datetime(2026, 3, 8, 8, 30, tzinfo=UTC), id="the hour that is missing"),
        pytest.param("01:30", datetime(2026, 11, 1, 6, 30, tzinfo=UTC), id="the hour that comes twice"),
    ],
)
async def test_the_night_the_clocks_change(tmp_path: Path, start: str, due: datetime) -> None:
    """02:30 means 03:30 in spring, 01:30 its first occurrence in autumn; the grace is an hour of elapsed time."""
    clock = FleetClock(due - timedelta(hours=12), runs=False)
    settings = {**NEW_YORK, "steward.quiet_hours.start": start}
    async with steward_bench(tmp_path, settings=settings, clock=clock) as bench:
        given = {"started_at": due - timedelta(hours=20), "last_used_at": due - timedelta(hours=15)}
        (one,) = bench.person("ada", 1, **given)
        bench.at(due - timedelta(seconds=1))
        await bench.carry()
        assert bench.fake.posts() == []
        bench.at(due)
        await bench.carry()
        assert bench.fake.posts() == [one.id]


@pytest.mark.parametrize("ttl_ms", [None, 0])
async def test_without_a_time_to_live_there_is_no_stop_by_it(tmp_path: Path, ttl_ms: int | None) -> None:
    """Zero and missing mean the same; the report names the workspace among those without one."""
    async with steward_bench(tmp_path, settings={"steward.quiet_hours.enabled": False}) as bench:
        bench.person("ada", 1, ttl_ms=ttl_ms, started_at=NIGHT - timedelta(days=9))
        bench.at(NIGHT)
        assert (await bench.carry("autostop")).status == "success"
        assert bench.fake.posts() == []
        await bench.carry("ttl", dry_run=True, grants=[])
        assert bench.last is not None and bench.last.desk.ttl is not None
        assert bench.last.desk.ttl.should_have_stopped == ()


async def test_a_ttl_overdue_is_stopped_day_and_night(tmp_path: Path) -> None:
    """Where Coder's own executor fails, after its grace."""
    async with steward_bench(tmp_path) as bench:
        started = NIGHT.replace(hour=8)
        (one,) = bench.person("ada", 1, ttl_ms=8 * HOUR_MS, started_at=started, last_used_at=NIGHT.replace(hour=15))
        bench.at(NIGHT.replace(hour=17))
        await bench.carry()
        assert [(row.workspace, row.cause) for row in bench.builds()] == [(one.id, "ttl")]


@pytest.mark.parametrize("skew_s", [600, -600])
async def test_two_clocks_that_differ_stop_nothing_whichever_is_wrong(tmp_path: Path, skew_s: float) -> None:
    """Within the allowed two minutes Coder's clock counts; beyond, nothing happens and administrators are told once."""
    async with steward_bench(tmp_path) as bench:
        bench.person("ada", 1)
        bench.at(NIGHT)
        bench.fake.clock.skew_s = skew_s
        for _ in range(2):
            await bench.carry()
        assert bench.fake.posts() == []
        (told,) = bench.notices("steward.admins")
        assert "clock" in told["message"]


async def test_a_rollback_goes_on_when_a_recorded_version_is_gone(tmp_path: Path) -> None:
    """That workspace is not started with another version; administrators are told, the others come back."""
    async with steward_bench(tmp_path) as bench:
        (gone,) = bench.person("ada", 1)
        version = gone.latest.version_id
        bench.fake.world.publish(gone.template)
        (kept,) = bench.person("bob", 1)
        bench.at(NIGHT)
        await bench.carry()
        bench.fake.world.remove_version(version)
        bench.at(NIGHT + timedelta(minutes=10))
        assert (await bench.carry("rollback")).status == "failed"
        assert (gone.latest.transition, kept.latest.transition) == ("stop", "start")
        assert bench.notices("steward.admins")[0]["message"].startswith("Coder refused 1 builds")
        assert (await bench.carry("rollback")).status == "failed"
        assert [build.transition for build in kept.builds] == ["start", "stop", "start"]


async def test_administrators_hear_of_a_token_before_it_ends(tmp_path: Path) -> None:
    """Within its last week, once; the pass goes on meanwhile."""
    async with steward_bench(tmp_path) as bench:
        (one,) = bench.person("ada", 1)
        for token in bench.fake.world.tokens.values():
            bench.fake.world.tokens[token.text] = type(token)(
                token.id, token.secret, token.user, NIGHT + timedelta(days=3, hours=5), token.scopes
            )
        bench.at(NIGHT)
        for _ in range(2):
            await bench.carry()
        (told,) = bench.notices("steward.admins")
        assert "the Coder token ends in" in told["message"]
        assert bench.fake.posts() == [one.id]


async def test_pages_whose_order_changes_hide_nobody(tmp_path: Path) -> None:
    """Favourites move rows between pages while they are read; everybody who is due is stopped, once."""
    async with steward_bench(tmp_path) as bench:
        spaces = [*bench.person("ada", 9), *bench.person("bob", 8)]
        bench.at(NIGHT)
        moved = iter(reversed(spaces))

        def somebody_moves() -> None:
            next(moved).favorite_of.add(bench.fake.admin.id)

        bench.fake.faults.before(somebody_moves, path="/api/v2/workspaces", times=6)
        async with client_of(bench.fake, page_rows=5) as client:
            bench.client = client
            await bench.carry()
        assert sorted(bench.fake.posts()) == sorted(space.id for space in spaces)


@asynccontextmanager
async def _same(client: Any) -> Any:
    yield client


async def test_repeated_failures_are_told_once_and_again_after_a_success(tmp_path: Path) -> None:
    """Three failed passes in a row; the fourth and fifth say nothing more."""
    async with steward_bench(tmp_path) as bench:
        bench.person("ada", 1)
        bench.at(NIGHT)
        lines: list[str] = []
        with bench.session() as session:
            daemon = StewardDaemon(
                session,
                lambda: _same(bench.client),
                bench.fake.url,
                write=lines.append,
                jobs=(Job(check="quiet_hours", every_s=900),),
            )

            async def passes(count: int) -> int:
                for _ in range(count):
                    await daemon.run(once=True)
                    bench.fake.clock.advance(901)
                repeated = [n for n in bench.notices("steward.admins") if "in a row have failed" in n["message"]]
                return len(repeated)

            bench.fake.faults.add("403", path="/api/v2/workspaces", times=10_000)
            assert await passes(2) == 0
            assert await passes(3) == 1
            bench.fake.faults.clear()
            assert await passes(1) == 1
            assert len(bench.fake.posts()) == 1
            bench.fake.faults.add("403", path="/api/v2/workspaces", times=10_000)
            assert await passes(3) == 2


async def test_a_daemon_that_slept_through_the_window_makes_one_pass_and_stops_nothing(tmp_path: Path) -> None:
    """Down from before the night until noon: one pass makes up for all, and decides for its own instant."""
    async with steward_bench(tmp_path) as bench:
        bench.person("ada", 1, last_used_at=NIGHT - timedelta(hours=3))
        bench.at(NIGHT - timedelta(hours=3))
        lines: list[str] = []
        with bench.session() as session:
            jobs = (Job(check="quiet_hours", every_s=900),)
            for moment in (NIGHT - timedelta(hours=2.9), NIGHT + timedelta(hours=16)):
                bench.at(moment)
                daemon = StewardDaemon(
                    session, lambda: _same(bench.client), bench.fake.url, write=lines.append, jobs=jobs
                )
                await daemon.run(once=True)
        assert bench.fake.posts() == []
        assert sum("was missed" in line for line in lines) == 1


async def test_administrators_are_told_although_something_failed_before(tmp_path: Path) -> None:
    """The builds cannot be followed and one was refused: no failure is a stranger's text that asks a person first."""
    async with steward_bench(tmp_path) as bench:
        bench.person("ada", 2)
        bench.at(NIGHT)
        bench.fake.faults.add("403", method="POST", path="*/builds")
        bench.fake.faults.add("403", path="/api/v2/workspacebuilds/*", times=10)
        assert (await bench.carry()).status == "failed"
        (told,) = bench.notices("steward.admins")
        assert told["message"].startswith("Coder refused 1 builds")


async def test_a_token_that_is_not_taken_any_more_is_told_once(tmp_path: Path) -> None:
    """At whatever call it is noticed; asked once a pass, and nothing is stopped."""
    async with steward_bench(tmp_path) as bench:
        bench.person("ada", 1)
        bench.at(NIGHT)
        bench.fake.world.tokens.clear()
        for _ in range(3):
            with bench.session() as session:
                task = steward_task(session.settings, "quiet_hours", execute=True)
                result = await make_pass(session, task, PassOptions(client=bench.client, sleep=bench.fake.clock.sleep))
            assert result.status == "failed"
        (told,) = bench.notices("steward.admins")
        assert "coder tokens create" in told["message"]
        assert len(bench.fake.requests) == 3
