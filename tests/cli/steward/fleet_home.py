"""A HOME and a fake Coder deployment on loopback in a thread of its own; `ooda` in this process or as a child.

Time is real here: quiet hours are set around now. The world may be changed at any moment by `do`.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ooda.api.session import Session
from ooda.cli.main import main
from ooda.store import Tx
from ooda.store import steward as rows
from ooda.store.outbox import pending
from ooda.testing.fake_coder import FakeCoder
from ooda.testing.fake_coder.entities import FakeUser, FakeWorkspace
from tests.services.coder.fleet import specification

__all__ = ["Done", "FleetHome", "fleet_home"]

T = TypeVar("T")


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class FleetHome:
    """One machine of an operator, and one deployment without workspaces."""

    def __init__(self, folder: Path, fake: FakeCoder, loop: asyncio.AbstractEventLoop) -> None:
        self.folder = folder
        self.fake = fake
        self._loop = loop
        now = datetime.now(UTC)
        self.environ = {
            "HOME": str(folder / "home"),
            "PATH": os.environ["PATH"],
            "CODER_URL": fake.url,
            "CODER_TOKEN": fake.token,
            "QUIET_HOURS_START": f"{now - timedelta(hours=3):%H:%M}",
            "QUIET_HOURS_END": f"{now + timedelta(hours=9):%H:%M}",
            "OODA_STEWARD__STOPS_PER_MINUTE": "1000",
            "OODA_STEWARD__BLAST_PERCENT": "100",
        }

    # -- the deployment ---------------------------------------------------------------------------------

    def do(self, work: Callable[[], T]) -> T:
        """Do something to the deployment in its own thread."""

        async def done() -> T:
            self.fake.world.settle()
            return work()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(10)

    def person(self, name: str, count: int = 1, *, roles: tuple[str, ...] = (), **given: Any) -> list[FakeWorkspace]:
        """An owner with running workspaces, started eight hours ago and idle for five."""
        world, now = self.fake.world, datetime.now(UTC)
        given = {"started_at": now - timedelta(hours=8), "last_used_at": now - timedelta(hours=5), **given}

        def add() -> list[FakeWorkspace]:
            owner = self._user(name) or world.add_user(name, roles=roles)
            template = next(iter(world.templates.values()))
            first = len(world.workspaces)
            return [world.add_workspace(owner, template, f"w{first + number}", **given) for number in range(count)]

        return self.do(add)

    def _user(self, name: str) -> FakeUser | None:
        return next((user for user in self.fake.world.users.values() if user.username == name), None)

    # -- the command ------------------------------------------------------------------------------------

    def ooda(self, *arguments: str, stdin: bytes | None = None, environ: dict[str, str] | None = None) -> Done:
        """Run the command in this process, its environment and streams replaced."""
        out, err = _Captured(), _Captured()
        before, streams, folder = dict(os.environ), (sys.stdin, sys.stdout, sys.stderr), Path.cwd()
        os.environ.clear()
        os.environ.update(self.environ | (environ or {}))
        os.chdir(self.folder)
        sys.stdin = io.TextIOWrapper(io.BytesIO(stdin or b""))
        sys.stdout, sys.stderr = out, err
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            sys.stdin, sys.stdout, sys.stderr = streams
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(before)
        return Done(code, out.text(), err.text())

    def start(self, *arguments: str, environ: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
        """Start the command as a process of its own."""
        given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        return subprocess.Popen(
            [*given.pop("before", ()), sys.executable, "-m", "ooda", *arguments],
            cwd=self.folder,
            env=self.environ | {"PYTHONPATH": str(Path(__file__).parents[3])} | (environ or {}),
            text=True,
            **given,
        )

    def write(self, name: str, value: object) -> Path:
        """A JSON file beside HOME."""
        path = self.folder / name
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return path

    # -- the record -------------------------------------------------------------------------------------

    def session(self, **overrides: object) -> Session:
        return Session.open(environ=self.environ, cwd=self.folder, overrides=overrides)

    def builds(self) -> list[rows.BuildRow]:
        """Everything the steward wrote down."""
        with self.session() as session:
            return session.store.read(lambda tx: rows.builds_since(tx, self.fake.url, 0))

    def notices(self, channel: str) -> list[dict[str, Any]]:
        """Payloads in the outbox of one channel."""

        def read(tx: Tx) -> list[Any]:
            return pending(tx, 1 << 62, limit=1_000)

        with self.session() as session:
            found = session.store.read(read)
        return [json.loads(row.payload) for row in found if row.channel == channel]


class _Captured(io.TextIOWrapper):
    """A stream with a byte buffer, as the real ones have."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def text(self) -> str:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode()


@contextmanager
def fleet_home(folder: Path, workspaces: int = 0, **options: Any) -> Iterator[FleetHome]:
    """A home and a deployment whose builds take no time; whatever broke the interface fails the test."""
    options.setdefault("build_s", (0.0, 0.0))
    options.setdefault("pick_up_s", 0.0)
    (folder / "home").mkdir()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def on_loop(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    async def made() -> FakeCoder:
        fake = FakeCoder(workspaces=workspaces, spec=specification(), **options)
        await fake.start()
        return fake

    try:
        fake = on_loop(made())
        fake.world.executor_runs = False
        try:
            yield FleetHome(folder, fake, loop)
            assert fake.violations == []
        finally:
            with contextlib.suppress(TimeoutError):
                on_loop(fake.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
