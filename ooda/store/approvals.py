"""Questions to people and their answers: bound to exactly one call, answered once, used once.

The row keeps everything the answer is bound to, so that an approval given for one thing can never pass another.
What may be asked, and what an answer allows, is governance's business.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ooda.clock import to_rfc3339
from ooda.errors import RefusedError
from ooda.store.tx import Tx, columns, records

__all__ = ["NEVER_NS", "Answer", "Approval", "answer", "find", "insert", "use", "waiting"]

NEVER_NS = 2**63 - 1
"""Expiry of a question that waits as long as it takes: what happened outside does not become known by itself."""

Answer = Literal["approve", "modify", "reject", "stop", "expired", "happened", "did_not"]


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """One question, what its answer is bound to, and the answer once there is one."""

    id: str
    run: str
    seq: int
    """Journal position of the question."""
    call: str
    tool: str
    ask: Literal["action", "decision"] = "action"
    definition: str
    """Hash of the tool's definition."""
    arguments: str
    """Canonical JSON of the arguments."""
    arguments_hash: str
    targets: str
    """Canonical JSON: what in the outside world would be touched (remote URL, cluster, project)."""
    policy: str
    """Version of the policy that asked."""
    labels: str
    shown: str
    """Exactly what the person is shown."""
    shown_hash: str
    asked_ns: int
    expires_ns: int
    state: Literal["waiting"] | Answer = "waiting"
    answered_by: str = ""
    answered_ns: int | None = None
    note: str = ""
    edited_arguments: str | None = None
    """The approver's edit: a new call, decided anew."""
    used_ns: int | None = None


_FIELDS = Approval.__struct_fields__
_INSERT = (
    f"INSERT INTO approvals ({columns(Approval)}) VALUES ({', '.join('?' * len(_FIELDS))}) "  # noqa: S608 - own names
    "ON CONFLICT DO NOTHING"
)


def insert(tx: Tx, approval: Approval) -> bool:
    """Ask; False when this question is there already (a resumed run asks again)."""
    return bool(tx.change(_INSERT, tuple(getattr(approval, name) for name in _FIELDS)))


def find(tx: Tx, id: str) -> Approval | None:
    """The question with this id and its answer; None when there is none."""
    found = _select(tx, "WHERE id = ?", (id,))
    return found[0] if found else None


def waiting(tx: Tx, run: str | None = None) -> list[Approval]:
    """Questions without an answer, the oldest first; of one run when given. Expired ones are among them."""
    if run is None:
        return _select(tx, "WHERE state = 'waiting' ORDER BY asked_ns, id", ())
    return _select(tx, "WHERE state = 'waiting' AND run = ? ORDER BY asked_ns, id", (run,))


def answer(
    tx: Tx,
    id: str,
    answer: Answer,
    *,
    by: str,
    at_ns: int,
    note: str = "",
    edited_arguments: str | None = None,
) -> Approval:
    """Record the one answer to a waiting question; after its expiry only `expired` is taken.

    Raises:
        RefusedError: there is no such question, somebody answered it before, or it has expired; facts
            `approval_id`, `state`, `answered_by`.
    """
    changed = tx.change(
        "UPDATE approvals SET state = ?, answered_by = ?, answered_ns = ?, note = ?, edited_arguments = ? "
        "WHERE id = ? AND state = 'waiting' AND (expires_ns > ? OR ? = 'expired')",
        (answer, by, at_ns, note, edited_arguments, id, at_ns, answer),
    )
    found = find(tx, id)
    if changed and found:
        return found
    if found is None:
        what = "there is no such question; `ooda approvals list` shows those that wait"
    elif found.state == "waiting":
        what = f"it expired at {to_rfc3339(found.expires_ns)}; the run will be told, or asks again when resumed"
    else:
        what = f"{found.answered_by} answered `{found.state}` before; an answer is never changed"
    raise RefusedError(
        f"approval `{id}` cannot be answered with `{answer}`: {what}",
        approval_id=id,
        state=found.state if found else None,
        answered_by=found.answered_by if found else None,
    )


def use(tx: Tx, id: str, arguments_hash: str, at_ns: int) -> bool:
    """Spend a permission for exactly these arguments; False when it was spent before or is for another call.

    A `modify` allows the approver's own arguments, whose hash the gate has compared.
    """
    return bool(
        tx.change(
            "UPDATE approvals SET used_ns = ? WHERE id = ? AND used_ns IS NULL "
            "AND ((state = 'approve' AND arguments_hash = ?) OR state = 'modify')",
            (at_ns, id, arguments_hash),
        )
    )


def _select(tx: Tx, rest: str, params: tuple[object, ...]) -> list[Approval]:
    return records(Approval, tx.execute(f"SELECT {columns(Approval)} FROM approvals {rest}", params))  # noqa: S608
