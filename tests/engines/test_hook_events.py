"""Hooks on what is no call of a tool: what a person says, sub-agents, compaction, notices, the end. Real programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count, takewhile
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import Field

from ooda.events import Body, ChildStarted, ChildStopped, Compacted, Limits, Notified, Usage, UserMessage
from ooda.governance.call import ToolOutcome
from ooda.governance.hooks import HookEvent
from ooda.governance.operations import Operation
from ooda.governance.recorder import Intent
from ooda.models.scripted import Script, ScriptedModel, say
from ooda.runtime.agent import Phase
from ooda.runtime.commands import AskHuman, Spawn
from ooda.runtime.decide import Action, Decision, ModelDecider, PersonDecider, PolicyDecider, Situation
from ooda.testing.agents import AgentBench
from ooda.tools.declare import tool
from ooda.tools.room import ToolRoom

DONE = Decision(done=True)


@tool(operation=Operation.READ_WORKSPACE, effect="pure")
async def look(room: ToolRoom, at: Annotated[str, Field(description="Where.")]) -> ToolOutcome:
    """Look somewhere."""
    return ToolOutcome(text=f"seen {at}")


@tool(operation=Operation.DEPLOY_STAGING, effect="local")
async def deploy(room: ToolRoom) -> ToolOutcome:
    """Deploy to staging."""
    return ToolOutcome(text="deployed")


class Hooked:
    """One hook for all events: it keeps what it is given, then does what its script says."""

    def __init__(self, folder: Path, script: str = "", timeout: float = 5) -> None:
        self.seen = folder / "seen.jsonl"
        program = folder / "hook.sh"
        program.write_text(f'#!/bin/bash\nline=$(cat); echo "$line" >> {self.seen}\n{script}\n')
        program.chmod(0o755)
        self.file = folder / "hooks.toml"
        self.file.write_text(
            f'[[hook]]\nname = "h"\nevents = {json.dumps(get_args(HookEvent))}\n'
            f"command = [{json.dumps(str(program))}]\ntimeout = {timeout}\n"
        )
        self.settings = {"governance.hooks_file": str(self.file)}

    def given(self, event: HookEvent) -> list[dict[str, Any]]:
        lines = map(json.loads, self.seen.read_text().splitlines())
        return [line for line in lines if line["hook_event_name"] == event]


def refusing(event: HookEvent, word: str = "no", code: int = 2) -> str:
    return f"case $line in *'\"{event}\"'*) echo {word!r} >&2; exit {code};; esac"


def audited(bench: AgentBench) -> list[tuple[str, str, str]]:
    with bench.session() as session:
        return session.store.read(  # type: ignore[return-value]
            lambda tx: tx.execute("SELECT subject, decision, reason FROM audit WHERE action = 'hook' ORDER BY seq")
        )


class Talks:
    """A person who says these lines and keeps what they were asked."""

    def __init__(self, *lines: str | None) -> None:
        self.lines, self.asked = list(lines), list[str]()

    async def approve(self, ask: AskHuman) -> Any:
        raise AssertionError(ask.prompt)

    async def message(self, prompt: str) -> str | None:
        self.asked.append(prompt)
        return self.lines.pop(0)


async def test_a_message_that_a_hook_refuses_is_not_heard_and_its_writer_is_told(tmp_path: Path) -> None:
    """The person may say it otherwise; the run never sees the first words."""
    script = """case $line in *'"UserPromptSubmit"'*password*) echo 'that looks like a password' >&2; exit 2;; esac"""
    hooked = Hooked(tmp_path, script)
    decider = PersonDecider(lambda situation: "next?", lambda situation, text: DONE)
    bench = AgentBench(tmp_path, (Phase(name="drive", decider=decider),), settings=hooked.settings)
    person = Talks("my password is hunter2", "go on")

    assert (await bench.run(person=person)).status == "success"
    assert person.asked == ["next?", "hook `h` does not take this message: that looks like a password"]
    assert [e.text.text for e in bench.heard if isinstance(e, UserMessage)] == ["go on"]
    assert len(hooked.given("UserPromptSubmit")) == 2
    assert audited(bench) == [("UserPromptSubmit", "deny", "that looks like a password")]


async def test_a_message_from_outside_passes_the_same_hook(tmp_path: Path) -> None:
    """One that is put into the inbox while the run works; a hook that crashes has refused."""
    hooked = Hooked(tmp_path, """case $line in *'"UserPromptSubmit"'*drop*) kill -SEGV $$;; esac""")
    bench = AgentBench(tmp_path, model_phase("look"), (look,), settings=hooked.settings)

    def heard() -> list[str]:
        return [event.text.text for event in bench.heard if isinstance(event, UserMessage)]

    def replies() -> Iterator[Script]:
        assert bench.engine is not None
        for words, author in (("drop everything", "eve"), ("mind the tests", "ada"), ("and the docs", "ada")):
            bench.engine.say(words, author)
        yield from (say("", ("look", {"at": str(number)})) for number in takewhile(lambda _: len(heard()) < 2, count()))
        yield say("done")

    assert (await bench.run(replies())).status == "success"
    assert heard() == ["mind the tests", "and the docs"]
    assert audited(bench)[0][:2] == ("UserPromptSubmit", "deny")


def model_phase(*tools: str) -> tuple[Phase, ...]:
    return (Phase(name="act", decider=ModelDecider(silent=lambda situation, reply: DONE), tools=tools),)


class Children:
    """Launches sub-agents that succeed at once."""

    def __init__(self) -> None:
        self.begun: list[Spawn] = []

    async def __call__(self, command: Spawn) -> Intent:
        self.begun.append(command)
        return Intent(ChildStopped(call=command.call, run="run-child", status="success", text=Body("found it")))


def delegates() -> tuple[Phase, ...]:
    def policy(situation: Situation) -> Decision:
        if not situation.results:
            return Decision(actions=(Action(tool="spawn:triage", arguments=Body('{"incident": "7"}')),))
        return Decision(done=True, facts={"said": situation.results[0].text.text, "is_ok": situation.results[0].is_ok})

    return (Phase(name="delegate", decider=PolicyDecider(policy), tools=("spawn:triage",)),)


async def test_a_sub_agent_begins_only_when_no_hook_objects(tmp_path: Path) -> None:
    """Its start and its end are told; refused, it never begins and its parent reads why."""
    hooked, children = Hooked(tmp_path), Children()
    bench = AgentBench(tmp_path, delegates(), children=children, settings=hooked.settings)
    ending = await bench.run()
    assert (ending.status, len(children.begun)) == ("success", 1)
    (start,), (stop,) = hooked.given("SubagentStart"), hooked.given("SubagentStop")
    assert (start["agent_type"], json.loads(start["task"])) == ("triage", {"incident": "7"})
    assert (stop["agent_id"], stop["status"]) == (start["agent_id"], "success")

    for script, why in ((refusing("SubagentStart"), "no"), (refusing("SubagentStart", code=1), "exit code 1")):
        Hooked(tmp_path, script)
        ending = await bench.run()
        assert (ending.status, len(children.begun)) == ("success", 1)
        assert not ending.state.facts["is_ok"]
        assert why in ending.state.facts["said"]
        assert not any(isinstance(event, ChildStarted) for event in bench.heard)


async def test_compaction_is_told_before_the_next_request(tmp_path: Path) -> None:
    """And whatever the hook says to it, it stands: nothing pinned is lost by it."""
    hooked = Hooked(tmp_path, refusing("PreCompact"))
    limits = Limits(context_tokens=8_000)
    bench = AgentBench(tmp_path, model_phase("look"), (look,), limits=limits, settings=hooked.settings)
    full = Usage(input_tokens=7_000, output_tokens=5)
    looks = [say("", ("look", {"at": str(n)}), usage=full) for n in range(12)]
    ending = await bench.run(ScriptedModel([*looks, say("done")]))

    assert ending.status == "success"
    compacted = [event for event in bench.heard if isinstance(event, Compacted)]
    assert compacted
    told = hooked.given("PreCompact")
    assert [line["trigger"] for line in told] == [event.reason for event in compacted]
    assert audited(bench)[0] == ("PreCompact", "deny", "no")


async def test_a_notice_is_told(tmp_path: Path) -> None:
    """Also one that joins a refusal; the run goes on although the hook is late."""
    late = """case $line in *'"Notification"'*) sleep 60;; esac"""
    hooked = Hooked(tmp_path, late, timeout=0.5)
    bench = AgentBench(tmp_path, model_phase("deploy"), (deploy,), settings=hooked.settings)
    ending = await bench.run(ScriptedModel([say("", ("deploy", {})), say("done")]))

    assert ending.status == "success"
    (notified,) = [event for event in bench.heard if isinstance(event, Notified)]
    (told,) = hooked.given("Notification")
    assert (told["notification_type"], told["message"]) == ("permission_denied", notified.message)
    assert ("Notification", "deny", "it gave no answer in 0.5 s") in audited(bench)
