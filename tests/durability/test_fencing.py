"""One owner acts: a paused one that wakes writes nothing, and of two that resume exactly one gets the run."""

from __future__ import annotations

import os
import re
import signal
from typing import Any

import pytest

from tests.durability.conftest import MakeLab
from tests.durability.lab import SCRIPT, Lab, at_event, until

pytestmark = pytest.mark.bubblewrap

SLOW = [*SCRIPT[:2], {**SCRIPT[2], "arguments": {"command": "echo once >> log.txt; sleep 2; echo twice >> log.txt"}}]


def starts(tool: str) -> Any:
    return lambda event: event["kind"] == "ToolStarted" and event["tool"] == tool


def expire(lab: Lab) -> None:
    """As if the lease's minute had passed."""
    lab.sql("UPDATE leases SET expires_ns = 1")


def test_a_paused_owner_that_wakes_up_late_writes_nothing(lab: MakeLab) -> None:
    """It ends with a sentence that names the new owner; what it had running is ended, not finished."""
    made = lab(script=[*SLOW, SCRIPT[3]])
    first = made.carry_on()
    next(line for line in first.events() if starts("run_shell_command")(line["event"]))
    made.note(first)
    until(lambda: (made.places / "workspace" / "log.txt").exists())
    first.process.send_signal(signal.SIGSTOP)
    expire(made)

    assert made.carry() == 0, made.stderr.read_text()
    written = made.sql("SELECT COUNT(*), MAX(hash) FROM events")
    first.process.send_signal(signal.SIGCONT)
    code = first.finish()

    assert code == 3
    assert "is carried on by process" in made.stderr.read_text()
    assert made.sql("SELECT COUNT(*), MAX(hash) FROM events") == written
    made.note(first)
    made.examine()


def test_of_two_that_resume_one_run_exactly_one_acts(lab: MakeLab) -> None:
    """The other says who holds it."""
    made = lab()
    killed = made.carry_on()
    at_event(starts("edit_file"))(made, killed)
    made.note(killed)
    made.kills += 1

    both = [made.carry_on(), made.carry_on()]
    codes = sorted(attempt.finish() for attempt in both)

    assert codes == [0, 3]
    assert "is being carried on by process" in made.stderr.read_text()
    for attempt in both:
        made.note(attempt)
    made.examine()


def test_whoever_comes_while_a_run_is_carried_writes_nothing(lab: MakeLab) -> None:
    """At its first step, in a command, at the push: each is told who holds it, since when, and what to do."""
    made = lab(script=[*SLOW, SCRIPT[3]])
    killed = made.carry_on()
    at_event(starts("edit_file"))(made, killed)
    made.note(killed)
    made.kills += 1

    owner = made.carry_on()
    wanted = ["Resumed", "run_shell_command", "git_push"]
    for line in owner.events():
        if wanted[:1] != [line["event"]["kind"]] and not (wanted and starts(wanted[0])(line["event"])):
            continue
        wanted.pop(0)
        made.stderr.write_text("")
        owner.process.send_signal(signal.SIGSTOP)
        late = made.carry_on()
        assert late.finish() == 3
        said = made.stderr.read_text()
        owner.process.send_signal(signal.SIGCONT)
        assert late.heard == []
        told = f"is being carried on by process {owner.process.pid} on {os.uname().nodename}, there since "
        assert re.search(re.escape(told) + r"\S+Z \(lease until \S+Z\); stop it there, or wait", said), said

    assert (owner.finish(), wanted) == (0, [])
    made.note(owner)
    made.examine()
