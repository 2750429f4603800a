"""The audit log: everything governance decided, in one hash chain for the whole store, and the proof of it.

Facts are appended in the transaction of what they tell. The chain shows that the rows agree with each other; that
they are the rows that were written is shown by anchors: hashes of the chain, signed with a key, kept in a file
outside the store. `verify` says what it found and also what it could not prove. Must not know who decides what.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from ooda.errors import JournalError
from ooda.governance import anchors
from ooda.governance.anchors import Anchor, Anchors
from ooda.governance.audit_chain import GENESIS, AuditFact, AuditRow, append, head
from ooda.store import Store
from ooda.store.tx import Tx, columns

__all__ = [
    "GENESIS",
    "AuditFact",
    "AuditReport",
    "AuditRow",
    "Finding",
    "append",
    "head",
    "is_anchor_due",
    "verify",
    "write_anchor",
]

_STORE = "store.id"
_SELECT = f"SELECT {columns(AuditRow)} FROM audit"  # noqa: S608 - our own names
_PAGE = 1000
_FINDINGS = 50
_SHIFT = 500
_SECOND_NS = 1_000_000_000


class Finding(msgspec.Struct, frozen=True):
    """One thing wrong with the log."""

    kind: Literal["edit", "delete", "insert", "reorder", "truncate", "swap", "replay"]
    seq: int
    """The first row concerned; 0 when it is the log as a whole."""
    message: str


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a check of the log found, and what it could not find out."""

    rows: int
    anchors: int
    anchored_to: int
    """The last row covered by a good anchor; 0 without one."""
    findings: tuple[Finding, ...]
    """At most 50; the first ones matter, later ones may follow from them."""
    cannot_prove: tuple[str, ...]
    """Sentences for the operator."""

    @property
    def is_clean(self) -> bool:
        return not self.findings


def write_anchor(store: Store, path: Path, key: bytes, now_ns: int) -> Anchor:
    """Sign the chain as it stands and put that into the file at `path`, which belongs outside the store.

    Raises:
        ConfigError: the key is too short or not the one the file was begun with.
        IntegrationError: the file cannot be written.
    """
    (seq, digest), identity = store.read(lambda tx: (head(tx), _meta(tx, _STORE)))
    return anchors.add(path, key, Anchor(at_ns=now_ns, seq=seq, hash=digest, store=identity))


def is_anchor_due(store: Store, path: Path, now_ns: int, *, every_rows: int = 100, every_s: int = 60) -> bool:
    """Whether the chain has grown by `every_rows` since the last anchor, or at all and `every_s` seconds ago."""
    known = anchors.latest(path, None).lines
    last_seq, last_ns = (known[-1].seq, known[-1].at_ns) if known else (0, 0)
    new_rows = store.read(head)[0] - last_seq
    # A clock that went back would hold anchors up until it has made up for that.
    is_old = not 0 <= now_ns - last_ns < every_s * _SECOND_NS
    return new_rows >= every_rows or (new_rows > 0 and is_old)


def verify(store: Store, anchor: Path | None = None, key: bytes | None = None) -> AuditReport:
    """Check the whole chain, against the anchors of a file when one is given. Changes nothing; about 10 us a row.

    Raises:
        ConfigError: the key is too short, or the anchor file cannot be read.
    """
    known = anchors.load(anchor, key) if anchor else Anchors(())
    return store.read(lambda tx: _verified(tx, known, has_file=anchor is not None, has_key=key is not None))


def _verified(tx: Tx, known: Anchors, *, has_file: bool, has_key: bool) -> AuditReport:
    findings: list[Finding] = []
    wanted = {item.seq: item.hash for item in known.lines}
    anchored: dict[int, str] = {0: GENESIS}
    last_seq, last_hash, count = 0, GENESIS, 0
    for row in _rows(tx):
        count += 1
        findings += _judged(tx, row, last_seq, last_hash) if len(findings) < _FINDINGS else ()
        last_seq, last_hash = row.seq, row.hash
        if row.seq in wanted:
            anchored[row.seq] = row.hash if row.is_intact else ""
    noted = _noted_head(tx)
    findings += _judged_head(noted, last_seq, last_hash)
    findings += _judged_anchors(known, anchored, _meta(tx, _STORE), head_seq=noted[0])
    good = [item.seq for item in known.lines if anchored.get(item.seq) == item.hash]
    return AuditReport(
        rows=count,
        anchors=len(known.lines),
        anchored_to=max(good, default=0),
        findings=tuple(findings[:_FINDINGS]),
        cannot_prove=_limits(known, count, max(good, default=0), has_file=has_file, has_key=has_key),
    )


def _judged(tx: Tx, row: AuditRow, last_seq: int, last_hash: str) -> Iterator[Finding]:
    """What is wrong with one row, seen from the one before it."""
    if row.seq != last_seq + 1:
        missing = f"row {last_seq + 1}" if row.seq == last_seq + 2 else f"rows {last_seq + 1} to {row.seq - 1}"
        yield Finding("delete", last_seq + 1, f"{missing} missing between rows {last_seq} and {row.seq}")
    if not row.is_intact:
        yield _displaced(tx, row) or Finding(
            "edit", row.seq, f"row {row.seq} has another content than when it was written"
        )
    elif row.seq == last_seq + 1 and row.prev_hash != last_hash:
        yield Finding(
            "edit",
            last_seq,
            f"row {row.seq} was chained to another row {last_seq} than stands there: it was rewritten",
        )


def _displaced(tx: Tx, row: AuditRow) -> Finding | None:
    """How a row that is whole, but was sealed for another place, came where it stands; None when it is not whole."""
    # Where the row it was chained to stands tells its home; after a shift that is off by as much.
    places = [seq + 1 for (seq,) in tx.execute("SELECT seq FROM audit WHERE hash = ?", (row.prev_hash,))]
    nearby = range(max(1, row.seq - _SHIFT), row.seq + _SHIFT)
    home = next((seq for seq in (*places, 1, *nearby) if row.hash_at(seq) == row.hash), None)
    if home is None:
        return None
    occupants = [AuditRow(*found) for found in tx.execute(f"{_SELECT} WHERE seq = ?", (home,))]
    if any(other.hash == row.hash for other in occupants):
        return Finding("replay", row.seq, f"row {row.seq} is a copy of row {home}")
    if any(other.is_intact for other in occupants):
        return Finding("insert", home, f"row {home} was put before what was row {home} and is now row {row.seq}")
    return Finding("reorder", row.seq, f"row {row.seq} was written as row {home}")


def _noted_head(tx: Tx) -> tuple[int, str]:
    try:
        return head(tx)
    except JournalError:
        return -1, ""


def _judged_head(noted: tuple[int, str], last_seq: int, last_hash: str) -> Iterator[Finding]:
    noted_seq, noted_hash = noted
    if noted_seq > last_seq:
        yield Finding("truncate", last_seq + 1, f"the log ends at row {last_seq}, its head says row {noted_seq}")
    elif 0 <= noted_seq < last_seq:
        yield Finding("insert", noted_seq + 1, f"the log ends at row {last_seq}, its head says row {noted_seq}")
    elif noted_hash != last_hash:
        yield Finding("edit", last_seq, f"row {last_seq} is not the one noted as the head of the log")


def _judged_anchors(known: Anchors, anchored: dict[int, str], identity: str, head_seq: int) -> Iterator[Finding]:
    if known.bad_line:
        yield Finding("swap", 0, f"line {known.bad_line} of the anchor file was changed or signed with another key")
    for item in known.lines:
        if item.store != identity:
            yield Finding("swap", 0, f"the anchors are of store {item.store}, this is store {identity}")
            return
        if item.seq > head_seq:
            yield Finding(
                "replay",
                head_seq + 1,
                f"row {item.seq} was anchored, but the log ends at row {head_seq}: an older copy of the database was "
                "put back, or its last rows were cut off together with its head",
            )
            return
        if anchored.get(item.seq) != item.hash:
            yield Finding(
                "swap",
                item.seq,
                f"row {item.seq} is not the one that was anchored: the chain was written anew",
            )
            return


def _limits(known: Anchors, rows: int, anchored_to: int, *, has_file: bool, has_key: bool) -> tuple[str, ...]:
    """What this check cannot prove, in sentences."""
    said: list[str] = []
    if not known.lines:
        said.append(
            "Without an anchor: that nobody with access to the database wrote the whole chain anew, cut rows off its "
            "end together with its head, or put an older copy of the database back."
            + (" The anchor file is empty." if has_file else " Give an anchor file and its key.")
        )
        return tuple(said)
    if not has_key:
        said.append("Without the key: that the anchors themselves are genuine; their hashes were compared only.")
    if known.is_torn:
        said.append("The last anchor was cut off while it was written and proves nothing.")
    if anchored_to < rows:
        said.append(
            f"Rows {anchored_to + 1} to {rows}, written after the last good anchor, are chained but not anchored."
        )
    said.append(
        "That database and anchor file were not both put back to an older state, or signed by whoever has the key: "
        "keep both out of reach of those who can write the database."
    )
    return tuple(said)


def _rows(tx: Tx) -> Iterator[AuditRow]:
    """All rows in order, a page at a time."""
    start = -(2**63)
    while page := tx.execute(f"{_SELECT} WHERE seq >= ? ORDER BY seq LIMIT ?", (start, _PAGE)):
        for row in page:
            yield AuditRow(*row)
        start = page[-1][0] + 1


def _meta(tx: Tx, key: str) -> str:
    found = tx.execute("SELECT value FROM meta WHERE key = ?", (key,))
    return str(found[0][0]) if found else ""
