"""The requirement's scripts: `python -m ooda.agents.steward.…` is the command of the same name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.steward.fleet_home import FleetHome


@pytest.mark.parametrize(
    ("script", "arguments", "shown"),
    [
        ("quiet_hours", ("--dry-run",), "would stop 1"),
        ("quiet_hours", ("--timezone", "America/New_York"), "workspaces run"),
        ("ttl_monitor", ("--report",), "TTL Compliance Report"),
        ("ttl_monitor", ("--user", "ada", "--threshold", "2h"), "TTL Compliance Report"),
        ("autostop", ("--schedule",), "ada/w0"),
        ("autostop", ("--list-pending",), "ada/w0"),
        ("scheduler", ("--once",), ""),
    ],
)
def test_a_script_of_the_requirement_is_its_command(
    fleet: FleetHome, script: str, arguments: tuple[str, ...], shown: str
) -> None:
    """Same words, same output, same exit code."""
    fleet.person("ada")
    done = subprocess.run(
        [sys.executable, "-m", f"ooda.agents.steward.{script}", *arguments],
        cwd=fleet.folder,
        env=fleet.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
