"""The language model as decider: what each kind of reply and each kind of failure leads to."""

from __future__ import annotations

import pytest

from ooda.errors import JournalError
from ooda.events import Body, Compacted, Decided, LimitReached, Limits, ModelAsked, ModelFailed, Observed, Usage
from ooda.runtime.commands import AskHuman, CallModel, CallTool, Stop
from ooda.runtime.decide import Decision, Spent
from tests.runtime.scripted import Run, agent, call, converse, model_phase, policy_phase, replied


def started(*phases, limits: Limits | None = None) -> Run:
    run = Run(agent(*phases), limits=limits)
    run.start()
    return run


def test_a_model_call_names_the_prefix_of_the_journal_it_is_rendered_from() -> None:
    """The transcript does not travel: the runner's prompt up to that event has exactly that hash."""
    run = started(limits=Limits(reply_tokens=512))
    (command,) = run.wanted(CallModel)
    assert command.upto_seq == len(run.journal) - 1
    assert command.prefix_hash == run.prompt.context_hash
    assert (command.reply_tokens, command.tools) == (512, run.spec.phases[0].tools)


def test_an_intent_is_known_from_its_record_to_its_answer() -> None:
    """Whoever takes the run up must close exactly the calls that may have been sent."""
    run = started()
    assert not run.state.asked
    run.intend()
    assert run.state.asked
    run.fail("output")
    assert not run.state.asked
    run.intend()
    run.reply_with([call("r", "read")])
    assert (run.state.ask, run.state.asked) == ("", False)
    run.returns("r")
    run.intend()
    run.resume()
    assert not run.state.asked


def test_every_model_call_has_an_id_of_its_own() -> None:
    """Also when it is asked again after a failure or a restart."""
    run = started()
    run.fail("output")
    run.fail("interrupted")
    run.resume()
    run.reply(content="hm")
    asks = [command.ask for command in run.asked if isinstance(command, CallModel)]
    assert len(asks) == len(set(asks)) == 4


def test_what_a_reply_cost_is_counted() -> None:
    """Tokens, nano-USD and calls, of failures too when something was charged."""
    run = started()
    run.reply(call("r", "read"), tokens=120, cost_nano=7)
    run.returns("r")
    run.fail("output", tokens=30, cost_nano=2)
    assert run.state.spent == Spent(
        steps=1, model_calls=1, tool_calls=1, tokens=150, cost_nano=9, active_ns=run.state.spent.active_ns
    )


def test_tools_are_called_as_the_model_asked_in_one_step() -> None:
    """One reply is one step, whatever the number of its calls."""
    run = started()
    run.reply(call("a", "read", path="a"), call("b", "read", path="b"))
    assert run.wanted(CallTool) == [
        CallTool("a", "read", Body('{"path": "a"}')),
        CallTool("b", "read", Body('{"path": "b"}')),
    ]
    assert run.events(Decided) == [Decided(phase="work", step=1, actions=("a read", "b read"))]


@pytest.mark.parametrize(
    ("content", "finish", "told"),
    [
        ("I would look at the parser.", "stop", "no tool call"),
        ("", "stop", "empty"),
        ("", "length", "cut at 8192 tokens"),
        ("I was going to", "length", "no tool call"),
    ],
    ids=["words only", "empty", "cut before a word", "cut in the middle"],
)
def test_a_reply_that_does_nothing_is_told_so_and_asked_again(content: str, finish: str, told: str) -> None:
    """The model reads in one sentence what was wrong with its reply."""
    run = started()
    run.reply(content=content, finish=finish)
    (nudge,) = run.events(Observed)
    assert told in nudge.text.text
    assert len(run.wanted(CallModel)) == 1
    assert run.messages[-1] == {"role": "user", "content": nudge.text.text}


def test_three_replies_in_a_row_that_do_nothing_end_the_run_as_stuck() -> None:
    """Two nudges are enough; the third such reply is the last."""
    run = started()
    for _ in range(3):
        assert len(run.wanted(CallModel)) == 1
        run.reply()
    assert run.commands == (Stop("stuck", "3 replies in a row held no tool call."),)
    assert run.events(LimitReached) == [LimitReached(limit="stuck", value=3, cap=3)]
    assert len(run.events(Observed)) == 2, "the last one is not told what nobody will read"


def test_a_reply_with_calls_makes_the_silent_ones_before_it_forgotten() -> None:
    """Only replies in a row count."""
    run = started()
    for step in range(3):
        run.reply()
        run.reply(content="hm")
        run.reply(call(f"r{step}", "read", step=step))
        run.returns(f"r{step}", f"text {step}")
    assert run.state.stopping is None


@pytest.mark.parametrize("finish", ["refusal", "content_filter"])
def test_a_model_that_declines_ends_the_run_with_its_words(finish: str) -> None:
    """Asking again would not change its mind."""
    run = started()
    run.reply(content="I cannot help with that.", finish=finish)
    assert run.commands == (Stop("failed", f"The model declined to answer ({finish}): I cannot help with that."),)
    assert run.events(Decided) == []


def test_an_empty_reply_leaves_no_empty_message_in_the_prompt() -> None:
    """A provider that gave no message at all is not sent an invalid one back."""
    run = started()
    run.intend()
    run.feed(replied(run.state.ask).__class__(**{**_fields(replied(run.state.ask)), "message": Body("")}))
    assert [m["role"] for m in run.messages] == ["system", "user", "user"]


def _fields(event) -> dict:
    return {name: getattr(event, name) for name in event.__struct_fields__}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("unavailable", "model_unavailable"),
        ("credential", "model_unavailable"),
        ("budget", "budget_exceeded"),
        ("refused", "refused"),
        ("cancelled", "cancelled"),
    ],
)
def test_a_failed_model_call_ends_the_run_with_the_status_of_its_kind(error: str, status: str) -> None:
    """The provider's or the gate's sentence is the reason."""
    run = started()
    run.fail(error, "429: try again in an hour")
    assert run.commands == (Stop(status, "429: try again in an hour"),)


def test_an_interrupted_model_call_decides_nothing_until_the_run_is_resumed() -> None:
    """A killed owner leaves it; the new one closes it and asks again."""
    run = started()
    run.intend()
    assert run.fail("interrupted") == ()
    run.resume()
    assert len(run.wanted(CallModel)) == 1


def test_an_unusable_reply_is_asked_again_and_three_in_a_row_end_the_run() -> None:
    """Truncated streams and invalid JSON are the provider's fault; the number of tries is bounded."""
    run = started()
    run.fail("output", "not JSON")
    run.fail("output", "not JSON")
    assert len(run.wanted(CallModel)) == 1
    run.fail("output", "still not JSON")
    assert run.commands == (Stop("failed", "3 unusable replies in a row. The last one: still not JSON"),)


def test_unusable_replies_with_a_good_one_between_them_do_not_add_up() -> None:
    """`in a row` means in a row, over a long run too."""
    run = started()
    for step in range(5):
        run.fail("output")
        run.reply(call(f"r{step}", "read", step=step))
        run.returns(f"r{step}", f"text {step}")
    assert run.state.stopping is None


def with_turns(turns: int, **limits: int) -> Run:
    """A run that waits for the model after some turns of one read each."""
    run = started(limits=Limits(**limits))
    for turn in range(turns):
        run.reply(call(f"r{turn}", "read", turn=turn))
        run.returns(f"r{turn}", f"text {turn}")
    return run


def test_an_overflow_compacts_and_asks_again_keeping_fewer_turns_each_time() -> None:
    """Six, three, one; then the run ends, because the prompt cannot become smaller."""
    run = with_turns(10)
    kept = []
    for _ in range(3):
        run.fail("overflow", "200001 tokens")
        assert len(run.wanted(CallModel)) == 1
        kept.append(sum(m["role"] == "assistant" for m in run.messages))
    assert kept == [6, 3, 1]
    run.fail("overflow", "200001 tokens")
    assert [(stop.status, "larger window" in stop.reason) for stop in run.wanted(Stop)] == [("failed", True)]
    assert len(run.events(Compacted)) == 3


@pytest.mark.parametrize(("turns", "kept"), [(7, 6), (6, 3), (4, 3), (3, 1), (2, 1)])
def test_an_overflow_early_in_a_run_compacts_what_there_is(turns: int, kept: int) -> None:
    """Few turns may fill a window as well as many: the first cut that drops anything is taken."""
    run = with_turns(turns)
    run.fail("overflow")
    assert sum(m["role"] == "assistant" for m in run.messages) == kept
    assert len(run.wanted(CallModel)) == 1


@pytest.mark.parametrize("turns", [0, 1])
def test_an_overflow_with_nothing_to_drop_ends_the_run(turns: int) -> None:
    """The task and the rules alone do not fit: no request could."""
    run = with_turns(turns)
    run.fail("overflow")
    assert [stop.status for stop in run.wanted(Stop)] == ["failed"]


def test_a_good_reply_forgets_the_overflows_before_it() -> None:
    """Each time the window overflows anew, compaction begins with six turns again."""
    run = with_turns(10)
    run.fail("overflow")
    run.fail("overflow")
    for turn in range(10, 17):
        run.reply(call(f"r{turn}", "read", turn=turn))
        run.returns(f"r{turn}", f"text {turn}")
    run.fail("overflow")
    assert sum(m["role"] == "assistant" for m in run.messages) == 6


def test_a_prompt_of_three_quarters_of_the_window_is_compacted_before_the_next_call() -> None:
    """The usage of the last reply tells; nothing is compacted twice for one reply."""
    run = with_turns(7, context_tokens=1000)
    run.reply(call("big", "read"), tokens=750)
    run.returns("big", "text")
    (compacted,) = run.events(Compacted)
    assert compacted.reason == "the prompt reached 750 tokens"
    assert sum(m["role"] == "assistant" for m in run.messages) == 6
    (command,) = run.wanted(CallModel)
    assert command.prefix_hash == run.prompt.context_hash


def test_a_prompt_below_three_quarters_of_the_window_is_left_alone() -> None:
    """Every compaction costs the provider's cache."""
    run = with_turns(7, context_tokens=1000)
    run.reply(call("big", "read"), tokens=749)
    run.returns("big", "text")
    assert run.events(Compacted) == []


@pytest.mark.parametrize("kind", ["reply", "failure", "intent"])
def test_an_answer_to_a_model_call_that_is_not_open_is_a_damaged_journal(kind: str) -> None:
    """It names the seq and both calls."""
    run = started()
    event = {
        "reply": replied("other"),
        "failure": ModelFailed(ask="other", error="unavailable", message="x"),
        "intent": ModelAsked(
            ask="other",
            model="m",
            upto_seq=0,
            prefix_hash="",
            digest="",
            messages=1,
            input_bytes=1,
            reply_tokens=1,
        ),
    }[kind]
    with pytest.raises(JournalError, match=r"'other'.*'work-2'") as failed:
        run.feed(event)
    assert failed.value.seq == 2


def test_a_chat_hands_words_to_the_person_and_still_reminds_of_an_empty_reply() -> None:
    """`silent` reads words; a reply without any is a fault of the provider."""
    run = started(converse())
    run.reply(content="Good morning.")
    assert run.wanted(AskHuman) == [AskHuman("message", prompt="your turn")]
    run.say("hello?")
    run.reply()
    assert len(run.wanted(CallModel)) == 1


def test_the_exit_of_a_models_phase_is_judged_before_it_is_asked_again() -> None:
    """After `finish` succeeded no further model call is made; a failed one goes on."""
    run = started(model_phase("work"), policy_phase("end", lambda s: Decision(done=True)))
    run.reply(call("f1", "finish"))
    run.returns("f1", "the tests fail", status="error")
    assert len(run.wanted(CallModel)) == 1
    run.reply(call("f2", "finish"))
    run.returns("f2")
    assert run.wanted(CallModel) == []
    assert run.wanted(Stop) == [Stop("success", "all phases are done")]


def test_usage_adds_bucket_by_bucket() -> None:
    """Totals count what was sent and what was generated; the parts are parts."""
    total = Usage(10, 4, 2, 5, 3) + Usage(1, 1, 1, 1, 1)
    assert (total, total.total_tokens) == (Usage(11, 5, 3, 6, 4), 17)
