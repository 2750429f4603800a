"""What was spent in windows that are over: read back from the ledger's rows. Changes nothing."""

from __future__ import annotations

from ooda.api.session import Session
from ooda.errors import ConfigError, nearest
from ooda.governance.audit import AuditFact
from ooda.governance.audit import append as append_audit
from ooda.governance.budget import BudgetRow
from ooda.governance.ledger_check import BooksReport, mend_windows
from ooda.store import Tx
from ooda.store.tx import columns, records

__all__ = ["mended_books", "spent_before"]


def spent_before(session: Session, scope: str, span: str, limit: int) -> list[BudgetRow]:
    """The windows of one scope (`global`, `project:acme/shop`) by `hour` or `day`, the newest first.

    Raises:
        ConfigError: nothing was ever spent in that scope; the nearest known one is named.
    """
    rows = session.store.read(
        lambda tx: tx.execute(
            f"SELECT {columns(BudgetRow)} FROM budget_windows WHERE scope = ? AND span LIKE ? "  # noqa: S608 - own names
            "ORDER BY span DESC LIMIT ?",
            (scope, f"{span}:%", max(1, limit)),
        )
    )
    if not rows:
        known = [str(row[0]) for row in session.store.read(lambda tx: tx.execute(_SCOPES))]
        near = nearest(scope, known)
        hint = f"did you mean `{near}`?" if near else "`ooda budget show` lists the scopes in use"
        raise ConfigError(f"nothing was spent by {scope!r}; {hint}", scope=scope)
    return records(BudgetRow, rows)


def mended_books(session: Session) -> BooksReport:
    """Set the windows to what their parts add up to, on record; gives what was wrong."""

    def work(tx: Tx) -> BooksReport:
        report = mend_windows(tx)
        facts = [
            AuditFact(
                at_ns=session.clock.now_ns(),
                actor=session.user,
                action="mend",
                subject=item.window,
                decision=item.figure,
                reason=str(item),
            )
            for item in report.discrepancies
            if item.expected is not None
        ]
        if facts:
            append_audit(tx, *facts)
        return report

    return session.store.write_now(work)


_SCOPES = "SELECT DISTINCT scope FROM budget_windows ORDER BY scope"
