"""The notices of a run: written into outbox and activities in the transaction of the event that tells them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from ooda.events import Notified
from ooda.governance.recorder import Recorder
from ooda.governance.redaction import Redactor
from ooda.store import Tx, activities, outbox

__all__ = ["Topic", "put_fact", "put_notice"]


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """Whose notices these are: the parts of a notification's subject and payload."""

    company_id: str
    project_id: str
    task_id: str


def put_notice(tx: Tx, recorder: Recorder, topic: Topic, notified: Notified) -> None:
    """Make a notice an outbox row for its subject and an activity of its task."""
    put_fact(
        tx,
        recorder.redactor,
        topic,
        notice=notified.notice,
        kind=notified.kind_,
        message=notified.message,
        details=notified.details,
        run=recorder.state.run,
        seq=recorder.state.next_seq,
        at_ns=recorder.clock.now_ns(),
    )


def put_fact(
    tx: Tx,
    redactor: Redactor,
    topic: Topic,
    *,
    notice: str,
    kind: str,
    message: str,
    details: Mapping[str, Any],
    run: str,
    seq: int,
    at_ns: int,
) -> None:
    """The same for a fact without an event of its own: what the end of a run leads to is no part of its journal."""
    clean = redactor.redact
    cleaned = clean(msgspec.json.encode(details).decode()).text
    message = clean(message).text
    subject = ".".join((topic.company_id, topic.project_id, topic.task_id, kind))
    payload = {
        "workflow_id": run,
        "company_id": topic.company_id,
        "project_id": topic.project_id,
        "task_id": topic.task_id,
        "notification_type": kind,
        "message": message,
        "details": msgspec.Raw(cleaned.encode()),
        "timestamp_ns": at_ns,
    }
    outbox.enqueue(tx, notice, subject, msgspec.json.encode(payload).decode(), at_ns, run=run)
    activity: Literal["progress", "error"] = "error" if kind.endswith("_failed") else "progress"
    activities.add(tx, run, seq, topic.task_id, activity, message, at_ns, cleaned)
