"""Questions to people: unattended they wait with exit code 75, are answered elsewhere, and the run goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pexpect

from ooda.models.scripted import say
from tests.cli.home import FINISH, MEND, NO_WALL, PLAN, Home

Make = Callable[..., Home]

RULES = """\
[[rule]]
name = "echo-asks"
decision = "ask"
reason = "a person looks at every echo"
command = ["echo"]
match = ["echo hi"]
not_match = ["ls"]
"""
ECHO = say("May I?", ("run_shell_command", {"command": "echo hi"}))
AGAIN = say("And this?", ("run_shell_command", {"command": "echo there"}))


def asked(make: Make, *script: object) -> tuple[Home, tuple[str, ...], str, str]:
    """A run that waits for an approval: its home, the settings it needs, its id and the question's."""
    there = make([PLAN, ECHO, *script])
    settings = (*NO_WALL, "--set", f"governance.rules_file={there.write('rules.toml', RULES)}")
    done = there.ooda("run", there.task(), *settings)
    assert done.code == 75
    assert "run_shell_command echo hi" not in done.err  # it has not run
    (question,) = there.ooda("approvals", "list", "--json").json()
    assert f"ooda approvals answer {question['id']} --approve | --reject" in done.out
    return there, settings, question["run"], question["id"]


def test_an_approval_is_answered_elsewhere_and_the_run_goes_on(home: Make) -> None:
    """Asked in full, answered once; resuming before the answer waits again and asks the model nothing."""
    there, settings, run, question = asked(home, MEND, FINISH)
    shown = there.ooda("approvals", "list").out
    assert "Asked because a person looks at every echo." in shown
    assert "echo hi" in shown
    assert there.ooda("runs", "resume", run, *settings, "-q").code == 75
    assert len(there.provider.requests) == 2

    assert there.ooda("approvals", "answer", question, "--approve").code == 0
    twice = there.ooda("approvals", "answer", question, "--reject")
    assert (twice.code, "an answer is never changed" in twice.err) == (3, True)
    assert there.ooda("approvals", "list").out == "Nothing waits for a person.\n"

    done = there.ooda("runs", "resume", run, *settings)
    assert done.code == 0
    assert "    4 run_shell_command ✓ [exit code 0" in done.err
    assert len(there.commits()) == 1


def test_a_no_and_its_reason_reach_the_agent_and_a_stop_ends_the_run(home: Make) -> None:
    """The note is what the model reads; the second question is answered by ending the run, which can be resumed."""
    there, settings, run, question = asked(home, AGAIN)
    near = there.ooda("approvals", "answer", question[:-1] + "x", "--reject")
    assert (near.code, f"did you mean `{question}`?" in near.err) == (2, True)
    assert there.ooda("approvals", "answer", question, "--reject", "--note", "print it instead").code == 0

    assert there.ooda("runs", "resume", run, *settings).code == 75
    assert "print it instead" in there.provider.requests[2]["messages"][-1]["content"]
    (second,) = there.ooda("approvals", "list", "--json").json()
    assert there.ooda("approvals", "answer", second["id"], "--stop").code == 0
    assert there.ooda("runs", "resume", run, *settings, "--json").json()["status"] == "cancelled"

    assert there.ooda("runs", "resume", run, *settings).code == 75  # what was asked is asked again
    (third,) = there.ooda("approvals", "list", "--json").json()
    assert (third["shown"], third["id"] != second["id"]) == (second["shown"], True)


def test_at_a_terminal_the_question_is_put_inline(home: Make) -> None:
    """The call waits for the answer and the run goes on in the same process; the end is told once."""
    there = home([PLAN, ECHO, MEND, FINISH])
    rules = there.write("rules.toml", RULES)
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "ooda", "run", there.task(), *NO_WALL, "--set", f"governance.rules_file={rules}"],
        cwd=str(there.folder),
        env=there.environ | {"NO_COLOR": "1"},
        encoding="utf-8",
        timeout=60,
    )
    terminal.expect_exact("[s]top the run: ")
    assert "Asked because a person looks at every echo." in terminal.before
    assert "waits for a person" not in terminal.before
    terminal.sendline("y")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    assert "4 run_shell_command echo hi ✓ [exit code 0" in terminal.before
    assert terminal.before.count("success: ") == 1
    assert len(there.commits()) == 1
