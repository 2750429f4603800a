"""A made-up evening: a fake deployment whose clock is moved, a store of its own, and the steward's real passes.

Nothing outside a temporary folder and the loopback interface is touched; everything but the deployment is what runs
on a real one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import random

from pydantic import SecretStr

from ooda.api.session import Session
from ooda.api.steward.configured import steward_session
from ooda.api.steward.logs import log_line, logging_to
from ooda.api.steward.open import PassOptions
from ooda.api.steward.passes import PassResult, make_pass
from ooda.api.steward.tasks import Check, steward_task
from ooda.services.coder import CoderClient
from ooda.testing.fake_coder import FakeCoder, FleetClock, serve

__all__ = ["Evening", "evening"]

_WORKSPACES, _SEED = 40, 7
_FRIDAY = datetime(2026, 11, 20, 17, 40, tzinfo=UTC)
_LATE = timedelta(hours=1, minutes=35)
"""How long after that the last of them work."""
_STEP_S = 600.0
_DEFAULTS = {"steward.blast_percent": 100}


class Evening:
    """A Friday evening, from 17:40 UTC on: some work late, one is on call."""

    def __init__(self, session: Session, client: CoderClient, fake: FakeCoder, write: Callable[[str], None]) -> None:
        self.session = session
        self._client = client
        self._fake = fake
        self._write = write
        running = [seen for seen in fake.world.workspaces.values() if seen.latest.is_running]
        self._late = running[::5]
        """They are still worked in for a while."""
        on_call = next(user for user in fake.world.users.values() if user.username == "on-call")
        fake.world.add_workspace(on_call, running[0].template, "pager", started_at=_FRIDAY - timedelta(hours=1))

    def at(self, hour: int, minute: int) -> None:
        """Let time pass until this time of the evening."""
        clock, world = self._fake.clock, self._fake.world
        moment = _FRIDAY.replace(hour=hour, minute=minute)
        while (left_s := (moment - clock.now()).total_seconds()) > 0:
            clock.advance(min(_STEP_S, left_s))
            world.settle()
            for seen in self._late if clock.now() < _FRIDAY + _LATE else []:
                world.use(seen)

    def say(self, message: str) -> None:
        """A line of the log."""
        self._write(log_line(self._fake.clock.now_ns(), "DEMO", message))

    async def carry(self, check: Check, *, execute: bool, timezone: str | None = None) -> PassResult:
        """One pass of the steward."""
        loaded = steward_task(self.session.settings, check, execute=execute, timezone=timezone)
        options = PassOptions(client=self._client, sleep=self._fake.clock.sleep, heard=logging_to(self._write))
        return await make_pass(self.session, loaded, options)


@asynccontextmanager
async def evening(
    folder: Path, overrides: Mapping[str, object], write: Callable[[str], None]
) -> AsyncIterator[Evening]:
    """A fake deployment, and a session that keeps its records in `folder`.

    Args:
        write: takes the log, a line at a time.
    """
    clock = FleetClock(_FRIDAY, runs=False)
    async with serve(_WORKSPACES, _SEED, clock=clock) as fake:
        environ = {"HOME": str(folder), "CODER_URL": fake.url, "CODER_TOKEN": fake.token}
        given = {**_DEFAULTS, **overrides}
        client = CoderClient(fake.url, SecretStr(fake.token), clock=clock, sleep=clock.sleep, jitter=random)
        with steward_session(environ=environ, cwd=folder, overrides=given, clock=clock) as session:
            async with client:
                yield Evening(session, client, fake, write)
