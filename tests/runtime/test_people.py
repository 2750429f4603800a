"""People: approvals and their five answers, decisions about unknown outcomes, messages, interruptions in chat."""

from __future__ import annotations

import pytest

from ooda.errors import JournalError
from ooda.events import Body
from ooda.runtime.commands import AskHuman, CallModel, CallTool, SetTimer, Stop
from tests.runtime.scripted import SECOND, Run, agent, arguments_of, call, converse

PUSH = call("p", "push", branch="main")
READ = call("r", "read")
WRITE = call("w", "write")


def asked(*calls, ttl_s: int = 900) -> Run:
    """A run that waits for a person's answer about its first call."""
    run = Run(agent())
    run.start()
    run.reply(*calls)
    run.ask_approval(calls[0].id, ttl_s=ttl_s)
    return run


def test_a_call_that_needs_approval_makes_the_run_wait() -> None:
    """The person is asked with exactly what is shown, and silence is bounded by a timer."""
    run = Run(agent())
    run.start()
    run.reply(PUSH)
    run.ask_approval("p", ttl_s=900)
    assert run.commands == (
        AskHuman("approval", "apr-1", "push p"),
        SetTimer("approval:apr-1", run.now_ns + 900 * SECOND),
    )
    assert run.state.life == "waiting"


def test_an_approved_call_goes_to_the_gate_again_with_its_approval() -> None:
    """The gate decides anew; the approval's id lets exactly this call through."""
    run = asked(PUSH)
    run.answer("approve")
    assert run.commands == (CallTool("p", "push", arguments_of(branch="main"), "apr-1"),)
    assert run.state.life == "running"


def test_an_edited_call_goes_to_the_gate_with_the_persons_arguments_and_the_model_is_told() -> None:
    """An approver's edit is a new call; its result says that it was not the one asked for."""
    run = asked(PUSH)
    run.answer("modify", arguments=arguments_of(branch="feat/x"))
    assert run.commands == (CallTool("p", "push", arguments_of(branch="feat/x"), "apr-1"),)
    run.returns("p", "pushed feat/x")
    (told,) = (m["content"] for m in run.messages if m["role"] == "tool")
    assert arguments_of(branch="feat/x").text in told
    assert told.endswith("pushed feat/x")


def test_a_rejected_call_is_a_refusal_that_the_model_reads() -> None:
    """The run goes on with the person's note; the provider sees a result for the call."""
    run = asked(PUSH, READ)
    run.answer("reject", note="use the feature branch")
    assert [(r.call, r.status, r.why) for r in run.state.results] == [("p", "refused", "approval")]
    assert run.tools_called == ["r"]
    run.returns("r")
    assert run.messages[-2] == {
        "role": "tool",
        "tool_call_id": "p",
        "content": run.state.results[0].text.text,
    }
    assert "use the feature branch" in run.messages[-2]["content"]


def test_a_person_may_stop_the_whole_run_when_asked() -> None:
    """`stop` cancels; the calls that are open are closed by the runner before Stopped."""
    run = asked(PUSH, READ)
    run.answer("stop", note="enough")
    assert run.commands == (Stop("cancelled", "ada stopped the run when asked about `push`. enough"),)
    run.stop()
    assert (run.state.life, run.state.status) == ("stopped", "cancelled")
    assert run.state.calls == ()


@pytest.mark.parametrize("how", ["answer", "timer"])
def test_an_approval_that_nobody_answers_refuses_the_run(how: str) -> None:
    """Silence is a no, whether the gate says so or the timer does."""
    run = asked(PUSH)
    if how == "answer":
        run.answer("expired")
    else:
        run.fire("approval:apr-1")
    assert [stop.status for stop in run.wanted(Stop)] == ["refused"]


@pytest.mark.parametrize("how", ["answer", "timer"])
def test_a_run_resumed_after_an_expired_approval_asks_the_gate_again(how: str) -> None:
    """Nothing hangs on the question that lapsed, even when the runner died before it closed the call."""
    run = asked(PUSH)
    if how == "answer":
        run.answer("expired")
    else:
        run.fire("approval:apr-1")
    run.feed(_stopped(run))
    run.resume()
    assert run.tools_called == ["p"]
    assert run.state.life == "running"


def _stopped(run: Run):
    from ooda.events import Stopped

    stop = run.state.stopping
    assert stop is not None
    return Stopped(status=stop.status, reason=stop.reason)


def test_a_timer_of_an_answered_approval_means_nothing() -> None:
    """It may fire late; the answer came first."""
    run = asked(PUSH)
    run.answer("approve")
    run.fire("approval:apr-1")
    assert run.commands == ()
    assert run.state.stopping is None


def test_reads_go_on_while_one_call_waits_for_a_person() -> None:
    """Only writers queue behind a question."""
    run = Run(agent())
    run.start()
    run.reply(READ, call("r2", "read"), WRITE)
    run.ask_approval("r")
    run.returns("r2")
    assert run.tools_called == []
    run.answer("approve")
    run.returns("r")
    assert run.tools_called == ["w"]


def test_two_questions_are_two_answers() -> None:
    """The run waits until the last one is answered."""
    run = Run(agent())
    run.start()
    run.reply(READ, call("r2", "read"))
    run.ask_approval("r", "apr-1")
    run.ask_approval("r2", "apr-2")
    run.answer("approve", "apr-2")
    assert (run.state.life, run.tools_called) == ("waiting", ["r2"])
    run.answer("reject", "apr-1")
    assert run.state.life == "running"
    assert run.state.waiting == ()


def test_a_question_about_a_call_that_was_closed_is_no_question_any_more() -> None:
    """One answer stops the run, the other call is closed with it: resumed, nothing waits for nobody."""
    run = Run(agent())
    run.start()
    run.reply(READ, call("r2", "read"))
    run.ask_approval("r", "apr-1")
    run.ask_approval("r2", "apr-2")
    run.answer("stop", "apr-1")
    run.stop()
    run.resume()
    assert (run.state.waiting, run.state.life) == ((), "running")
    assert len(run.wanted(CallModel)) == 1


@pytest.mark.parametrize("id", ["", "r"], ids=["no such approval", "another call"])
def test_an_answer_to_a_question_nobody_asked_is_a_damaged_journal(id: str) -> None:
    """Approval and call belong together; anything else names the seq."""
    run = asked(PUSH, READ)
    with pytest.raises(JournalError) as failed:
        run.answer("approve", "apr-1" if id else "apr-9", id=id or "p")
    assert failed.value.seq == run.state.next_seq


def test_a_restart_asks_again_and_keeps_the_deadline_of_the_question() -> None:
    """Questions and their timers live in the journal, not in the process."""
    run = asked(PUSH, ttl_s=900)
    expires_ns = run.wanted(SetTimer)[0].at_ns
    run.resume(after_s=100)
    assert run.wanted(AskHuman) == [AskHuman("approval", "apr-1", "push p")]
    assert SetTimer("approval:apr-1", expires_ns) in run.commands
    assert run.tools_called == []


def unknown() -> Run:
    """A run that waits to be told whether its push happened."""
    run = Run(agent())
    run.start()
    run.reply(PUSH)
    run.begin("p")
    run.interrupt("p", "unknown", "the remote does not answer")
    run.ask_approval("p", ask="decision")
    return run


def test_an_unknown_outcome_waits_for_a_persons_decision_without_a_deadline() -> None:
    """Nothing is repeated and nothing lapses until somebody looked."""
    run = unknown()
    assert run.wanted(AskHuman) == [AskHuman("decision", "apr-1", "push p")]
    assert run.wanted(SetTimer) == []
    assert run.tools_called == []
    run.resume()
    assert (run.tools_called, run.state.life) == ([], "waiting")
    assert [command.timer for command in run.wanted(SetTimer)] == ["wall_clock"]


def test_a_person_says_that_the_effect_happened() -> None:
    """The call has its result, and the model reads it."""
    run = unknown()
    run.answer("happened")
    assert [r.status for r in run.state.results] == ["ok"]
    assert len(run.wanted(CallModel)) == 1
    assert run.messages[-1]["tool_call_id"] == "p"
    assert "ada" in run.messages[-1]["content"]


def test_a_person_says_that_the_effect_did_not_happen() -> None:
    """The call is made again, under the same key."""
    run = unknown()
    run.answer("did_not")
    assert run.tools_called == ["p"]
    assert run.state.calls[0].key == "key-p"


# -- chat -------------------------------------------------------------------------------------------------


def chatting() -> Run:
    run = Run(agent(converse()))
    run.start()
    return run


def test_a_reply_without_calls_is_the_persons_turn_and_their_message_the_models() -> None:
    """One exchange of a chat: answer, question to the person, message, next model call."""
    run = chatting()
    run.reply(content="Hello.")
    assert run.commands == (AskHuman("message", prompt="your turn"),)
    assert run.state.life == "waiting"
    run.say("Mend it.")
    assert len(run.wanted(CallModel)) == 1
    assert run.messages[-1] == {"role": "user", "content": "Mend it."}


def test_a_message_forgives_the_silent_replies_before_it() -> None:
    """Three in a row end a run; the person's word begins a new row."""
    run = chatting()
    for _ in range(3):
        run.reply()
        run.reply()
        run.reply(content="Sorry.")
        run.say("go on")
    assert run.state.stopping is None


def test_a_message_in_the_middle_of_the_work_is_shown_and_interrupts_nothing() -> None:
    """It follows the results of the open calls, so that the provider reads a valid conversation."""
    run = chatting()
    run.reply(READ)
    run.say("and mind the tests")
    assert run.commands == ()
    run.returns("r", "text")
    assert [m["role"] for m in run.messages[-3:]] == ["assistant", "tool", "user"]
    assert len(run.wanted(CallModel)) == 1


def test_an_interrupted_model_call_in_chat_waits_for_the_next_message() -> None:
    """Ctrl-C ends the turn and keeps the session."""
    run = chatting()
    run.intend()
    run.fail("cancelled")
    assert run.commands == (AskHuman("message"),)
    run.say("something else, please")
    assert len(run.wanted(CallModel)) == 1


def test_an_interrupted_model_call_elsewhere_ends_the_run() -> None:
    """Without a person to hand it to, a cancelled call cancels the run."""
    run = Run(agent())
    run.start()
    run.fail("cancelled", "Ctrl-C")
    assert run.commands == (Stop("cancelled", "Ctrl-C"),)


def test_time_spent_waiting_for_a_person_is_not_time_of_the_run() -> None:
    """A message after a night does not use the wall clock up."""
    run = chatting()
    run.reply(content="Hello.")
    before = run.state.spent.active_ns
    run.now_ns += 50_000 * SECOND
    run.say("good morning")
    assert run.state.spent.active_ns == before


def test_an_approval_does_not_swallow_an_empty_edit() -> None:
    """`modify` with empty arguments is an edit to nothing, not the model's own call."""
    run = asked(PUSH)
    run.answer("modify", arguments=Body(""))
    assert run.wanted(CallTool)[0].arguments == Body("")
