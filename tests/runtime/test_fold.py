"""The journal as the truth: folding it gives the live state, and a journal that says otherwise is refused."""

from __future__ import annotations

import msgspec
import pytest

from ooda.errors import JournalError
from ooda.events import (
    BlobRef,
    Body,
    Compacted,
    Decided,
    Entry,
    Foreign,
    LimitReached,
    Observed,
    Patched,
    PhaseEntered,
    RunStarted,
    TimerSet,
    decode,
    is_derived,
)
from ooda.runtime.agent import LOOP_VERSION
from ooda.runtime.decide import Decision
from ooda.runtime.loop import Loop
from tests.runtime.scripted import Run, act, agent, call, model_phase, policy_phase


def worked() -> Run:
    """A run with every kind of conclusion in its journal but a limit."""

    def policy(situation) -> Decision:
        if not situation.results:
            return Decision(actions=(act("test"),))
        return Decision(done=True, reason="passed", facts={"counts": (3, 0), "by": {"pytest": True}})

    run = Run(agent(policy_phase("validate", policy), model_phase("work", brief="Go on.")))
    run.start()
    run.returns("validate-1-0", "3 passed")
    run.reply(content="thinking")
    run.reply(call("r", "read"), call("w", "write"))
    run.returns("r")
    run.refuse("w")
    return run


def test_the_fold_of_a_journal_is_the_live_state_and_its_last_commands() -> None:
    """Read back from its bytes: tuples became lists, and nothing else changed."""
    run = worked()
    assert run.loop.fold("run-1", run.written()) == (run.state, run.commands)


def test_every_state_of_a_journal_can_be_folded() -> None:
    """One state for each input event; each equals the fold of the journal up to there."""
    run = worked()
    states = list(run.loop.states("run-1", run.written()))
    inputs = [at for at, entry in enumerate(run.journal) if not is_derived(entry.event)]
    assert len(states) == len(inputs)
    for following, (state, commands) in zip([*inputs[1:], len(run.journal)], states, strict=True):
        assert run.loop.fold("run-1", run.written()[:following]) == (state, commands)


def test_the_fold_of_nothing_is_a_run_that_was_not_started() -> None:
    """Its first event is still to come."""
    state, commands = Loop(agent()).fold("run-9", [])
    assert (state.run, state.life, state.next_seq, commands) == ("run-9", "created", 0, ())


def test_a_long_brief_may_be_inline_or_a_reference() -> None:
    """The core renders it inline, the journal keeps it by digest; both are the same brief."""
    run = Run(agent(model_phase("work", brief="x" * 5000)))
    run.start()
    entry = run.journal[1]
    brief = entry.event.brief
    reference = Body(ref=BlobRef(brief.digest, brief.size_bytes))
    run.journal[1] = Entry(msgspec.structs.replace(entry.event, brief=reference), entry.at_ns, entry.label)
    assert run.loop.fold("run-1", run.written()) == (run.state, run.commands)


DERIVED_AT = [at for at, entry in enumerate(worked().journal) if is_derived(entry.event)]


@pytest.mark.parametrize("at", DERIVED_AT)
def test_a_changed_conclusion_is_refused_and_named(at: int) -> None:
    """The first event that this loop would not have written: its seq, what was expected, what was found."""
    run = worked()
    entries = run.written()
    entry = entries[at]
    changed = {
        PhaseEntered: lambda e: msgspec.structs.replace(e, phase="other"),
        Decided: lambda e: msgspec.structs.replace(e, reason="because"),
        Observed: lambda e: msgspec.structs.replace(e, text=Body("something else")),
    }[type(entry.event)](entry.event)
    entries[at] = Entry(changed, entry.at_ns, entry.label)
    with pytest.raises(JournalError, match=f"at event {at}") as failed:
        run.loop.fold("run-1", entries)
    assert (failed.value.run, failed.value.seq) == ("run-1", at)
    assert type(entry.event).__name__ in failed.value.expected
    assert type(entry.event).__name__ in failed.value.found


@pytest.mark.parametrize("at", DERIVED_AT)
def test_a_missing_conclusion_is_refused_and_named(at: int) -> None:
    """Cut out of the middle or the end, it is missed where it should stand."""
    run = worked()
    entries = run.written()
    del entries[at]
    with pytest.raises(JournalError) as failed:
        run.loop.fold("run-1", entries)
    assert failed.value.seq == at


def test_a_journal_cut_within_a_transaction_misses_its_conclusions() -> None:
    """An event and what followed from it are written together or not at all."""
    run = worked()
    with pytest.raises(JournalError, match="holds nothing") as failed:
        run.loop.fold("run-1", run.written()[:1])
    assert failed.value.seq == 1


def test_a_conclusion_nobody_drew_is_refused() -> None:
    """A derived event after which the loop has nothing to say."""
    run = worked()
    extra = Entry(Compacted(keep_from_seq=3, reason="r"), run.now_ns)
    with pytest.raises(JournalError, match="concludes nothing") as failed:
        run.loop.fold("run-1", [*run.written(), extra])
    assert failed.value.seq == len(run.journal)


def test_another_loop_of_the_agent_is_found_out() -> None:
    """Changed behaviour shows as a divergence, never as a silently other run."""
    run = worked()
    other = Loop(agent(policy_phase("validate", lambda s: Decision(done=True)), model_phase("work")))
    with pytest.raises(JournalError, match="diverges at event 2"):
        other.fold("run-1", run.written())


@pytest.mark.parametrize(
    "event",
    [
        PhaseEntered(phase="a", round=0),
        Decided(phase="a", step=1),
        Compacted(keep_from_seq=0, reason=""),
        LimitReached(limit="steps", value=1, cap=1),
    ],
    ids=lambda event: type(event).__name__,
)
def test_a_conclusion_is_never_given_to_the_core(event) -> None:
    """Only the core concludes."""
    run = worked()
    with pytest.raises(JournalError, match="concluded by the core") as failed:
        run.feed(event)
    assert failed.value.seq == run.state.next_seq


def test_an_event_of_an_unknown_kind_is_counted_and_folded_as_nothing() -> None:
    """Kinds of a later minor version are kept; they take a seq and change nothing else."""
    run = worked()
    before = run.state
    foreign = decode(b'{"kind":"Applauded","by":"ada"}', "Applauded")
    assert isinstance(foreign, Foreign)
    assert run.feed(foreign, after_s=0) == ()
    changed = msgspec.structs.replace(before, next_seq=before.next_seq + 1, derived=())
    assert run.state == changed
    # Read back, it is the same event: kept verbatim.
    entries = [*run.written()[:-1], Entry(foreign, run.now_ns, run.journal[-1].label)]
    assert run.loop.fold("run-1", entries) == (run.state, ())


@pytest.mark.parametrize(
    "event", [TimerSet(timer="t", at_ns=1), Patched(name="p"), Observed(source="inbox", text=Body("mail"))]
)
def test_events_that_are_only_facts_ask_for_nothing(event) -> None:
    """They are part of the record."""
    run = worked()
    assert run.feed(event) == ()


def test_a_journal_begins_with_its_first_event() -> None:
    """Anything before RunStarted means that the head is missing."""
    run = Run(agent())
    with pytest.raises(JournalError, match="no RunStarted") as failed:
        run.say("hello")
    assert (failed.value.run, failed.value.seq) == ("run-1", 0)


def test_a_run_is_started_once() -> None:
    """A second RunStarted is another run's."""
    run = worked()
    with pytest.raises(JournalError, match="started twice") as failed:
        run.start()
    assert failed.value.seq == run.state.next_seq


def test_a_run_of_a_newer_loop_is_refused_untouched() -> None:
    """It says which version is needed."""
    run = Run(agent())
    with pytest.raises(JournalError, match="upgrade"):
        run.feed(
            RunStarted(
                agent="coding",
                task=Body("{}"),
                task_digest="",
                rules=Body(""),
                brief=Body(""),
                limits=run.limits,
                loop_version=LOOP_VERSION + 1,
            )
        )


def test_the_label_of_a_run_is_the_join_of_all_it_has_seen() -> None:
    """Integrity falls and confidentiality rises, and neither comes back."""
    from ooda.labels import TOOL, UNTRUSTED, Confidentiality, Integrity, Label

    run = Run(agent())
    run.start()
    assert run.state.label == TOOL
    run.feed(Observed(source="web", text=Body("x")), label=UNTRUSTED)
    run.feed(Observed(source="vault", text=Body("x")), label=Label(Integrity.TRUSTED, Confidentiality.SECRET))
    assert run.state.label == Label(Integrity.UNTRUSTED, Confidentiality.SECRET)
    assert run.loop.situation(run.state).label == run.state.label
