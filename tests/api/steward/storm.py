"""Nights over a fleet whose deployment fails all the time and whose people come and go, with a judge on the server.

The judge sits where builds are made: of each stop by the steward it asks the pure policy, at that moment and about
the workspace as the server has it, whether it should be. What it objects to is kept, for the test to show.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from ooda.agents.steward.configuration import policy_of
from ooda.agents.steward.fleet import holders_of, plan_fleet, workspace_of
from ooda.api.steward.gather import holds_of
from ooda.errors import OodaError
from ooda.services.coder import User, Workspace
from ooda.testing.fake_coder import render
from ooda.testing.fake_coder.entities import FakeBuild, FakeUser, FakeWorkspace
from tests.api.steward.bench import StewardBench, steward_bench

__all__ = ["KINDS", "Judge", "Storm", "storm"]

KINDS: Any = (
    *("429", "500", "502", "timeout_before", "timeout_after", "reset_before", "reset_after", "truncated", "slow"),
    *("409", "401", "403", "404"),
)
SETTINGS = {"steward.policy.excluded_roles": "auditor", "steward.policy.tz_source": "owner"}


class Judge:
    """Looks at every build that is made on the server."""

    def __init__(self, bench: StewardBench) -> None:
        self._bench = bench
        self._build = bench.fake.world.build
        self.objections: list[str] = []
        self.stops: list[FakeBuild] = []
        """The steward's, in order."""
        bench.fake.world.build = self._judged  # type: ignore[method-assign]

    def _judged(self, workspace: FakeWorkspace, transition: str, initiator: FakeUser, **given: Any) -> FakeBuild:
        is_ours = initiator is self._bench.fake.admin and given.get("reason") == "cli"
        before = workspace.latest
        if is_ours and transition == "stop" and not before.is_active:
            said = self._decision(workspace)
            if before.transition == "stop":
                self.objections.append(f"{workspace.name} was stopped twice: build {before.number} was a stop already")
            elif said[0] != "stop":
                self.objections.append(f"{workspace.name} was stopped although the policy says {said}")
        build = self._build(workspace, transition, initiator, **given)
        if is_ours and transition == "stop":
            self.stops.append(build)
        return build

    def _decision(self, workspace: FakeWorkspace) -> tuple[str, str]:
        """What the pure policy says of the server's own truth."""
        fake, world = self._bench.fake, self._bench.fake.world
        users = msgspec.json.decode(
            b"[%b]" % b",".join(render.encode(render.user(world, user)) for user in world.users.values()),
            type=list[User],
        )
        seen = msgspec.json.decode(render.workspace(world, workspace, fake.admin), type=Workspace)
        zone = workspace.owner.schedule.partition("CRON_TZ=")[2].partition(" ")[0] or None
        with self._bench.session(**SETTINGS) as session:
            policy = policy_of(
                session.settings, excluded=holders_of(session.settings.steward.policy.excluded_roles, users)
            )
            now_ns = fake.clock.now_ns()
            holds = holds_of(session.store, fake.url, now_ns)
        said = plan_fleet(now_ns, policy, [workspace_of(seen, owner_tz=zone)], holds=holds)
        return (said[0].said.decision, said[0].said.reason) if said else ("keep", "prebuild")

    def unrecorded(self) -> list[str]:
        """Builds the steward made and has no record of, or a record of something else."""
        world, recorded = self._bench.fake.world, {row.build: row for row in self._bench.builds() if row.build}
        found = []
        for workspace, build in world.builds.values():
            if build.initiator is not self._bench.fake.admin or build.reason != "cli":
                continue
            row = recorded.pop(build.id, None)
            if row is None:
                found.append(f"{build.transition} {build.number} of {workspace.name} is not on record")
            elif (row.workspace, row.transition, row.after_number) != (
                workspace.id,
                build.transition,
                build.number - 1,
            ):
                found.append(f"{build.transition} {build.number} of {workspace.name} is on record as {row}")
            elif row.state not in ("made", "done", "failed"):
                found.append(f"{build.transition} {build.number} of {workspace.name} is on record as {row.state}")
        return found + [f"no build was ever made for {row}" for row in recorded.values()]


@dataclass
class Storm:
    """How it went."""

    faults: dict[str, int] = field(default_factory=dict)
    passes: int = 0
    endings: dict[str, int] = field(default_factory=dict)
    stops: int = 0
    starts: int = 0
    objections: list[str] = field(default_factory=list)
    told: list[tuple[str, str, str]] = field(default_factory=list)
    """Kind, workspace and time of every stop somebody was told of."""


async def storm(folder: Path, seed: int, faults: int, odds: float = 0.25) -> Storm:
    """Passes, and now and then a rollback, until so many faults have happened; then one in calm weather."""
    dice = Random(seed)
    went = Storm()
    async with steward_bench(folder, settings=SETTINGS, timeout_s=0.15, requests_per_minute=0) as bench:
        fleet = _people(bench)
        judge = Judge(bench)
        while len(bench.fake.faults.seen) < faults:
            bench.fake.clock.advance(dice.randrange(5, 90) * 60)
            bench.fake.world.settle()
            for workspace in dice.sample(fleet, 3):
                _act(bench, workspace, dice)
            for workspace in dice.sample(fleet, 2):
                # Right before a look at it: the look sees what was done, whatever was planned.
                path = f"/api/v2/workspaces/{workspace.id}"
                bench.fake.faults.before(partial(_act, bench, workspace, dice), path=path, skip=dice.randrange(2))
            bench.fake.faults.at_random(odds, KINDS, dice.randrange(1 << 30))
            check = dice.choice(["quiet_hours"] * 4 + ["autostop", "rollback", "start_all"])
            await _carry(bench, check, went)
            bench.fake.faults.at_random(0, (), 0)
        bench.fake.faults.clear()
        for _ in range(2):
            bench.fake.clock.advance(60)
            await _carry(bench, "quiet_hours", went)
        went.objections = [*judge.objections, *judge.unrecorded()]
        went.objections += [f"{row.title} is still open: {row}" for row in bench.builds() if row.state == "asked"]
        went.stops = len(judge.stops)
        went.starts = sum(row.transition == "start" and bool(row.build) for row in bench.builds())
        for line in bench.fake.faults.seen:
            kind = line.partition(" ")[0]
            went.faults[kind] = went.faults.get(kind, 0) + 1
        went.told = [
            (notice["notification_type"], entry["id"], entry["at"])
            for notice in bench.notices("steward.owner")
            for entry in notice["details"]["workspaces"]
        ]
    return went


async def _carry(bench: StewardBench, check: str, went: Storm) -> None:
    try:
        status = (await bench.carry(check, threshold=6 * 3_600)).status
    except OodaError as error:
        status = type(error).__name__
    went.passes += 1
    went.endings[status] = went.endings.get(status, 0) + 1


def _people(bench: StewardBench) -> list[FakeWorkspace]:
    """Owners here and elsewhere, two who are excluded, and workspaces no policy is for."""
    tokyo = bench.person("kei", 3)
    tokyo[0].owner.schedule = "CRON_TZ=Asia/Tokyo 0 2 * * *"
    berlin = bench.person("uli", 3)
    berlin[0].owner.schedule = "CRON_TZ=Europe/Berlin 0 2 * * *"
    auditors = bench.person("eve", 2)
    auditors[0].owner.roles = ("auditor",)
    prebuilt = bench.person("prebuilds", 1, is_prebuild=True)
    return [
        *tokyo,
        *berlin,
        *auditors,
        *prebuilt,
        *bench.person("ada", 5),
        *bench.person("bob", 2, ttl_ms=8 * 3_600_000),
        *bench.person("admin", 1),
    ]


def _act(bench: StewardBench, workspace: FakeWorkspace, dice: Random) -> None:
    """What an owner does at any moment: works, starts, stops, goes dormant and comes back."""
    world = bench.fake.world
    world.settle()
    if workspace.is_prebuild or workspace.latest.is_active:
        return
    if not workspace.latest.is_running:
        world.build(workspace, "start", workspace.owner)
        return
    match dice.randrange(6):
        case 0 | 1:
            world.use(workspace)
        case 2:
            world.build(workspace, "stop", workspace.owner)
        case 3:
            workspace.last_used_at = bench.fake.clock.now() - timedelta(hours=dice.randrange(4))
            workspace.rendered = b""
        case 4:
            world.set_dormant(workspace, workspace.dormant_at is None)
        case _:
            world.publish(workspace.template)
