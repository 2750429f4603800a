"""Identifiers: their own types, made in one place, never random below the edges.

An id that must be reproducible (a child run, an idempotency key) is a hash of what it identifies;
one that must be unique (a run, a reservation) comes from an `IdSource` handed in at the edge.
"""

from __future__ import annotations

import hashlib
from typing import NewType, Protocol

__all__ = [
    "AgentId",
    "ApprovalId",
    "IdSource",
    "ReservationId",
    "RunId",
    "ToolCallId",
    "child_run_id",
    "effect_key",
]

RunId = NewType("RunId", str)
"""`run-` and 20 lowercase base-32 characters: time-ordered, safe in file names and URLs."""
ToolCallId = NewType("ToolCallId", str)
"""Unique within one run; the provider's id when it is usable, ours otherwise."""
AgentId = NewType("AgentId", str)
ReservationId = NewType("ReservationId", str)
ApprovalId = NewType("ApprovalId", str)


class IdSource(Protocol):
    """Where fresh ids come from: the operating system at the edge, a counter in tests."""

    def new(self, prefix: str) -> str:
        """A fresh id `prefix-…`, unique for ever."""
        ...


def effect_key(run: str, seq: int, call: str) -> str:
    """The idempotency key of one effect: the same for every attempt at it (GOVERNANCE: attempt-free)."""
    return hashlib.sha256(f"{run}:{seq}:{call}".encode()).hexdigest()[:32]


def child_run_id(parent: str, call: str) -> RunId:
    """The id of the run a `Spawn` starts: a hash of parent and call, so a resumed parent finds its child."""
    return RunId("run-" + hashlib.sha256(f"{parent}:{call}".encode()).hexdigest()[:20])
