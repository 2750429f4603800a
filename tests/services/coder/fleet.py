"""A fake deployment and a client of it, sharing one virtual clock, for the tests of this room and of the fake."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from ooda.services.coder import CoderClient, Pace
from ooda.testing.fake_coder import FakeCoder, FleetClock, serve

__all__ = ["SHORT_S", "START", "client_of", "fleet", "specification"]

START = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)
SHORT_S = 0.3
"""Time-out of tests in which one is waited for; everything else gets seconds, for busy machines."""


def specification() -> Path | None:
    """The published interface of Coder, where `OODA_SPECS` says it lies."""
    folder = os.environ.get("OODA_SPECS")
    return Path(folder, "coder", "openapi-v2.36.0.strict.json") if folder else None


def client_of(fake: FakeCoder, token: str = "", page_rows: int = 1_000, **pace: float) -> CoderClient:
    """A client that waits in virtual time and without jitter (the longest waits)."""
    return CoderClient(
        fake.url,
        SecretStr(token or fake.token),
        clock=fake.clock,
        sleep=fake.clock.sleep,
        jitter=lambda: 1.0,
        pace=Pace(**{"timeout_s": 10, **pace}),
        page_rows=page_rows,
    )


@asynccontextmanager
async def fleet(
    workspaces: int = 0, timeout_s: float = 10, **options: object
) -> AsyncIterator[tuple[FakeCoder, CoderClient]]:
    """A fake whose clock stands still on a Friday at 17:00 UTC; whatever broke the specification fails the test."""
    options.setdefault("clock", FleetClock(START, runs=False))
    async with (
        serve(workspaces, spec=specification(), **options) as fake,
        client_of(fake, timeout_s=timeout_s) as client,
    ):
        yield fake, client
        assert fake.violations == []
