"""When the prompt is compacted, and where it is cut."""

from __future__ import annotations

import pytest

from ooda.events import Limits
from ooda.runtime.compaction import cut_point, wants_compaction
from ooda.runtime.state import RunState


@pytest.mark.parametrize(("tokens", "wants"), [(0, False), (749, False), (750, True), (2000, True)])
def test_a_prompt_is_compacted_from_three_quarters_of_the_window(tokens: int, wants: bool) -> None:
    """Early enough that the next reply still fits."""
    state = RunState(run="run-1", limits=Limits(context_tokens=1000), context_tokens=tokens)
    assert wants_compaction(state) is wants


@pytest.mark.parametrize(
    ("turns", "kept", "cut"),
    [
        ((), 6, None),
        ((5,), 1, None),
        ((5, 8), 1, 8),
        ((5, 8), 2, None),
        ((5, 8, 11), 2, 8),
        ((5, 8, 11), 0, 11),
    ],
)
def test_a_cut_keeps_the_last_turns_and_drops_at_least_one(turns: tuple[int, ...], kept: int, cut: int | None) -> None:
    """The journal position of the first turn that stays; None when there is nothing to drop."""
    assert cut_point(turns, kept) == cut
