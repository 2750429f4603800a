"""How a run ends and is taken up again: Stop once, what is open closed, nothing begun twice, nothing lost."""

from __future__ import annotations

import pytest

from ooda.errors import JournalError
from ooda.events import (
    Body,
    ChildStarted,
    ChildStopped,
    Decided,
    Limits,
    ModelAsked,
    Notified,
    Observed,
    Resumed,
    SkillActivated,
    Stopped,
    TimerFired,
    ToolStarted,
)
from ooda.runtime.commands import AskHuman, CallModel, CallTool, Notify, SetTimer, Spawn, Stop
from ooda.runtime.decide import Decision, Notice
from tests.runtime.scripted import Run, act, agent, call, converse, model_phase, policy_phase, replied


def ending(*calls, phases=(), **more) -> Run:
    """A run of one allowed step whose time is up while these calls are open."""
    run = Run(agent(*phases, **more), limits=Limits(wall_s=60))
    run.start()
    if calls:
        run.reply(*calls)
    return run


def time_up(run: Run) -> None:
    run.fire("wall_clock", after_s=60)


def test_stop_is_asked_for_once() -> None:
    """Whatever ends the run first is the reason; what comes after adds nothing."""
    run = ending(call("r", "read"), call("s", "read"))
    time_up(run)
    run.fire("wall_clock", after_s=60)
    run.returns("r")
    run.returns("s")
    assert [type(command) for command in run.asked if isinstance(command, Stop)] == [Stop]
    run.stop()
    assert (run.state.status, run.state.life) == ("timeout", "stopped")


def test_results_that_arrive_while_the_run_ends_are_kept_and_lead_to_nothing() -> None:
    """They are true, so they are written down; no model is asked about them."""
    run = ending(call("r", "read"), call("w", "write"))
    time_up(run)
    run.returns("r", "late")
    assert run.commands == ()
    assert run.state.results[0].text == Body("late")


def test_a_reply_that_arrives_while_the_run_ends_is_paid_and_its_calls_wait() -> None:
    """Nothing it asks for is begun; resumed, the run takes its calls up, and the provider sees a result for each."""
    run = ending()
    time_up(run)
    run.reply(call("r", "read"), cost_nano=9)
    assert run.commands == ()
    assert (run.state.spent.cost_nano, [c.call for c in run.state.calls]) == (9, ["r"])
    run.feed(Stopped(status="timeout", reason="time"))
    run.resume(Limits())
    assert run.tools_called == ["r"]
    run.returns("r", "text")
    assert run.messages[-1] == {"role": "tool", "tool_call_id": "r", "content": "text"}


@pytest.mark.parametrize("finish", ["stop", "refusal"])
def test_words_that_arrive_while_the_run_ends_are_not_answered(finish: str) -> None:
    """No nudge, no question, no second stop."""
    run = ending(phases=(converse(),))
    time_up(run)
    run.reply(content="Well...", finish=finish)
    run.stop()
    assert [c for c in run.asked if isinstance(c, AskHuman | Stop)] == run.asked[-1:]
    assert run.events(Observed) == []


@pytest.mark.parametrize("error", ["cancelled", "overflow", "output", "unavailable", "interrupted"])
def test_a_model_call_that_fails_while_the_run_ends_is_only_counted(error: str) -> None:
    """Nothing is compacted, asked again or handed to a person then."""
    run = ending(phases=(converse(),))
    time_up(run)
    before = len(run.journal)
    run.fail(error, cost_nano=3)
    assert (run.commands, len(run.journal), run.state.spent.cost_nano) == ((), before + 1, 3)


def test_a_question_that_comes_up_while_the_run_ends_is_asked_when_it_is_resumed() -> None:
    """The gate's question stands in the journal; nobody is bothered by a run that is over."""
    run = ending(call("p", "push"))
    time_up(run)
    run.ask_approval("p", ttl_s=7200)
    assert run.commands == ()
    run.feed(Stopped(status="timeout", reason="time"))
    run.resume(Limits())
    assert [type(command) for command in run.commands] == [SetTimer, AskHuman, SetTimer]
    assert run.state.life == "waiting"


def test_a_stop_that_was_decided_and_not_written_is_written_on_resuming() -> None:
    """Killed between the decision and its record: nothing is decided twice, and its notices are put out."""
    run = ending(stopped=lambda s, status, reason: (Notice("end", status),))
    time_up(run)
    notice, stop = run.wanted(Notify), run.wanted(Stop)
    run.resume()
    assert run.commands == (*notice, *stop)
    assert run.state.stopping == stop[0]


def test_notices_that_were_not_put_out_are_repeated_on_resuming_under_their_ids() -> None:
    """The outbox recognises them; those already in the journal are not repeated."""
    run = ending(phases=(model_phase("work", entered=lambda s: Notice("progress", "hello")),))
    (notice,) = run.wanted(Notify)
    run.resume()
    assert run.wanted(Notify) == [notice]
    run.feed(Notified(notice=notice.notice, kind_=notice.kind, message=notice.message))
    run.resume()
    assert run.wanted(Notify) == []


def test_a_run_that_succeeded_is_not_resumed() -> None:
    """All but success can be."""
    run = Run(agent(policy_phase("a", lambda s: Decision(done=True))))
    run.start()
    run.stop()
    with pytest.raises(JournalError, match="succeeded"):
        run.resume()


@pytest.mark.parametrize(
    "event",
    [
        ModelAsked(ask="", model="m", upto_seq=0, prefix_hash="", digest="", messages=1, input_bytes=1, reply_tokens=1),
        replied(""),
        ToolStarted(call="r", tool="read", definition="", arguments="", operation="", effect="pure", key=""),
        TimerFired(timer="wall_clock"),
        SkillActivated(name="s", digest="", body=Body("s")),
        ChildStarted(call="r", run="x", agent="a"),
        ChildStopped(call="r", run="x", status="success", text=Body("")),
        Stopped(status="failed", reason="again"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_nothing_new_begins_after_the_end(event) -> None:
    """Such an event is another owner's, or damage; it names the seq and the way on."""
    run = ending(call("r", "read"))
    time_up(run)
    run.feed(Stopped(status="timeout", reason="time"))
    with pytest.raises(JournalError, match="only Resumed") as failed:
        run.feed(event)
    assert (failed.value.run, failed.value.seq) == ("run-1", run.state.next_seq)


def test_what_is_said_to_a_stopped_run_is_read_when_it_is_resumed() -> None:
    """A chat that ran out of time takes the next message with it."""
    run = ending(phases=(converse(),))
    run.reply(content="Hello.")
    run.feed(Stopped(status="cancelled", reason="left"))
    assert run.say("I am back") == ()
    assert run.state.life == "stopped"
    run.resume()
    assert len(run.wanted(CallModel)) == 1
    assert run.messages[-1]["content"] == "I am back"


def test_calls_that_were_open_at_the_end_are_taken_up_again() -> None:
    """Those never begun are commanded, in their order, when the run is resumed."""
    run = ending(call("a", "read"), call("w", "write"), call("b", "read"))
    run.returns("a")
    time_up(run)
    run.feed(Stopped(status="timeout", reason="time"))
    assert (run.state.life, run.state.status, run.state.reason) == ("stopped", "timeout", "time")
    run.resume(Limits())
    assert (run.state.life, run.state.status, run.state.reason) == ("running", "", "")
    assert run.tools_called == ["w"]


@pytest.mark.parametrize(
    ("tool", "again"), [("read", True), ("deploy", True), ("write", False), ("push", False), ("cli:claude", False)]
)
def test_a_begun_call_is_commanded_again_only_when_repeating_it_is_safe(tool: str, again: bool) -> None:
    """Reads, and effects that the outside recognises by their key; the rest waits for what became of it."""
    policy = policy_phase("work", lambda s: Decision(done=True) if s.results else Decision(actions=(act(tool),)))
    run = Run(agent(policy))
    run.start()
    run.begin("work-1-0")
    run.resume()
    repeated = [command for command in run.commands if getattr(command, "call", "") == "work-1-0"]
    assert bool(repeated) is again
    if not again:
        run.interrupt("work-1-0")
        assert run.state.results[0].status == "interrupted"


def test_a_begun_child_is_spawned_again_and_found_by_its_id() -> None:
    """Its run id is a hash of parent and call, so the runner finds the child that is there."""
    run = Run(agent(model_phase("work", tools=("spawn:triage",))))
    run.start()
    run.reply(call("c", "spawn:triage"))
    run.feed(ChildStarted(call="c", run="run-2", agent="triage"))
    assert [begun.call for begun in run.state.open_started] == ["c"]
    run.resume()
    assert [command.call for command in run.wanted(Spawn)] == ["c"]


@pytest.mark.parametrize("order", ["closed first", "resumed first"])
def test_an_open_effect_may_be_settled_before_or_after_resuming(order: str) -> None:
    """Either way the call is made once more when it did not happen, and never when it may have."""
    run = Run(agent())
    run.start()
    run.reply(call("p", "push"))
    run.begin("p")
    if order == "closed first":
        run.interrupt("p", "did_not")
        run.resume()
    else:
        run.resume()
        assert run.wanted(CallTool) == []
        run.interrupt("p", "did_not")
    assert run.tools_called == ["p"]


def test_a_policy_whose_effect_was_settled_after_the_end_does_not_make_it_again() -> None:
    """A push that turned out to have happened is a result, not a reason to push once more."""

    def push(situation) -> Decision:
        if not situation.results:
            return Decision(actions=(act("push"),))
        return Decision(done=situation.results[0].is_ok, facts={"pushed": situation.results[0].text.text})

    run = Run(agent(policy_phase("push", push)), limits=Limits(wall_s=60))
    run.start()
    run.begin("push-1-0")
    time_up(run)
    run.feed(Stopped(status="timeout", reason="time"))
    run.returns("push-1-0", "the remote has it")
    assert run.commands == ()
    run.resume(Limits())
    assert run.state.facts == {"pushed": "the remote has it"}
    assert run.wanted(CallTool) == []


def test_a_policy_that_stopped_the_run_is_asked_afresh_when_it_is_resumed() -> None:
    """Whoever resumes has mended something: the failure of the last stretch is not held against this one."""

    def push(situation) -> Decision:
        if not situation.results:
            return Decision(actions=(act("push"),))
        return Decision(done=True) if situation.results[0].is_ok else Decision(stop="failed", reason="rejected")

    run = Run(agent(policy_phase("push", push)))
    run.start()
    run.returns("push-1-0", "rejected", status="error")
    run.stop()
    run.resume()
    assert run.tools_called == ["push-2-0"]
    run.returns("push-2-0")
    assert run.wanted(Stop) == [Stop("success", "all phases are done")]
    assert [decided.step for decided in run.events(Decided)] == [1, 1, 2, 2]


def test_resumed_carries_who_and_new_limits() -> None:
    """Limits stay as they were unless the resumption brings others."""
    run = ending()
    run.feed(Resumed(by="ada"))
    assert run.state.limits == Limits(wall_s=60)
    run.feed(Resumed(by="ada", limits=Limits(wall_s=90)))
    assert run.state.limits == Limits(wall_s=90)
