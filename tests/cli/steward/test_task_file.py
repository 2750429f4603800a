"""A task of kind `steward` through `ooda run` and `ooda runs`: one loop, gate and journal with every other run."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

from tests.cli.steward.fleet_home import FleetHome

EXAMPLE = Path(__file__).parents[3] / "examples" / "quiet-night.task.yaml"


def test_the_example_is_valid_and_stops_nothing(fleet: FleetHome) -> None:
    """It is a dry run until somebody says otherwise."""
    fleet.person("ada")
    task = str(shutil.copy(EXAMPLE, fleet.folder))
    assert "a valid steward task" in fleet.ooda("task", "validate", task).out
    done = fleet.ooda("run", task)
    assert done.code == 0, done.err
    assert "would stop 1" in done.out and "ada/w0" in done.out
    assert fleet.fake.posts() == []


def test_a_task_is_run_shown_replayed_and_not_run_twice_by_resume(fleet: FleetHome) -> None:
    """The journal is a run's; to resume what succeeded is a success that changes nothing."""
    spaces = fleet.person("ada", 2)
    task = str(
        fleet.write(
            "night.json", {"kind": "steward", "check": "quiet_hours", "dry_run": False, "grants": ["stop_workspace"]}
        )
    )
    result = fleet.ooda("run", task, "--json", "--quiet").json()
    assert (result["status"], len(fleet.fake.posts())) == ("success", 2)
    assert {build["build"] for build in result["builds"]} == {space.latest.id for space in spaces}
    shown = fleet.ooda("runs", "show", result["run"])
    assert "agent steward" in shown.out and "coder_stop_workspace" in shown.out
    replayed = fleet.ooda("runs", "replay", result["run"])
    assert (replayed.code, "no divergence" in replayed.out) == (0, True)
    again = fleet.ooda("runs", "resume", result["run"], "--json")
    assert again.code == 0, again.err
    assert "succeeded before, there is nothing to resume" in again.err
    assert again.json()["builds"] == result["builds"]
    assert len(fleet.fake.posts()) == 2


def test_a_task_of_the_steward_takes_no_model(fleet: FleetHome) -> None:
    """Its policies decide; an option that would count for nothing is refused."""
    task = str(fleet.write("night.json", {"kind": "steward", "check": "ttl"}))
    done = fleet.ooda("run", task, "--model", "some/model")
    assert (done.code, "decides by policy" in done.err) == (2, True)


def test_a_mistyped_workspace_is_no_pass_that_found_nothing(fleet: FleetHome) -> None:
    """None of the named is there: it fails and names the nearest. Some are: the others are a problem that is said."""
    fleet.person("ada", 2)
    done = fleet.ooda("steward", "stop", "ada/w9")
    assert done.code == 1, done.err
    assert "no workspace 'ada/w9'" in done.out and "did you mean `ada/w" in done.out
    assert fleet.fake.posts() == []
    task: dict[str, object] = {"kind": "steward", "check": "stop", "dry_run": False, "workspaces": ["ada/w0", "bob/x"]}
    task["grants"] = ["stop_workspace"]
    some = fleet.ooda("run", str(fleet.write("stop.json", task)))
    assert some.code == 0, some.err
    assert "problem: Coder shows no workspace 'bob/x' to this token" in some.out
    assert len(fleet.fake.posts()) == 1


def test_the_log_says_until_when_the_grace_runs(fleet: FleetHome) -> None:
    """In the requirement's words, in quiet hours only; a report on times to live says nothing of them."""
    fleet.person("ada", started_at=datetime.now(UTC))
    line = "INFO: Quiet hours started, grace period until "
    assert line in fleet.ooda("steward", "quiet-hours").err
    assert line not in fleet.ooda("steward", "ttl").err


def test_a_task_that_acts_without_its_grant_waits_for_a_person(fleet: FleetHome) -> None:
    """`task validate` says so before; `DRY_RUN` in the environment keeps any task file from acting."""
    fleet.person("ada")
    task = str(fleet.write("night.json", {"kind": "steward", "check": "quiet_hours", "dry_run": False}))
    assert "add `stop_workspace`" in fleet.ooda("task", "validate", task).out
    done = fleet.ooda("run", task, "--yes-unattended")
    assert (done.code, fleet.fake.posts()) == (75, [])
    held = fleet.ooda("run", task, environ={"DRY_RUN": "true"})
    assert (held.code, "`DRY_RUN`" in held.err, fleet.fake.posts()) == (2, True, [])
