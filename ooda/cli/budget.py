"""`ooda budget`: what is spent, reserved and left, now and in windows that are over."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ooda.api.spending import mended_books, spent_before
from ooda.cli.data import print_data
from ooda.cli.exits import EXIT
from ooda.cli.settings import session_for
from ooda.cli.style import Style, amount, style_for, table
from ooda.governance.budget import BudgetRow
from ooda.governance.ledger_check import check_books

__all__ = ["check", "history", "show"]

_WIDTH = 20
_WARN, _ALARM = 0.80, 0.95
"""Where people are told: the marks of the bar."""
_ORDER = ("global", "company", "project", "agent", "task", "run", "degraded")


def show(args: argparse.Namespace) -> int:
    """The windows of this hour and day, and the lifetimes in use; the widest scope first."""
    with session_for(args) as session:
        rows = session.store.read(lambda tx: session.ledger.report(tx, session.clock.now_ns()))
    return _print(args, sorted(rows, key=_place))


def history(args: argparse.Namespace) -> int:
    """Past windows of one scope, the newest first."""
    with session_for(args) as session:
        known = session.store.read(lambda tx: tx.execute("SELECT 1 FROM budget_windows LIMIT 1"))
        rows = spent_before(session, args.scope, args.by, args.limit) if known or args.scope != "global" else []
    return _print(args, rows)


def check(args: argparse.Namespace) -> int:
    """Every figure that is not what its reservations and charges add up to; exit code 1 when there are any."""
    with session_for(args) as session:
        report = mended_books(session) if args.mend else session.store.read(check_books)
    if args.form != "text":
        print_data(report, args.form)
    else:
        for item in report.discrepancies:
            print(item)
        verdict = f"{len(report.discrepancies)} figures do not agree" if report.discrepancies else "they agree"
        print(f"budget: {report.windows} windows, {report.reservations} reservations, {verdict}")
        if report.discrepancies:
            done = "mended: what can be read was added up anew" if args.mend else "next: ooda budget check --mend"
            print(done)
    return EXIT["success"] if args.mend or not report.discrepancies else EXIT["failed"]


def _print(args: argparse.Namespace, rows: Sequence[BudgetRow]) -> int:
    if args.form != "text":
        print_data(rows, args.form)
        return 0
    style = style_for(sys.stdout, args.color)
    head = ("scope", "window", "used", "spent", "reserved", "left", "cap", "tokens")
    cells = [_cells(row) for row in rows]
    if not cells:
        print("Nothing was spent yet.")
        return 0
    for number, line in enumerate(table(head, cells, style).splitlines()):
        print(_painted(line, used(rows[number - 1]), style) if number else line)
    return 0


def used(row: BudgetRow) -> float:
    """The share of the window that is spent or reserved: of money or tokens, whichever is nearer to its cap."""
    shares = [
        (spent + reserved) / cap
        for spent, reserved, cap in (
            (row.spent_cost, row.reserved_cost, row.cap_cost),
            (row.spent_tokens, row.reserved_tokens, row.cap_tokens),
        )
        if cap
    ]
    return max(shares, default=0.0)


def _cells(row: BudgetRow) -> tuple[str, ...]:
    share = used(row)
    is_capped = row.cap_cost is not None or row.cap_tokens is not None
    cap = "-" if row.cap_cost is None else amount(row.cap_cost)
    left = "-" if row.cap_cost is None else amount(row.cap_cost - row.spent_cost - row.reserved_cost)
    tokens = f"{row.spent_tokens:,}" + (f" of {row.cap_tokens:,}" if row.cap_tokens is not None else "")
    bar = f"{_bar(share)} {share:4.0%}" if is_capped else ""
    return (row.scope, row.span, bar, amount(row.spent_cost), amount(row.reserved_cost), left, cap, tokens)


def _bar(share: float) -> str:
    """A bar with marks where people are told; more than full is full."""
    filled = min(_WIDTH, round(share * _WIDTH)) if share < 1 else _WIDTH
    marks = {int(_WARN * _WIDTH), int(_ALARM * _WIDTH)}
    return "".join("█" if at < filled else "╎" if at in marks else "·" for at in range(_WIDTH))


def _painted(line: str, share: float, style: Style) -> str:
    return style(line, "red") if share >= _ALARM else style(line, "yellow") if share >= _WARN else line


def _place(row: BudgetRow) -> tuple[int, str, int]:
    kind = row.scope.partition(":")[0]
    spans = {"hour": 0, "day": 1}
    return (_ORDER.index(kind) if kind in _ORDER else len(_ORDER), row.scope, spans.get(row.span.partition(":")[0], 2))
