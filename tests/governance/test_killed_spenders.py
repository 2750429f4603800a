"""Sixty-four processes spend one purse while every third is killed with SIGKILL, at any point of a call.

Each process notes in a file what it knows to be on disk before it goes on, so that the books are held against what
happened and not against themselves.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ooda.clock import ManualClock
from ooda.governance.budget import Alert, Cap, CapRule, Caps, Exceeded, ReserveRequest, Scope
from ooda.governance.ledger import Ledger
from ooda.governance.redis_ledger import RedisBudget
from ooda.store import Store, Tx
from tests.governance.test_redis_ledger import prefix  # noqa: F401 - a fixture

HOUR = 3_600_000_000_000
NOW = 1_700_000_000_000_000_000
PROCESSES, CALLS = 64, 8
CAP = 300_000
POINTS = ("held", "sent", "in the reservation", "in the settlement", "settled")


def ledger() -> Ledger:
    """The day is the tightest; company and project are tight for some."""
    rules = (
        CapRule(scope="global", span="day", cost_nano=CAP),
        CapRule(scope="company", id="c0", span="day", cost_nano=CAP // 5),
        CapRule(scope="project", span="hour", cost_nano=CAP // 4),
        CapRule(scope="agent", span="hour", tokens=150),
    )
    return Ledger(Caps(rules))


def asked(process: int, number: int, cost_nano: int) -> ReserveRequest:
    """A call of a child run in a tree of two, for a task."""
    scopes = (
        Scope("global"),
        Scope("company", f"c{process % 2}"),
        Scope("project", f"p{process % 4}"),
        Scope("agent", f"a{process % 3}"),
        Scope("task", f"t{process % 8}", Cap(cost_nano=CAP // 6)),
        Scope("run", f"root{process % 8}", Cap(cost_nano=CAP // 6)),
        Scope("run", f"run{process}", Cap(cost_nano=CAP // 30)),
    )
    return ReserveRequest(
        key=f"{process}-{number}",
        scopes=scopes,
        cost_nano=cost_nano,
        tokens=1,
        now_ns=NOW,
        expires_ns=NOW + HOUR,
        run=f"run{process}",
    )


class Notes:
    """What a process knows, one line each; the kernel keeps it when the process dies."""

    def __init__(self, folder: Path, process: int) -> None:
        self._file = os.open(folder / f"notes-{process}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def add(self, what: str, key: str, amount: int) -> None:
        os.write(self._file, f"{what}\t{key}\t{amount}\n".encode())

    def alerts(self, told: tuple[Alert, ...]) -> None:
        for alert in told:
            self.add("alert", f"{alert.scope} {alert.window} {alert.measure}", alert.percent)

    @staticmethod
    def read(folder: Path) -> list[tuple[str, str, int]]:
        lines = [line for file in folder.glob("notes-*") for line in file.read_text().splitlines()]
        return [(what, key, int(amount)) for what, key, amount in (line.split("\t") for line in lines)]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def then_die(work: Callable[[Tx], Any]) -> Callable[[Tx], None]:
    """The work of a process that is killed before its commit."""

    def dying(tx: Tx) -> None:
        work(tx)
        die()

    return dying


class Fate:
    """When this process is killed, if it is."""

    def __init__(self, process: int) -> None:
        self.dice = random.Random(process)
        is_doomed = process % 3 == 0
        self.call = self.dice.randrange(CALLS) if is_doomed else -1
        self.point = self.dice.choice(POINTS)

    def meets(self, number: int, point: str) -> bool:
        return number >= self.call >= 0 and point == self.point


def spend(folder: Path, url: str, process: int) -> None:
    """One process: reserve, send, settle at less than the hold; killed where its fate says."""
    notes, fate, books = Notes(folder, process), Fate(process), ledger()
    with Store.open(folder / "ooda.db", url=url, busy_timeout_s=60) as store:
        for number in range(CALLS):
            request = asked(process, number, fate.dice.randint(500, 1500))
            key, cost = request.key, request.cost_nano
            if fate.meets(number, "in the reservation"):
                store.write_now(then_die(lambda tx, r=request: books.reserve(tx, r)))
            if isinstance(store.write_now(lambda tx, r=request: books.reserve(tx, r)), Exceeded):
                continue
            notes.add("held", key, cost)
            if fate.meets(number, "held"):
                die()
            store.write_now(lambda tx, k=key: books.mark_sent(tx, k))
            notes.add("sent", key, cost)
            if fate.meets(number, "sent"):
                die()
            paid = fate.dice.randint(0, cost)
            if fate.meets(number, "in the settlement"):
                store.write_now(then_die(lambda tx, k=key, p=paid: books.settle(tx, k, p, 1)))
            settled = store.write_now(lambda tx, k=key, p=paid: books.settle(tx, k, p, 1))
            notes.add("settled", key, paid)
            notes.alerts(settled.alerts)
            if fate.meets(number, "settled"):
                die()


def run_all(target: Callable[..., None], *arguments: Any) -> list[int | None]:
    """All processes at once, to their ends."""
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=target, args=(*arguments, number)) for number in range(PROCESSES)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    return [child.exitcode for child in children]


def charges_expected(notes: list[tuple[str, str, int]]) -> dict[str, int]:
    """What each call must have cost: its figure; its hold, when it was sent and nobody ever said; else nothing."""
    last: dict[str, tuple[str, int]] = {key: (what, n) for what, key, n in notes if what != "alert"}
    return {key: amount for key, (what, amount) in last.items() if what in ("sent", "settled")}


def assert_told_once(notes: list[tuple[str, str, int]], rows: list[tuple[str, str, int | None, int]]) -> None:
    """Every threshold that was passed was told by exactly one process."""
    told = Counter((key, percent) for what, key, percent in notes if what == "alert")
    assert set(told.values()) <= {1}, told
    for scope, span, cap, spent in rows:
        if cap:
            passed = max((percent for percent in (80, 95) if spent * 100 >= cap * percent), default=0)
            highest = max((percent for key, percent in told if key == f"{scope} {span} cost_nano"), default=0)
            assert highest == passed, (scope, span, spent, cap)


def test_a_third_of_64_processes_are_killed_and_the_books_are_right(tmp_path: Path, store_url: str) -> None:
    """Nothing over any cap; what was held is given back, what was sent is charged; every alert was told once."""
    Store.open(tmp_path / "ooda.db", url=store_url).close()
    codes = run_all(spend, tmp_path, store_url)
    notes, books = Notes.read(tmp_path), ledger()

    with Store.open(tmp_path / "ooda.db", url=store_url) as store:
        left = store.read(lambda tx: tx.execute("SELECT key, state FROM reservations WHERE state IN ('held', 'sent')"))
        for run in {f"run{key.partition('-')[0]}" for key, _ in left if int(key.partition("-")[0]) % 2}:
            taken = store.write_now(lambda tx, r=run: books.close_open(tx, r))  # somebody took the run over
            Notes(tmp_path, PROCESSES).alerts(taken.alerts)
        closed = store.write_now(lambda tx: books.expire(tx, NOW + HOUR))  # and of the others nobody ever heard
        Notes(tmp_path, PROCESSES).alerts(tuple(alert for item in closed for alert in item.alerts))
        charged = store.read(lambda tx: tx.execute("SELECT key, SUM(cost_nano) FROM charges GROUP BY key"))
        windows = store.read(
            lambda tx: tx.execute(
                "SELECT scope, span, cap_cost, spent_cost, reserved_cost, reserved_tokens FROM budget_windows"
            )
        )
        states = dict(store.read(lambda tx: tx.execute("SELECT key, state FROM reservations")))

    doomed = codes[::3]
    assert set(codes) == {0, -signal.SIGKILL}
    assert doomed.count(-signal.SIGKILL) > 15
    assert {state for _, state in left} == {"held", "sent"}
    assert {key: int(cost) for key, cost in charged} == charges_expected(notes)
    spent = {(scope, span): cost for scope, span, _, cost, _, _ in windows}
    assert spent["global", "day:2023-11-14"] == sum(int(cost) for _, cost in charged)
    assert all(cap is None or cost <= cap for _, _, cap, cost, _, _ in windows)
    assert {(cost, tokens) for *_, cost, tokens in windows} == {(0, 0)}
    assert {states[key] for key, state in left if state == "held"} == {"released"}
    assert {states[key] for key, state in left if state == "sent"} == {"expired"}
    assert_told_once(Notes.read(tmp_path), [row[:4] for row in windows])


def share(folder: Path, url: str, prefix: str, process: int) -> None:  # noqa: F811
    """The same on a machine of its own: a store for each process, the caps on Redis."""
    notes, fate, books = Notes(folder, process), Fate(process), ledger()

    async def run() -> None:
        with Store.open(folder / str(process) / "ooda.db") as store:
            budget = RedisBudget(url, store, books, ManualClock(NOW), prefix=prefix, timeout_s=60)
            for number in range(CALLS):
                request = asked(process, number, fate.dice.randint(500, 1500))
                key, cost = request.key, request.cost_nano
                if isinstance(store.write_now(lambda tx, r=request: books.reserve(tx, r)), Exceeded):
                    continue
                if fate.meets(number, "in the reservation"):
                    die()
                if await budget.hold(key) is not None:
                    store.write_now(lambda tx, k=key: books.release(tx, k))
                    continue
                notes.add("held", key, cost)
                if fate.meets(number, "held"):
                    die()
                assert await budget.sent(key)
                store.write_now(lambda tx, k=key: books.mark_sent(tx, k))
                notes.add("sent", key, cost)
                if fate.meets(number, "sent"):
                    die()
                paid = fate.dice.randint(0, cost)
                if fate.meets(number, "in the settlement"):
                    store.write_now(then_die(lambda tx, k=key, p=paid: books.settle(tx, k, p, 1)))
                store.write_now(lambda tx, k=key, p=paid: books.settle(tx, k, p, 1))
                notes.add("settled", key, paid)
                if fate.meets(number, "settled"):
                    die()
                notes.alerts(await budget.flush())
            await budget.close()

    asyncio.run(run())


def test_a_third_of_64_machines_are_killed_and_their_shared_purse_is_right(
    tmp_path: Path,
    redis_url: str,
    redis_client: Any,
    prefix: str,  # noqa: F811
) -> None:
    """Whoever opens a dead machine's store again closes what it held on Redis; figures there equal all books."""
    codes = run_all(share, tmp_path, redis_url, prefix)
    books, charged = ledger(), 0
    kept = Notes(tmp_path, PROCESSES)

    async def take_over(store: Store, process: int) -> None:
        store.write_now(lambda tx: books.close_open(tx, f"run{process}"))
        budget = RedisBudget(redis_url, store, books, ManualClock(NOW), prefix=prefix, timeout_s=60)
        await budget.reconcile()
        kept.alerts(await budget.flush())
        await budget.close()

    expected = charges_expected(Notes.read(tmp_path))
    for process in range(PROCESSES):
        with Store.open(tmp_path / str(process) / "ooda.db") as store:
            if codes[process]:
                asyncio.run(take_over(store, process))
            rows = store.read(lambda tx: tx.execute("SELECT key, SUM(cost_nano) FROM charges GROUP BY key"))
            assert dict(rows) == {key: cost for key, cost in expected.items() if key.startswith(f"{process}-")}
            charged += sum(cost for _, cost in rows)

    windows = []
    for name in redis_client.keys(f"{prefix}:{{budget}}:window:*"):
        spent, reserved, tokens = redis_client.hmget(name, "spent_cost", "reserved_cost", "reserved_tokens")
        scope, _, span = name.decode().partition(":window:")[2].partition("|")
        windows.append((scope, span, *(int(value or 0) for value in (spent, reserved, tokens))))
    spent = {(scope, span): cost for scope, span, cost, _, _ in windows}

    assert set(codes) == {0, -signal.SIGKILL}
    assert spent["global", "day:2023-11-14"] == charged <= CAP
    assert {(reserved, tokens) for *_, reserved, tokens in windows} == {(0, 0)}
    assert all(cost <= CAP // 5 for (scope, span), cost in spent.items() if scope == "company:c0" and "day" in span)
    assert redis_client.keys(f"{prefix}:{{budget}}:hold:*") == []
    assert_told_once(Notes.read(tmp_path), [("global", "day:2023-11-14", CAP, spent["global", "day:2023-11-14"])])
