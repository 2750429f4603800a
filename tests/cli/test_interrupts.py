"""Runs that are interrupted: by Ctrl-C once and twice, by kill -9 while a model thinks and in the middle of a push."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ooda.models.scripted import say
from ooda.testing.provider import silent
from tests.cli.home import FINISH, GOOD, MEND, NO_WALL, PLAN, Home, ended

Make = Callable[..., Home]

SLEEP = say("I wait.", ("run_shell_command", {"command": "trap '' INT TERM; sleep 60"}))


@pytest.mark.bubblewrap
def test_ctrl_c_ends_cleanly_and_the_run_goes_on_where_it_was(home: Make) -> None:
    """At a terminal the whole process group gets the signal; the sandbox is closed by us, and its command ended."""
    there = home([PLAN, SLEEP])
    process = there.start("run", there.task(), "--jsonl", "--set", "sandbox.backend=bubblewrap")
    assert process.stdout is not None
    before = _lines_until(process, '"kind":"ToolStarted"', '"tool":"run_shell_command"')
    os.killpg(process.pid, signal.SIGINT)
    done = ended(process)

    assert done.code == 130
    *events, result = done.lines()
    assert before
    assert [e["event"]["outcome"] for e in events if e["event"]["kind"] == "ToolInterrupted"] == ["not_repeated"]
    assert (result["result"]["status"], result["result"]["error_message"]) == ("cancelled", "interrupted by SIGINT")
    run = result["result"]["run_id"]
    assert f"To go on: `ooda runs resume {run}`" in done.err
    assert "Traceback" not in done.err
    assert there.runs()[0]["status"] == "cancelled"

    there.provider.then(MEND, FINISH)
    again = there.ooda("runs", "resume", run, *NO_WALL)
    assert (again.code, len(there.commits())) == (0, 1)
    told = there.provider.requests[2]["messages"][-1]["content"]
    assert "interrupted" in told


def test_a_second_signal_ends_at_once_and_nothing_is_lost(home: Make) -> None:
    """The journal stands where it stood; the run is listed as interrupted and goes on."""
    there = home([PLAN, silent()])
    process = there.start("run", there.task(), *NO_WALL)
    there.provider.wait_for(2)
    os.kill(process.pid, signal.SIGSTOP)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
        os.kill(process.pid, number)
    done = ended(process)

    assert (done.code, done.out) == (130, "")
    assert "Again to end at once." in done.err
    assert [run["status"] for run in there.runs()] == ["interrupted"]

    there.provider.then(MEND, FINISH)
    assert there.ooda("runs", "resume", there.runs()[0]["run"], *NO_WALL).code == 0
    assert len(there.commits()) == 1


@pytest.mark.bubblewrap
def test_a_run_killed_while_implementing_is_resumed_with_one_commit_and_one_push(home: Make) -> None:
    """kill -9 of the whole process group while the model thinks: nothing is repeated, nothing is lost."""
    walled = ("--set", "sandbox.backend=bubblewrap")
    there = home([PLAN, MEND, silent()])
    pushes = _count_pushes(there)
    process = there.start("run", there.task(), *walled)
    there.provider.wait_for(3)
    os.killpg(process.pid, signal.SIGKILL)
    assert ended(process).code == -signal.SIGKILL
    (killed,) = there.runs()
    assert (killed["status"], killed["phase"]) == ("interrupted", "implement")
    held = there.ooda("budget", "show", "--json").json()
    assert any(row["reserved_tokens"] for row in held)

    there.provider.then(FINISH)
    done = there.ooda("runs", "resume", killed["run"], *walled, "--json")
    assert (done.code, done.json()["run_id"], done.json()["verified"]) == (0, killed["run"], True)
    assert there.commits() == [done.json()["commit_hash"]]
    assert pushes.read_text().splitlines() == ["push"]
    assert len(there.provider.requests) == 4
    assert not any(row["reserved_tokens"] for row in there.ooda("budget", "show", "--json").json())
    assert there.ooda("runs", "replay", killed["run"]).code == 0
    assert there.ooda("runs", "resume", killed["run"], *walled).code == 0
    assert pushes.read_text().splitlines() == ["push"]


@pytest.mark.bubblewrap
@pytest.mark.parametrize(
    ("while_", "end"),
    [("edit_file", signal.SIGKILL), ("run_shell_command", signal.SIGKILL), ("run_shell_command", signal.SIGINT)],
)
def test_a_demo_that_was_cut_off_is_resumed_by_its_id_alone(
    home: Make, tmp_path: Path, while_: str, end: signal.Signals
) -> None:
    """Its recording is bundled, hence found again, and its repository is still there. A call that was cut off is undone
    and made again, because a recorded model cannot think anew."""
    there = home()
    aside = tmp_path / "aside"
    aside.mkdir()
    process = there.start("demo", "--jsonl", environ={"TMPDIR": str(aside)})
    assert process.stdout is not None
    begun = (line for line in process.stdout if '"ToolStarted"' in line and f'"{while_}"' in line)
    assert next(begun)
    os.killpg(process.pid, end)
    assert ended(process).code != 0

    done = there.ooda("runs", "resume", there.runs()[0]["run"], "--json")
    assert (done.code, done.json()["success"]) == (0, True)
    (remote,) = aside.glob("*/remote.git")
    listed = subprocess.run(
        ["git", "-C", str(remote), "rev-list", "--branches", "^main"], capture_output=True, text=True, check=True
    )
    assert listed.stdout.split() == [done.json()["commit_hash"]]


def test_a_push_nobody_can_tell_about_is_decided_by_a_person(home: Make) -> None:
    """Killed in the middle of a push whose remote is gone afterwards: never repeated unasked, then pushed once."""
    there = home(GOOD)
    reached, go = there.folder / "reached", there.folder / "go"
    for pipe in (reached, go):
        os.mkfifo(pipe)
    hook = there.bench.remote / "hooks" / "pre-receive"
    hook.write_text(f"#!/bin/sh\necho here >{reached}\nread answer <{go}\nexit 1\n")
    hook.chmod(0o755)
    process = there.start("run", there.task(), *NO_WALL)
    assert reached.read_text() == "here\n"
    process.kill()
    ended(process)
    go.write_text("no\n")
    run = there.runs()[0]["run"]
    hook.unlink()
    away = there.bench.remote.rename(there.folder / "away.git")

    asked = there.ooda("runs", "resume", run, *NO_WALL)
    assert asked.code == 75
    assert "cannot be found out whether it had its effect" in asked.out
    (question,) = there.ooda("approvals", "list", "--json").json()
    wrong = there.ooda("runs", "decide", run, "push-1", "--did-not")
    assert (wrong.code, question["call"] in wrong.err) == (2, True)
    away.rename(there.bench.remote)
    assert there.ooda("runs", "decide", run, question["call"], "--did-not").code == 0
    assert there.ooda("runs", "resume", run, *NO_WALL).code == 0
    assert len(there.commits()) == 1


def _lines_until(process: subprocess.Popen[str], *words: str) -> list[str]:
    """Lines of the command's output, up to the first that holds all the words."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if all(word in line for word in words):
            return seen
    raise AssertionError(f"the command ended without {words}: {process.communicate()[1]}")


def _count_pushes(there: Home) -> Path:
    """A file that gets a line for every push the remote takes."""
    count = there.folder / "pushes"
    hook = there.bench.remote / "hooks" / "post-receive"
    hook.write_text(f"#!/bin/sh\necho push >>{count}\n")
    hook.chmod(0o755)
    return count
