"""The demo and the fake deployment as people start them: nothing else is needed, nothing is left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.cli.steward.fleet_home import FleetHome


def test_the_demo_shows_a_plan_and_leaves_no_record(fleet: FleetHome) -> None:
    """On its own fleet: the configured deployment is not asked."""
    done = fleet.ooda("steward", "quiet-hours", "--demo")
    assert done.code == 0
    assert "would stop" in done.out
    assert "owner is excluded" in done.out
    assert fleet.fake.requests == []
    assert not (Path(fleet.environ["HOME"]) / ".local").exists()


def test_the_demo_plays_an_evening(fleet: FleetHome) -> None:
    """Warned, stopped, taken back, in grace again."""
    done = fleet.ooda("steward", "quiet-hours", "--demo", "--execute", "--json")
    passes = done.json()
    assert [(one["check"], one["status"]) for one in passes] == [
        ("quiet_hours", "success"),
        ("quiet_hours", "success"),
        ("quiet_hours", "success"),
        ("rollback", "success"),
        ("quiet_hours", "success"),
    ]
    stopped, started = ({build["workspace"] for build in passes[at]["builds"]} for at in (2, 3))
    assert stopped == started != set()
    assert passes[4]["builds"] == []


@pytest.mark.parametrize("wrong", [["--workspaces", "-1"], ["--faults", "2"], ["--spec", "/none"]])
def test_a_fake_of_nothing_is_refused(fleet: FleetHome, wrong: list[str]) -> None:
    """With the range it takes."""
    assert fleet.ooda("fake", "coder", *wrong).code == 2


def test_a_fake_serves_until_it_is_told_to_stop() -> None:
    """Address and token are said on stdout; the same seed is the same fleet; SIGTERM ends it cleanly."""
    fleets = []
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-m", "ooda", "fake", "coder", "--workspaces", "20", "--seed", "3", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            request = urllib.request.Request(
                f"{said['url']}/api/v2/workspaces", headers={"Coder-Session-Token": said["token"]}
            )
            with urllib.request.urlopen(request, timeout=10) as answer:
                fleets.append([row["id"] for row in json.load(answer)["workspaces"]])
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(f"{said['url']}/api/v2/workspaces", timeout=10)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
    assert len(fleets[0]) == 20
    assert sorted(fleets[0]) == sorted(fleets[1])
