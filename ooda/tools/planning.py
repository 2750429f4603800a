"""The two tools that touch nothing: the plan as it stands, and the claim that the work is done.

Their results steer phases. Whether the work is done is judged by validation, never by `finish`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from ooda.governance.call import ToolOutcome
from ooda.governance.operations import Operation
from ooda.tools.declare import tool
from ooda.tools.plan import ImplementationPlan, PlanStep, StepStatus, render
from ooda.tools.room import ToolRoom

__all__ = ["finish", "update_plan"]


class _Step(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = Field(min_length=1, max_length=500)
    status: StepStatus = "pending"


_Names = Annotated[list[str], Field(max_length=200)]


@tool(operation=Operation.READ_WORKSPACE, effect="pure", timeout_s=10, pins_plan=True)
async def update_plan(
    room: ToolRoom,
    steps: Annotated[list[_Step], Field(min_length=1, max_length=40, description="All steps, in order.")],
    files_to_create: Annotated[_Names, Field(description="Paths.")] = [],  # noqa: B006 - pydantic copies defaults
    files_to_modify: Annotated[_Names, Field(description="Paths.")] = [],  # noqa: B006
    estimated_steps: Annotated[int, Field(ge=0, le=1000, description="Tool calls you expect to need.")] = 0,
    validation_criteria: Annotated[_Names, Field(description="What must hold when it is done.")] = [],  # noqa: B006
) -> ToolOutcome:
    """Set or revise the implementation plan; give all of it each time, with the status of every step."""
    plan = ImplementationPlan(
        steps=tuple(PlanStep(step.description, step.status) for step in steps),
        files_to_create=tuple(files_to_create),
        files_to_modify=tuple(files_to_modify),
        estimated_steps=estimated_steps,
        validation_criteria=tuple(validation_criteria),
    )
    room.plan.current = plan
    return ToolOutcome(text=render(plan), data=msgspec.to_builtins(plan))


@tool(operation=Operation.READ_WORKSPACE, effect="pure", timeout_s=10, is_terminal=True)
async def finish(
    room: ToolRoom,
    summary: Annotated[str, Field(min_length=1, max_length=4000, description="What was done, for the report.")],
    suggestions: Annotated[list[str], Field(max_length=20, description="What could follow.")] = [],  # noqa: B006
) -> ToolOutcome:
    """Say that the work is done. It is then validated; when that fails, you go on."""
    return ToolOutcome(text=summary, data={"summary": summary, "suggestions": suggestions})
