"""A process killed at any instant loses nothing it acknowledged, and leaves nothing half done.

The child appends events, with their blobs, reservations, charges and audit facts, as fast as it can and names each
batch after its commit; the parent kills it with SIGKILL at a random moment and reads what is left.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ooda.errors import JournalError
from ooda.governance import audit
from ooda.runtime.journal import Row, bodies, event_of, verify
from ooda.store import Store, is_alive, leases

CHILD = """
import asyncio, sys, time
from pathlib import Path
from ooda.events import Body, Limits, Observed, RunStarted
from ooda.governance import audit
from ooda.governance.audit import AuditFact
from ooda.governance.ledger import Ledger, ReserveRequest, Scope
from ooda.runtime.journal import GENESIS, event_of, externalise, seal
from ooda.store import Store, is_alive, journal, leases, process_owner

store = Store.open(Path(sys.argv[1]), url=sys.argv[2])
ledger = Ledger()

async def run(name):
    now = time.time_ns()
    lease = store.write_now(lambda tx: leases.take(tx, name, process_owner(name), 60, now, is_alive))
    seq, head = store.read(lambda tx: journal.head(tx, name))
    while True:
        number = seq + 1
        if number == 0:
            event = RunStarted(agent="x", task=Body("{}"), task_digest="", rules=Body(""), brief=Body(""),
                               limits=Limits(), loop_version=1)
        else:
            event = Observed(source="crash", text=Body(f"{name} {number} " * (2000 if number % 5 == 0 else 1)))
        row = seal(name, number, externalise(event, store.blobs.put), now + number, "tool/internal", head)

        def work(tx):
            store.append(tx, [row], lease.fence)
            ledger.reserve(tx, ReserveRequest(key=f"{name}:{number}", run=name, scopes=(Scope("global"),), cost_nano=7,
                                              tokens=1, now_ns=now, expires_ns=now + 10**12, is_sent=True))
            if number % 2:
                ledger.settle(tx, f"{name}:{number}", 5, 1)
            audit.append(tx, AuditFact(at_ns=now, actor="child", action="append", run=name, subject=str(number),
                                       decision="allow"))

        await store.write(work)
        print(name, number, flush=True)
        seq, head = number, row.hash

async def main():
    await asyncio.gather(*(run(f"run-{letter}") for letter in "abc"))

print("ready", flush=True)
asyncio.run(main())
"""


def killed_child(path: Path, after_s: float, at_least: int = 0, url: str = "") -> dict[str, int]:
    """Start a child, let it acknowledge `at_least` events, kill it `after_s` seconds later.

    The result is the last seq it acknowledged for each run.
    """
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, path, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    said_first = [child.stdout.readline() for _ in range(at_least)]
    time.sleep(after_s)  # not to wait for anything: the moment of the kill is what is varied
    child.send_signal(signal.SIGKILL)
    said = child.stdout.read()
    complaint = child.communicate()[1]
    assert (child.returncode, complaint) == (-signal.SIGKILL, "")
    # The last line may have been cut off by the kill; what was not said was not acknowledged.
    lines = [line.split() for line in [*said_first, *said.splitlines(keepends=True)] if line.endswith("\n")]
    return {name: int(number) for name, number in lines}


def examine(path: Path, acknowledged: dict[str, int], url: str = "") -> None:
    with Store.open(path, url=url) as store:
        if not url:
            assert store.read(lambda tx: tx.execute("PRAGMA integrity_check")) == [("ok",)]
            assert store.read(lambda tx: tx.execute("PRAGMA foreign_key_check")) == []
        for name in ("run-a", "run-b", "run-c"):
            rows = list(store.rows(name))
            verify(rows)
            assert len(rows) > acknowledged.get(name, -1), f"{name} lost an acknowledged event"
            for row in rows:
                for body in bodies(event_of(row)):
                    if body.ref:
                        assert store.blobs.get(body.ref.digest).startswith(name)
            assert len(rows) == count(store, "SELECT COUNT(*) FROM reservations WHERE run = ?", name)
            assert len(rows) == count(store, "SELECT COUNT(*) FROM audit WHERE run = ?", name)
        assert audit.verify(store).is_clean
        assert list((store.blobs.folder / "tmp").glob("*")) == []
        windows = "SELECT COALESCE(SUM(%s), 0) FROM budget_windows WHERE span LIKE 'day%%'"
        assert count(store, windows % "reserved_cost") == count(
            store, "SELECT COALESCE(SUM(cost_nano), 0) FROM reservations WHERE state = 'sent'"
        )
        assert count(store, windows % "spent_cost") == count(store, "SELECT COALESCE(SUM(cost_nano), 0) FROM charges")


def count(store: Store, sql: str, *params: str) -> int:
    return int(store.read(lambda tx: tx.execute(sql, params))[0][0])


@pytest.mark.parametrize(
    "kills", [pytest.param(8, id="8 kills"), pytest.param(300, id="300 kills", marks=pytest.mark.soak)]
)
def test_a_killed_process_loses_nothing_it_acknowledged(
    tmp_path: Path, kills: int, store_url: str, record_property: pytest.FixtureRequest
) -> None:
    """Kill after kill on the same database: journal, blobs, ledger and audit agree after each."""
    path = tmp_path / "ooda.db"
    seed = int(os.environ.get("OODA_SEED") or random.SystemRandom().randrange(10**9))
    record_property("seed", seed)  # type: ignore[operator]
    dice = random.Random(seed)
    seen: dict[str, int] = {}
    for number in range(kills):
        # Every other child is killed at any moment, the rest once they have written, on however busy a machine.
        seen |= killed_child(path, dice.uniform(0, 0.15), at_least=6 * (number % 2), url=store_url)
        examine(path, seen, store_url)
    assert sum(seen.values()) > kills, f"seed {seed}: the child hardly wrote anything"


def test_the_lease_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    """Whoever resumes the run need not wait for the expiry, and the old fence is dead."""
    path = tmp_path / "ooda.db"
    killed_child(path, 0, at_least=20)
    with Store.open(path) as store:
        before = store.read(lambda tx: tx.execute("SELECT fence FROM leases WHERE run = 'run-a'"))[0][0]
        lease = store.write_now(lambda tx: leases.take(tx, "run-a", "heir", 60, time.time_ns(), is_alive))

    assert lease.fence == before + 1


def test_a_flipped_byte_in_a_row_is_found_by_the_chain(tmp_path: Path) -> None:
    """SQLite does not check what it stores; the chain does."""
    path = tmp_path / "ooda.db"
    killed_child(path, 0, at_least=20)
    Store.open(path).close()
    content = path.read_bytes()
    place = content.rindex(b'"source":"crash"')
    path.write_bytes(content[:place] + b'"sourcf"' + content[place + 8 :])

    with Store.open(path) as store:
        assert store.read(lambda tx: tx.execute("PRAGMA integrity_check")) == [("ok",)]
        rows = [row for name in ("run-a", "run-b", "run-c") for row in store.rows(name)]
        broken = [name for name in ("run-a", "run-b", "run-c") if not is_whole([r for r in rows if r.run == name])]
    assert len(broken) == 1


def is_whole(rows: list[Row]) -> bool:
    try:
        verify(rows)
    except JournalError as error:
        return error.facts["problem"] != "content"
    return True
