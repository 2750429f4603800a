"""Notices to be delivered, written in the transaction of the fact they tell and sent afterwards by others.

A notice has an id of its own, so enqueuing it twice keeps one. What becomes of it on its way to each receiver is in
`ooda.store.messages`.
"""

from __future__ import annotations

import msgspec

from ooda.store.tx import Tx, columns, records

__all__ = ["Notice", "enqueue", "mark_failed", "mark_routed", "mark_sent", "pending", "unrouted"]


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One notice on its way."""

    id: str
    run: str = ""
    channel: str
    """What it is about: the subject of a run's notice, or whom the steward tells. Routes turn it into messages."""
    payload: str
    """JSON."""
    created_ns: int
    due_ns: int
    """Not to be sent before."""
    attempts: int = 0
    failure: str = ""
    """Why the last attempt failed."""


def enqueue(tx: Tx, id: str, channel: str, payload: str, at_ns: int, *, run: str = "", due_ns: int = 0) -> bool:
    """Put a notice into the outbox; False when one with this id is there already, sent or not."""
    return bool(
        tx.change(
            "INSERT INTO outbox (id, run, channel, payload, created_ns, due_ns) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT DO NOTHING",
            (id, run, channel, payload, at_ns, due_ns or at_ns),
        )
    )


def pending(tx: Tx, now_ns: int, *, limit: int = 100) -> list[Notice]:
    """Notices due and not sent, the longest due first."""
    rows = tx.execute(
        f"SELECT {columns(Notice)} FROM outbox WHERE sent_ns IS NULL AND due_ns <= ? ORDER BY due_ns, id LIMIT ?",  # noqa: S608
        (now_ns, limit),
    )
    return records(Notice, rows)


def mark_sent(tx: Tx, id: str, at_ns: int) -> bool:
    """Record the delivery; False when it was recorded before."""
    return bool(
        tx.change(
            "UPDATE outbox SET sent_ns = ?, attempts = attempts + 1, failure = '' WHERE id = ? AND sent_ns IS NULL",
            (at_ns, id),
        )
    )


def mark_failed(tx: Tx, id: str, failure: str, due_ns: int) -> bool:
    """Record a failed attempt and when to try again; False when the notice was sent meanwhile."""
    return bool(
        tx.change(
            "UPDATE outbox SET attempts = attempts + 1, failure = ?, due_ns = ? WHERE id = ? AND sent_ns IS NULL",
            (failure, due_ns, id),
        )
    )


def unrouted(tx: Tx, now_ns: int, *, run: str = "", limit: int = 200) -> list[Notice]:
    """Due notices that were not turned into messages yet, the longest due first; of one run when given."""
    of_run = " AND run = ?" if run else ""
    rows = tx.execute(
        f"SELECT {columns(Notice)} FROM outbox WHERE routed_ns IS NULL AND sent_ns IS NULL AND due_ns <= ?{of_run} "  # noqa: S608
        "ORDER BY due_ns, id LIMIT ?",
        (now_ns, *((run,) if run else ()), limit),
    )
    return records(Notice, rows)


def mark_routed(tx: Tx, id: str, at_ns: int, *, has_messages: bool, failure: str = "") -> bool:
    """Record that a notice was turned into messages; False when it was before.

    Args:
        has_messages: a notice that nobody gets is at its end.
        failure: why nobody gets it, although somebody should.
    """
    return bool(
        tx.change(
            "UPDATE outbox SET routed_ns = ?, sent_ns = ?, failure = ? WHERE id = ? AND routed_ns IS NULL",
            (at_ns, None if has_messages else at_ns, failure, id),
        )
    )
