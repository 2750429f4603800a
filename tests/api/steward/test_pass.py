"""Passes of the steward over a fake fleet, through gate and journal: what is stopped, what is not, and what is kept."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ooda.api.lease import held_lease
from ooda.api.runs import replay_run
from ooda.api.steward.open import deployment_lease
from ooda.engines.local import Answer
from ooda.errors import ConfigError, LeaseLostError
from ooda.runtime.commands import AskHuman
from ooda.store import Tx
from ooda.store import steward as rows
from tests.api.steward.bench import NIGHT, steward_bench


class Somebody:
    """A person who answers every question alike."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def approve(self, ask: AskHuman) -> Answer:
        self.asked.append(ask.prompt)
        return Answer(answer=self.answer, by="ada")

    async def message(self, prompt: str) -> str | None:
        return None


async def test_a_night_is_carried_out_and_written_down(tmp_path: Path) -> None:
    """What is due is stopped once, owners are told once, and a second pass finds nothing to do."""
    async with steward_bench(tmp_path) as bench:
        bench.person("ada", 3)
        bench.person("bob", 2, last_used_at=NIGHT)
        bench.person("admin", 1)
        bench.at(NIGHT)
        ending = await bench.carry()
        assert ending.status == "success"
        assert sorted(row.title.split("/")[0] for row in bench.builds()) == ["ada"] * 3
        assert {row.state for row in bench.builds()} == {"done"}
        kinds = sorted(notice["notification_type"] for notice in bench.notices())
        assert kinds == ["workspace_stop_warning", "workspace_stopped"]
        assert (await bench.carry()).status == "success"
        assert len(bench.fake.posts()) == 3
        assert len(bench.notices()) == 2


async def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    """Neither builds nor notices; the plan is there to be shown."""
    async with steward_bench(tmp_path) as bench:
        bench.person("ada", 2)
        bench.at(NIGHT)
        assert (await bench.carry(dry_run=True, grants=[])).status == "success"
        assert (bench.fake.posts(), bench.notices(), bench.builds()) == ([], [], [])
        assert bench.last is not None
        assert bench.last.desk.gathered is not None
        assert [seat.said.decision for seat in bench.last.desk.gathered.seats] == ["stop", "stop"]
        with pytest.raises(ConfigError, match="DRY_RUN"):
            await bench.carry(session=bench.session(**{"steward.dry_run": True}))


async def test_who_comes_back_between_plan_and_stop_is_left_alone(tmp_path: Path) -> None:
    """Used again, or restarted: the look right before the stop decides."""
    async with steward_bench(tmp_path) as bench:
        used, restarted, idle = bench.person("ada", 3)
        bench.at(NIGHT)
        world = bench.fake.world
        bench.fake.faults.before(lambda: world.use(used), path=f"/api/v2/workspaces/{used.id}")
        bench.fake.faults.before(
            lambda: world.build(restarted, "start", restarted.owner) and None, path=f"/api/v2/workspaces/{restarted.id}"
        )
        assert (await bench.carry()).status == "success"
        assert bench.fake.posts() == [idle.id]


async def test_a_hold_and_a_role_keep_workspaces(tmp_path: Path) -> None:
    """Held by a person, or owned by a holder of an excluded role read from the server."""
    async with steward_bench(tmp_path, settings={"steward.policy.excluded_roles": "auditor"}) as bench:
        held, free = bench.person("ada", 2)
        (theirs,) = bench.person("eve", 1)
        theirs.owner.roles = ("auditor",)
        bench.at(NIGHT)
        now_ns = bench.fake.clock.now_ns()

        def hold(tx: Tx) -> bool:
            return rows.add_hold(
                tx,
                rows.HoldRow(
                    id="h",
                    deployment=bench.fake.url,
                    scope="workspace",
                    target=held.id,
                    until_ns=now_ns + 3_600 * 10**9,
                    made_by="ada",
                    reason="demo",
                    made_ns=now_ns,
                ),
            )

        with bench.session() as session:
            session.store.write_now(hold)
        await bench.carry()
        assert bench.fake.posts() == [free.id]


@pytest.mark.parametrize(("answer", "stops", "status"), [("approve", 8, "success"), ("reject", 0, "refused")])
async def test_a_large_plan_needs_a_person(tmp_path: Path, answer: str, stops: int, status: str) -> None:
    """More than the cap: nothing is stopped until somebody has seen the list."""
    async with steward_bench(tmp_path, settings={"steward.blast_percent": 20}) as bench:
        bench.person("ada", 8)
        bench.at(NIGHT)
        waiting = await bench.carry()
        assert (waiting.status, bench.fake.posts()) == ("waiting", [])
        person = Somebody(answer)
        ending = await bench.carry(person=person)
        assert (ending.status, len(bench.fake.posts())) == (status, stops)
        assert "stop ada/ada-0-0: quiet hours" in person.asked[0]


async def test_without_the_grant_nothing_is_stopped(tmp_path: Path) -> None:
    """The task has to name the operation; unattended, the question waits."""
    async with steward_bench(tmp_path) as bench:
        bench.person("ada", 1)
        bench.at(NIGHT)
        assert (await bench.carry(grants=[])).status == "waiting"
        assert bench.fake.posts() == []


async def test_a_refused_stop_is_told_to_administrators(tmp_path: Path) -> None:
    """403 on one workspace: the others are stopped, the refusal is kept and told."""
    async with steward_bench(tmp_path) as bench:
        bench.person("ada", 3)
        bench.at(NIGHT)
        bench.fake.faults.add("403", method="POST", path="*/builds")
        ending = await bench.carry()
        assert (ending.status, sorted(row.state for row in bench.builds())) == ("failed", ["done", "done", "error"])
        assert next(n["message"] for n in bench.notices("steward.admins")).startswith("Coder refused 1 builds")


async def test_a_rejected_token_ends_the_pass(tmp_path: Path) -> None:
    """401 is asked once."""
    async with steward_bench(tmp_path) as bench:
        bench.person("ada", 1)
        bench.at(NIGHT)
        bench.fake.world.tokens.clear()
        ending = await bench.carry()
        assert (ending.status, len(bench.fake.requests)) == ("failed", 1)


async def test_clocks_that_differ_stop_nothing(tmp_path: Path) -> None:
    """And administrators are told."""
    async with steward_bench(tmp_path) as bench:
        bench.person("ada", 2)
        bench.at(NIGHT)
        bench.fake.clock.skew_s = 600
        await bench.carry()
        assert bench.fake.posts() == []
        assert "clock" in bench.notices("steward.admins")[0]["message"]


async def test_lost_answers_stop_nothing_twice(tmp_path: Path) -> None:
    """Time-outs after the effect: one build each, all on record."""
    async with steward_bench(tmp_path, timeout_s=0.3) as bench:
        spaces = bench.person("ada", 4)
        bench.at(NIGHT)
        bench.fake.faults.add("timeout_after", method="POST", path="*/builds", times=2)
        await bench.carry()
        assert [len(space.builds) for space in spaces] == [2] * 4
        assert [row.state for row in bench.builds()] == ["done"] * 4


async def test_stops_keep_to_their_pace(tmp_path: Path) -> None:
    """No more in a minute than allowed, over all passes."""
    async with steward_bench(tmp_path, settings={"steward.stops_per_minute": 2}) as bench:
        bench.person("ada", 5)
        bench.at(NIGHT)
        await bench.carry()
        asked = [row.asked_ns for row in bench.builds()]
        assert len(asked) == 5
        assert all(later - first >= 60 * 10**9 for first, later in zip(asked, asked[2:], strict=False))


async def test_of_two_stewards_one_acts(tmp_path: Path) -> None:
    """The deployment's lease is held by whoever may build."""
    async with steward_bench(tmp_path) as bench:
        bench.person("ada", 1)
        bench.at(NIGHT)
        with bench.session() as other:
            async with held_lease(other, deployment_lease(bench.fake.url)):
                with pytest.raises(LeaseLostError):
                    await bench.carry()
        assert bench.fake.posts() == []
        assert (await bench.carry()).status == "success"


async def test_a_pass_replays_to_the_same_journal(tmp_path: Path) -> None:
    """The policies are pure: the loop concludes the same from the record."""
    async with steward_bench(tmp_path) as bench:
        bench.person("ada", 2)
        bench.at(NIGHT)
        await bench.carry()
        assert bench.last is not None
        with bench.session() as session:
            assert replay_run(session, bench.last.run).divergence is None


async def test_a_rollback_puts_back_what_is_still_ours(tmp_path: Path) -> None:
    """With the version it had; not what somebody has started since; a second time changes nothing."""
    async with steward_bench(tmp_path) as bench:
        mine, theirs = bench.person("ada", 2)
        version = mine.latest.version_id
        bench.at(NIGHT)
        await bench.carry()
        world = bench.fake.world
        world.settle()
        world.build(theirs, "start", theirs.owner)
        world.publish(mine.template)
        bench.at(NIGHT + timedelta(minutes=10))
        for _ in range(2):
            assert (await bench.carry("rollback")).status == "success"
        assert bench.fake.posts("start") == [mine.id]
        assert (mine.latest.transition, mine.latest.version_id) == ("start", version)


async def test_a_ttl_pass_reports_and_remembers_violations(tmp_path: Path) -> None:
    """Overdue deadlines are reported; the same violation seen twice is one."""
    async with steward_bench(tmp_path) as bench:
        bench.person("ada", 1, ttl_ms=8 * 3_600_000)
        bench.at(NIGHT)
        for _ in range(2):
            await bench.carry("ttl", dry_run=True, grants=[])
        assert bench.last is not None
        assert bench.last.desk.ttl is not None
        assert len(bench.last.desk.ttl.should_have_stopped) == 1
        with bench.session() as session:
            assert len(session.store.read(lambda tx: rows.violations(tx, bench.fake.url, 0))) == 1
