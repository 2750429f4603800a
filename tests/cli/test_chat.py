"""`ooda chat` at a pseudo-terminal: turns, questions, interrupts and commands, as a person sees and types them."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pexpect
import pytest

from ooda.models.scripted import say
from ooda.testing.provider import Behaviour, broken, held, silent
from tests.cli.home import NO_WALL, Home

PROMPT = r"> (\x1b\[0m)?$"
QUESTION = r"top the run: $"


class Talk:
    """A person at a terminal, in a folder with one file.

    Colours are off, so that texts can be compared as they are read.
    """

    def __init__(self, folder: Path, script: list[Behaviour]) -> None:
        self.home = Home(folder, script)
        self.folder = folder / "project"
        self.folder.mkdir()
        (self.folder / "a.txt").write_text("hello\n")
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.home)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def opens(self, *arguments: str, cwd: Path | None = None) -> None:
        """Start `ooda chat`, and see its first prompt."""
        self.terminal = pexpect.spawn(
            sys.executable,
            ["-m", "ooda", "chat", *NO_WALL, *arguments],
            cwd=str(cwd or self.folder),
            env=self.home.environ | {"NO_COLOR": "1"},
            encoding="utf-8",
            timeout=30,
            dimensions=(50, 200),
        )
        self._stack.callback(self.terminal.close, force=True)

    def sees(self, pattern: str = PROMPT) -> str:
        """What is shown up to the pattern; the prompt unless told."""
        self.terminal.expect(pattern)
        return f"{self.terminal.before}{self.terminal.after}".replace("\r\n", "\n")

    def says(self, text: str, until: str = PROMPT) -> str:
        """Type a line; gives what is shown until the next prompt."""
        self.terminal.sendline(text)
        shown = self.sees(until)
        return shown.removeprefix(text + "\n")

    def ends(self) -> int:
        """Wait for the end; gives the exit code."""
        self.terminal.expect(pexpect.EOF)
        self.terminal.close()
        assert self.terminal.exitstatus is not None
        return self.terminal.exitstatus

    def roles(self, request: int) -> list[str]:
        """Who speaks in the messages of a request."""
        return [message["role"] for message in self.home.provider.requests[request]["messages"]]


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Callable[..., Talk]]:
    with ExitStack() as stack:
        yield lambda *script: stack.enter_context(Talk(tmp_path, list(script)))


Make = Callable[..., Talk]


def test_many_turns_are_one_conversation_and_streamed(talk: Make) -> None:
    """The reply stands on the screen before it is whole; a tool call is one line; all turns are one journal."""
    gate = threading.Event()
    there = talk(
        held(say("Good morning, what shall we do?"), gate),
        say("I look.", ("read_file", {"path": "a.txt"})),
        say("It says hello."),
    )
    there.opens("--model", "scripted")
    assert there.sees().startswith(f"ooda chat · {there.folder} · /help for commands\n")

    there.terminal.sendline("hi")
    there.sees("Good morning")
    gate.set()
    assert there.sees() == ", what shall we do?\n> "
    assert there.says("what is in a.txt?") == (
        "I look.\n    2 read_file ✓ [a.txt: 1 line; 6 bytes]  [$0.000000 spent, $1.0000 left]\nIt says hello.\n> "
    )
    assert "3 model calls, 1 tool calls" in there.says("/budget")
    there.says("/quit", r"To go on with this session: ooda chat --resume run-\w+")

    assert there.ends() == 0
    assert there.roles(2) == ["system", "user", "assistant", "user", "assistant", "tool"]
    (run,) = there.home.runs()
    assert (run["agent"], run["status"]) == ("chat", "waiting")
    assert there.home.ooda("runs", "replay", run["run"]).code == 0


def test_the_first_write_asks_and_a_yes_covers_the_session(talk: Make) -> None:
    """No with its reason, Ctrl-C as a no, yes; what was refused did not happen, and the agent knows why."""

    def write(name: str) -> Behaviour:
        return say("", ("write_file", {"path": name, "content": "x\n"}))

    there = talk(
        write("b.txt"),
        write("c.txt"),
        write("d.txt"),
        write("e.txt"),
        say("Two are written."),
        write("f.txt"),
        say("Hm."),
    )
    there.opens("--model", "scripted")
    there.sees()
    shown = there.says("write", QUESTION)
    assert "Allow `write_file` (write_workspace)?" in shown
    assert "path:\n    b.txt" in shown

    shown = there.says("n because not that one", QUESTION)
    assert re.match(r" +1 write_file refused by \S+: not that one\n", shown)
    assert "c.txt" in shown
    there.terminal.sendintr()
    assert "d.txt" in there.sees(QUESTION)
    shown = there.says("y")
    assert shown.count("write_file ✓") == 2
    assert sorted(path.name for path in there.folder.iterdir()) == ["a.txt", "d.txt", "e.txt"]
    refusals = [m["content"] for m in there.home.provider.requests[4]["messages"] if m["role"] == "tool"][:2]
    assert "not that one" in refusals[0]
    assert "the person interrupted the question" in refusals[1]

    there.says("/quit", "To go on")
    there.ends()
    run = there.home.runs()[0]["run"]
    there.opens("--resume", run)
    assert "f.txt" not in there.sees()
    assert "write_file ✓" in there.says("one more")  # the yes of this session stands in the store


def test_stop_at_a_question_ends_the_session_which_can_be_resumed(talk: Make) -> None:
    """As for every other run."""
    there = talk(say("", ("write_file", {"path": "b.txt", "content": "x\n"})))
    there.opens("--model", "scripted")
    there.sees()
    there.says("write", QUESTION)
    assert "cancelled: " in there.says("s not today", "To go on with this session")
    assert there.ends() == 130
    assert not (there.folder / "b.txt").exists()


def test_pasted_lines_are_one_message_up_to_a_command(talk: Make) -> None:
    """A hundred lines cost one turn, not a hundred; what looks like a path is no command."""
    there = talk(say("Long."), say("Never."))
    lines = [f"/var/log/{number}: naïve" for number in range(100)]
    there.opens()
    there.sees()
    there.terminal.send("\n".join([*lines, "/tools", "/quit", ""]))
    assert there.ends() == 0

    asked = there.home.provider.requests
    assert [message["content"] for message in asked[-1]["messages"] if message["role"] == "user"] == ["\n".join(lines)]
    assert "run_in_sandbox" in there.terminal.before
    assert len(asked) == 1


def test_what_was_typed_before_a_question_is_no_answer_to_it(talk: Make) -> None:
    """A `y` typed while the agent worked cannot approve what had not been seen."""
    gate = threading.Event()
    write = say("I write.", ("write_file", {"path": "b.txt", "content": "b"}))
    there = talk(held(write, gate), say("Left it."))
    there.opens()
    there.sees()
    there.terminal.sendline("write b.txt")
    there.sees("I write.")
    there.terminal.sendline("y")
    there.sees("y\r\n")
    gate.set()
    there.sees(QUESTION)
    there.says("n")
    assert not (there.folder / "b.txt").exists()


def test_ctrl_c_interrupts_the_turn_and_keeps_the_session(talk: Make) -> None:
    """While the model thinks, and while a command runs: neither is shown as a failure."""
    there = talk(
        silent(),
        say("", ("run_shell_command", {"command": "echo $$ >running; exec sleep 60"})),
        say("What now?"),
    )
    there.opens("--model", "scripted")
    there.sees()
    there.terminal.sendline("think")
    there.home.provider.wait_for(1)
    there.terminal.sendintr()
    shown = there.sees()
    assert shown.endswith("interrupted\n> ")
    assert not {"✗", "!"} & set(shown)

    there.says("run it", QUESTION)
    there.terminal.sendline("y")
    _exists(there.folder / "running")
    there.terminal.sendintr()
    assert re.search(r"\d+ run_shell_command echo .* interrupted \(not_repeated\)\n> $", there.sees())
    assert "What now?" in there.says("stop that")
    assert "interrupted (the person interrupted the turn)" in str(there.home.provider.requests[2]["messages"])

    there.terminal.sendintr()
    assert "Ctrl-C again, or /quit, leaves; the session can be resumed.\n> " in there.sees()
    there.terminal.sendintr()
    assert there.ends() == 0


def test_an_earlier_session_is_taken_up_with_nothing_lost(talk: Make) -> None:
    """From another folder, and from within another session: its words, its model, its money, its folder."""
    there = talk(say("One."), say("Two."), say("Three."), say("Four."))
    there.opens("--model", "first")
    there.sees()
    there.says("say one")
    assert there.says("/model second") == "From now on: second\n> "
    there.says("say two")
    there.terminal.sendeof()
    assert there.ends() == 0
    (run,) = there.home.runs()

    there.opens("--resume", run["run"], cwd=there.home.folder)
    shown = there.sees()
    assert shown == (
        f"ooda chat · {there.folder} · /help for commands\n── {run['run']} ──\n> say one\nOne.\n> say two\nTwo.\n> "
    )
    assert there.says("/model") == "second\n> "
    assert "2 model calls" in there.says("/budget")
    assert there.says("say three") == "Three.\n> "
    there.terminal.sendline("/quit")
    assert there.ends() == 0

    there.opens("--model", "first")
    there.sees()
    assert run["run"] in there.says("/resume")
    assert "is no conversation" not in there.says(f"/resume {run['run']}")
    assert there.says("say four") == "Four.\n> "
    asked = there.home.provider.requests
    assert [request["model"] for request in asked] == ["first", "second", "second", "first"]
    said = [message["content"] for message in asked[3]["messages"] if message["role"] in ("user", "assistant")]
    assert said == ["say one", "One.", "say two", "Two.", "say three", "Three.", "say four"]
    assert len(there.home.runs()) == 1


def test_commands_help_and_their_mistakes_are_told(talk: Make) -> None:
    """Without a session yet, and with one; nothing of it reaches the model."""
    there = talk(say("Here."), broken(401, "no"), say("Back."))
    there.opens("--model", "scripted")
    there.sees()
    help_text = there.says("/help")
    for command in ("/model [NAME]", "/tools", "/budget", "/resume [RUN]", "/quit", "Ctrl-C"):
        assert command in help_text
    assert there.says("/budget") == "Nothing is spent yet.\n> "
    assert "begins with your first message" in there.says("/tools")
    assert there.says("/resume") == "No earlier session.\n> "
    assert there.says("/quti") == "There is no command /quti; did you mean `/quit`? /help lists them.\n> "
    assert "there is no run 'run-x'" in there.says("/resume run-x")

    assert there.says("hello") == "Here.\n> "
    tools = there.says("/tools")
    assert re.search(r"^read_file +read_workspace +Read a text file", tools, re.MULTILINE)
    assert "git_push" not in tools
    shown = there.says("again", "anything else leaves: $")
    assert "model_unavailable: " in shown
    assert there.says("") == "Back.\n> "
    there.terminal.sendeof()
    assert there.ends() == 0
    assert len(there.home.provider.requests) == 3


def test_a_session_that_cannot_be_had_is_told_before_anything_is_typed(talk: Make) -> None:
    """No endpoint; no such run; a run that is no conversation."""
    there = talk()
    there.home.environ["OODA_MODEL__BASE_URL"] = ""
    there.opens("--model", "scripted")
    shown = there.sees("plays the bundled cassette")
    assert "> " not in shown
    assert there.ends() == 6
    there.opens("--resume", "run-none")
    assert "there is no run 'run-none'" in there.sees("are kept")
    assert there.ends() == 2


def _exists(path: Path) -> None:
    """Wait for a file that a command of the agent writes."""
    seen = threading.Event()
    for _ in range(300):
        if path.exists():
            return
        seen.wait(0.05)
    raise AssertionError(f"{path} was not written")
