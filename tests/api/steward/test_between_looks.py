"""What happens between plan, look and request, or to an answer: which stops are made, and what is on record of them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ooda.api.steward.holds import hold
from ooda.api.steward.open import deployment_lease
from ooda.errors import LeaseLostError
from ooda.services.coder import BuildIntent
from ooda.store import leases
from tests.api.steward.bench import NIGHT, StewardBench, steward_bench
from tests.services.coder.fleet import SHORT_S

LOOK = "/api/v2/workspaces/{}"


def recorded(bench: StewardBench) -> list[tuple[str, str]]:
    """Whether the outcome of every row is known, and its build's id."""
    return [({"made": "known", "done": "known"}.get(row.state, row.state), row.build) for row in bench.builds()]


def hold_now(bench: StewardBench, workspace: str) -> None:
    with bench.session() as session:
        hold(session, bench.fake.url, "workspace", workspace, bench.fake.clock.now_ns() + 3_600 * 10**9)


@pytest.mark.parametrize("looks", [0, 1], ids=["first look", "last look"])
@pytest.mark.parametrize("what", ["used", "held", "dormant", "window over"])
async def test_what_changes_before_any_look_counts(tmp_path: Path, what: str, looks: int) -> None:
    """The look that decides and the look before the POST both ask the policy, holds included."""
    async with steward_bench(tmp_path) as bench:
        (one,) = bench.person("ada", 1)
        bench.at(NIGHT)
        world = bench.fake.world
        acts = {
            "used": lambda: world.use(one),
            "held": lambda: hold_now(bench, one.id),
            "dormant": lambda: world.set_dormant(one, True) and None,
            "window over": lambda: bench.at(NIGHT + timedelta(hours=12)),
        }
        bench.fake.faults.before(acts[what], path=LOOK.format(one.id), skip=looks)
        assert (await bench.carry()).status == "success"
        assert bench.fake.posts() == []
        assert all(row.state == "left" for row in bench.builds())


async def test_who_comes_back_while_the_server_asks_to_wait_is_left_alone(tmp_path: Path) -> None:
    """429 with Retry-After 60: the owner works again before the second try."""
    async with steward_bench(tmp_path) as bench:
        back, away = bench.person("ada", 2)
        bench.at(NIGHT)
        path = f"{LOOK.format(back.id)}/builds"
        bench.fake.faults.add("429", method="POST", path=path, retry_after_s=60)
        bench.fake.faults.before(lambda: bench.fake.world.use(back), method="POST", path=path)
        assert (await bench.carry()).status == "success"
        assert (len(back.builds), len(away.builds)) == (1, 2)


@pytest.mark.parametrize("kind", ["403", "404", "429", "401"])
async def test_a_look_that_fails_after_a_lost_answer_hides_no_build(tmp_path: Path, kind: Any) -> None:
    """The stop was made, its answer and every look after it were not seen: the next pass finds and keeps its id."""
    async with steward_bench(tmp_path, timeout_s=SHORT_S) as bench:
        (one,) = bench.person("ada", 1)
        bench.at(NIGHT)
        bench.fake.faults.add("timeout_after", method="POST", path="*/builds")
        bench.fake.faults.add(kind, method="GET", path=LOOK.format(one.id), skip=2, times=4)
        await bench.carry()
        assert recorded(bench) == [("asked", "")]
        bench.fake.faults.clear()
        assert (await bench.carry()).status == "success"
        assert recorded(bench) == [("known", one.latest.id)]
        assert len(one.builds) == 2


@pytest.mark.parametrize("kind", ["403", "404"])
async def test_a_workspace_nobody_may_see_keeps_its_open_record_and_stops_no_pass(tmp_path: Path, kind: Any) -> None:
    """404 says absent and forbidden alike; other workspaces are looked after meanwhile."""
    async with steward_bench(tmp_path, timeout_s=SHORT_S) as bench:
        (one,) = bench.person("ada", 1)
        bench.at(NIGHT)
        bench.fake.faults.add("timeout_after", method="POST", path="*/builds")
        bench.fake.faults.add("404", method="GET", path=LOOK.format(one.id), skip=2)
        await bench.carry()
        (other,) = bench.person("bob", 1)
        bench.fake.faults.add(kind, method="GET", path=f"{LOOK.format(one.id)}/builds", times=100)
        assert (await bench.carry()).status == "success"
        assert recorded(bench) == [("asked", ""), ("known", other.latest.id)]
        bench.fake.faults.clear()
        assert (await bench.carry("rollback")).status == "success"
        assert recorded(bench)[0] == ("known", one.builds[1].id)


async def test_a_lost_stop_that_its_owner_undid_at_once_is_still_ours(tmp_path: Path) -> None:
    """Stopped, the answer lost, started by its owner: the record names our build, and nothing is stopped again."""
    async with steward_bench(tmp_path, timeout_s=SHORT_S) as bench:
        (one,) = bench.person("ada", 1)
        bench.at(NIGHT)
        world = bench.fake.world

        def owner_starts() -> None:
            bench.fake.clock.advance(60)
            world.settle()
            world.build(one, "start", one.owner)

        bench.fake.faults.add("timeout_after", method="POST", path="*/builds")
        bench.fake.faults.before(owner_starts, path=LOOK.format(one.id), skip=2)
        await bench.carry()
        assert recorded(bench) == [("known", one.builds[1].id)]
        assert [build.transition for build in one.builds] == ["start", "stop", "start"]


async def test_a_pass_that_is_gone_on_with_decides_by_the_same_policy(tmp_path: Path) -> None:
    """Cut off in the owner's night, resumed in their morning: roles, rules and zones are read again, not forgotten."""
    settings = {"steward.policy.tz_source": "owner", "steward.policy.excluded_roles": "auditor"}
    async with steward_bench(tmp_path, settings=settings) as bench:
        first, second, third = bench.person("kei", 3)
        first.owner.schedule = "CRON_TZ=Asia/Tokyo 0 2 * * *"
        (theirs,) = bench.person("zoe", 1)
        bench.at(NIGHT)  # 05:00 in Tokyo
        cut = LeaseLostError("cut off", run="x")
        bench.fake.faults.before(lambda: bench.last and bench.last.engine.lose(cut), path=LOOK.format(second.id))
        with pytest.raises(LeaseLostError):
            await bench.carry()
        stopped = bench.fake.posts()
        assert second.id not in stopped and bench.last is not None
        bench.at(NIGHT + timedelta(hours=3, minutes=30))  # 08:30 in Tokyo, 23:30 here
        theirs.owner.roles = ("auditor",)
        assert (await bench.carry(run=bench.last.run)).status == "success"
        assert bench.fake.posts() == stopped
        assert {space.latest.transition for space in (second, third, theirs)} == {"start"}
        assert first.id in stopped


async def test_who_lost_the_deployment_stops_nothing_more(tmp_path: Path) -> None:
    """A leader that slept past its lease finds another's when it wakes, right before its request."""
    async with steward_bench(tmp_path) as bench:
        (one,) = bench.person("ada", 1)
        bench.at(NIGHT)

        def another_takes_over() -> None:
            bench.fake.clock.advance(100)
            with bench.session() as other:
                now_ns = bench.fake.clock.now_ns()
                name = deployment_lease(bench.fake.url)
                other.store.write_now(lambda tx: leases.take(tx, name, "somebody else", 60, now_ns))

        bench.fake.faults.before(another_takes_over, path=LOOK.format(one.id), skip=1)
        with pytest.raises(LeaseLostError):
            await bench.carry()
        assert bench.fake.posts() == []


async def test_a_look_that_has_grown_old_is_taken_again(tmp_path: Path) -> None:
    """The process slept between its look and its request: nothing is sent on the old one."""
    async with steward_bench(tmp_path) as bench:
        (one,) = bench.person("ada", 1)
        bench.at(NIGHT)
        me = await bench.client.me()
        looks = 0

        async def sleeps(seen: Any) -> bool:
            nonlocal looks
            looks += 1
            if looks == 1:
                bench.fake.clock.advance(90)
                bench.fake.world.build(one, "stop", bench.fake.admin)
            return True

        intent = BuildIntent(
            workspace=one.id, transition="stop", after=one.latest.id, after_number=one.latest.number, by=me.id
        )
        outcome = await bench.client.make_build(intent, sleeps)
        assert (outcome.status, looks, bench.fake.posts()) == ("made", 1, [])


async def test_a_stop_that_was_written_down_and_not_sent_is_made_and_recorded_on_going_on(tmp_path: Path) -> None:
    """Cut off between its record and its request: the call is made again under the same key, and the row is its own."""
    async with steward_bench(tmp_path) as bench:
        (one,) = bench.person("ada", 1)
        bench.at(NIGHT)
        cut = LeaseLostError("cut off", run="x")
        bench.fake.faults.before(lambda: bench.last and bench.last.engine.lose(cut), path=LOOK.format(one.id), skip=1)
        with pytest.raises(LeaseLostError):
            await bench.carry()
        assert (recorded(bench), len(one.builds)) == ([("asked", "")], 1)
        assert bench.last is not None
        assert (await bench.carry(run=bench.last.run)).status == "success"
        assert recorded(bench) == [("known", one.latest.id)]
        assert len(one.builds) == 2
