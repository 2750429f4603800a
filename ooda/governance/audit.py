"""The audit log: everything governance decided, in one hash chain for the whole store, and the proof of it.

Facts are appended in the transaction of what they tell. The chain shows that the rows agree with each other; that
they are the rows that were written is shown by anchors: hashes of the chain, signed with a key, kept in a file
outside the store. `verify` says what it found and also what it could not prove. Must not know who decides what.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from ooda.events import canonical
from ooda.store.tx import Tx

__all__ = ["GENESIS", "AuditFact", "append", "head"]

GENESIS = "0" * 64
"""`prev_hash` of the first row."""

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


def append(tx: Tx, fact: AuditFact) -> str:
    """Add one fact to the chain; gives the hash of its row."""
    last_seq, prev_hash = head(tx)
    seq = last_seq + 1
    details = canonical(fact.details)
    digest = _row_hash(
        _Columns(
            fact.action,
            fact.actor,
            fact.at_ns,
            fact.decision,
            msgspec.Raw(details),
            fact.reason,
            fact.run,
            seq,
            fact.subject,
        ),
        prev_hash,
    )
    tx.change(
        _INSERT,
        (
            seq,
            fact.at_ns,
            fact.actor,
            fact.action,
            fact.run,
            fact.subject,
            fact.decision,
            fact.reason,
            details.decode(),
            prev_hash,
            digest,
        ),
    )
    # The head stands apart from the rows, so that cutting off the last ones does not go unseen.
    tx.change(
        "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (_HEAD, f"{seq} {digest}"),
    )
    return digest


def head(tx: Tx) -> tuple[int, str]:
    """Number and hash of the last row; (0, GENESIS) when there is none."""
    found = tx.execute("SELECT value FROM meta WHERE key = ?", (_HEAD,))
    if not found:
        return 0, GENESIS
    seq, _, digest = found[0][0].partition(" ")
    return int(seq), digest


def _row_hash(columns: _Columns, prev_hash: str) -> str:
    return hashlib.sha256(bytes.fromhex(prev_hash) + _ENCODER.encode(columns)).hexdigest()
