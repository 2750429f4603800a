"""A run whose lease is lost in the middle ends its effects at once, not at its next write."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ooda.api.launch import Live
from ooda.api.lease import LeaseKeeper
from ooda.api.session import Session
from ooda.clock import SystemClock
from ooda.errors import IntegrationError, LeaseLostError, OodaError
from ooda.models.scripted import say
from ooda.store import Store, leases
from ooda.testing.runs import RunBench
from tests.durability.lab import until

PLAN = say("Plan.", ("update_plan", {"steps": [{"description": "Wait"}]}))
SLEEP = say("Wait.", ("run_shell_command", {"command": "echo begun > begun.txt; sleep 60; echo ended > ended.txt"}))


@pytest.fixture
def session(bench: RunBench) -> Iterator[Session]:
    with bench.session() as opened:
        yield opened


def taken_over(session: Session, run: str) -> LeaseLostError:
    """Another owner takes the run; gives what the one before is told."""
    now_ns = session.clock.now_ns()
    session.store.write_now(lambda tx: tx.change("UPDATE leases SET expires_ns = 0 WHERE run = ?", (run,)))
    session.store.write_now(lambda tx: leases.take(tx, run, "elsewhere", 60, now_ns))
    with pytest.raises(LeaseLostError) as caught:
        session.store.read(lambda tx: leases.check(tx, run, 1))
    return caught.value


@pytest.mark.bubblewrap
async def test_what_runs_is_ended_as_soon_as_the_loss_is_known(bench: RunBench, session: Session) -> None:
    """The command dies, nothing more is written, and the error names the new owner."""
    written: list[int] = []
    told_at = 0.0

    async def take_over(live: Live) -> None:
        nonlocal told_at
        begun = live.kind.workspace / "begun.txt"
        await asyncio.to_thread(until, begun.exists)
        error = taken_over(session, live.run)
        written.append(len(list(session.store.rows(live.run))))
        told_at = time.monotonic()
        live.engine.lose(error)

    tasks: list[asyncio.Task[None]] = []
    with pytest.raises(LeaseLostError, match="is carried on by elsewhere now"):
        await bench.run(
            bench.task(),
            [PLAN, SLEEP],
            session=session,
            meanwhile=lambda live: tasks.append(asyncio.ensure_future(take_over(live))),
        )

    assert time.monotonic() - told_at < 5
    assert not (bench.live.kind.workspace / "ended.txt").exists()
    assert len(list(session.store.rows(bench.live.run))) == written[0]


async def test_a_renewal_that_is_refused_is_told_once(session: Session) -> None:
    """The keeper looks at its own failure; a caller that asks late is told too."""
    lease = session.store.write_now(lambda tx: leases.take(tx, "run-a", "here", 0.06, session.clock.now_ns()))
    keeper = LeaseKeeper(session.store, session.clock, lease, lasts_s=0.06)
    told: list[OodaError] = []
    taken_over(session, "run-a")

    await asyncio.wait_for(keeper.keep(), 5)
    keeper.tell(told.append)

    assert [type(error) for error in told] == [LeaseLostError]


async def test_a_store_that_stays_locked_costs_the_lease_when_its_time_is_over(tmp_path: Path) -> None:
    """A renewal that fails for another reason is tried again as long as the lease lasts, and no longer."""
    clock = SystemClock()
    with Store.open(tmp_path / "ooda.db", busy_timeout_s=0.01) as store:
        lease = store.write_now(lambda tx: leases.take(tx, "run-a", "here", 0.3, clock.now_ns()))
        keeper = LeaseKeeper(store, clock, lease, lasts_s=0.3)
        told: list[OodaError] = []
        keeper.tell(told.append)
        with closing(sqlite3.connect(tmp_path / "ooda.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await asyncio.wait_for(keeper.keep(), 10)

    assert [type(error) for error in told] == [IntegrationError]
    assert clock.now_ns() > lease.expires_ns
