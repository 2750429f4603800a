"""The notices of a run: written into outbox and activities in the transaction of the event that tells them."""

from __future__ import annotations

from typing import Literal

import msgspec

from ooda.events import Notified
from ooda.governance.recorder import Recorder
from ooda.store import Tx, activities, outbox

__all__ = ["Topic", "put_notice"]


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """Whose notices these are: the parts of a notification's subject and payload."""

    company_id: str
    project_id: str
    task_id: str


def put_notice(tx: Tx, recorder: Recorder, topic: Topic, notified: Notified) -> None:
    """Make a notice an outbox row for its subject and an activity of its task."""
    run, seq = recorder.state.run, recorder.state.next_seq
    at_ns = recorder.clock.now_ns()
    clean = recorder.redactor.redact
    details = clean(msgspec.json.encode(notified.details).decode()).text
    message = clean(notified.message).text
    subject = ".".join((topic.company_id, topic.project_id, topic.task_id, notified.kind_))
    payload = {
        "workflow_id": run,
        "company_id": topic.company_id,
        "project_id": topic.project_id,
        "task_id": topic.task_id,
        "notification_type": notified.kind_,
        "message": message,
        "details": msgspec.Raw(details.encode()),
        "timestamp_ns": at_ns,
    }
    outbox.enqueue(tx, notified.notice, subject, msgspec.json.encode(payload).decode(), at_ns, run=run)
    kind: Literal["progress", "error"] = "error" if notified.kind_.endswith("_failed") else "progress"
    activities.add(tx, run, seq, topic.task_id, kind, message, at_ns, details)
