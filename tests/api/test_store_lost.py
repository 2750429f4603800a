"""The store is lost in the middle of a run: a real PostgreSQL of the test's own is stopped, or killed.

Without the store nothing is recorded, and what is not recorded does not happen: no degraded mode changes that.
"""

from __future__ import annotations

import asyncio
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ooda.errors import IntegrationError
from ooda.models.request import ModelReply
from ooda.models.scripted import ScriptedModel, say
from ooda.testing.runs import RunBench

PLAN = say("P.", ("update_plan", {"steps": [{"description": "x"}], "files_to_modify": ["sums.py"]}))
MEND = say("M.", ("edit_file", {"path": "sums.py", "old": "a - b", "new": "a + b"}))
FINISH = say("Done.", ("finish", {"summary": "add() adds now."}))


class Postgres:
    """A server with one database, in a folder of its own."""

    def __init__(self) -> None:
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [str(Path(shutil.which("initdb") or "").parent)]
        self._bin = Path(found[-1])
        if not (self._bin / "initdb").exists():
            if os.environ.get("CI"):
                pytest.fail("needs postgresql: apt-get install postgresql")
            pytest.skip("needs postgresql: apt-get install postgresql")
        self._folder = Path(tempfile.mkdtemp(prefix="ooda-pg-", dir="/tmp"))
        if os.getuid() == 0:  # the server refuses to be root
            shutil.chown(self._folder, "postgres")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self._port = taken.getsockname()[1]
        self._run("initdb", "-A", "trust", "-U", "ooda", "-E", "UTF8", "--locale=C", "-N")
        self.start()
        self.url = f"postgresql://ooda@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        self._run("pg_ctl", "-w", "-t", "30", "-l", str(self._folder / "log"), "-o", options, "start")

    def kill(self) -> None:
        self._run("pg_ctl", "-m", "immediate", "-w", "stop")

    def signal(self, number: int) -> None:
        """To the server and to every process of it."""
        first = int((self._folder / "postmaster.pid").read_text().split("\n", 1)[0])
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        for process in (first, *map(int, children)):
            os.kill(process, number)

    def close(self) -> None:
        if (self._folder / "postmaster.pid").exists():
            self.signal(signal.SIGCONT)
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        user = pwd.getpwnam("postgres").pw_uid if os.getuid() == 0 else os.getuid()
        subprocess.run(
            [str(self._bin / program), "-D", str(self._folder), *arguments],
            user=user, cwd="/", check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.close()


class Breaking(ScriptedModel):
    """Loses the store right before its second reply."""

    def __init__(self, breaks: Callable[[], None]) -> None:
        super().__init__([PLAN, MEND, FINISH])
        self._breaks = breaks
        self.broken = asyncio.Event()

    async def complete(self, request: Any, grant: Any, **more: Any) -> ModelReply:
        reply = await super().complete(request, grant, **more)
        if len(self.requests) == 2:
            self._breaks()
            self.broken.set()
        return reply


def mended(bench: RunBench) -> bool:
    (file,) = bench.folder.glob("home/.local/state/ooda/runs/*/workspace/sums.py")
    return "a + b" in file.read_text()


async def test_while_the_store_stands_still_nothing_happens_and_then_it_goes_on(
    tmp_path: Path, postgres: Postgres
) -> None:
    """The call was proposed; its intent cannot be written, so the file stays as it is; afterwards all is done once."""
    settings = {"sandbox.backend": "none", "store.url": postgres.url, "governance.degraded": "sandbox_only"}
    bench = RunBench(tmp_path, settings=settings)
    model = Breaking(lambda: postgres.signal(signal.SIGSTOP))
    with bench.session() as session:
        running = asyncio.ensure_future(bench.run(bench.task(), model, session=session))
        await asyncio.wait_for(model.broken.wait(), 60)
        done, _ = await asyncio.wait([running], timeout=2.5)
        assert not done
        assert not mended(bench)
        postgres.signal(signal.SIGCONT)
        assert (await asyncio.wait_for(running, 60)).status == "success"
    assert len(model.requests) == 3


async def test_a_run_whose_store_is_killed_stops_there_and_is_resumed(tmp_path: Path, postgres: Postgres) -> None:
    """Nothing was done that is not recorded, no policy lets it go on elsewhere, and nothing stays reserved."""
    settings = {"sandbox.backend": "none", "store.url": postgres.url, "governance.degraded": "sandbox_only"}
    bench = RunBench(tmp_path, settings=settings)
    with bench.session() as session, pytest.raises(IntegrationError):
        await bench.run(bench.task(), Breaking(postgres.kill), session=session)
    assert not mended(bench)
    with pytest.raises(IntegrationError):
        bench.session()

    postgres.start()
    run = bench.live.run
    with bench.session() as session:
        # Whoever lost the run is this process, which lives on; elsewhere its lease ends with it, or within a minute.
        session.store.write_now(lambda tx: tx.change("UPDATE leases SET expires_ns = 0 WHERE run = ?", (run,)))
        ending = await bench.resume(run, [MEND, FINISH], session=session)
        held = session.store.read(
            lambda tx: tx.execute("SELECT count(*) FROM reservations WHERE state IN ('held', 'sent')")
        )
    assert (ending.status, held) == ("success", [(0,)])
