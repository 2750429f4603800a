"""The chain of the audit log: facts appended in the transaction of what they tell, each bound to the one before.

Knows the row, its hash and the head of the chain. Whether the log is whole is judged by `audit.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from ooda.errors import JournalError
from ooda.events import canonical
from ooda.store.tx import Tx

__all__ = ["GENESIS", "AuditFact", "AuditRow", "Head", "append", "append_after", "head"]

GENESIS = "0" * 64
"""`prev_hash` of the first row."""

Head = tuple[int, str]
"""Number and hash of the last row."""

_HEAD = "audit.head"


class AuditFact(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what to whom, what was decided, and why. Texts are redacted before they come here."""

    at_ns: int
    actor: str
    """A person, an agent or `ooda` itself."""
    action: str
    """What was wanted: allow, refuse, ask, answer, settle, promote, …"""
    run: str = ""
    subject: str
    """What it was about: a tool, a model, an approval, an agent."""
    decision: str
    reason: str = ""
    details: Mapping[str, Any] = {}
    """Plain JSON-able facts."""


class AuditRow(msgspec.Struct, frozen=True):
    """One fact as it is stored."""

    seq: int
    at_ns: int
    actor: str
    action: str
    run: str
    subject: str
    decision: str
    reason: str
    details: str
    """Canonical JSON."""
    prev_hash: str
    hash: str

    @property
    def is_intact(self) -> bool:
        """Whether its content is what its hash says."""
        return self.hash_at(self.seq) == self.hash

    def hash_at(self, seq: int) -> str:
        """The hash this content would have as row `seq`; empty when it cannot be hashed."""
        columns = (self.action, self.actor, self.at_ns, self.decision, self.details, self.reason, self.run)
        try:
            return _row_hash(columns, seq, self.subject, self.prev_hash)
        except (ValueError, TypeError, AttributeError):
            return ""


class _Columns(msgspec.Struct, frozen=True):
    """What the hash of a row covers beside `prev_hash`, in the order of sorted keys."""

    action: str
    actor: str
    at_ns: int
    decision: str
    details: msgspec.Raw
    reason: str
    run: str
    seq: int
    subject: str


_ENCODER = msgspec.json.Encoder()
_INSERT = (
    "INSERT INTO audit (seq, at_ns, actor, action, run, subject, decision, reason, details, prev_hash, hash) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def append(tx: Tx, *facts: AuditFact) -> str:
    """Add facts to the chain, in order; gives the hash of the last one's row."""
    return append_after(tx, None, *facts)[1]


def append_after(tx: Tx, known: Head | None, *facts: AuditFact) -> Head:
    """The same for one who keeps adding; gives the new head.

    Args:
        known: the head as the caller left it. When nobody has added since, it need not be read; otherwise it is.
    """
    rows, reached = _chained(known or head(tx), facts)
    # The head stands apart from the rows, so that cutting off the last ones does not go unseen.
    if known is None or not tx.change(
        "UPDATE meta SET value = ? WHERE key = ? AND value = ?", (_noted(reached), _HEAD, _noted(known))
    ):
        if known is not None:
            rows, reached = _chained(head(tx), facts)
        tx.change(
            "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (_HEAD, _noted(reached)),
        )
    for row in rows:
        tx.change(_INSERT, row)
    return reached


def _chained(start: Head, facts: tuple[AuditFact, ...]) -> tuple[list[tuple[int | str, ...]], Head]:
    """The rows of the facts in the order of `_INSERT`, and the head they lead to."""
    seq, digest = start
    rows: list[tuple[int | str, ...]] = []
    for given in facts:
        fact = _storable(given)
        details = canonical(fact.details).decode()
        columns = (fact.action, fact.actor, fact.at_ns, fact.decision, details, fact.reason, fact.run)
        seq, before = seq + 1, digest
        digest = _row_hash(columns, seq, fact.subject, before)
        who = (fact.actor, fact.action, fact.run, fact.subject)
        rows.append((seq, fact.at_ns, *who, fact.decision, fact.reason, details, before, digest))
    return rows, (seq, digest)


def _noted(head: Head) -> str:
    return f"{head[0]} {head[1]}"


def _storable(fact: AuditFact) -> AuditFact:
    """The fact with the sign for NUL in the place of every NUL: not every database keeps one in a text."""
    if "\0" not in f"{fact.actor}{fact.subject}{fact.decision}{fact.reason}":
        return fact
    texts = {"actor": fact.actor, "subject": fact.subject, "decision": fact.decision, "reason": fact.reason}
    return msgspec.structs.replace(
        fact, **{name: text.replace("\0", "\N{SYMBOL FOR NULL}") for name, text in texts.items()}
    )


def head(tx: Tx) -> Head:
    """Number and hash of the last row; (0, GENESIS) when there is none.

    Raises:
        JournalError: what is noted there is no head.
    """
    found = tx.execute("SELECT value FROM meta WHERE key = ?", (_HEAD,))
    if not found:
        return 0, GENESIS
    seq, _, digest = found[0][0].partition(" ")
    if not seq.isdigit() or len(digest) != len(GENESIS):
        raise JournalError(
            f"the noted head of the audit log is {found[0][0]!r}, expected a number and a hash; nothing is added to a "
            "damaged log. `ooda audit verify` tells what is whole",
            problem="head",
        )
    return int(seq), digest


def _row_hash(columns: tuple[str, str, int, str, str, str, str], seq: int, subject: str, prev_hash: str) -> str:
    """SHA-256 of the raw previous hash followed by the canonical JSON of the other columns."""
    action, actor, at_ns, decision, details, reason, run = columns
    covered = _Columns(action, actor, at_ns, decision, msgspec.Raw(details.encode()), reason, run, seq, subject)
    return hashlib.sha256(bytes.fromhex(prev_hash) + _ENCODER.encode(covered)).hexdigest()
