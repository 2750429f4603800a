"""From notices to letters: titles, severity, facts and lines, with secrets taken out. Pure.

This is the choke point: every text that leaves by a channel is redacted here, once, before it is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from ooda.clock import to_rfc3339
from ooda.notify.escaping import clipped, one_line, plain
from ooda.notify.values import Entry, Letter, Severity
from ooda.store.outbox import Notice

__all__ = ["Told", "letter_of", "severity_of", "told"]

Redact = Callable[[str], str]

_MOST_TEXT = 8_000
_MOST_LINES = 50

_TITLES = {
    "workspace_stop_warning": "Your workspaces will be stopped",
    "workspace_stopped": "Your workspaces were stopped",
    "workspace_message": "About your workspaces",
    "steward_trouble": "The workspace steward needs you",
    "budget_alert": "A budget is nearly spent",
    "permission_denied": "A call was refused",
    "reputation_alert": "An agent's standing has changed",
    "workflow_started": "Work has begun",
    "workflow_completed": "Work is done",
    "workflow_failed": "Work has failed",
    "test": "A test message",
}
_SEVERITIES: dict[str, Severity] = {
    "workspace_stop_warning": "warning",
    "steward_trouble": "error",
    "budget_alert": "warning",
}


class _To(msgspec.Struct, frozen=True):
    username: str = ""
    email: str = ""
    name: str = ""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of a notice, as far as delivery reads it."""

    notification_type: str
    message: str = ""
    timestamp_ns: int = 0
    workflow_id: str = ""
    company_id: str = ""
    project_id: str = ""
    task_id: str = ""
    to: _To = _To()
    details: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(Told)


def told(notice: Notice) -> Told:
    """Read a notice's payload.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    return _decoder.decode(notice.payload)


def severity_of(kind: str, details: Mapping[str, Any]) -> Severity:
    """How loudly it is told."""
    said = str(details.get("severity", ""))
    if kind.endswith("_failed") or said in ("critical", "error", "high"):
        return "error"
    return _SEVERITIES.get(kind, "warning" if said == "warning" else "info")


def letter_of(
    id: str,
    notices: Sequence[Notice],
    redact: Redact,
    *,
    place: str = "",
    is_repeated: bool = False,
) -> Letter:
    """One letter that tells these notices, at least one, all of one kind."""
    entries = []
    severity: Severity = "info"
    for notice in notices:
        said = told(notice)
        entries.append(_entry(notice, said, redact))
        level = severity_of(said.notification_type, said.details)
        severity = max(severity, level, key=("info", "warning", "error").index)
    kind = entries[0].kind
    title = _TITLES.get(kind) or one_line(kind.replace("_", " ")).capitalize()
    return Letter(
        id=id,
        kind=kind,
        title=title,
        severity=severity,
        entries=tuple(entries),
        place=place,
        is_repeated=is_repeated,
    )


def _entry(notice: Notice, said: Told, redact: Redact) -> Entry:
    workspaces = said.details.get("workspaces")
    listed = workspaces if isinstance(workspaces, list) else []
    lines = [_workspace(one, redact) for one in listed if isinstance(one, dict) and one.get("workspace")]
    facts = [
        ("for", said.to.name or said.to.username),
        ("project", said.project_id if said.project_id != "local" else ""),
        ("task", said.task_id),
        ("run", said.workflow_id),
    ]
    at_ns = said.timestamp_ns or notice.created_ns
    return Entry(
        id=notice.id,
        kind=said.notification_type,
        text=clipped(plain(redact(said.message)), _MOST_TEXT),
        at_ns=at_ns,
        facts=tuple((name, one_line(redact(value))) for name, value in facts if value),
        lines=tuple(lines[:_MOST_LINES]),
        data={
            "notice_id": notice.id,
            "workflow_id": said.workflow_id,
            "company_id": said.company_id,
            "project_id": said.project_id,
            "task_id": said.task_id,
            "notification_type": said.notification_type,
            "message": redact(said.message),
            "details": _redacted(said.details, redact),
            "timestamp": to_rfc3339(at_ns),
        },
    )


def _workspace(one: Mapping[str, Any], redact: Redact) -> str:
    at = f" · {one['at_text']}" if one.get("at_text") else ""
    why = f" · {one['why']}" if one.get("why") else ""
    return one_line(redact(f"{one['workspace']}{at}{why}"))


def _redacted(details: Mapping[str, Any], redact: Redact) -> Any:
    """Redacted as one text, so that a value is seen together with the key that tells what it is."""
    encoded = msgspec.json.encode(details).decode()
    clean = redact(encoded)
    if clean == encoded:
        return details
    try:
        return msgspec.json.decode(clean)
    except msgspec.DecodeError:  # a finding that took a quotation mark with it
        return clean
