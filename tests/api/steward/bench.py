"""A fleet, a home folder and passes of the steward over the one, kept in the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from ooda.api.session import Session
from ooda.api.steward.open import Pass, PassOptions, opened_pass
from ooda.engines.local import Ending, Person
from ooda.events import Entry, Event, Foreign
from ooda.services.coder import CoderClient
from ooda.store import Tx
from ooda.store import steward as rows
from ooda.store.outbox import pending
from ooda.task import parse_task
from ooda.testing.fake_coder import FakeCoder
from ooda.testing.fake_coder.entities import FakeWorkspace
from tests.services.coder.fleet import START, client_of, fleet

__all__ = ["NIGHT", "StewardBench", "steward_bench"]

NIGHT = START + timedelta(hours=3)
"""20:00 UTC: quiet hours since two hours, the grace since one."""
EXECUTE = ["stop_workspace", "start_workspace", "notify"]


class StewardBench:
    """Passes over a fake fleet whose clock stands still unless moved."""

    def __init__(self, folder: Path, fake: FakeCoder, client: CoderClient, settings: Mapping[str, object]) -> None:
        self.folder = folder
        self.fake = fake
        self.client = client
        self.settings = {"steward.blast_percent": 100, "steward.stops_per_minute": 1_000, **settings}
        self.heard: list[Event | Foreign] = []
        self.last: Pass | None = None

    def session(self, **settings: object) -> Session:
        environ = {"HOME": str(self.folder), "CODER_URL": self.fake.url, "CODER_TOKEN": self.fake.token}
        return Session.open(
            environ=environ, cwd=self.folder, overrides={**self.settings, **settings}, clock=self.fake.clock
        )

    def person(self, name: str, count: int, **given: Any) -> list[FakeWorkspace]:
        """An owner with running workspaces, started in the morning and idle since noon."""
        world = self.fake.world
        world.settle()
        template = next(iter(world.templates.values()))
        owner = next((user for user in world.users.values() if user.username == name), None) or world.add_user(name)
        day = START.replace(hour=0)
        given = {"started_at": day + timedelta(hours=8), "last_used_at": day + timedelta(hours=12), **given}
        return [
            world.add_workspace(owner, template, f"{name}-{number}-{len(world.workspaces)}", **given)
            for number in range(count)
        ]

    def at(self, moment: datetime) -> None:
        """Let time pass until this moment."""
        self.fake.clock.advance((moment - self.fake.clock.now()).total_seconds())

    async def carry(
        self,
        check: str = "quiet_hours",
        *,
        session: Session | None = None,
        run: str = "",
        person: Person | None = None,
        **task: Any,
    ) -> Ending:
        """One pass; it may build unless the task says otherwise."""
        spec = {"kind": "steward", "check": check, "dry_run": False, "grants": EXECUTE, **task}
        own = session or self.session()
        options = PassOptions(
            run=run, person=person, client=self.client, sleep=self.fake.clock.sleep, heard=self._heard
        )
        try:
            async with opened_pass(own, parse_task(spec, "test task"), options) as opened:
                self.last = opened
                return await opened.go()
        finally:
            if session is None:
                own.close()

    def _heard(self, seq: int, entry: Entry) -> None:
        self.heard.append(entry.event)

    def builds(self) -> list[rows.BuildRow]:
        """Everything the steward wrote down."""
        with self.session() as session:
            return session.store.read(lambda tx: rows.builds_since(tx, self.fake.url, 0))

    def notices(self, channel: str = "") -> list[dict[str, Any]]:
        """Payloads in the outbox, of one channel or of all the steward's own."""

        def read(tx: Tx) -> list[Any]:
            return pending(tx, 1 << 62, limit=1_000)

        with self.session() as session:
            found = session.store.read(read)
        return [
            msgspec.json.decode(row.payload)
            for row in found
            if row.channel == channel or (not channel and row.channel in ("steward.owner", "steward.admins"))
        ]


@asynccontextmanager
async def steward_bench(
    folder: Path, *, settings: Mapping[str, object] | None = None, timeout_s: float = 10, **options: Any
) -> AsyncIterator[StewardBench]:
    """A fleet of nobody's: the three templates and users of the seed, no workspaces."""
    async with fleet(0, timeout_s, **options) as (fake, _), client_of(fake, timeout_s=timeout_s) as client:
        fake.world.executor_runs = False
        yield StewardBench(folder, fake, client, settings or {})
