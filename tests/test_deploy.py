"""deploy/: the unit and the cron lines name commands and options that exist, and no secret."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from ooda.cli.main import parser

DEPLOY = Path(__file__).parents[1] / "deploy"
UNIT = DEPLOY / "ooda-steward.service"
CRON = DEPLOY / "ooda-steward.cron"
PROGRAM = "/opt/ooda/bin/ooda"


class _Unit(RawConfigParser):
    """A unit file: names are kept as they are written, and may come again."""

    def __init__(self) -> None:
        super().__init__(delimiters=("=",), comment_prefixes=("#", ";"), strict=False, interpolation=None)

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def _service() -> dict[str, str]:
    unit = _Unit()
    unit.read_string(UNIT.read_text())
    assert unit.sections() == ["Unit", "Service", "Install"]
    return dict(unit["Service"])


def _cron() -> list[tuple[str, str]]:
    """(when, command) of every line of the table."""
    lines = [line for line in CRON.read_text().splitlines() if re.match(r"[*\d]", line)]
    return [(" ".join(line.split()[:5]), line.split(maxsplit=6)[6]) for line in lines]


def test_the_service_starts_a_command_that_exists() -> None:
    """With these options, from where the how-to installs it."""
    program, *words = shlex.split(_service()["ExecStart"])
    assert program == PROGRAM
    given = parser().parse_args(words)
    assert (words[:2], given.metrics_port) == (["steward", "daemon"], 9464)


def test_the_service_takes_its_token_from_a_file_and_nothing_else() -> None:
    """No secret in the unit or on a command line, no privilege, nothing to write to but its own state."""
    service = _service()
    assert service["EnvironmentFile"] == "/etc/ooda/steward.env"
    assert "TOKEN=" not in re.sub(r"^#.*$", "", UNIT.read_text(), flags=re.MULTILINE)
    assert (service["NoNewPrivileges"], service["ProtectSystem"], service["CapabilityBoundingSet"]) == (
        "yes",
        "strict",
        "",
    )
    assert service["StateDirectory"] == "ooda-steward"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_unit_without_a_warning(tmp_path: Path) -> None:
    """Verified as systemd reads it; only the program is one that is there."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(PROGRAM, "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_cron_lines_are_the_requirements_and_name_commands_that_exist() -> None:
    """Quiet hours every quarter of an hour, the report every hour, autostop every half; none asks a person."""
    lines = _cron()
    assert [when for when, _ in lines] == ["*/15 * * * *", "0 * * * *", "*/30 * * * *"]
    for _, command in lines:
        source, _, run = command.partition(" && exec ")
        program, *words = shlex.split(run)
        assert (source, program) == (". /etc/ooda/steward.env", PROGRAM)
        assert parser().parse_args(words).yes_unattended
        assert "%" not in command, "cron reads a per cent sign as a new line"
    assert [shlex.split(command)[5:8] for _, command in lines] == [
        ["steward", "quiet-hours", "--execute"],
        ["steward", "ttl", "--report"],
        ["steward", "autostop", "--execute"],
    ]
    assert "TOKEN=" not in CRON.read_text()
