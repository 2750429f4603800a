"""The journal in the database: rows appended on top of a run's head, under the fence of its lease.

Accepts a row once; the same row again changes nothing, another one at its place is an error. The run's line in
`runs` is brought up to date in the same transaction. What a row is: `ooda.runtime.journal`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import msgspec

from ooda.errors import JournalError
from ooda.runtime.journal import FIRST_SEQ, GENESIS, Row
from ooda.store import runs as summaries
from ooda.store.leases import check
from ooda.store.tx import Tx

__all__ = ["PAGE", "append", "head", "page"]

_INSERT = (
    "INSERT INTO events (run, seq, kind, schema_version, at_ns, label, body, prev_hash, hash) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
PAGE = 512
"""Rows read at once."""


def append(tx: Tx, new: Sequence[Row], fence: int, *, load: Callable[[str], str], status: str | None = None) -> None:
    """Add `new`, consecutive rows of one run, to its journal.

    Args:
        fence: of the writer's lease.
        load: gives the text of a blob; a run's first row may name its task by reference.
        status: what the run is doing now, when the caller knows better than its events tell (waiting for a message).

    Raises:
        LeaseLostError: the run has another owner now; nothing was written.
        JournalError: fact `problem`: conflict (another row stands at this seq), gap, chain (the rows do not follow
            each other or the head); nothing was written.
    """
    if not new:
        return
    first = new[0]
    for before, row in itertools.pairwise(new):
        if row.seq != before.seq + 1 or row.prev_hash != before.hash or row.run != before.run:
            raise _refused(row, "chain", f"does not follow row {before.seq} given with it")
    if not summaries.advance(tx, new, fence, status, load):
        check(tx, first.run, fence)
        rest = _without_known(tx, new)
        if rest:
            append(tx, rest, fence, load=load, status=status)
        return
    for row in new:
        tx.change(_INSERT, msgspec.structs.astuple(row))


def head(tx: Tx, run: str) -> tuple[int, str]:
    """`seq` and `hash` of the run's last row; (-1, GENESIS) when it has none."""
    found = tx.execute("SELECT last_seq, last_hash FROM runs WHERE run = ?", (run,))
    return (found[0][0], found[0][1]) if found else (FIRST_SEQ - 1, GENESIS)


def page(tx: Tx, run: str, from_seq: int) -> list[Row]:
    """At most PAGE rows of the run, in order, from `from_seq` on."""
    found = tx.execute(
        "SELECT run, seq, kind, schema_version, at_ns, label, body, prev_hash, hash FROM events "
        "WHERE run = ? AND seq >= ? ORDER BY seq LIMIT ?",
        (run, from_seq, PAGE),
    )
    return [Row(*columns) for columns in found]


def _without_known(tx: Tx, new: Sequence[Row]) -> Sequence[Row]:
    """The rows still to be written, after checking that the others stand there just so."""
    last_seq, last_hash = head(tx, new[0].run)
    known = [row for row in new if row.seq <= last_seq]
    if known:
        stored = dict(
            tx.execute(
                "SELECT seq, hash FROM events WHERE run = ? AND seq BETWEEN ? AND ?",
                (known[0].run, known[0].seq, known[-1].seq),
            )
        )
        for row in known:
            if stored.get(row.seq) != row.hash:
                raise _refused(row, "conflict", "stands there already with another content")
    rest = new[len(known) :]
    if rest and rest[0].seq != last_seq + 1:
        raise _refused(rest[0], "gap", f"leaves a gap, the next row is {last_seq + 1}")
    if rest and rest[0].prev_hash != last_hash:
        raise _refused(rest[0], "chain", f"is not chained to row {last_seq}, the last one written")
    return rest


def _refused(row: Row, problem: str, what: str) -> JournalError:
    return JournalError(
        f"row {row.seq} ({row.kind}) of run `{row.run}` {what}; nothing was written. Rebuild the run's state from its "
        f"journal: `ooda runs resume {row.run}`",
        run=row.run,
        seq=row.seq,
        problem=problem,
    )
