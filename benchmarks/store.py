"""What the store costs: CPU and wall time of a write, beside a bare fsync and a bare commit on the same disk.

    python benchmarks/store.py [--rounds 7] [--writes 500] [--folder DIR]

Every agent step makes about four writes of two or three events; this measures them as the runtime makes them. The
rounds of all contestants are interleaved and the median is shown, as machines are shared. `cpu` is user and system
time of the process. "unsynced" is the same write without waiting for the disk: the cost of the
store itself, as a sync costs CPU too.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ooda.events import Body, Event, Limits, ModelAsked, Observed, RunStarted, ToolReturned, ToolStarted
from ooda.governance import audit
from ooda.governance.audit import AuditFact
from ooda.governance.ledger import Cap, CapRule, Caps, Ledger, ReserveRequest, Scope
from ooda.runtime.journal import GENESIS, Row, externalise, seal, verify
from ooda.store import Store, Tx, journal, leases

RUNS = 50
NOW = 1_700_000_000_000_000_000
EVENTS: tuple[Event, ...] = (
    ToolStarted(
        call="call_0", tool="read_file", definition="d" * 64, arguments="a" * 64, operation="read_workspace",
        effect="pure", key="k" * 32,
    ),
    ToolReturned(call="call_0", tool="read_file", status="ok", text=Body("a line of a file\n" * 60), duration_ms=3),
    ModelAsked(
        ask="ask-1", model="z-ai/glm-4.6:exacto", upto_seq=9, prefix_hash="p" * 64, digest="d" * 64, messages=12,
        input_bytes=40_000, reply_tokens=8192, reservation="r" * 32,
    ),
)  # fmt: skip
START = RunStarted(
    agent="coding", task=Body("{}"), task_digest="d", rules=Body("r"), brief=Body("b"), limits=Limits(), loop_version=1
)
SCOPES = (
    Scope("global"),
    Scope("company", "c"),
    Scope("project", "p"),
    Scope("agent", "coding"),
    Scope("task", "t", Cap(10**15)),
)


class Bench:
    """One store and one run in it that grows by every measurement."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(folder / "ooda.db")
        self.ledger = Ledger(Caps((CapRule(scope="global", span="day", cost_nano=10**15),)))
        self.lease = self.store.write_now(lambda tx: leases.take(tx, "run-a", "me", 60, NOW))
        self.seq, self.head, self.calls = 0, GENESIS, 0
        self.append(START)

    def sealed(self, *events: Event) -> list[Row]:
        rows: list[Row] = []
        for event in events:
            row = seal("run-a", self.seq, externalise(event, self.store.blobs.put), NOW, "tool/internal", self.head)
            self.seq, self.head = self.seq + 1, row.hash
            rows.append(row)
        return rows

    def append(self, *events: Event) -> None:
        rows = self.sealed(*events)
        self.store.write_now(lambda tx: self.store.append(tx, rows, self.lease.fence))

    def step(self, tx: Tx) -> None:
        """What one transaction of the runtime holds: three events and an audit fact."""
        self.store.append(tx, self.sealed(*EVENTS), self.lease.fence)
        audit.append(tx, AuditFact(at_ns=NOW, actor="a", action="allow", run="run-a", subject="t", decision="allow"))

    def reserve(self, tx: Tx) -> None:
        self.calls += 1
        asked = ReserveRequest(
            key=f"k{self.calls}", run="run-a", scopes=SCOPES, cost_nano=1000, tokens=100, now_ns=NOW, expires_ns=2 * NOW
        )
        self.ledger.reserve(tx, asked)

    def settle(self, tx: Tx) -> None:
        self.ledger.settle(tx, f"k{self.calls}", 700, 70)


def contestants(folder: Path, writes: int) -> dict[str, Callable[[], int]]:
    """Name and measurement; each returns how many operations it made."""
    bench, unsynced = Bench(folder / "synced"), Bench(folder / "unsynced")
    # Not something a store offers: only the bare cost of its own work is wanted here.
    unsynced.store.database.sync = lambda: None  # type: ignore[method-assign]
    plain = sqlite3.connect(folder / "plain.db", isolation_level=None)
    plain.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (id INTEGER PRIMARY KEY, b)"
    )
    file = os.open(folder / "file", os.O_CREAT | os.O_WRONLY, 0o600)
    body = os.urandom(1500)

    def times(work: Callable[[], object]) -> Callable[[], int]:
        def measured() -> int:
            for _ in range(writes):
                work()
            return writes

        return measured

    def bare_fsync() -> None:
        os.write(file, body)
        os.fsync(file)

    def bare_commit() -> None:
        plain.execute("BEGIN IMMEDIATE")
        plain.execute("INSERT INTO t (b) VALUES (?)", (body,))
        plain.execute("COMMIT")

    def reserve_and_settle() -> None:
        bench.store.write_now(bench.reserve)
        bench.store.write_now(bench.settle)

    def both(tx: Tx) -> None:
        unsynced.reserve(tx)
        unsynced.settle(tx)

    def ledger_alone() -> int:
        unsynced.store.write_now(lambda tx: [both(tx) for _ in range(writes)])
        return writes

    async def one_by_one() -> int:
        for _ in range(writes):
            await unsynced.store.write(unsynced.step)
        return writes

    async def grouped() -> int:
        for _ in range(writes // RUNS):
            await asyncio.gather(*(bench.store.write(bench.step) for _ in range(RUNS)))
        return writes // RUNS * RUNS

    return {
        "bare fsync of 1.5 KB": times(bare_fsync),
        "bare commit of 1.5 KB": times(bare_commit),
        "write: one event": times(lambda: bench.append(EVENTS[1])),
        "write: three events + audit": times(lambda: bench.store.write_now(bench.step)),
        "the same, unsynced": times(lambda: unsynced.store.write_now(unsynced.step)),
        "the same, unsynced, awaited": lambda: asyncio.run(one_by_one()),
        f"the same, {RUNS} runs at once": lambda: asyncio.run(grouped()),
        "reserve + settle, two writes": times(reserve_and_settle),
        "reserve + settle, ledger alone": ledger_alone,
        "seal one event": times(lambda: seal("run-a", 5, EVENTS[1], NOW, "tool/internal", GENESIS)),
        "externalise, nothing large": times(lambda: externalise(EVENTS[1], bench.store.blobs.put)),
    }


def reading(folder: Path) -> tuple[float, float]:
    """Milliseconds to read, and to read and verify, a journal of 2,000 events."""
    bench = Bench(folder)
    for _ in range(40):
        bench.append(*[Observed(source="s", text=Body("a line of a file\n" * 60))] * 50)
    began = time.perf_counter()
    rows = list(bench.store.rows("run-a"))
    read = time.perf_counter()
    verify(rows)
    assert bench.store.read(lambda tx: journal.head(tx, "run-a"))[0] == len(rows) - 1
    return (read - began) * 1000, (time.perf_counter() - began) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--writes", type=int, default=500)
    parser.add_argument("--folder", type=Path, help="where to write; a new folder in the current one by default")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-store-", dir=given.folder or Path.cwd()))
    try:
        works = contestants(folder, given.writes)
        cpu: dict[str, list[float]] = {name: [] for name in works}
        wall: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(given.rounds):
            for name, work in works.items():
                wall_began, cpu_began = time.perf_counter(), time.process_time()
                count = work()
                cpu[name].append((time.process_time() - cpu_began) / count * 1e6)
                wall[name].append((time.perf_counter() - wall_began) / count * 1e6)
        print(f"{'median of ' + str(given.rounds) + ' rounds':34} {'cpu us':>8} {'wall us':>8}")
        for name in works:
            print(f"{name:34} {statistics.median(cpu[name]):8.1f} {statistics.median(wall[name]):8.1f}")
        read_ms, verified_ms = reading(folder / "reading")
        print(f"read 2,000 events {read_ms:.1f} ms, read and verify {verified_ms:.1f} ms")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
