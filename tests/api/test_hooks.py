"""Hooks are real programs: they may refuse, ask, withhold, and whatever goes wrong with one is a refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooda.api.hooks import hooks_for
from ooda.engines.local import Answer, Ending
from ooda.errors import ConfigError, RefusedError
from ooda.events import ApprovalAsked, CallRefused, ToolReturned
from ooda.governance.hooks import HookSaid, answer_of, merged, read_hooks
from ooda.governance.operations import strictest
from ooda.models.scripted import say
from ooda.runtime.commands import AskHuman
from ooda.testing.runs import RunBench

PLAN = say("Plan.", ("update_plan", {"steps": [{"description": "x"}], "files_to_modify": ["sums.py"]}))
READ = say("Look.", ("read_file", {"path": "sums.py"}))
MEND = say("Mend.", ("edit_file", {"path": "sums.py", "old": "a - b", "new": "a + b"}))
FINISH = say("Done.", ("finish", {"summary": "add() adds now."}))
TOKEN = "ghp_" + "a1B2c3D4e5F6" * 3


class Hooked:
    """A bench with hooks: shell scripts beside HOME."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: list[str] = []
        self.seen = folder / "seen.jsonl"

    def hook(self, script: str, *events: str, tools: str = "*", timeout: float = 5) -> None:
        """One more hook; it first keeps what it was given."""
        number = len(self.entries)
        path = self.folder / f"hook{number}.sh"
        path.write_text(f"#!/bin/bash\n{script.replace('SEEN', f'cat >> {self.seen}; echo >> {self.seen}')}\n")
        path.chmod(0o755)
        self.entries.append(
            f'[[hook]]\nname = "h{number}"\nevents = {json.dumps(events)}\ntools = [{json.dumps(tools)}]\n'
            f"command = [{json.dumps(str(path))}]\ntimeout = {timeout}\n"
        )

    def given(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.seen.read_text().splitlines() if line]

    def bench(self, **settings: object) -> RunBench:
        file = self.folder / "hooks.toml"
        file.write_text("\n".join(self.entries))
        return RunBench(
            self.folder, settings={"sandbox.backend": "none", "governance.hooks_file": str(file), **settings}
        )


@pytest.fixture
def hooked(tmp_path: Path) -> Hooked:
    return Hooked(tmp_path)


class Yes:
    """A person who says yes to everything."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def approve(self, ask: AskHuman) -> Answer:
        self.asked.append(ask.prompt)
        return Answer("approve", "ada")

    async def message(self, prompt: str) -> str | None:
        return None


async def run(hooked: Hooked, *script: Any, person: Yes | None = None) -> tuple[RunBench, Ending]:
    bench = hooked.bench()
    return bench, await bench.run(bench.task(), [PLAN, *script, MEND, FINISH], person=person)


def refusals(bench: RunBench) -> list[str]:
    return [event.reason for event in bench.heard if isinstance(event, CallRefused)]


async def test_a_hook_sees_the_call_refuses_it_and_the_model_goes_on(hooked: Hooked) -> None:
    """JSON on stdin: event, run, tool, arguments, operation, label; exit 2 refuses, and stderr is the reason."""
    hooked.hook('SEEN\necho "not on fridays" >&2; exit 2', "PreToolUse", tools="read_*")
    bench, ending = await run(hooked, READ)

    assert ending.status == "success"
    assert refusals(bench) == ["hook `h0`: not on fridays"]
    (seen,) = hooked.given()
    assert (seen["hook_event_name"], seen["session_id"], seen["tool_name"]) == (
        "PreToolUse", ending.state.run, "read_file",
    )  # fmt: skip
    assert (seen["tool_input"]["path"], seen["operation"]) == ("sums.py", "read_workspace")
    with bench.session() as session:
        rows = session.store.read(
            lambda tx: tx.execute("SELECT actor, subject, decision, reason FROM audit WHERE action = 'hook'")
        )
    assert rows == [("hook h0", "read_file", "deny", "not on fridays")]


BROKEN = {
    "slow": ("sleep 60", 0.5, "no answer in 0.5 s"),
    "crashed": ("kill -SEGV $$", 5, "ended with exit code -11"),
    "failed": ("echo oops >&2; exit 1", 5, "exit code 1: oops"),
    "garbage": ("echo maybe", 5, "something else than"),
    "a list": ("echo '[]'", 5, "something else than"),
    "another word": ("""echo '{"decision":"perhaps"}'""", 5, "something else than"),
    "not text": ("printf '\\xff\\xfe'", 5, "something else than"),
    "endless": ("yes x", 1, "no answer in 1 s"),
    "huge": ("head -c 300000 /dev/zero | tr '\\0' x", 5, "wrote more than 65,536 bytes"),
    "a fork that holds its output": (
        "setsid sh -c 'echo up > '$0'.up; exec sleep 30' & until [ -s $0.up ]; do :; done",
        3,
        "still holds its output open",
    ),
}


@pytest.mark.parametrize(("script", "timeout", "why"), BROKEN.values(), ids=BROKEN)
async def test_whatever_goes_wrong_with_a_hook_is_a_refusal(
    hooked: Hooked, script: str, timeout: float, why: str
) -> None:
    """Fail closed, within the deadline, and the run goes on."""
    hooked.hook(script, "PreToolUse", tools="read_file", timeout=timeout)
    bench, ending = await run(hooked, READ)

    assert ending.status == "success"
    (reason,) = refusals(bench)
    assert why in reason


async def test_what_a_hook_forks_dies_with_it(hooked: Hooked) -> None:
    """A child in its group is gone when its answer is; the answer counts."""
    child = hooked.folder / "child"
    hooked.hook(f"sleep 300 & echo $! > {child}; exit 0", "PreToolUse", tools="read_file")
    bench, ending = await run(hooked, READ)

    assert (ending.status, refusals(bench)) == ("success", [])
    status = Path("/proc", child.read_text().strip(), "stat")
    assert not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"  # dead, perhaps not reaped


async def test_of_several_hooks_the_strictest_wins_and_a_yes_lifts_nothing(hooked: Hooked) -> None:
    """An allow beside an ask asks; a person answers it, once."""
    hooked.hook("""echo '{"decision":"allow","reason":"fine"}'""", "PreToolUse", tools="read_file")
    hooked.hook(
        """echo '{"hookSpecificOutput":{"permissionDecision":"ask","permissionDecisionReason":"look \u202e twice"}}'""",
        "PreToolUse", tools="read_file",
    )  # fmt: skip
    person = Yes()
    bench, ending = await run(hooked, READ, person=person)

    assert ending.status == "success"
    (asked,) = person.asked
    assert "Asked because hook `h1`: look \\u202e twice." in asked
    assert any(isinstance(e, ToolReturned) and e.tool == "read_file" and e.status == "ok" for e in bench.heard)


async def test_a_yes_does_not_lift_a_bundled_rule(hooked: Hooked) -> None:
    """Deny before ask before allow, whoever says allow."""
    hooked.hook("""echo '{"decision":"allow"}'""", "PreToolUse", "PermissionRequest")
    bench, _ = await run(hooked, say("Clean.", ("run_shell_command", {"command": "rm -rf / --no-preserve-root"})))

    (reason,) = refusals(bench)
    assert reason.startswith("rule `delete-root`")


async def test_a_request_for_permission_can_be_refused_before_a_person_sees_it(hooked: Hooked) -> None:
    """It is given what the person would be shown."""
    hooked.hook("""echo '{"decision":"ask","reason":"odd"}'""", "PreToolUse", tools="read_file")
    hooked.hook("SEEN\nexit 2", "PermissionRequest", tools="read_file")
    person = Yes()
    bench, _ = await run(hooked, READ, person=person)

    assert person.asked == []
    assert refusals(bench) == ["hook `h1`: it refused without a word"]
    assert hooked.given()[0]["shown"].startswith("Allow `read_file`")
    assert not any(isinstance(event, ApprovalAsked) for event in bench.heard)


async def test_a_result_can_be_withheld_and_words_of_hooks_are_redacted(hooked: Hooked) -> None:
    """The model reads the hook's word instead; a token in it is blotted out."""
    hooked.hook(f"SEEN\necho 'it holds {TOKEN}' >&2; exit 2", "PostToolUse", tools="read_file")
    bench, ending = await run(hooked, READ)

    assert ending.status == "success"
    (returned,) = [e for e in bench.heard if isinstance(e, ToolReturned) and e.tool == "read_file"]
    assert "withheld by hook `h0`" in returned.text.text
    assert "return a - b" not in returned.text.text
    assert TOKEN not in returned.text.text
    assert "return a - b" in hooked.given()[0]["tool_response"]["text"]


async def test_a_hook_is_told_of_beginning_and_end_and_can_refuse_the_beginning(hooked: Hooked) -> None:
    """Refused, nothing was recorded; the end is told with its status."""
    hooked.hook("SEEN", "SessionStart", "UserPromptSubmit", "Stop", "SessionEnd")
    bench, ending = await run(hooked)
    given = hooked.given()
    assert [(g["hook_event_name"], g.get("source") or g.get("status") or g.get("reason")) for g in given] == [
        ("SessionStart", "startup"), ("UserPromptSubmit", None), ("Stop", ending.status), ("SessionEnd", ending.status),
    ]  # fmt: skip
    assert "add() subtracts" in given[1]["prompt"]

    for event in ("SessionStart", "UserPromptSubmit"):
        hooked.entries.clear()
        hooked.hook("echo closed >&2; exit 2", event)
        (hooked.folder / "hooks.toml").write_text("\n".join(hooked.entries))
        bench.heard.clear()
        with pytest.raises(RefusedError, match="hook `h0` does not let this run begin: closed"):
            await bench.run(bench.task(), [PLAN])
        assert bench.heard == []


@pytest.mark.parametrize("how", ["gone", "no program", "a folder"])
async def test_a_program_that_cannot_be_started_has_refused(hooked: Hooked, how: str) -> None:
    """Missing, or nothing that can be run: the call is refused and the reason names the program."""
    hooked.hook("exit 0", "PreToolUse", tools="read_file")
    program = hooked.folder / "hook0.sh"
    program.unlink()
    if how == "no program":
        program.write_text("not executable")
    elif how == "a folder":
        program.mkdir()
    bench, ending = await run(hooked, READ)

    assert ending.status == "success"
    (reason,) = refusals(bench)
    assert "hook0.sh` cannot be started" in reason


async def test_a_hook_gets_none_of_our_secrets(hooked: Hooked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment is bare: no key of a provider, no token."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-hooks-0123456789")
    out = hooked.folder / "environ"
    hooked.hook(f"env > {out}", "SessionStart")
    await run(hooked)

    names = {line.partition("=")[0] for line in out.read_text().splitlines()}
    assert "PATH" in names
    assert not [name for name in names if "KEY" in name or "TOKEN" in name or name.startswith("OODA")]


FILES: dict[str, tuple[str, str]] = {
    "unknown event": ('events = ["PreTool"]\ncommand = ["/bin/true"]', "did you mean `PreToolUse`"),
    "relative program": ('events = ["Stop"]\ncommand = ["true"]', "absolute path"),
    "unknown key": ('events = ["Stop"]\ncommand = ["/bin/true"]\nmatcher = "x"', "unknown key `matcher`"),
    "no command": ('events = ["Stop"]\ncommand = []', "each need something"),
    "for ever": ('events = ["Stop"]\ncommand = ["/bin/true"]\ntimeout = 3600', "up to 60 seconds"),
    "not a number": ('events = ["Stop"]\ncommand = ["/bin/true"]\ntimeout = nan', "up to 60 seconds"),
}


@pytest.mark.parametrize(("text", "why"), FILES.values(), ids=FILES)
def test_a_file_with_a_mistake_names_it(tmp_path: Path, text: str, why: str) -> None:
    """Before anything begins."""
    file = tmp_path / "hooks.toml"
    file.write_text(f'[[hook]]\nname = "h"\n{text}\n')
    with pytest.raises(ConfigError, match=why):
        read_hooks(file)


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    """What it names runs as its reader."""
    file = tmp_path / "hooks.toml"
    file.write_text('[[hook]]\nname = "h"\nevents = ["Stop"]\ncommand = ["/bin/true"]\n')
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="chmod go-w"):
        read_hooks(file)


def test_a_program_inside_the_workspace_is_refused(tmp_path: Path) -> None:
    """The agent could change it."""
    file = tmp_path / "hooks.toml"
    file.write_text(f'[[hook]]\nname = "h"\nevents = ["Stop"]\ncommand = ["{tmp_path}/work/h"]\n')
    with RunBench(tmp_path, settings={"governance.hooks_file": str(file)}).session() as session:
        with pytest.raises(ConfigError, match="lies in the workspace"):
            hooks_for(session, "run-1", "chat", tmp_path / "work")
        assert hooks_for(session, "run-1", "chat", tmp_path / "elsewhere") is not None


def test_a_projects_own_hooks_never_run(tmp_path: Path) -> None:
    """A hooks file is a setting that a project may not make."""
    bench = RunBench(tmp_path, settings={"sandbox.backend": "none"})
    (tmp_path / ".ooda").mkdir()
    (tmp_path / ".ooda" / "config.toml").write_text('[governance]\nhooks_file = "/tmp/hooks.toml"\n')
    with pytest.raises(ConfigError, match="a project may not set this"):
        bench.session()


@given(code=st.integers(-20, 255), out=st.binary(max_size=300), err=st.binary(max_size=50))
def test_every_end_of_a_hook_means_something_and_only_a_clean_one_lets_through(
    code: int, out: bytes, err: bytes
) -> None:
    """Total; without exit code 0 there is no yes."""
    said = answer_of("h", code, out, err)
    assert said.decision == "deny" if code != 0 else said.decision in ("allow", "ask", "deny")
    assert said.decision == "allow" or said.reason


@given(st.lists(st.sampled_from(["allow", "ask", "deny"]), max_size=6))
def test_more_hooks_never_permit_more(words: list[Any]) -> None:
    """The strictest answer stands, whatever joins it."""
    assert merged([HookSaid(word, "x", "h") for word in words]).decision == strictest(words)
