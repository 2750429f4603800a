"""The plan and the claim to be done."""

from __future__ import annotations

import json

import pytest

from ooda.errors import ToolArgumentsError
from ooda.events import canonical
from tests.tools.bench import Bench


async def test_a_plan_is_kept_as_given_and_shown_as_a_list(bare_bench: Bench) -> None:
    """The structured result is the requirement's implementation_plan with the state of each step."""
    outcome = await bare_bench(
        "update_plan",
        steps=[{"description": "Read", "status": "done"}, {"description": "Mend", "status": "in_progress"}],
        files_to_modify=["a.py"],
        estimated_steps=12,
        validation_criteria=["all tests pass"],
    )
    assert outcome.text == (
        "Plan, 1 of 2 steps done:\n1. [x] Read\n2. [>] Mend\nModify: a.py\nValid when: all tests pass"
    )
    assert json.loads(canonical(outcome.data)) == {
        "steps": [{"description": "Read", "status": "done"}, {"description": "Mend", "status": "in_progress"}],
        "files_to_create": [],
        "files_to_modify": ["a.py"],
        "estimated_steps": 12,
        "validation_criteria": ["all tests pass"],
    }
    assert bare_bench.room.plan.current is not None
    assert bare_bench.room.plan.current.done == 1


async def test_a_plan_needs_steps(bare_bench: Bench) -> None:
    """And steps need words."""
    with pytest.raises(ToolArgumentsError, match="`steps`"):
        await bare_bench("update_plan", steps=[])
    with pytest.raises(ToolArgumentsError, match=r"steps\.0\.description"):
        await bare_bench("update_plan", steps=[{"description": ""}])


async def test_finish_hands_over_summary_and_suggestions(bare_bench: Bench) -> None:
    """What the report is written from."""
    outcome = await bare_bench("finish", summary="Mended it.", suggestions=["Add a fuzz test."])
    assert outcome.data == {"summary": "Mended it.", "suggestions": ["Add a fuzz test."]}
