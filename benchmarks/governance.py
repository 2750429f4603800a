"""`make bench-governance`: every figure of governance beside its goal; exits 1 when one is missed.

Times stand beside a floor of the same run (two bare commits of the same size), as machines are shared; rates and
latencies are CPU time of this thread. What is attacked is the real thing: the engine with its gate, a store, 64
processes. The cases (secrets, look-alikes, ways to tamper) are those of the tests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import shutil
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.governance_pure import COMMANDS, LOG_LINE  # noqa: E402
from benchmarks.hostile.__main__ import ASKS_GOAL, attempts, honest_tasks  # noqa: E402
from benchmarks.store import contestants  # noqa: E402
from ooda.governance import audit  # noqa: E402
from ooda.governance.levels import Level  # noqa: E402
from ooda.governance.operations import Operation  # noqa: E402
from ooda.governance.redaction import Redactor  # noqa: E402
from ooda.governance.rules import RuleSet  # noqa: E402
from ooda.governance.shell_text import parse_shell  # noqa: E402
from ooda.governance.sinks import judge  # noqa: E402
from ooda.labels import UNTRUSTED  # noqa: E402
from ooda.store import Store  # noqa: E402
from tests.governance import test_audit as tampering  # noqa: E402
from tests.governance import test_killed_spenders as killing  # noqa: E402
from tests.governance import test_ledger as racing  # noqa: E402
from tests.governance.test_redaction import IN_CONTEXT, LOOK_ALIKES, SECRETS  # noqa: E402

CAP = 1_000_000
PROCESSES, CALLS = 64, 30

Row = tuple[str, str, str, bool]
"""Measure, value, goal, met."""


def money(folder: Path, rounds: int) -> Row:
    """Reserve and settle, a commit each, against two bare commits; wall time.

    One of each in turn, so that what else the machine does falls on both alike, and medians, so that its bursts count
    for neither.
    """
    works = contestants(folder, 1)
    bare, held = works["bare commit of 1.5 KB"], works["reserve + settle, two writes"]
    floors, costs = [], []
    for _ in range(200 * rounds):
        began = time.perf_counter()
        bare()
        middle = time.perf_counter()
        held()
        ended = time.perf_counter()
        floors.append(middle - began)
        costs.append(ended - middle)
    floor, cost = statistics.median(floors), statistics.median(costs)
    ratio = cost / (2 * floor)
    value = f"{ratio:.2f}x ({cost * 1e3:.2f} ms)"
    return "reserve + settle, two commits, against two bare ones", value, "<= 2.5x", ratio <= 2.5


class Latency:
    """A decision of rules and labels on shell text read for the first time; CPU time of this thread.

    Batches are taken between the other measurements, and the quietest counts: another program on the same core slows
    what is measured, and nothing makes it faster.
    """

    def __init__(self) -> None:
        self._rules = RuleSet.load()
        self._calls = [json.dumps({"command": command}).encode() for command in COMMANDS]
        self._p99: list[float] = []

    def take(self, batches: int = 5) -> None:
        for _ in range(batches):
            costs = []
            for number in range(500):
                parse_shell.cache_clear()
                command = self._calls[number % len(self._calls)]
                began = time.thread_time_ns()
                self._rules.decide(Operation.RUN_IN_SANDBOX, "run_shell_command", command, Level.SANDBOX_ONLY)
                judge(UNTRUSTED, Operation.PUSH_FEATURE_BRANCH, ("a", "b"), ("a", "b", "c"))
                costs.append((time.thread_time_ns() - began) / 1e6)
            self._p99.append(sorted(costs)[int(len(costs) * 0.99)])

    def row(self) -> Row:
        p99 = min(self._p99)
        return f"decision, {len(self._rules.rules)} rules, shell text, p99", f"{p99:.3f} ms", "<= 0.2 ms", p99 <= 0.2


def redaction() -> list[Row]:
    redactor = Redactor()
    for number in range(5):
        redactor.register(f"KEY_{number}", f"sk-or-v1-{number}a8F7{number}d6e5c4b3a2")
    clean = LOG_LINE * 20_000
    rates = []
    for _ in range(5):
        began = time.thread_time_ns()
        assert redactor.redact(clean).text == clean
        rates.append(len(clean) / ((time.thread_time_ns() - began) / 1e9) / 1e6)
    rate = statistics.median(rates)
    plain = Redactor()
    cases = {name: (f"value {secret} end", secret) for name, secret in SECRETS.items()} | IN_CONTEXT
    gone = sum(secret not in plain.redact(text).text for text, secret in cases.values())
    eaten = [name for name, text in LOOK_ALIKES.items() if plain.redact(text).hits]
    return [
        ("redaction of clean logs, 5 values registered", f"{rate:.0f} MB/s", ">= 5 MB/s", rate >= 5),
        ("secrets found (44 kinds at least)", f"{gone}/{len(cases)}", "all", gone == len(cases) >= 44),
        ("look-alikes hit", f"{len(eaten)}/{len(LOOK_ALIKES)}", "<= 1/14", len(eaten) * 14 <= len(LOOK_ALIKES)),
    ]


def hostile(folder: Path) -> list[Row]:
    bad, good = asyncio.run(attempts(folder)), asyncio.run(honest_tasks(folder))
    executed = sum(bool(outcome.executed) for outcome in bad.values())
    asking = sum(bool(outcome.asked) for outcome in good.values()) / len(good)
    failed = sum(bool(outcome.refused) for outcome in good.values())
    return [
        ("hostile attempts executed", f"{executed}/{len(bad)}", "0/200", executed == 0 and len(bad) == 200),
        (
            f"honest tasks that ask a person, of {len(good)}",
            f"{asking:.1%}",
            f"<= {ASKS_GOAL:.0%}",
            asking <= ASKS_GOAL,
        ),
        ("honest tasks refused", str(failed), "0", failed == 0),
    ]


def tampered(folder: Path) -> Row:
    """The seven kinds, each on a log of its own."""
    ways = {
        "edit": tampering.edit_and_seal,
        "delete": lambda tx: tx.change("DELETE FROM audit WHERE seq = 5"),
        "insert": tampering.insert_row,
        "reorder": tampering.swap_rows,
        "replay": tampering.replay_row,
        "truncate": lambda tx: tx.change("DELETE FROM audit WHERE seq > 9"),
    }
    found = []
    anchor = folder / "anchors"
    for kind, bend in ways.items():
        with Store.open(folder / kind / "ooda.db") as store:
            tampering.fill(store)
            store.write_now(bend)
            found += [kind] if tampering.kinds(store)[0][0] == kind else []
    # A swap is another store's log in this one's place: only the anchor can tell.
    with Store.open(folder / "mine" / "ooda.db") as mine, Store.open(folder / "other" / "ooda.db") as other:
        tampering.fill(mine)
        audit.write_anchor(mine, anchor, tampering.KEY, tampering.NOW)
        tampering.fill(other, 1, tampering.ROWS)
        found += ["swap"] if tampering.kinds(other, anchor) else []
    return "audit: kinds of tampering found", f"{len(found)}/7", "7/7", len(found) == 7


def overrun(folder: Path) -> Row:
    """Sixty-four processes against one cap, on SQLite (the tests do it on PostgreSQL and Redis too)."""
    path = folder / "race" / "ooda.db"
    Store.open(path).close()
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=racing.spend, args=(path, "", number, CALLS)) for number in range(PROCESSES)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    with Store.open(path) as store:
        left = racing.row(store, racing.capped(CAP))
    is_met = left.spent_cost <= CAP and left.reserved_cost == 0 and not any(child.exitcode for child in children)
    over = max(0, left.spent_cost - CAP)
    return "64 processes, one cap: nano over, nano still held", f"{over}, {left.reserved_cost}", "0, 0", is_met


def killed(folder: Path) -> Row:
    """The same with every third process killed by SIGKILL: each call must have cost what its process knew of it."""
    folder = folder / "killed"
    folder.mkdir()
    Store.open(folder / "ooda.db").close()
    codes = killing.run_all(killing.spend, folder, "")
    with Store.open(folder / "ooda.db") as store:
        store.write_now(lambda tx: killing.ledger().expire(tx, killing.NOW + killing.HOUR))
        charged = dict(store.read(lambda tx: tx.execute("SELECT key, SUM(cost_nano) FROM charges GROUP BY key")))
        held = store.read(lambda tx: tx.execute("SELECT SUM(reserved_cost) FROM budget_windows"))[0][0]
    wanted = killing.charges_expected(killing.Notes.read(folder))
    off = sum(abs(charged.get(key, 0) - wanted.get(key, 0)) for key in charged | wanted)
    what = f"{sum(code != 0 for code in codes)} of 64 killed: nano between ledger and calls, still held"
    return what, f"{off}, {held}", "0, 0", off == held == 0


def attacked(folder: Path) -> list[Row]:
    """What attacks the record and the purse."""
    return [tampered(folder / "audit"), overrun(folder), killed(folder)]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--json", type=Path, help="write the figures here")
    given = options.parse_args()
    # Beside the repository: a temporary folder may be memory, where a commit costs nothing.
    folder = Path(tempfile.mkdtemp(prefix="bench-governance-", dir=Path.cwd()))
    try:
        latency = Latency()
        latency.take()
        rows = [money(folder / "money", given.rounds)]
        for measure in (redaction, partial(hostile, folder / "hostile"), partial(attacked, folder)):
            latency.take()
            rows += measure()
        latency.take()
        rows.insert(1, latency.row())
    finally:
        shutil.rmtree(folder)
    print(f"{'measure':<62} {'value':>20} {'goal':>10}")
    for measure, value, goal, is_met in rows:
        print(f"{measure:<62} {value:>20} {goal:>10} {'ok' if is_met else 'MISSED'}")
    if given.json is not None:
        keys = ("measure", "value", "goal", "met")
        given.json.write_text(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=2))
    return 0 if all(row[-1] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
