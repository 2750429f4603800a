"""SIGTERM and SIGINT: the first ends the run cleanly, the second at once; either way it can be taken up again."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.durability.conftest import MakeLab
from tests.durability.lab import SCRIPT, Attempt, Lab, until

pytestmark = pytest.mark.bubblewrap

THINKING = [{**SCRIPT[0], "slow_s": 2}, *SCRIPT[1:]]
WORKING = [*SCRIPT[:2], {"tool": "run_shell_command", "arguments": {"command": SCRIPT[2]["arguments"]["command"]}}]
SLEEPY = {"tool": "run_shell_command", "arguments": {"command": "trap '' TERM INT; echo asleep > asleep; sleep 60"}}

When = Callable[[Lab, Attempt], None]


def while_it_opens(lab: Lab, attempt: Attempt) -> None:
    """Before there is a journal."""
    until(lambda: (lab.folder / "cache/ooda/sandboxes").is_dir())


def while_the_model_thinks(lab: Lab, attempt: Attempt) -> None:
    until(lambda: len(lab.provider.asked(lab.case)) == 1)


def while_a_command_runs(lab: Lab, attempt: Attempt) -> None:
    workspaces = lab.home / ".local/state/ooda/runs"
    until(lambda: any(workspaces.glob("*/workspace/asleep")))


def while_it_pushes(lab: Lab, attempt: Attempt) -> None:
    until((lab.remote / "begun").exists)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    ("when", "options"),
    [
        pytest.param(while_it_opens, {}, id="while it opens"),
        pytest.param(while_the_model_thinks, {"script": THINKING}, id="while the model thinks"),
        pytest.param(while_a_command_runs, {"script": [SCRIPT[0], SLEEPY]}, id="while a command runs"),
        pytest.param(while_it_pushes, {"hook": "#!/bin/sh\necho > $GIT_DIR/begun; sleep 2\n"}, id="while it pushes"),
    ],
)
def test_the_first_signal_ends_the_run_cleanly(
    lab: MakeLab, number: signal.Signals, when: When, options: dict[str, Any]
) -> None:
    """Within ten seconds, with exit code 130 and nothing left; what was open is closed in the journal."""
    made = lab(**options)
    attempt = made.carry_on()
    when(made, attempt)
    began = time.monotonic()
    attempt.process.send_signal(number)
    code = attempt.finish()

    assert (code, time.monotonic() - began < 10) == (130, True), made.stderr.read_text()
    made.note(attempt)
    made.nothing_is_left()
    if not made.run:
        assert "before the run was taken up" in made.stderr.read_text()
        return
    last = made.sql("SELECT kind, body FROM events ORDER BY seq DESC LIMIT 1")[0]
    assert last[0] == "Stopped"
    assert number.name.encode() in last[1]
    assert made.sql("SELECT status FROM runs") == [("cancelled",)]


def test_a_stopped_run_goes_on_where_it_was(lab: MakeLab) -> None:
    """Stopped while the model thought: that call is charged, and the run ends as if nothing had been."""
    made = lab(script=THINKING)
    attempt = made.carry_on()
    while_the_model_thinks(made, attempt)
    attempt.process.send_signal(signal.SIGTERM)
    assert attempt.finish() == 130
    made.note(attempt)
    made.kills += 1

    assert made.carry() == 0, made.stderr.read_text()
    made.examine()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_the_second_signal_ends_the_process_at_once(lab: MakeLab, number: signal.Signals) -> None:
    """It loses nothing but the call, leaves nothing behind, and the run can be taken up."""
    made = lab(script=[SCRIPT[0], SLEEPY])
    attempt = made.carry_on()
    while_a_command_runs(made, attempt)
    attempt.process.send_signal(number)
    until(lambda: "Again to end at once" in made.stderr.read_text())
    attempt.process.send_signal(number)
    began = time.monotonic()
    code = attempt.finish()

    assert (code, time.monotonic() - began < 2) == (130, True)
    made.note(attempt)
    until(lambda: made.processes() == {})
    made.nothing_is_left()
    assert made.run
