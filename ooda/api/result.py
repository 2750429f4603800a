"""The result of a run for people and programs, from its state."""

from __future__ import annotations

from typing import Any

import msgspec

from ooda.agents.coding import coding_result
from ooda.api.kinds import RunKind
from ooda.api.session import Session
from ooda.runtime.state import RunState

__all__ = ["result_of"]


def result_of(session: Session, kind: RunKind, state: RunState) -> dict[str, Any]:
    """The result as plain data: for a coding run the requirement's CodingAgentResult and more."""
    plan = state.plan
    text = session.store.blobs.get(plan.ref.digest) if plan.ref else plan.text
    result = coding_result(
        state,
        task_id=kind.topic.task_id,
        project_id=kind.topic.project_id,
        company_id=kind.topic.company_id,
        plan=text,
        artifacts={"temp_dir": str(kind.workspace), "model": kind.model},
    )
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(result))
    return plain
