"""Phases: their order, jumps between them, rounds, facts, notices, and how the last one ends the run."""

from __future__ import annotations

import pytest

from ooda.events import Body, Decided, LimitReached, Limits, Observed, PhaseEntered
from ooda.runtime.commands import AskHuman, CallModel, CallTool, Notify, SetTimer, Stop
from ooda.runtime.decide import Decision, Notice, PersonDecider, PolicyDecider, Situation
from tests.runtime.scripted import (
    SECOND,
    Run,
    act,
    agent,
    arguments_of,
    call,
    decided_by,
    model_phase,
    policy_phase,
    replied,
)

GO_ON = PolicyDecider(lambda situation: Decision(done=True, reason="nothing to do"))


def one_call(tool: str, **kept: object):
    """A policy that makes one call and goes on when it has its result."""

    def policy(situation: Situation) -> Decision:
        if not situation.results:
            return Decision(actions=(act(tool, phase=situation.phase),), reason=f"{tool} first")
        return Decision(done=True, reason="it answered", facts=kept)

    return policy


def test_a_run_begins_by_arming_its_wall_clock_and_entering_its_first_phase() -> None:
    """The commands of RunStarted: a timer for the whole run, and the first call."""
    run = Run(agent(policy_phase("clone", one_call("read"))), limits=Limits(wall_s=60))
    commands = run.start()
    assert commands == (
        SetTimer("wall_clock", run.now_ns + 60 * SECOND),
        CallTool("clone-1-0", "read", arguments_of(phase="clone")),
    )
    assert run.state.derived == (
        PhaseEntered(
            phase="clone", round=0, tools=("read", "write", "test", "deploy", "push", "wait", "plan", "finish")
        ),
        Decided(phase="clone", step=1, reason="read first", actions=("clone-1-0 read",)),
    )


def test_phases_run_in_their_order_and_the_last_one_ends_the_run() -> None:
    """A finished phase leads to the next; after the last one the agent's own judge names the status."""
    spec = agent(
        policy_phase("clone", one_call("read", base="abc")),
        policy_phase("branch", one_call("write", branch="feat/x")),
        success=lambda situation: (
            "unverified",
            f"no tests; on {situation.facts['branch']} from {situation.facts['base']}",
        ),
    )
    run = Run(spec)
    run.start()
    run.returns("clone-1-0")
    run.returns("branch-2-0")
    assert [entered.phase for entered in run.events(PhaseEntered)] == ["clone", "branch"]
    assert run.commands == (Stop("unverified", "no tests; on feat/x from abc"),)


def test_facts_are_merged_over_the_known_ones() -> None:
    """Facts of a decision join the state and win over older ones of the same name."""
    first = policy_phase("a", lambda s: Decision(done=True, facts={"x": 1, "y": 1}))
    second = policy_phase("b", lambda s: Decision(done=True, facts={"y": 2, "seen": dict(s.facts)}))
    run = Run(agent(first, second))
    run.start()
    assert run.state.facts == {"x": 1, "y": 2, "seen": {"x": 1, "y": 1}}
    assert [decided.facts for decided in run.events(Decided)] == [{"x": 1, "y": 1}, {"y": 2, "seen": {"x": 1, "y": 1}}]


def validate(situation: Situation) -> Decision:
    """Runs the tests; back to the work when they fail."""
    if not situation.results:
        return Decision(actions=(act("test"),))
    if situation.results[0].is_ok:
        return Decision(done=True, facts={"passed": True})
    return Decision(goto="work", reason="tests failed", facts={"failed": situation.results[0].text.text})


def rounds_agent():
    return agent(
        model_phase("work", is_round=True, brief="Do it."),
        policy_phase("validate", validate),
        success=lambda situation: ("success", f"after {situation.round} rounds"),
    )


def test_a_jump_goes_back_and_counts_a_round_each_time_the_phase_of_rounds_begins() -> None:
    """`goto` enters a phase again; an implement-validate round is counted on entering its first phase."""
    run = Run(rounds_agent())
    run.start()
    run.reply(call("f1", "finish"))
    run.returns("f1")
    run.returns("validate-2-0", "1 failed", status="error")
    assert (run.state.round, run.state.spent.rounds, run.state.facts) == (2, 2, {"failed": "1 failed"})
    run.reply(call("f2", "finish"))
    run.returns("f2")
    run.returns("validate-4-0", "3 passed")
    assert run.commands == (Stop("success", "after 2 rounds"),)
    assert [(entered.phase, entered.round) for entered in run.events(PhaseEntered)] == [
        ("work", 1),
        ("validate", 1),
        ("work", 2),
        ("validate", 2),
    ]


def test_the_limit_of_rounds_ends_the_run_before_one_round_more() -> None:
    """With two rounds allowed, the third is not begun."""
    run = Run(rounds_agent(), limits=Limits(rounds=2))
    run.start()
    for step, finish in ((2, "f1"), (4, "f2")):
        run.reply(call(finish, "finish"))
        run.returns(finish)
        run.returns(f"validate-{step}-0", f"{step} failed", status="error")
    assert run.commands == (Stop("step_limit", "The run used all 2 implement-validate rounds."),)
    assert run.events(LimitReached) == [LimitReached(limit="rounds", value=2, cap=2)]


def test_a_run_resumed_with_more_rounds_begins_the_one_it_was_refused() -> None:
    """The limit is part of the resumption: the jump is decided again, on the same results, and may be made."""
    run = Run(rounds_agent(), limits=Limits(rounds=1))
    run.start()
    run.reply(call("f1", "finish"))
    run.returns("f1")
    run.returns("validate-2-0", "1 failed", status="error")
    run.stop()
    run.resume(Limits(rounds=2))
    assert (run.state.round, run.tools_called, len(run.wanted(CallModel))) == (2, [], 1)


def test_no_round_at_all_stops_a_run_before_its_first_phase_and_more_let_it_begin() -> None:
    """Zero never means unlimited; resumed with a round, the run begins with its first phase."""
    run = Run(rounds_agent(), limits=Limits(rounds=0))
    run.start()
    assert run.wanted(Stop) == [Stop("step_limit", "The run used all 0 implement-validate rounds.")]
    run.stop()
    run.resume(Limits(rounds=1))
    assert [entered.phase for entered in run.events(PhaseEntered)] == ["work"]
    assert len(run.wanted(CallModel)) == 1


def test_policies_that_only_send_each_other_round_are_ended_as_stuck() -> None:
    """Jumps without any call are no work: the run ends with a status instead of jumping for ever."""
    ping = policy_phase("ping", lambda s: Decision(goto="pong"))
    pong = policy_phase("pong", lambda s: Decision(goto="ping"))
    run = Run(agent(ping, pong))
    run.start()
    assert [stop.status for stop in run.wanted(Stop)] == ["stuck"]
    assert [limit.limit for limit in run.events(LimitReached)] == ["stuck"]


def test_a_policy_that_wants_nothing_is_asked_again_and_then_ended_as_stuck() -> None:
    """An empty decision is a reply that does nothing, whoever gives it."""
    run = Run(decided_by("idle", PolicyDecider(lambda situation: Decision(reason="hm"))))
    run.start()
    assert [stop.status for stop in run.wanted(Stop)] == ["stuck"]


def test_a_decision_may_stop_the_run_with_its_own_status() -> None:
    """`stop` ends the run at once; calls of the same decision are not made."""
    halt = PolicyDecider(lambda s: Decision(stop="refused", reason="the branch is protected", actions=(act("push"),)))
    run = Run(decided_by("push", halt))
    run.start()
    assert run.wanted(Stop) == [Stop("refused", "the branch is protected")]
    assert run.wanted(CallTool) == []


def test_an_unknown_phase_to_jump_to_is_an_error_of_the_agent() -> None:
    """No phase is guessed: the agent names what it has."""
    run = Run(decided_by("a", PolicyDecider(lambda s: Decision(goto="nowhere"))))
    with pytest.raises(KeyError, match="nowhere"):
        run.start()


def test_each_phase_tells_its_brief_with_what_is_known_then() -> None:
    """A brief is rendered on entering, from the facts of that moment."""
    spec = agent(
        policy_phase("look", one_call("read", files=3)),
        model_phase("work"),
    )
    second = spec.phases[1]
    second = type(second)(
        name=second.name,
        decider=second.decider,
        tools=("read", "finish"),
        brief=lambda situation: Body(f"Mend {situation.facts['files']} files."),
    )
    run = Run(agent(spec.phases[0], second))
    run.start()
    run.returns("look-1-0")
    assert run.events(PhaseEntered)[1] == PhaseEntered(
        phase="work", round=0, brief=Body("Mend 3 files."), tools=("read", "finish")
    )
    assert run.messages[-1] == {"role": "user", "content": "Mend 3 files."}
    assert run.wanted(CallModel)[0].tools == ("read", "finish")


def test_notices_are_told_on_entering_after_each_batch_with_a_decision_and_at_the_end() -> None:
    """Every notice is a command with an id of its own, kept until the journal says that it was put out."""
    spec = agent(
        policy_phase(
            "work",
            lambda s: (
                Decision(done=True, notices=(Notice("result", "done"),))
                if s.results
                else Decision(actions=(act("test"),))
            ),
            entered=lambda s: Notice("progress", "starting"),
            stepped=lambda s: Notice("step", f"after {s.step}"),
        ),
        stopped=lambda s, status, reason: (Notice("end", f"{status}: {reason}", {"phase": s.phase}),),
    )
    run = Run(spec)
    run.start()
    first = run.wanted(Notify)
    run.returns("work-1-0")
    later = run.wanted(Notify)
    assert [(n.kind, n.message) for n in first] == [("progress", "starting")]
    assert [(n.kind, n.message) for n in later] == [
        ("step", "after 1"),
        ("result", "done"),
        ("end", "success: all phases are done"),
    ]
    assert run.state.notices == (*first, *later)
    assert len({n.notice for n in run.state.notices}) == 4


def test_a_person_decides_a_phase_by_messages() -> None:
    """Each message is read as a decision; one that means nothing is asked for again."""

    def parse(situation: Situation, text: str) -> Decision:
        tool, _, path = text.partition(" ")
        return Decision(actions=(act(tool, path=path),)) if path else Decision(done=tool == "done", reason=text)

    run = Run(decided_by("operate", PersonDecider(lambda s: f"step {s.step}>", parse)))
    run.start()
    assert run.wanted(AskHuman) == [AskHuman("message", prompt="step 0>")]
    run.say("read README.md")
    assert run.tools_called == ["operate-1-0"]
    run.returns("operate-1-0")
    run.say("hm")
    assert run.wanted(AskHuman) == [AskHuman("message", prompt="step 1>")]
    run.say("done")
    assert run.wanted(Stop) == [Stop("success", "all phases are done")]


def test_what_the_core_says_to_the_model_is_a_derived_observation() -> None:
    """Words of the runtime enter the journal as conclusions, so a replay compares them too."""
    run = Run(agent())
    run.start()
    run.intend()
    run.feed(replied(run.state.ask, content="I think I am done."))
    (said,) = run.events(Observed)
    assert said.source == "ooda"
    assert said in run.state.derived
