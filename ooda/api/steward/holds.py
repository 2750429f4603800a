"""Holds: a person keeps a workspace, an owner or the whole fleet from being stopped, until a time. Audited."""

from __future__ import annotations

from typing import Literal

from ooda.agents.steward.instants import minute_of
from ooda.api.session import Session
from ooda.errors import UserError
from ooda.governance.audit import AuditFact
from ooda.governance.audit import append as append_audit
from ooda.store import Tx
from ooda.store import steward as rows

__all__ = ["Scope", "hold", "live_holds", "release"]

Scope = Literal["workspace", "owner", "fleet"]


def hold(
    session: Session, deployment: str, scope: Scope, target: str, until_ns: int, *, reason: str = "", title: str = ""
) -> rows.HoldRow:
    """Keep something from being stopped until an instant. Takes effect with the next look at it, in a pass too.

    Args:
        target: the workspace's id or the owner's name; empty for the fleet.
        title: what people call the workspace, as `ada/api`.

    Raises:
        UserError: the end lies in the past, or a target is missing or too much.
    """
    now_ns = session.clock.now_ns()
    if until_ns <= now_ns:
        raise UserError(f"a hold until {minute_of(until_ns)} is over already; name a later end")
    if (scope == "fleet") == bool(target):
        raise UserError("a hold of the fleet has no target; one of a workspace or an owner names it")
    row = rows.HoldRow(
        id=session.ids.new("hold"),
        deployment=deployment,
        scope=scope,
        target=target,
        until_ns=until_ns,
        made_by=session.user,
        reason=reason,
        made_ns=now_ns,
        title=title,
    )

    def write(tx: Tx) -> None:
        rows.add_hold(tx, row)
        append_audit(tx, _fact(session, "steward.hold", scope, target, reason, until_ns))

    session.store.write_now(write)
    return row


def release(session: Session, deployment: str, scope: Scope, target: str) -> int:
    """End every live hold of a scope and target; how many there were."""

    def write(tx: Tx) -> int:
        ended = rows.release_holds(tx, deployment, scope, target, session.user, session.clock.now_ns())
        if ended:
            append_audit(tx, _fact(session, "steward.release", scope, target, "", 0))
        return ended

    return session.store.write_now(write)


def live_holds(session: Session, deployment: str) -> list[rows.HoldRow]:
    """Holds that are in force, those that end first in front."""
    return session.store.read(lambda tx: rows.live_holds(tx, deployment, session.clock.now_ns()))


def _fact(session: Session, action: str, scope: str, target: str, reason: str, until_ns: int) -> AuditFact:
    return AuditFact(
        at_ns=session.clock.now_ns(),
        actor=session.user,
        action=action,
        run="",
        subject=f"{scope} {target}".strip(),
        decision="allow",
        reason=reason,
        details={"until_ns": until_ns} if until_ns else {},
    )
