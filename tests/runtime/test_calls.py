"""Batches of calls: reads together, writers alone, results in the order of the calls, refusals and interruptions."""

from __future__ import annotations

import itertools

import pytest

from ooda.errors import JournalError
from ooda.events import Body, ChildStarted, ChildStopped, Decided, ToolReturned, ToolStarted
from ooda.runtime.commands import CallModel, CallTool, RunCli, Spawn
from ooda.runtime.decide import CliDecider, Decision, PolicyDecider, Result, Situation
from tests.runtime.scripted import Run, act, agent, arguments_of, call, decided_by, model_phase, replied


def working(*calls, limits=None) -> Run:
    """A run whose model has just asked for these calls."""
    run = Run(agent()) if limits is None else Run(agent(), limits=limits)
    run.start()
    run.reply(*calls)
    return run


READ_A, READ_B, READ_C = (call(name, "read", path=name) for name in "abc")
WRITE_X, WRITE_Y = (call(name, "write", path=name) for name in "xy")


def test_leading_reads_run_together_and_each_writer_alone_in_its_turn() -> None:
    """Reads before a writer start at once; the writer waits for them, and what follows it waits for the writer."""
    run = working(READ_A, READ_B, WRITE_X, READ_C, WRITE_Y)
    assert run.tools_called == ["a", "b"]
    run.returns("b")
    assert run.tools_called == []
    run.returns("a")
    assert run.tools_called == ["x"]
    run.returns("x")
    assert run.tools_called == ["c"]
    run.returns("c")
    assert run.tools_called == ["y"]
    assert run.wanted(CallModel) == []
    run.returns("y")
    assert len(run.wanted(CallModel)) == 1


@pytest.mark.parametrize("order", list(itertools.permutations("abc")), ids="".join)
def test_results_stand_in_the_order_of_the_calls_whatever_the_order_of_completion(order: tuple[str, ...]) -> None:
    """The journal keeps the order of completion, the situation and the prompt the order of the calls."""
    run = working(READ_A, READ_B, READ_C)
    for id in order:
        run.begin(id)
    for id in order:
        run.returns(id, f"text of {id}")
    assert [returned.call for returned in run.events(ToolReturned)] == list(order)
    assert [result.call for result in run.state.results] == ["a", "b", "c"]
    assert [(m["tool_call_id"], m["content"]) for m in run.messages if m["role"] == "tool"] == [
        (id, f"text of {id}") for id in "abc"
    ]


@pytest.mark.parametrize("why", ["arguments", "unknown_tool", "permission", "rule", "label", "budget", "hook"])
def test_a_refused_call_is_a_result_with_its_reason_and_the_batch_goes_on(why: str) -> None:
    """A refusal is told to the decider like any result, with the gate's category beside it."""
    run = working(WRITE_X, READ_A)
    run.refuse("x", why, "that is not yours to write")
    assert run.state.results == (
        Result(call="x", tool="write", status="refused", text=Body("that is not yours to write"), why=why),
    )
    assert run.tools_called == ["a"]
    run.returns("a")
    assert len(run.wanted(CallModel)) == 1
    assert run.messages[-2] == {
        "role": "tool",
        "tool_call_id": "x",
        "content": f"Refused ({why}): that is not yours to write",
    }


def test_a_tool_nobody_knows_goes_to_the_gate_with_the_reads() -> None:
    """The loop asks the gate, which refuses it; the other calls of the batch lose nothing."""
    run = working(call("z", "no_such_tool"), READ_A)
    assert run.tools_called == ["z", "a"]


def test_a_failed_call_is_a_result_and_never_the_end_of_the_run() -> None:
    """Errors, timeouts and empty answers go to the decider."""
    run = working(READ_A, READ_B, READ_C)
    for id, status in (("a", "error"), ("b", "timeout"), ("c", "no_data")):
        run.returns(id, status, status=status)
    assert [(r.status, r.is_ok) for r in run.state.results] == [
        ("error", False),
        ("timeout", False),
        ("no_data", False),
    ]
    assert len(run.wanted(CallModel)) == 1


def test_structured_facts_of_a_result_reach_the_policy() -> None:
    """`Result.facts()` is the data as a dict, `{}` without any, and a bare value under `value`."""
    assert Result(call="a", tool="t", status="ok").facts() == {}
    assert Result(call="a", tool="t", status="ok", data=Body('{"passed":3}')).facts() == {"passed": 3}
    assert Result(call="a", tool="t", status="ok", data=Body("[1]")).facts() == {"value": [1]}


def test_a_policys_calls_get_ids_that_no_other_call_of_the_run_has() -> None:
    """Phase, step and position; a step is one batch."""

    def policy(situation: Situation) -> Decision:
        return Decision(done=True) if situation.attempts >= 2 else Decision(actions=(act("read"), act("read")))

    run = Run(decided_by("scan", PolicyDecider(policy)))
    run.start()
    for id in ("scan-1-0", "scan-1-1", "scan-2-0", "scan-2-1"):
        run.returns(id)
    assert [decided.actions for decided in run.events(Decided)] == [
        ("scan-1-0 read", "scan-1-1 read"),
        ("scan-2-0 read", "scan-2-1 read"),
        (),
    ]


def test_two_calls_with_one_id_are_a_contradiction_and_never_run() -> None:
    """Ids are made unique where replies are read; the core will not guess which of two calls an answer means."""
    run = Run(agent())
    run.start()
    run.intend()
    with pytest.raises(JournalError, match="twice") as failed:
        run.feed(replied(run.state.ask, (READ_A, READ_A)))
    assert failed.value.seq == run.state.next_seq


def test_a_model_cannot_start_a_program_or_a_child_that_its_phase_does_not_offer() -> None:
    """`cli:…` and `spawn:…` named by a model go to the gate as calls of unknown tools; a phase may offer them."""
    run = working(call("p", "cli:claude", prompt="do it"), call("q", "spawn:triage"))
    assert run.commands == (CallTool("p", "cli:claude", arguments_of(prompt="do it")),)
    run.refuse("p", "unknown_tool")
    assert run.commands == (CallTool("q", "spawn:triage", arguments_of()),)

    offered = Run(agent(model_phase("work", tools=("read", "finish", "spawn:triage"))))
    offered.start()
    offered.reply(call("s", "spawn:triage", incident="7"))
    assert offered.commands == (Spawn(call="s", agent="triage", task=arguments_of(incident="7")),)


def test_a_tool_of_another_server_is_called_through_the_gate_like_any() -> None:
    """A name with a colon is a program or a child only when it says `cli` or `spawn`; unknown ones go alone."""
    run = Run(agent(model_phase("work", tools=("tickets:find", "read"))))
    run.start()
    run.reply(call("t", "tickets:find", ticket=7), READ_A)
    assert run.commands == (CallTool("t", "tickets:find", arguments_of(ticket=7)),)


def test_a_policy_may_start_a_child_run_whose_end_is_a_result() -> None:
    """The child's spending is the parent's, and only success is ok."""

    def policy(situation: Situation) -> Decision:
        if not situation.results:
            return Decision(actions=(act("spawn:triage", incident="7"),))
        return Decision(done=True, facts={"child": situation.results[0].status, "said": situation.results[0].text.text})

    run = Run(decided_by("delegate", PolicyDecider(policy)))
    run.start()
    assert run.wanted(Spawn) == [Spawn(call="delegate-1-0", agent="triage", task=arguments_of(incident="7"))]
    run.feed(ChildStarted(call="delegate-1-0", run="run-2", agent="triage"))
    run.feed(
        ChildStopped(call="delegate-1-0", run="run-2", status="failed", text=Body("no cluster"), cost_nano=5, tokens=7)
    )
    assert run.state.facts == {"child": "error", "said": "no cluster"}
    assert (run.state.spent.cost_nano, run.state.spent.tokens) == (5, 7)


def test_an_external_program_works_on_a_phase_as_one_call() -> None:
    """RunCli carries the prompt and what is left of the run's time; its result is read as a decision."""
    decider = CliDecider(
        "claude",
        prompt=lambda situation: Body(f"phase {situation.phase}"),
        read=lambda situation, returned: Decision(done=returned.status == "ok", reason=returned.text.text),
    )
    run = Run(decided_by("implement", decider))
    run.start()
    (command,) = run.wanted(RunCli)
    assert (command.profile, command.prompt, command.deadline_s) == ("claude", Body("phase implement"), 86_400)
    run.returns(command.call, "all green")
    assert run.events(Decided) == [Decided(phase="implement", step=0, reason="all green", done=True)]


def test_the_plan_of_a_plan_tool_is_kept_and_shown_to_policies() -> None:
    """A successful call of a tool that pins the plan sets it; a failed one leaves the old."""
    run = working(call("p", "plan"), call("q", "plan"))
    run.returns("p", data=[{"step": "read", "done": False}])
    run.returns("q", "bad plan", status="error", data=[])
    assert run.state.plan == Body('[{"step": "read", "done": false}]')
    assert run.loop.situation(run.state).plan == run.state.plan


@pytest.mark.parametrize("id", ["zzz", "a"], ids=["never asked", "answered before"])
def test_an_answer_to_a_call_that_is_not_open_is_a_damaged_journal(id: str) -> None:
    """It names the run and the seq of the event."""
    run = working(READ_A, READ_B)
    run.returns("a")
    with pytest.raises(JournalError, match=id) as failed:
        run.feed(ToolReturned(call=id, tool="read", status="ok", text=Body("again")))
    assert (failed.value.run, failed.value.seq) == ("run-1", run.state.next_seq)


@pytest.mark.parametrize("id", ["zzz", "a"], ids=["never asked", "answered before"])
def test_an_intent_for_a_call_that_is_not_open_is_a_damaged_journal(id: str) -> None:
    """A call starts while it is open, or not at all."""
    run = working(READ_A, READ_B)
    run.returns("a")
    with pytest.raises(JournalError, match=id):
        run.feed(
            ToolStarted(
                call=id, tool="read", definition="d", arguments="h", operation="read_workspace", effect="pure", key="k"
            )
        )


def test_an_interrupted_call_that_is_not_repeated_is_a_result_the_decider_reads() -> None:
    """A local effect that was cut short is never made again by the loop; the decider is shown what is there."""
    run = working(WRITE_X, READ_A)
    run.begin("x")
    run.interrupt("x", text="Interrupted. The workspace shows: M x")
    assert run.state.results[0].status == "interrupted"
    assert run.tools_called == ["a"]
    run.returns("a")
    assert run.messages[-2]["content"] == "Interrupted. The workspace shows: M x"


def test_an_interrupted_call_that_did_not_happen_is_made_again_and_has_one_result() -> None:
    """`did_not` reopens the call; the model sees its one real result and nothing of the first attempt."""
    run = working(call("p", "push"))
    run.begin("p")
    run.interrupt("p", "did_not", "the remote does not have it")
    assert run.tools_called == ["p"]
    run.returns("p", "pushed")
    assert [m["content"] for m in run.messages if m["role"] == "tool"] == ["pushed"]
    assert [r.text for r in run.state.results] == [Body("pushed")]


def test_an_attempt_keeps_the_key_of_the_first_one() -> None:
    """The outside recognises a repeated attempt by it."""
    run = working(call("d", "deploy"))
    run.begin("d")
    run.interrupt("d", "did_not")
    assert run.state.calls[0].key == "key-d"
