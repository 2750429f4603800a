"""Limits: steps, tokens, money and time; judged on events' own times and never against work that is done."""

from __future__ import annotations

import pytest

from ooda.events import Body, ChildStopped, LimitReached, Limits, Observed, Stopped, TimerFired
from ooda.runtime.commands import CallModel, SetTimer, Stop
from ooda.runtime.decide import Decision
from tests.runtime.scripted import SECOND, Run, agent, call, converse, model_phase, policy_phase


def started(*phases, **limits: int) -> Run:
    run = Run(agent(*phases), limits=Limits(**limits))
    run.start()
    return run


def read(run: Run, id: str, **more) -> None:
    """One turn: the model reads something new."""
    run.reply(call(id, "read", path=id), **more)
    run.returns(id, f"text of {id}")


def test_the_limit_of_steps_ends_the_run_instead_of_one_step_more() -> None:
    """Two steps allowed are two steps taken."""
    run = started(steps=2)
    read(run, "a")
    assert len(run.wanted(CallModel)) == 1
    read(run, "b")
    assert run.commands == (Stop("step_limit", "The run reached its limit `steps`: 2 of 2."),)
    assert run.events(LimitReached) == [LimitReached(limit="steps", value=2, cap=2)]


def test_work_that_is_done_with_its_last_step_is_done() -> None:
    """A limit ends what would go on; a phase whose goal is met just then is met."""
    run = started(steps=2)
    read(run, "a")
    run.reply(call("f", "finish"))
    run.returns("f")
    assert run.commands == (Stop("success", "all phases are done"),)
    assert run.events(LimitReached) == []


def test_a_phase_after_the_last_step_may_conclude_but_not_act() -> None:
    """The next phase is entered; its first action is one too many."""
    run = started(
        model_phase("work"),
        policy_phase("note", lambda s: Decision(done=True, facts={"noted": True})),
        policy_phase("push", lambda s: Decision(actions=())),
        steps=1,
    )
    run.reply(call("f", "finish"))
    run.returns("f")
    assert run.state.facts == {"noted": True}
    assert [stop.status for stop in run.wanted(Stop)] == ["step_limit"]


def test_tokens_are_counted_over_the_run_and_its_children() -> None:
    """The reply that passes the cap is the last one asked for."""
    run = started(tokens=1000)
    read(run, "a", tokens=600)
    read(run, "b", tokens=400)
    assert run.commands == (Stop("budget_exceeded", "The run reached its limit `tokens`: 1000 of 1000."),)


def test_money_is_counted_over_the_run_and_its_children() -> None:
    """Nano-USD; a child's spending is its parent's."""
    run = started(model_phase("work", tools=("spawn:triage", "read")), cost_nano=1000)
    run.reply(call("c", "spawn:triage"), cost_nano=400)
    run.feed(ChildStopped(call="c", run="run-2", status="success", text=Body("ok"), cost_nano=600))
    assert run.commands == (Stop("budget_exceeded", "The run reached its limit `cost_nano`: 1000 of 1000."),)


def test_a_cap_of_no_money_lets_a_free_model_work() -> None:
    """A local model costs nothing, so nothing reaches the cap; the first paid reply would."""
    run = started(cost_nano=0)
    read(run, "a", cost_nano=0)
    assert len(run.wanted(CallModel)) == 1
    read(run, "b", cost_nano=1)
    assert [stop.status for stop in run.wanted(Stop)] == ["budget_exceeded"]


@pytest.mark.parametrize("limit", ["steps", "tokens", "wall_s"])
def test_zero_never_means_unlimited(limit: str) -> None:
    """A run without any allowance ends before its first model call."""
    run = started(**{limit: 0})
    assert run.wanted(CallModel) == []
    assert len(run.wanted(Stop)) == 1


def test_the_wall_clock_ends_the_run_by_its_timer() -> None:
    """The runner says when the time is up; the core compares events' times."""
    run = started(wall_s=60)
    run.fire("wall_clock", after_s=60)
    assert run.commands == (Stop("timeout", "The run reached its limit `wall_s`: 60 of 60."),)


def test_a_timer_that_fires_too_early_is_set_again_for_what_is_left() -> None:
    """For instance after the run waited for a person in between."""
    run = started(wall_s=60)
    run.fire("wall_clock", after_s=20)
    assert run.commands == (SetTimer("wall_clock", run.now_ns + 40 * SECOND),)


def test_waiting_for_a_person_does_not_use_the_wall_clock_up() -> None:
    """Only the time in which the run could work counts."""
    run = started(converse(), wall_s=60)
    run.reply(content="Hello.")
    run.now_ns += 3600 * SECOND
    run.fire("wall_clock")
    assert run.state.stopping is None
    run.say("hi")
    assert len(run.wanted(CallModel)) == 1
    assert run.state.spent.active_ns < 10 * SECOND


def test_being_killed_and_stopped_does_not_use_the_wall_clock_up() -> None:
    """The time until somebody resumes the run is nobody's, also when they close an open call first."""
    run = started(wall_s=60)
    run.reply(call("w", "write"))
    run.begin("w")
    before = run.state.spent.active_ns
    run.now_ns += 3600 * SECOND
    run.interrupt("w")
    run.resume()
    assert run.state.spent.active_ns - before <= SECOND
    run.intend()
    run.now_ns += 3600 * SECOND
    run.fail("interrupted")
    run.resume()
    assert run.state.spent.active_ns - before <= 2 * SECOND
    assert len(run.wanted(CallModel)) == 1


def test_a_clock_that_jumps_back_neither_frees_nor_costs_time() -> None:
    """Event times may step backwards when the machine's clock does; the run's never do."""
    run = started()
    last_ns = run.state.last_ns
    spent = run.state.spent.active_ns
    run.feed(Observed(source="inbox", text=Body("x")), after_s=-3600)
    assert (run.state.last_ns, run.state.spent.active_ns) == (last_ns, spent)


def test_a_resumed_run_arms_its_wall_clock_with_what_is_left() -> None:
    """Limits hold over all stretches of a run together."""
    run = started(wall_s=60)
    run.fire("wall_clock", after_s=20)
    run.stop("cancelled", "Ctrl-C")
    run.resume()
    used_ns = run.state.spent.active_ns
    assert run.wanted(SetTimer) == [SetTimer("wall_clock", run.now_ns + 60 * SECOND - used_ns)]


def test_a_run_resumed_at_its_limit_ends_again_and_with_a_higher_one_goes_on() -> None:
    """`Resumed` may raise limits; without that, nothing has changed."""
    run = started(steps=1)
    read(run, "a")
    run.stop()
    run.resume()
    assert [stop.status for stop in run.wanted(Stop)] == ["step_limit"]
    run.stop()
    run.resume(Limits(steps=2))
    assert len(run.wanted(CallModel)) == 1
    assert run.state.limits == Limits(steps=2)


def test_a_timer_after_the_decision_to_stop_changes_nothing() -> None:
    """The first reason is the reason."""
    run = started(steps=1, wall_s=60)
    read(run, "a")
    run.feed(TimerFired(timer="wall_clock"), after_s=3600)
    assert run.commands == ()
    assert [limit.limit for limit in run.events(LimitReached)] == ["steps"]
    run.feed(Stopped(status="step_limit", reason="r"))
    assert run.state.status == "step_limit"
