"""The result of a run for people and programs, from its state: of one that has just ended, or from its journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import msgspec

from ooda.agents.coding import coding_result
from ooda.api.kinds import topic_of
from ooda.api.runs import started_of, state_of, task_of
from ooda.api.session import Session
from ooda.engines.world import Topic
from ooda.runtime.state import RunState

__all__ = ["Makings", "recorded_makings", "result_of"]


class Makings(Protocol):
    """What a result names of a run's makings."""

    @property
    def topic(self) -> Topic: ...
    @property
    def workspace(self) -> Path: ...
    @property
    def model(self) -> str: ...


class _Recorded(msgspec.Struct, frozen=True):
    topic: Topic
    workspace: Path
    model: str


def recorded_makings(session: Session, run: str) -> tuple[Makings, RunState]:
    """A run's makings and its state, from its journal alone: for one that is not opened any more."""
    task = task_of(session, run)
    workspace = session.places.run(run).workspace
    return _Recorded(topic_of(task, run), workspace, started_of(session, run).model), state_of(session, run)


def result_of(session: Session, kind: Makings, state: RunState) -> dict[str, Any]:
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
