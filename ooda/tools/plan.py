"""The implementation plan: structured, revised as a whole, shown to the model as a short list.

Pure values. The journal's last `update_plan` result is the plan of a run; the holder only carries it for tools.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["ImplementationPlan", "PlanHolder", "PlanStep", "StepStatus", "render"]

StepStatus = Literal["pending", "in_progress", "done"]


class PlanStep(msgspec.Struct, frozen=True):
    """One intended step."""

    description: str
    status: StepStatus = "pending"


class ImplementationPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent intends, as the requirement's implementation_plan plus the state of each step."""

    steps: tuple[PlanStep, ...]
    files_to_create: tuple[str, ...] = ()
    files_to_modify: tuple[str, ...] = ()
    estimated_steps: int = 0
    validation_criteria: tuple[str, ...] = ()

    @property
    def done(self) -> int:
        """How many steps are done."""
        return sum(step.status == "done" for step in self.steps)


class PlanHolder:
    """The plan as it stands now; None before the first `update_plan`."""

    def __init__(self, current: ImplementationPlan | None = None) -> None:
        self.current = current


_MARKS = {"pending": "[ ]", "in_progress": "[>]", "done": "[x]"}


def render(plan: ImplementationPlan) -> str:
    """The plan as text: one line a step, then files and criteria where there are any."""
    lines = [f"Plan, {plan.done} of {len(plan.steps)} steps done:"]
    lines += [f"{number}. {_MARKS[step.status]} {step.description}" for number, step in enumerate(plan.steps, 1)]
    for title, words in (
        ("Create", plan.files_to_create),
        ("Modify", plan.files_to_modify),
        ("Valid when", plan.validation_criteria),
    ):
        if words:
            lines.append(f"{title}: {'; '.join(words)}")
    return "\n".join(lines)
