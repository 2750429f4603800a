"""A push that is cut off is made once: the remote is asked first, and its own answer ends a race."""

from __future__ import annotations

import pytest

from tests.durability.conftest import MakeLab
from tests.durability.lab import Attempt, Lab, until

pytestmark = pytest.mark.bubblewrap

SLOW_REMOTE = '#!/bin/sh\necho begun >> "$GIT_DIR/begun"\nsleep {seconds}\n'


def when_the_remote_has_it(lab: Lab, attempt: Attempt) -> None:
    """SIGKILL once the remote has taken the push up and not yet answered."""
    for _ in attempt.events():
        if attempt.heard[-1]["event"].get("tool") == "git_push":
            break
    until((lab.remote / "begun").exists)
    attempt.kill()


@pytest.mark.parametrize("seconds", ["0.3", "3"], ids=["that answers soon", "that answers late"])
def test_a_push_killed_at_a_slow_remote_updates_it_once(lab: MakeLab, seconds: str) -> None:
    """Whether the first push still lands or not, the branch moves once and the run succeeds."""
    made = lab(hook=SLOW_REMOTE.format(seconds=seconds))

    assert made.carry([when_the_remote_has_it]) == 0, made.stderr.read_text()

    made.examine()
