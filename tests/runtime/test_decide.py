"""The four kinds of deciders as plain functions: what they ask, and how they read the answer."""

from __future__ import annotations

import pytest

from ooda.events import ApprovalAnswered, Body, Limits, Observed, ToolReturned, UserMessage
from ooda.labels import TRUSTED
from ooda.runtime.agent import AgentSpec
from ooda.runtime.commands import AskHuman, CallModel, CallTool, RunCli
from ooda.runtime.decide import (
    Action,
    CliDecider,
    Decision,
    ModelDecider,
    PersonDecider,
    PolicyDecider,
    Result,
    Situation,
    Spent,
)
from tests.runtime.scripted import Run, agent, call, decided_by, finished, model_phase, replied


def seen(*results: Result, active_s: int = 0) -> Situation:
    """A situation in which these results came last."""
    return Situation(
        run="run-1",
        agent="coding",
        phase="work",
        round=1,
        step=3,
        now_ns=7,
        results=results,
        facts={},
        plan=Body(),
        spent=Spent(active_ns=active_s * 1_000_000_000),
        limits=Limits(wall_s=100, reply_tokens=9),
        label=TRUSTED,
        upto_seq=41,
        prefix_hash="abc",
        tools=("read", "finish"),
        next_id="work-42",
    )


FINISHED = Result(call="f", tool="finish", status="ok", text=Body("bye"))
NEWS = Observed(source="inbox", text=Body("news"))


def test_a_model_is_asked_with_the_prefix_and_the_tools_of_its_phase() -> None:
    """No message travels."""
    assert ModelDecider().ask(seen()) == CallModel("work-42", 41, "abc", ("read", "finish"), 9)


def test_a_models_exit_is_judged_when_there_are_results() -> None:
    """Without any, the phase has only just begun."""
    decider = ModelDecider(exit=lambda situation: Decision(done=True))
    assert isinstance(decider.ask(seen()), CallModel)
    assert decider.ask(seen(FINISHED)) == Decision(done=True)
    assert isinstance(ModelDecider(exit=finished).ask(seen(Result(call="r", tool="read", status="ok"))), CallModel)


def test_a_models_calls_are_its_decision() -> None:
    """Ids and arguments exactly as given."""
    given = call("c1", "read", path="a")
    assert ModelDecider().read(seen(), replied("a", [given])) == Decision(
        actions=(Action("read", given.arguments, "c1"),)
    )


def test_a_silent_reply_means_what_the_phase_says() -> None:
    """By default nothing was decided; chat hands the words on."""
    assert not ModelDecider().read(seen(), replied("a", content="hm")).concludes
    silent = ModelDecider(silent=lambda situation, reply: Decision(ask=reply.content.text))
    assert silent.read(seen(), replied("a", content="hm")) == Decision(ask="hm")
    assert silent.read(seen(), replied("a", [call("c1", "read")])).ask == ""


def test_a_policy_is_asked_and_reads_alike() -> None:
    """It only knows situations."""
    decider = PolicyDecider(lambda situation: Decision(reason=situation.phase))
    assert decider.ask(seen()) == decider.read(seen(), NEWS) == Decision(reason="work")


def test_a_person_is_asked_for_a_message_which_is_parsed() -> None:
    """`stop` as an answer stops; other events are nothing to read."""
    decider = PersonDecider(lambda situation: "what now?", lambda situation, text: Decision(reason=text))
    assert decider.ask(seen()) == AskHuman("message", prompt="what now?")
    assert decider.read(seen(), UserMessage(text=Body("go"))) == Decision(reason="go")
    stop = ApprovalAnswered(approval="a", call="c", answer="stop", by="ada")
    assert decider.read(seen(), stop).stop == "cancelled"
    assert decider.read(seen(), NEWS) == Decision(reason="waiting for a message")


@pytest.mark.parametrize(("active_s", "left_s"), [(0, 100), (40, 60), (100, 1), (500, 1)])
def test_an_external_program_has_what_is_left_of_the_runs_time(active_s: int, left_s: int) -> None:
    """At least a second, so that it ends by its deadline and not by an argument out of range."""
    decider = CliDecider("claude", lambda situation: Body("do it"), lambda situation, returned: Decision(done=True))
    assert decider.ask(seen(active_s=active_s)) == RunCli("work-42", "claude", Body("do it"), left_s)


@pytest.mark.parametrize(("status", "read"), [("ok", "ok"), ("error", "error"), ("interrupted", "error")])
def test_what_an_external_program_gave_is_read_as_a_decision(status: str, read: str) -> None:
    """Its text and facts, and whether it ended well."""
    heard: list[ToolReturned] = []

    def reader(situation: Situation, returned: ToolReturned) -> Decision:
        heard.append(returned)
        return Decision(done=True)

    decider = CliDecider("claude", lambda situation: Body(""), reader)
    last = Result(call="c", tool="cli:claude", status=status, text=Body("text"), data=Body("{}"))
    assert decider.ask(seen(last)) == Decision(done=True)
    assert heard == [ToolReturned(call="c", tool="cli:claude", status=read, text=Body("text"), data=Body("{}"))]
    assert not decider.read(seen(), NEWS).concludes


class Impatient:
    """A decider that wants to act itself."""

    def ask(self, situation: Situation) -> CallTool:
        return CallTool("c", "read", Body("{}"))

    def read(self, situation: Situation, answer: object) -> Decision:
        return Decision()


def test_a_decider_cannot_command_a_tool_past_its_decision() -> None:
    """Actions are decided, so that they are counted and recorded; only the asking is a command."""
    with pytest.raises(TypeError, match="not by CallTool"):
        Run(decided_by("work", Impatient())).start()


@pytest.mark.parametrize(
    ("decision", "concludes"),
    [
        (Decision(), False),
        (Decision(actions=(Action("read", Body("{}")),)), False),
        (Decision(ask="?"), False),
        (Decision(done=True), True),
        (Decision(goto="work"), True),
        (Decision(stop="failed"), True),
    ],
)
def test_what_concludes(decision: Decision, concludes: bool) -> None:
    """An end of the phase or of the run; actions and questions go on."""
    assert decision.concludes is concludes


def test_an_agent_knows_the_place_of_its_phases() -> None:
    """By name; another name is an error of whoever jumps."""
    spec: AgentSpec = agent(model_phase("plan"), model_phase("work"))
    assert (spec.index("plan"), spec.index("work")) == (0, 1)
    with pytest.raises(KeyError):
        spec.index("rest")
