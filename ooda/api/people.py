"""What people answer outside a run's own process: approvals and decisions, in the store and the audit."""

from __future__ import annotations

from ooda.api.session import Session
from ooda.governance.audit import AuditFact
from ooda.governance.audit import append as append_audit
from ooda.store import Tx, approvals
from ooda.store.approvals import Answer, Approval

__all__ = ["answer_approval", "waiting_for"]


def waiting_for(session: Session) -> list[Approval]:
    """Questions without an answer, the oldest first."""
    return session.store.read(approvals.waiting)


def answer_approval(session: Session, approval: str, answer: Answer, note: str) -> Approval:
    """Record a person's answer, once, with its audit entry.

    Raises:
        RefusedError: there is no such question, it was answered before, or it has expired.
    """
    now_ns = session.clock.now_ns()

    def work(tx: Tx) -> Approval:
        row = approvals.answer(tx, approval, answer, by=session.user, at_ns=now_ns, note=note)
        append_audit(
            tx,
            AuditFact(
                at_ns=now_ns,
                actor=session.user,
                action="answer",
                run=row.run,
                subject=approval,
                decision=answer,
                reason=session.redactor.redact(note).text,
            ),
        )
        return row

    return session.store.write_now(work)
