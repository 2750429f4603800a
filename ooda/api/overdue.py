"""Reservations left behind by processes that died: closed when their time is over, audited, and told where that counts.

Their runs may never be taken up again, so whoever opens the store next closes them. Knows the books, the audit and the
outbox; a run that is taken up closes its own (`ModelDoor.abandon`).
"""

from __future__ import annotations

from collections.abc import Callable

from ooda.engines.notices import Topic, put_fact
from ooda.governance.audit import AuditFact
from ooda.governance.audit import append as append_audit
from ooda.governance.budget import Alert, Reservation, Settlement
from ooda.governance.ledger import Ledger
from ooda.governance.model_door import budget_notice
from ooda.governance.redaction import Redactor
from ooda.store import Store, Tx

__all__ = ["close_overdue"]


def close_overdue(
    store: Store, ledger: Ledger, redactor: Redactor, now_ns: int, was_sent: Callable[[Reservation], bool]
) -> tuple[Settlement, ...]:
    """Charge what was sent, release the rest, and say so; nothing is written when nothing is overdue.

    Args:
        was_sent: Whether a hold that is not marked was sent all the same.
    """
    overdue = store.read(lambda tx: ledger.overdue(tx, now_ns))
    if not overdue:
        return ()
    runs = {held.key: held.run for held in overdue}

    def work(tx: Tx) -> tuple[Settlement, ...]:
        closed = ledger.expire(tx, now_ns, was_sent)
        for item in closed:
            run = runs.get(item.key, "")
            append_audit(tx, _closed(item, run, now_ns), *(_alert(fact, run, now_ns) for fact in item.alerts))
            _tell(tx, redactor, item, run, now_ns)
        return closed

    return store.write_now(work)


def _closed(item: Settlement, run: str, now_ns: int) -> AuditFact:
    is_released = item.state == "released"
    why = "it was never sent" if is_released else "it was sent, and nobody said what it cost"
    return _fact(
        "release" if is_released else "settle",
        item.key,
        item.state,
        f"{item.cost_nano} nano-USD, {item.tokens} tokens: its time was over, {why}",
        run,
        now_ns,
    )


def _alert(alert: Alert, run: str, now_ns: int) -> AuditFact:
    what = f"{alert.percent} % of {alert.measure} in window {alert.window}"
    return _fact("alert", alert.scope, alert.kind, what, run, now_ns)


def _fact(action: str, subject: str, decision: str, reason: str, run: str, now_ns: int) -> AuditFact:
    return AuditFact(
        at_ns=now_ns,
        actor="ooda",
        action=action,
        run=run,
        subject=subject,
        decision=decision,
        reason=reason,
        details={},
    )


def _tell(tx: Tx, redactor: Redactor, item: Settlement, run: str, now_ns: int) -> None:
    for alert in item.alerts:
        notice = budget_notice(alert)
        put_fact(
            tx,
            redactor,
            Topic(company_id="local", project_id="budget", task_id=run),
            notice=notice.notice,
            kind=notice.kind_,
            message=notice.message,
            details=notice.details,
            run=run,
            seq=0,
            at_ns=now_ns,
        )
