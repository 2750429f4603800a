"""Who may write to a run: one owner at a time, told apart by a fence that only grows.

An owner that was paused, lost its lease and wakes up late still holds its old fence; everything it then tries to
write is refused. Expiry decides only who may take over, so a clock that jumps cannot make two owners write.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ooda.clock import to_rfc3339
from ooda.errors import LeaseLostError
from ooda.store.owner import described
from ooda.store.tx import Tx

__all__ = ["Lease", "check", "find", "release", "remove_unused", "renew", "take"]


class Lease(msgspec.Struct, frozen=True):
    """The right to write to a run, as long as the fence in the store is this one."""

    run: str
    owner: str
    fence: int
    expires_ns: int


def take(
    tx: Tx, run: str, owner: str, ttl_s: float, now_ns: int, is_alive: Callable[[str], bool] | None = None
) -> Lease:
    """Make `owner` the one who writes to `run` for `ttl_s` seconds; taking one's own lease renews it.

    Args:
        is_alive: tells whether an owner may still be at work; one that is surely gone loses its lease at once
            instead of at its expiry.

    Raises:
        LeaseLostError: another owner holds it; facts `run`, `holder`, `fence`, `expires_ns`.
    """
    expires_ns = now_ns + round(ttl_s * 1_000_000_000)
    found = find(tx, run)
    if found is None:
        made = Lease(run, owner, 1, expires_ns)
        if tx.change(
            "INSERT INTO leases (run, owner, fence, expires_ns) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (run, owner, made.fence, expires_ns),
        ):
            return made
        return take(tx, run, owner, ttl_s, now_ns, is_alive)
    if found.owner == owner:
        return renew(tx, found, ttl_s, now_ns)
    if found.expires_ns > now_ns and (is_alive is None or is_alive(found.owner)):
        raise LeaseLostError(
            f"run `{run}` is being carried on by {described(found.owner)} (lease until "
            f"{to_rfc3339(found.expires_ns)}); stop it there, or wait until its lease has expired",
            run=run,
            holder=found.owner,
            fence=found.fence,
            expires_ns=found.expires_ns,
        )
    taken = Lease(run, owner, found.fence + 1, expires_ns)
    if not tx.change(
        "UPDATE leases SET owner = ?, fence = ?, expires_ns = ? WHERE run = ? AND fence = ?",
        (owner, taken.fence, expires_ns, run, found.fence),
    ):
        return take(tx, run, owner, ttl_s, now_ns, is_alive)
    return taken


def renew(tx: Tx, lease: Lease, ttl_s: float, now_ns: int) -> Lease:
    """The same lease for another `ttl_s` seconds.

    Raises:
        LeaseLostError: another owner took the run meanwhile.
    """
    expires_ns = now_ns + round(ttl_s * 1_000_000_000)
    if not tx.change(
        "UPDATE leases SET expires_ns = ? WHERE run = ? AND fence = ? AND owner = ?",
        (expires_ns, lease.run, lease.fence, lease.owner),
    ):
        raise lost(tx, lease.run, lease.fence)
    return msgspec.structs.replace(lease, expires_ns=expires_ns)


def release(tx: Tx, lease: Lease) -> bool:
    """Give the run free for the next owner; False when it was no longer ours."""
    return bool(tx.change("UPDATE leases SET expires_ns = 0 WHERE run = ? AND fence = ?", (lease.run, lease.fence)))


def remove_unused(tx: Tx, now_ns: int) -> int:
    """Remove the leases of runs that never began and that nobody holds; gives how many."""
    return tx.change(
        "DELETE FROM leases WHERE expires_ns <= ? AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.run = leases.run)",
        (now_ns,),
    )


def check(tx: Tx, run: str, fence: int) -> None:
    """Return when `fence` is still the one of `run`.

    Raises:
        LeaseLostError: facts `run`, `fence`, `holder`.
    """
    found = find(tx, run)
    if found is None or found.fence != fence:
        raise lost(tx, run, fence)


def lost(tx: Tx, run: str, fence: int) -> LeaseLostError:
    """The error for an owner with a fence that no longer counts."""
    found = find(tx, run)
    holder = found.owner if found else ""
    return LeaseLostError(
        f"run `{run}` is carried on by {described(holder)} now; this process (fence {fence}) has lost it and writes "
        "nothing more"
        if found
        else f"run `{run}` has no lease; take one before writing to it",
        run=run,
        fence=fence,
        holder=holder,
    )


def find(tx: Tx, run: str) -> Lease | None:
    """The lease of a run, expired or not; None when nobody ever held one."""
    rows = tx.execute("SELECT run, owner, fence, expires_ns FROM leases WHERE run = ?", (run,))
    return Lease(*rows[0]) if rows else None
