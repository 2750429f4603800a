"""Killed after any write to the journal and taken up again, a run reaches the same end and repeats no effect."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ooda.events import Resumed, ToolStarted, is_derived
from ooda.runtime.commands import Notify
from tests.runtime.scripted import TRAITS, Run
from tests.runtime.world import Death, Killed, Owner, World, assert_same_end, carried, coder, revived

UNINTERRUPTED = carried()
WRITES = sum(not is_derived(entry.event) for entry in UNINTERRUPTED[0].journal)


def test_an_uninterrupted_run_does_everything_once() -> None:
    """The world the other tests compare with: three writes, a test run, a deployment and a push."""
    run, world = UNINTERRUPTED
    assert_same_end(run, world)
    assert sorted(e.tool for e in run.events(ToolStarted) if TRAITS[e.tool].effect != "pure") == [
        "deploy",
        "push",
        "test",
        "write",
        "write",
    ]


@pytest.mark.parametrize("death", ["landed", "lost", "stopped"])
def test_an_end_after_every_write_leads_to_the_same_end(death: Death) -> None:
    """Every prefix of the journal is a place to die; hours pass before the run is taken up."""
    for lives in range(1, WRITES):
        run, world = carried((lives, death))
        assert len(run.events(Resumed)) <= 1
        assert_same_end(run, world)


@settings(max_examples=300, deadline=None)
@given(
    deaths=st.lists(
        st.tuples(st.integers(1, WRITES + 8), st.sampled_from(["landed", "lost", "stopped"])), min_size=1, max_size=8
    ),
    seed=st.integers(0, 2**16),
)
def test_any_number_of_kills_in_any_order_of_completion_leads_to_the_same_end(
    deaths: list[tuple[int, Death]], seed: int
) -> None:
    """Also a kill while the previous one is being settled, with reads ending in any order."""
    run, world = carried(*deaths, seed=seed)
    assert_same_end(run, world)


@pytest.mark.parametrize("lives", range(1, WRITES))
def test_what_is_left_to_do_after_a_kill_is_what_was_left_before_it(lives: int) -> None:
    """Calls that had not begun are commanded again; those that had are closed or done again by their class."""
    world, run = World(), Run(coder())
    with pytest.raises(Killed):
        Owner(world, run, lives=lives).drive()
    again = revived(run)
    again.resume()
    before = {c.call for c in run.state.calls if c.commanded and not run.state.has_result(c.call)}
    held = {c.call for c in run.state.open_started if TRAITS[c.tool].effect in ("local", "once")}
    assert set(again.tools_called) == before - held
    assert bool(again.state.ask) == bool(run.state.ask)
    assert again.state.stopping == run.state.stopping
    assert [command for command in again.commands if isinstance(command, Notify)] == list(run.state.notices)
