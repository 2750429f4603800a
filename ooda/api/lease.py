"""The lease of a run, kept while it is open here: taken, renewed, given back, and its loss told at once.

Knows the store's leases and this process's name; what a lost lease means for what is running is the engine's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ooda.api.session import Session
from ooda.clock import Clock
from ooda.errors import IntegrationError, LeaseLostError, OodaError
from ooda.store import Lease, Store, is_alive, leases, process_owner

__all__ = ["LeaseKeeper", "held_lease"]

_LEASE_S = 60.0
_AGAIN_S = 1.0
"""Between tries to renew while the store does not take it."""
_NANO = 1_000_000_000


class LeaseKeeper:
    """Renews one lease until it is cancelled or the lease is lost.

    Args:
        lasts_s: How long the lease lasts after each renewal.
    """

    def __init__(self, store: Store, clock: Clock, lease: Lease, *, lasts_s: float = _LEASE_S) -> None:
        self.lease = lease
        self._store, self._clock = store, clock
        self._lasts_s = lasts_s
        self._lost: OodaError | None = None
        self._told: Callable[[OodaError], None] = lambda error: None

    def tell(self, told: Callable[[OodaError], None]) -> None:
        """Call `told` once when the lease is lost; at once when it is already."""
        self._told = told
        if self._lost is not None:
            told(self._lost)

    async def hold(self) -> None:
        """Make sure of the lease right before something that nobody else may do at the same time.

        Raises:
            LeaseLostError: another owner has it; this process was paused for too long.
        """
        now_ns = self._clock.now_ns()
        if self.lease.expires_ns - now_ns < self._lasts_s / 2 * _NANO:
            self.lease = await self._store.write(lambda tx: leases.renew(tx, self.lease, self._lasts_s, now_ns))
        else:
            self._store.read(lambda tx: leases.check(tx, self.lease.run, self.lease.fence))

    async def keep(self) -> None:
        """Renew until the lease is lost. A store that cannot be written is asked again as long as the lease lasts."""
        pause_s = self._lasts_s / 3
        while self._lost is None:
            await asyncio.sleep(pause_s)
            try:
                self.lease = await self._store.write(
                    lambda tx: leases.renew(tx, self.lease, self._lasts_s, self._clock.now_ns())
                )
                pause_s = self._lasts_s / 3
            except LeaseLostError as error:
                self._lose(error)
            except IntegrationError as error:
                pause_s = min(_AGAIN_S, pause_s)
                if self._clock.now_ns() >= self.lease.expires_ns:
                    self._lose(error)

    def _lose(self, error: OodaError) -> None:
        self._lost = error
        self._told(error)


@asynccontextmanager
async def held_lease(session: Session, run: str) -> AsyncIterator[LeaseKeeper]:
    """Hold the lease of a run; on leaving, whatever happened, let go of it and sign the audit log.

    Raises:
        LeaseLostError: another process carries this run on; the message names it.
    """
    owner = process_owner(session.ids.new("own"))
    lease = await session.store.write(
        lambda tx: leases.take(tx, run, owner, _LEASE_S, session.clock.now_ns(), is_alive)
    )
    keeper = LeaseKeeper(session.store, session.clock, lease)
    task = asyncio.ensure_future(keeper.keep())
    try:
        yield keeper
    except BaseException:
        task.cancel()
        # What went wrong counts, not that a full disk takes no release either: a dead owner's lease is free anyway.
        with contextlib.suppress(OodaError):
            _let_go(session, keeper.lease)
        raise
    else:
        task.cancel()
        _let_go(session, keeper.lease)


def _let_go(session: Session, lease: Lease) -> None:
    session.store.write_now(lambda tx: leases.release(tx, lease))
    session.anchor_audit()
