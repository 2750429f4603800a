"""Whether the books agree with themselves: every window against the reservations and charges it is the sum of.

Windows are kept so that a reservation reads a few rows; reservations and charges are what really happened, one row
each. Where they differ, somebody or something else than the ledger wrote to the database. Reads everything, so it is
for a person who asks, not for each call. Knows the tables; must not know prices, models and clocks.
"""

from __future__ import annotations

import msgspec

from ooda.store.tx import Tx

__all__ = ["BooksReport", "Discrepancy", "check_books", "mend_windows"]

_COLUMNS = ("spent_cost", "spent_tokens", "reserved_cost", "reserved_tokens")


class Discrepancy(msgspec.Struct, frozen=True):
    """One figure that is not what its parts add up to."""

    window: str
    """Key of the window, `global|day:2026-11-21`; of a reservation that cannot be read its key."""
    figure: str
    """`spent_cost`, `spent_tokens`, `reserved_cost`, `reserved_tokens`; else what cannot be read."""
    found: int | None
    """None: there is no such row."""
    expected: int | None
    """None: nobody can tell."""

    def __str__(self) -> str:
        if self.expected is None:
            return f"reservation {self.window!r}: its {self.figure} cannot be read; restore a backup"
        found = "is missing" if self.found is None else f"is {self.found}"
        return f"{self.window}: {self.figure} {found}, and its reservations and charges come to {self.expected}"


class BooksReport(msgspec.Struct, frozen=True):
    """What was compared, and what does not agree."""

    windows: int
    reservations: int
    discrepancies: tuple[Discrepancy, ...]


def check_books(tx: Tx) -> BooksReport:
    """Add everything up anew, and compare. Changes nothing."""
    sums, unreadable, count = _sums(tx)
    found: dict[str, tuple[int, ...]] = {
        row[0]: tuple(row[1:])
        for row in tx.execute(f"SELECT key, {', '.join(_COLUMNS)} FROM budget_windows")  # noqa: S608
    }
    wrong = list(unreadable)
    nothing = (0,) * len(_COLUMNS)
    for key in sorted(sums.keys() | found.keys()):
        expected = tuple(sums.get(key, nothing))
        have = found.get(key)
        for name, is_, should in zip(_COLUMNS, have or (None,) * len(_COLUMNS), expected, strict=True):
            if is_ != should and (have is not None or should):
                wrong.append(Discrepancy(key, name, is_, should))
    return BooksReport(len(found), count, tuple(wrong))


def mend_windows(tx: Tx) -> BooksReport:
    """Set every window to what its reservations and charges add up to; gives what was wrong before.

    A window whose row is gone comes back without a cap, which its next reservation puts in. What cannot be read stays.
    """
    report = check_books(tx)
    sums, _, _ = _sums(tx)
    for key in {item.window for item in report.discrepancies if item.expected is not None}:
        values = tuple(sums.get(key, [0, 0, 0, 0]))
        scope, _, span = key.rpartition("|")
        changed = tx.change(
            "UPDATE budget_windows SET spent_cost = ?, spent_tokens = ?, reserved_cost = ?, reserved_tokens = ?, "
            "revision = revision + 1 WHERE key = ?",
            (*values, key),
        )
        if not changed:
            tx.change(
                "INSERT INTO budget_windows (key, scope, span, spent_cost, spent_tokens, reserved_cost, "
                "reserved_tokens, touched_ns) VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
                (key, scope, span, *values),
            )
    return report


def _sums(tx: Tx) -> tuple[dict[str, list[int]], list[Discrepancy], int]:
    """What each window must hold, in the order of `_COLUMNS`; reservations that cannot be read; how many there are."""
    charged = {
        key: (int(cost), int(tokens))
        for key, cost, tokens in tx.execute("SELECT key, SUM(cost_nano), SUM(tokens) FROM charges GROUP BY key")
    }
    sums: dict[str, list[int]] = {}
    unreadable: list[Discrepancy] = []
    rows = tx.execute("SELECT key, state, cost_nano, tokens, windows FROM reservations ORDER BY key")
    for key, state, cost, tokens, encoded in rows:
        try:
            windows = msgspec.json.decode(encoded, type=tuple[str, ...])
        except msgspec.MsgspecError:
            unreadable.append(Discrepancy(key, "windows", None, None))
            continue
        held = (cost, tokens) if state in ("held", "sent") else (0, 0)
        for window in windows:
            total = sums.setdefault(window, [0, 0, 0, 0])
            for place, amount in enumerate((*charged.get(key, (0, 0)), *held)):
                total[place] += amount
    return sums, unreadable, len(rows)
