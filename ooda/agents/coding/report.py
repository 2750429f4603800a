"""What the coding agent reports: the requirement's CodingAgentResult, built from the journal's facts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ooda.runtime.state import RunState

__all__ = ["CodingAgentResult", "ImplementationPlan", "ValidationResult", "coding_result", "validation_text"]


class ImplementationPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan as the model structured it."""

    steps: tuple[str, ...] = ()
    files_to_create: tuple[str, ...] = ()
    files_to_modify: tuple[str, ...] = ()
    estimated_steps: int = 0
    validation_criteria: tuple[str, ...] = ()


class ValidationResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the validators counted."""

    success: bool = False
    issues: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    tests_passed: int = 0
    tests_failed: int = 0


class CodingAgentResult(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a coding run, for people and programs."""

    success: bool
    workflow_id: str
    """The same as `run_id`; the requirement's name for it."""
    run_id: str
    status: str
    company_id: str
    project_id: str
    task_id: str
    branch_name: str
    commit_hash: str | None
    implementation_plan: ImplementationPlan
    steps_completed: int
    validation_result: ValidationResult
    error_message: str | None
    execution_time_hours: float
    verified: bool
    """A validator ran and passed; false also when there was none."""
    cost_usd: str
    """Decimal text, nine digits."""
    tokens: int
    artifacts: dict[str, Any]


def coding_result(
    state: RunState, *, task_id: str, project_id: str, company_id: str, plan: str, artifacts: Mapping[str, Any]
) -> CodingAgentResult:
    """The result of a run in this state; `plan` is the plan's JSON, empty when none was made."""
    facts = state.facts
    checked = facts.get("validation")
    validation: Mapping[str, Any] = checked if isinstance(checked, dict) else {}
    done = state.status == "success"
    return CodingAgentResult(
        success=done,
        workflow_id=state.run,
        run_id=state.run,
        status=state.status or state.life,
        company_id=company_id,
        project_id=project_id,
        task_id=task_id,
        branch_name=str(facts.get("branch", "")),
        commit_hash=facts.get("commit"),
        implementation_plan=_plan(plan),
        steps_completed=state.spent.steps,
        validation_result=msgspec.convert(
            {name: validation[name] for name in ValidationResult.__struct_fields__ if name in validation},
            ValidationResult,
            strict=False,
        ),
        error_message=None if done else state.reason or None,
        execution_time_hours=round(state.spent.active_ns / 3.6e12, 6),
        verified=bool(validation.get("verified")),
        cost_usd=f"{state.spent.cost_nano // 1_000_000_000}.{state.spent.cost_nano % 1_000_000_000:09d}",
        tokens=state.spent.tokens,
        artifacts={"llm_calls": state.spent.model_calls, **artifacts},
    )


def _plan(encoded: str) -> ImplementationPlan:
    if not encoded:
        return ImplementationPlan()
    given = msgspec.json.decode(encoded)
    steps = tuple(step["description"] if isinstance(step, dict) else str(step) for step in given.get("steps", ()))
    return ImplementationPlan(
        steps=steps,
        files_to_create=tuple(given.get("files_to_create", ())),
        files_to_modify=tuple(given.get("files_to_modify", ())),
        estimated_steps=int(given.get("estimated_steps") or len(steps)),
        validation_criteria=tuple(given.get("validation_criteria", ())),
    )


def validation_text(validation: Mapping[str, Any]) -> str:
    """A validation in words: the counts, then each issue on a line of its own."""
    passed, failed = validation.get("tests_passed", 0), validation.get("tests_failed", 0)
    tests = "test" if passed == 1 else "tests"
    head = f"{passed} {tests} passed, {failed} failed" if passed or failed else "no tests were counted"
    issues = [f"- {issue}" for issue in validation.get("issues", ())]
    return "\n".join([head, *issues])
