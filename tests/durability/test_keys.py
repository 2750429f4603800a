"""What goes outside carries the key of its effect: the same for every attempt at one call, another for another call."""

from __future__ import annotations

import signal

import pytest

from tests.durability.conftest import MakeLab
from tests.durability.lab import SCRIPT, Attempt, Lab, until

pytestmark = pytest.mark.bubblewrap


def keys(lab: Lab) -> list[tuple[int, str]]:
    """Place in the script and key of each request."""
    return [(entry["step"], entry["key"]) for entry in lab.provider.asked(lab.case)]


def while_the_model_thinks(lab: Lab, attempt: Attempt) -> None:
    before = len(keys(lab))
    until(lambda: len(keys(lab)) > before)


def test_every_call_has_a_key_of_its_own_and_a_retry_the_one_of_its_call(lab: MakeLab) -> None:
    """A provider that knows keys bills one call once."""
    made = lab(script=[SCRIPT[0], {**SCRIPT[1], "fails": 1}, *SCRIPT[2:]])

    assert made.carry() == 0, made.stderr.read_text()

    found = keys(made)
    assert [step for step, _ in found] == [0, 1, 1, 2, 3]
    assert found[1] == found[2]
    assert all(key for _, key in found)
    assert len({key for _, key in found}) == 4


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_call_that_was_cut_off_is_asked_again_under_its_key(lab: MakeLab, number: signal.Signals) -> None:
    """Twice in a row; what comes after has keys of its own."""
    made = lab(script=[{**SCRIPT[0], "slow_s": 1}, *SCRIPT[1:]])
    for _ in range(2):
        attempt = made.carry_on()
        while_the_model_thinks(made, attempt)
        attempt.process.send_signal(number)
        attempt.finish()
        made.note(attempt)
        made.kills += 1

    assert made.carry() == 0, made.stderr.read_text()
    made.examine()
    found = keys(made)
    assert [step for step, _ in found] == [0, 0, 0, 1, 2, 3]
    assert len({key for _, key in found[:3]}) == 1
    assert len({key for _, key in found}) == 4
