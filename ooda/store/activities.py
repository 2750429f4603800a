"""What a task did, in the words operators query: rows of the view `task_activities`.

One activity at most per journal event, so that a sink which follows a journal again writes nothing twice.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ooda.clock import to_rfc3339
from ooda.store.tx import Tx, columns, records

__all__ = ["Activity", "add", "of_task"]


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a task's activity log."""

    task_id: str
    activity_type: Literal["progress", "function_call", "mcp_call", "error"]
    message: str
    details: str = "{}"
    """JSON."""
    timestamp: str
    """RFC 3339, UTC."""


def add(
    tx: Tx,
    run: str,
    seq: int,
    task_id: str,
    activity_type: Literal["progress", "function_call", "mcp_call", "error"],
    message: str,
    at_ns: int,
    details: str = "{}",
) -> bool:
    """Record what event `seq` of `run` means to its task; False when it is recorded already."""
    return bool(
        tx.change(
            f"INSERT INTO activities (run, seq, {columns(Activity)}) VALUES (?, ?, ?, ?, ?, ?, ?) "  # noqa: S608 - own names
            "ON CONFLICT DO NOTHING",
            (run, seq, task_id, activity_type, message, details, to_rfc3339(at_ns)),
        )
    )


def of_task(tx: Tx, task_id: str, *, limit: int = 100) -> list[Activity]:
    """The newest activities of a task, the newest first."""
    rows = tx.execute(
        f"SELECT {columns(Activity)} FROM task_activities WHERE task_id = ? ORDER BY timestamp DESC LIMIT ?",  # noqa: S608
        (task_id, limit),
    )
    return records(Activity, rows)
