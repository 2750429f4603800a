"""The local engine: every decider, parallel reads, approvals, budgets and interruption, through the real gate."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from pydantic import Field

from ooda.engines.local import Answer
from ooda.errors import ToolArgumentsError, ToolFailedError
from ooda.events import (
    ApprovalAnswered,
    Body,
    CallRefused,
    Limits,
    ModelFailed,
    ModelReplied,
    ToolReturned,
    ToolStarted,
    Usage,
)
from ooda.governance.budget import Scope
from ooda.governance.call import Parsed, ProbeAnswer, ToolOutcome
from ooda.governance.grant import Grant
from ooda.governance.operations import Operation
from ooda.models.request import ModelRequest
from ooda.models.scripted import ScriptedModel, say
from ooda.runtime.agent import Phase
from ooda.runtime.commands import AskHuman
from ooda.runtime.decide import Action, CliDecider, Decision, ModelDecider, PersonDecider, PolicyDecider, Situation
from ooda.testing.agents import AgentBench
from ooda.tools.declare import tool
from ooda.tools.room import ToolRoom


@tool(operation=Operation.READ_WORKSPACE, effect="pure")
async def look(room: ToolRoom, at: Annotated[str, Field(description="Where.")]) -> ToolOutcome:
    """Look somewhere."""
    return ToolOutcome(text=f"seen {at}", data={"at": at})


@tool(operation=Operation.WRITE_WORKSPACE, effect="local")
async def change(room: ToolRoom, to: Annotated[str, Field(description="What to.")] = "") -> ToolOutcome:
    """Change something."""
    if to == "impossible":
        raise ToolFailedError("it cannot be changed to that")
    return ToolOutcome(text=f"changed to {to}", data={"to": to})


@tool(operation=Operation.DEPLOY_STAGING, effect="local")
async def deploy(room: ToolRoom) -> ToolOutcome:
    """Deploy to staging."""
    return ToolOutcome(text="deployed")


@tool(operation=Operation.NOTIFY, effect="local")
async def shout(room: ToolRoom, text: Annotated[str, Field(description="What.")]) -> ToolOutcome:
    """Tell everybody."""
    return ToolOutcome(text=f"shouted {text}")


def ends_when_silent(situation: Situation, reply: ModelReplied) -> Decision:
    """A reply without calls ends the phase."""
    return Decision(done=True, facts={"said": reply.content.text})


def model_phase(*tools: str) -> tuple[Phase, ...]:
    """One phase decided by the model."""
    return (Phase(name="act", decider=ModelDecider(silent=ends_when_silent), tools=tools),)


class People:
    """Answers from a list; messages from another."""

    def __init__(self, *answers: Answer, messages: tuple[str | None, ...] = ()) -> None:
        self.answers, self.messages = list(answers), list(messages)
        self.asked: list[AskHuman] = []

    async def approve(self, ask: AskHuman) -> Answer:
        self.asked.append(ask)
        return self.answers.pop(0)

    async def message(self, prompt: str) -> str | None:
        return self.messages.pop(0)


# -- deciders ---------------------------------------------------------------------------------------------------------


async def test_a_policy_decides_without_a_model(tmp_path: Path) -> None:
    """Steward, monitors and analyzers use the same loop: governed, journaled, no model call."""

    def policy(situation: Situation) -> Decision:
        if not situation.results:
            return Decision(actions=(Action("look", Body('{"at": "the fleet"}')),))
        return Decision(done=True, facts={"found": situation.results[-1].facts()["at"]})

    bench = AgentBench(tmp_path, (Phase(name="observe", decider=PolicyDecider(policy), tools=("look",)),), (look,))
    ending = await bench.run()

    assert (ending.status, ending.state.facts, ending.state.spent.model_calls) == ("success", {"found": "the fleet"}, 0)


async def test_a_person_decides_by_messages(tmp_path: Path) -> None:
    """Each message is one tool call; `done` ends the phase."""

    def parse(situation: Situation, text: str) -> Decision:
        if text == "done":
            return Decision(done=True)
        return Decision(actions=(Action("look", Body(msgspec.json.encode({"at": text}).decode())),))

    decider = PersonDecider(lambda situation: f"step {situation.step}", parse)
    bench = AgentBench(tmp_path, (Phase(name="drive", decider=decider, tools=("look",)),), (look,))
    ending = await bench.run(person=People(messages=("here", "there", "done")))

    seen = [event.text.text for event in bench.heard if isinstance(event, ToolReturned)]
    assert (ending.status, seen) == ("success", ["seen here", "seen there"])


async def test_a_person_who_leaves_keeps_the_run_waiting(tmp_path: Path) -> None:
    """Nothing is lost; the run goes on with the next person."""
    decider = PersonDecider(lambda situation: "next?", lambda situation, text: Decision(done=True))
    bench = AgentBench(tmp_path, (Phase(name="drive", decider=decider),))
    left = await bench.run(person=People(messages=(None,)))
    back = await bench.run(person=People(messages=("done",)), run=left.state.run)

    assert (left.status, back.status) == ("waiting", "success")


class CliDouble:
    """An external agent program's double: a tool called `cli:…` that reserves nothing and answers at once."""

    name = "cli:double"
    effect = "once"
    operation = Operation.SPAWN
    definition = "double"
    timeout_s = 5.0
    is_poll = False
    is_terminal = False

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def parse(self, arguments: str) -> Parsed:
        given = msgspec.json.decode(arguments)
        if set(given) != {"prompt", "deadline_s"}:
            raise ToolArgumentsError(f"expected prompt and deadline_s, got {sorted(given)}")
        return Parsed(given, arguments.encode())

    def targets(self, parsed: Parsed) -> tuple[str, ...]:
        return ()

    async def run(self, grant: Grant, parsed: Parsed) -> ToolOutcome:
        grant.spend(self.name)
        self.prompts.append(parsed.value["prompt"])
        return ToolOutcome(text="the program is done", data={"deadline_s": parsed.value["deadline_s"]})

    async def probe(self, parsed: Parsed, key: str) -> ProbeAnswer:
        return "unknown"


async def test_an_external_program_is_a_black_box_under_our_deadline(tmp_path: Path) -> None:
    """RunCli passes the same gate, and what is left of the wall clock is its deadline."""
    program = CliDouble()
    decider = CliDecider(
        "double",
        lambda situation: Body("mend it"),
        lambda situation, returned: Decision(done=True, facts=msgspec.json.decode(returned.data.text)),
    )
    phase = Phase(name="delegate", decider=decider, tools=("cli:double",))
    bench = AgentBench(tmp_path, (phase,), extra=(program,), limits=Limits(wall_s=50))
    ending = await bench.run()

    assert (ending.status, program.prompts) == ("success", ["mend it"])
    assert 0 < ending.state.facts["deadline_s"] <= 50


# -- calls ------------------------------------------------------------------------------------------------------------


async def test_reads_of_one_turn_run_together_and_answer_in_call_order(tmp_path: Path) -> None:
    """Both are started before either returns; the prompt keeps the order of the calls."""
    both = asyncio.Barrier(2)

    @tool(operation=Operation.READ_WORKSPACE, effect="pure", timeout_s=5)
    async def meet(room: ToolRoom, name: Annotated[str, Field(description="Who.")]) -> ToolOutcome:
        """Return when the other one is there too."""
        await both.wait()
        return ToolOutcome(text=name)

    bench = AgentBench(tmp_path, model_phase("meet"), (meet,))
    model = ScriptedModel([say("", ("meet", {"name": "a"}), ("meet", {"name": "b"})), say("done")])
    ending = await bench.run(model)

    assert ending.status == "success"
    told = [m["content"] for m in messages(model.requests[1]) if m["role"] == "tool"]
    assert told == ["a", "b"]


async def test_a_tool_past_its_deadline_is_a_result(tmp_path: Path) -> None:
    """The model is told, and the run goes on."""

    @tool(operation=Operation.READ_WORKSPACE, effect="pure", timeout_s=0.05)
    async def hang(room: ToolRoom) -> ToolOutcome:
        """Never return."""
        await asyncio.Event().wait()
        return ToolOutcome(text="")

    bench = AgentBench(tmp_path, model_phase("hang"), (hang,))
    ending = await bench.run([say("", ("hang", {})), say("done")])

    returned = [event for event in bench.heard if isinstance(event, ToolReturned)]
    assert (ending.status, returned[0].status) == ("success", "timeout")


async def test_a_failing_tool_is_a_result(tmp_path: Path) -> None:
    """ToolFailedError is what the model reads."""
    bench = AgentBench(tmp_path, model_phase("change"), (change,))
    ending = await bench.run([say("", ("change", {"to": "impossible"})), say("done")])

    returned = [event for event in bench.heard if isinstance(event, ToolReturned)]
    assert (ending.status, returned[0].status, returned[0].text.text) == (
        "success",
        "error",
        "it cannot be changed to that",
    )


async def test_a_long_output_is_capped_and_kept_whole(tmp_path: Path) -> None:
    """Head and tail with the gap counted; the rest by its handle."""

    @tool(operation=Operation.READ_WORKSPACE, effect="pure")
    async def flood(room: ToolRoom) -> ToolOutcome:
        """Say a lot."""
        return ToolOutcome(text="\n".join(f"line {n}" for n in range(20_000)))

    bench = AgentBench(tmp_path, model_phase("flood"), (flood,))
    ending = await bench.run([say("", ("flood", {})), say("done")])

    returned = next(event for event in bench.heard if isinstance(event, ToolReturned))
    assert ending.status == "success"
    assert returned.text.size_bytes < 17_000 and returned.spool
    kept = next(tmp_path.rglob(returned.spool)).read_text()
    assert kept.startswith("line 0\n") and kept.endswith("line 19999")


async def test_a_mask_is_never_written_over_its_secret(tmp_path: Path) -> None:
    """A model that copies a redacted line back is refused."""
    bench = AgentBench(tmp_path, model_phase("change"), (change,))
    await bench.run([say("", ("change", {"to": "token = «redacted:github_token»"})), say("done")])

    refused = [event for event in bench.heard if isinstance(event, CallRefused)]
    assert [(event.why, "redaction mark" in event.reason) for event in refused] == [("arguments", True)]


# -- people -----------------------------------------------------------------------------------------------------------


async def test_what_the_level_forbids_is_refused_and_not_asked(tmp_path: Path) -> None:
    """A grant or a person never reaches above the level."""
    people = People()
    bench = AgentBench(tmp_path, model_phase("deploy"), (deploy,), grants=[Operation.DEPLOY_STAGING])
    await bench.run([say("", ("deploy", {})), say("done")], person=people)

    refused = [event for event in bench.heard if isinstance(event, CallRefused)]
    assert [event.why for event in refused] == ["permission"]
    assert people.asked == []


async def test_an_approved_call_runs_once(tmp_path: Path) -> None:
    """The question shows every argument; the answer is in the journal with its giver."""
    people = People(Answer("approve", "ada"))
    bench = AgentBench(tmp_path, model_phase("shout"), (shout,))
    ending = await bench.run([say("", ("shout", {"text": "hello"})), say("done")], person=people)

    assert ending.status == "success"
    assert "hello" in people.asked[0].prompt
    answered = [event for event in bench.heard if isinstance(event, ApprovalAnswered)]
    assert [(event.answer, event.by) for event in answered] == [("approve", "ada")]
    assert sum(isinstance(event, ToolStarted) for event in bench.heard) == 1


async def test_a_rejected_call_is_told_with_the_reason(tmp_path: Path) -> None:
    """The model goes on without it."""
    people = People(Answer("reject", "ada", "too loud"))
    bench = AgentBench(tmp_path, model_phase("shout"), (shout,))
    model = ScriptedModel([say("", ("shout", {"text": "hello"})), say("done")])
    ending = await bench.run(model, person=people)

    told = [m["content"] for m in messages(model.requests[1]) if m["role"] == "tool"]
    assert ending.status == "success" and "too loud" in told[0]
    assert not any(isinstance(event, ToolStarted) for event in bench.heard)


async def test_an_edited_call_is_decided_anew_and_runs_as_edited(tmp_path: Path) -> None:
    """The approver's edit is what happens, not what the model wrote."""
    people = People(Answer("modify", "ada", arguments='{"text": "psst"}'))
    bench = AgentBench(tmp_path, model_phase("shout"), (shout,))
    await bench.run([say("", ("shout", {"text": "HELLO"})), say("done")], person=people)

    returned = [event.text.text for event in bench.heard if isinstance(event, ToolReturned)]
    assert returned == ["shouted psst"]


async def test_nobody_at_the_terminal_means_waiting(tmp_path: Path) -> None:
    """The run comes back waiting and names how to answer; the answer lets it go on."""
    bench = AgentBench(tmp_path, model_phase("shout"), (shout,))
    waits = await bench.run([say("", ("shout", {"text": "hello"}))])
    assert waits.status == "waiting" and "ooda approvals" in waits.reason

    ending = await bench.run([say("done")], person=People(Answer("approve", "ada")), run=waits.state.run)
    assert ending.status == "success"
    assert sum(isinstance(event, ToolReturned) for event in bench.heard) == 1


# -- limits and money -------------------------------------------------------------------------------------------------


async def test_the_step_limit_ends_the_run(tmp_path: Path) -> None:
    """Exactly so many steps, then `step_limit`."""
    bench = AgentBench(tmp_path, model_phase("look"), (look,), limits=Limits(steps=3))
    ending = await bench.run([say("", ("look", {"at": str(n)})) for n in range(10)])

    assert (ending.status, ending.state.spent.steps) == ("step_limit", 3)


async def test_the_token_cap_of_a_run_holds_before_the_call(tmp_path: Path) -> None:
    """What a call might use is reserved first; a call that does not fit is not made."""
    model = ScriptedModel([say("", ("look", {"at": "x"}), usage=Usage(900, 0, 0, 10))] * 5)
    bench = AgentBench(tmp_path, model_phase("look"), (look,), limits=Limits(tokens=1_000))
    ending = await bench.run(model)

    assert ending.status == "budget_exceeded"
    assert ending.state.spent.tokens <= 1_000 + 910


async def test_an_exhausted_purse_refuses_the_call_and_leaves_the_books_right(tmp_path: Path) -> None:
    """The hour's cap refuses the reservation: nothing is sent, nothing stays reserved."""
    bench = AgentBench(
        tmp_path, model_phase("look"), (look,), scopes=(Scope("global"),), settings={"budget.hour_tokens": 20_000}
    )
    model = ScriptedModel([say("", ("look", {"at": str(n)}), usage=Usage(6_000, 0, 0, 10)) for n in range(4)])
    ending = await bench.run(model)

    assert ending.status == "budget_exceeded" and "hour" in ending.reason
    with bench.session() as session:
        rows = session.store.read(lambda tx: session.ledger.report(tx, session.clock.now_ns()))
    spent = {row.spent_tokens for row in rows if row.span.startswith("hour")}
    assert spent == {6_010 * len(model.requests)}
    assert sum(row.reserved_tokens for row in rows) == 0


async def test_an_interrupted_run_closes_what_is_open_and_can_go_on(tmp_path: Path) -> None:
    """Ctrl-C during a model call: one Stopped, and the next owner asks again."""
    asked = asyncio.Event()

    async def never(request: ModelRequest) -> object:
        asked.set()
        await asyncio.Event().wait()
        return say("late")

    bench = AgentBench(tmp_path, model_phase("look"), (look,))
    task = asyncio.ensure_future(bench.run([never]))  # type: ignore[list-item]
    await asked.wait()
    assert bench.engine is not None
    bench.engine.interrupt("the test interrupts")
    ended = await task
    assert (ended.status, ended.reason) == ("cancelled", "the test interrupts")
    assert any(isinstance(event, ModelFailed) for event in bench.heard)

    again = await bench.run([say("done")], run=ended.state.run)
    assert again.status == "success"


async def test_an_interrupted_turn_hands_back_to_the_person(tmp_path: Path) -> None:
    """Two writers were asked for: the one that runs is ended, the other is not begun, and the session goes on."""
    running = asyncio.Event()

    @tool(operation=Operation.WRITE_WORKSPACE, effect="local", timeout_s=30)
    async def dig(room: ToolRoom, where: Annotated[str, Field(description="Where.")]) -> ToolOutcome:
        """Dig for ever."""
        running.set()
        await asyncio.Event().wait()
        return ToolOutcome(text="")

    talk = Phase(
        name="converse",
        decider=ModelDecider(silent=lambda situation, reply: Decision(ask="your turn")),
        tools=("dig",),
        is_interactive=True,
    )
    bench = AgentBench(tmp_path, (talk,), (dig,))
    model = ScriptedModel([say("", ("dig", {"where": "a"}), ("dig", {"where": "b"})), say("stopped, as you wish")])
    people = People(messages=("leave it", None))
    task = asyncio.ensure_future(bench.run(model, person=people))
    await running.wait()
    assert bench.engine is not None
    await bench.engine.interrupt_turn("the person interrupted")
    ending = await task

    assert (ending.status, people.messages) == ("waiting", [])
    told = [m["content"] for m in messages(model.requests[1]) if m["role"] == "tool"]
    assert ["not repeated" in told[0], "not begun" in told[1]] == [True, True]


def messages(request: ModelRequest) -> list[dict[str, str]]:
    """The messages of a request, decoded."""
    decoded: list[dict[str, str]] = msgspec.json.decode(b"[" + bytes(request.messages) + b"]")
    return decoded


@pytest.mark.parametrize("count", [1, 3])
async def test_facts_of_a_reply_reach_the_next_phase(tmp_path: Path, count: int) -> None:
    """Facts merge; phases follow each other."""
    phases = (
        Phase(name="first", decider=ModelDecider(silent=ends_when_silent), tools=("look",)),
        Phase(
            name="second",
            decider=PolicyDecider(lambda situation: Decision(done=True, facts={"heard": situation.facts["said"]})),
        ),
    )
    bench = AgentBench(tmp_path, phases, (look,))
    looks = [say("", ("look", {"at": str(n)})) for n in range(count - 1)]
    ending = await bench.run([*looks, say("well")])

    assert ending.state.facts == {"said": "well", "heard": "well"}
