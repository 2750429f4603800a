"""Replay: a record replays without divergence, and the first event that would be another today is named."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ooda.events import Body, Entry, Event, ModelAsked, ToolReturned, ToolStarted
from ooda.runtime.context import Prompt
from ooda.runtime.decide import Decision
from ooda.runtime.replay import ReplayReport, prompt_diff, replay
from tests.runtime.scripted import Run, act, agent, call, model_phase, policy_phase, schemas, text_of
from tests.runtime.world import Death, carried, coder


def replayed(entries: list[Entry], spec=None, tools=schemas) -> ReplayReport:
    return replay("run-1", entries, spec or coder(), tools, text_of)


def changed(entries: list[Entry], kind: type[Event], number: int = 0, **changes: object) -> tuple[list[Entry], int]:
    """The record with one event of a kind changed, and where it stands."""
    at = [seq for seq, entry in enumerate(entries) if isinstance(entry.event, kind)][number]
    event = msgspec.structs.replace(entries[at].event, **changes)
    return [*entries[:at], Entry(event, entries[at].at_ns, entries[at].label), *entries[at + 1 :]], at


def test_a_record_replays_without_divergence_and_says_what_it_covered() -> None:
    """Every event, every request and every call of the record was compared."""
    run, _ = carried()
    report = replayed(run.written())
    assert report.divergence is None
    assert (report.run, report.events) == ("run-1", len(run.journal))
    assert report.model_calls == len(run.events(ModelAsked))
    assert report.tool_calls == len(run.events(ToolStarted))
    assert report.state is not None
    assert report.state.facts == run.state.facts


@settings(max_examples=40, deadline=None)
@given(
    deaths=st.lists(st.tuples(st.integers(1, 45), st.sampled_from(["landed", "lost", "stopped"])), max_size=4),
    seed=st.integers(0, 99),
)
def test_a_record_of_kills_and_restarts_replays_like_any(deaths: list[tuple[int, Death]], seed: int) -> None:
    """What owners did to take the run up is in the record too."""
    run, _ = carried(*deaths, seed=seed)
    assert replayed(run.written()).divergence is None


def test_the_record_of_a_run_that_is_not_over_replays_to_where_it_stands() -> None:
    """A journal of yesterday's crash is a record as well."""
    run = Run(coder())
    run.start()
    run.returns("clone-1-0", "ok")
    report = replayed(run.written())
    assert (report.divergence, report.events) == (None, len(run.journal))


def test_what_is_volatile_in_a_result_is_no_divergence() -> None:
    """The digest of the next request was taken over another duration."""
    run = Run(agent())
    run.start()
    run.reply(call("t", "test"))
    run.returns("t", "3 passed in 0.12s")
    run.intend()
    slower, _ = changed(run.written(), ToolReturned, text=Body("3 passed in 4.56s"))
    assert replayed(slower, agent()).divergence is None
    fewer, _ = changed(run.written(), ToolReturned, text=Body("2 passed in 0.12s"))
    divergence = replayed(fewer, agent()).divergence
    assert divergence is not None
    assert divergence.seq == len(run.journal) - 1
    assert "renders to" in divergence.what


def test_a_changed_tool_definition_is_found_at_the_first_request_that_shows_it() -> None:
    """The model would see something else today."""
    run, _ = carried()
    first = next(seq for seq, entry in enumerate(run.journal) if isinstance(entry.event, ModelAsked))
    report = replayed(run.written(), tools=lambda names: schemas((*names, "more")))
    assert report.divergence is not None
    assert report.divergence.seq == first
    assert "tool definition" in report.divergence.what


def test_another_number_of_messages_is_said_in_numbers() -> None:
    """The commonest divergence of all."""
    run, _ = carried()
    entries, at = changed(run.written(), ModelAsked, 1, messages=99, digest="0" * 64)
    divergence = replayed(entries).divergence
    assert divergence is not None
    assert divergence.seq == at
    assert "99 messages" in divergence.what


def test_a_changed_brief_is_found_where_its_phase_begins() -> None:
    """What the loop concludes is compared before any request is."""
    run, _ = carried()
    phases = tuple(
        model_phase("implement", brief="Do it well.", is_round=True) if phase.name == "implement" else phase
        for phase in coder().phases
    )
    divergence = replayed(run.written(), agent(*phases, success=coder().success)).divergence
    assert divergence is not None
    assert "PhaseEntered" in divergence.what
    assert "implement" in divergence.what


def test_a_changed_policy_is_found_at_its_decision() -> None:
    """Also when it would make other calls."""
    run, _ = carried()
    phases = (policy_phase("clone", lambda s: Decision(actions=(act("write"),))), *coder().phases[1:])
    divergence = replayed(run.written(), agent(*phases, success=coder().success)).divergence
    assert divergence is not None
    assert divergence.seq <= 2


def test_a_call_that_nobody_asked_for_is_found_where_it_starts() -> None:
    """A writer of the batch begins before its turn."""
    run = Run(agent())
    run.start()
    run.reply(call("r", "read"), call("w", "write"))
    run.begin("w")
    divergence = replayed(run.written(), agent()).divergence
    assert divergence is not None
    assert (divergence.seq, "`write` (w)" in divergence.what) == (len(run.journal) - 1, True)


@pytest.mark.parametrize("kind", [ModelAsked, ToolStarted])
def test_an_intent_of_another_run_is_a_divergence_and_no_crash(kind: type[Event]) -> None:
    """A damaged record is reported at its seq like any other difference."""
    run, _ = carried()
    entries, at = changed(run.written(), kind, **({"ask": "x"} if kind is ModelAsked else {"call": "x"}))
    divergence = replayed(entries).divergence
    assert divergence is not None
    assert divergence.seq == at


# -- the difference of two requests -----------------------------------------------------------------------


def conversation(*results: str) -> Prompt:
    run = Run(agent())
    run.start()
    for turn, text in enumerate(results):
        run.reply(call(f"r{turn}", "read"))
        run.returns(f"r{turn}", text)
    return run.prompt


def test_the_first_message_that_differs_is_shown_as_a_diff() -> None:
    """Line by line, of the normalised text."""
    old, new = conversation("a\nb in 0.1s\nc", "d"), conversation("a\nB in 0.2s\nc", "e")
    shown = prompt_diff(old.messages, new.messages)
    assert shown.startswith("message 3 differs:")
    assert "-b in <duration>" in shown
    assert "+B in <duration>" in shown
    assert "-d" not in shown


def test_a_message_more_is_shown() -> None:
    """With its first lines."""
    shown = prompt_diff(conversation("a").messages, conversation("a", "b").messages)
    assert "holds 4 messages, this one 6" in shown
    assert "read({})" in shown


def test_equal_messages_leave_the_tools() -> None:
    """Nothing else goes into the digest."""
    assert "tools shown" in prompt_diff(conversation("a").messages, conversation("a").messages)
