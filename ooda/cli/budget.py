"""`ooda budget show`: what is spent, reserved and left."""

from __future__ import annotations

import argparse
import sys

from ooda.cli.data import print_data
from ooda.cli.settings import session_for
from ooda.cli.style import amount, style_for, table

__all__ = ["show"]


def show(args: argparse.Namespace) -> int:
    """The windows of this hour and day, and the lifetimes in use."""
    with session_for(args) as session:
        rows = session.store.read(lambda tx: session.ledger.report(tx, session.clock.now_ns()))
    if args.form != "text":
        print_data(rows, args.form)
        return 0
    cells = []
    for row in rows:
        cap = "-" if row.cap_cost is None else amount(row.cap_cost)
        left = "-" if row.cap_cost is None else amount(row.cap_cost - row.spent_cost - row.reserved_cost)
        cells.append(
            (row.scope, row.span, amount(row.spent_cost), amount(row.reserved_cost), left, cap, f"{row.spent_tokens:,}")
        )
    head = ("scope", "window", "spent", "reserved", "left", "cap", "tokens")
    print(table(head, cells, style_for(sys.stdout, args.color)) if cells else "Nothing was spent yet.")
    return 0
