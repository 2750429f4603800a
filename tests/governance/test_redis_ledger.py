"""Budgets that several stores share: counted together, never past a cap, right again after every mishap.

The ledger's own suite runs on these counters too (`test_ledger`); here are several stores, dead processes, and a
server that fails.
"""

import asyncio
import multiprocessing
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ooda.clock import ManualClock, SystemClock
from ooda.errors import ConfigError, IntegrationError, RefusedError
from ooda.governance.budget import Alert, CapRule, Caps, Exceeded, Reservation, ReserveRequest, Scope
from ooda.governance.ledger import Ledger
from ooda.governance.redis_ledger import RedisBudget
from ooda.store import Store

HOUR = 3_600_000_000_000
ALL = Scope("global")


class Machine:
    """One machine: a store of its own, and the budget it shares."""

    def __init__(self, store: Store, url: str, prefix: str, cap: int, tokens: int | None = None) -> None:
        rule = CapRule(scope="global", span="day", cost_nano=cap, tokens=tokens)
        self.store = store
        self.ledger = Ledger(Caps((rule,)))
        self.clock = ManualClock(time.time_ns())
        self.alerts: list[Alert] = []
        self.budget = self.another_process(url, prefix)

    def another_process(self, url: str, prefix: str) -> RedisBudget:
        return RedisBudget(url, self.store, self.ledger, self.clock, prefix=prefix, timeout_s=60)

    def reserve(self, key: str, cost_nano: int = 10, tokens: int = 1) -> Reservation | Exceeded:
        now_ns = self.clock.now_ns()
        request = ReserveRequest(
            key=key, scopes=(ALL,), cost_nano=cost_nano, tokens=tokens, now_ns=now_ns, expires_ns=now_ns + HOUR
        )
        return self.store.write_now(lambda tx: self.ledger.reserve(tx, request))

    async def hold(self, key: str, cost_nano: int = 10) -> Exceeded | None:
        got = self.reserve(key, cost_nano)
        assert isinstance(got, Reservation)
        refused = await self.budget.hold(key)
        if refused is not None:
            self.store.write_now(lambda tx: self.ledger.release(tx, key))
        return refused

    async def spend(self, key: str, cost_nano: int) -> None:
        assert await self.budget.sent(key)
        self.store.write_now(lambda tx: self.ledger.settle(tx, key, cost_nano, 1))
        self.alerts += await self.budget.flush()


@pytest.fixture
def prefix() -> str:
    return uuid.uuid4().hex


@pytest.fixture
async def machines(tmp_path: Path, redis_url: str, prefix: str) -> AsyncIterator[Callable[..., Machine]]:
    """Makes machines that share one budget."""
    made: list[Machine] = []
    with ExitStack() as stores:

        def make(cap: int = 100, tokens: int | None = None, url: str = redis_url) -> Machine:
            store = stores.enter_context(Store.open(tmp_path / f"{len(made)}" / "ooda.db"))
            made.append(Machine(store, url, prefix, cap, tokens))
            return made[-1]

        yield make
        for machine in made:
            await machine.budget.close()


@pytest.fixture
def day(redis_client: Any, prefix: str) -> Callable[[], dict[str, int]]:
    """What stands in the window of the day."""

    def read() -> dict[str, int]:
        (key,) = redis_client.keys(f"{prefix}:{{budget}}:window:global|day:*")
        found = redis_client.hgetall(key)
        names = ("spent_cost", "spent_tokens", "reserved_cost", "reserved_tokens")
        return {name: int(found.get(name.encode(), 0)) for name in names}

    return read


Day = Callable[[], dict[str, int]]
Make = Callable[..., Machine]


# -- several stores


async def test_stores_that_share_nothing_else_share_the_cap(machines: Make, day: Day) -> None:
    """The second is refused what the first holds or has spent, with the figures of both."""
    one, two = machines(), machines()

    assert await one.hold("a", 60) is None
    refused = await two.hold("b", 50)
    assert isinstance(refused, Exceeded)
    assert (refused.scope, refused.measure, refused.limit, refused.used, refused.asked) == (
        "global", "cost_nano", 100, 60, 50,
    )  # fmt: skip
    await one.spend("a", 45)
    assert await two.hold("c", 55) is None
    assert isinstance(await one.hold("d", 1), Exceeded)
    await two.spend("c", 55)

    assert day() == {"spent_cost": 100, "spent_tokens": 2, "reserved_cost": 0, "reserved_tokens": 0}


async def test_every_step_may_be_repeated(machines: Make, day: Day) -> None:
    """Holding, sending, settling and closing twice counts once."""
    one = machines()
    for _ in range(3):
        assert await one.hold("a", 30) is None
    for _ in range(3):
        assert await one.budget.sent("a")
    assert day()["reserved_cost"] == 30
    for _ in range(3):
        one.store.write_now(lambda tx: one.ledger.settle(tx, "a", 20, 1))
        await one.budget.flush()
        await one.budget.reconcile()

    assert day() == {"spent_cost": 20, "spent_tokens": 1, "reserved_cost": 0, "reserved_tokens": 0}


async def test_a_threshold_that_all_passed_together_is_told_once(machines: Make) -> None:
    """No store has spent 80 per cent of the cap by itself."""
    one, two = machines(), machines()
    for machine, key, cost in ((one, "a", 45), (two, "b", 40), (one, "c", 5), (two, "d", 5)):
        assert await machine.hold(key, cost) is None
        await machine.spend(key, cost)

    told = [(alert.percent, alert.measure, alert.used, alert.limit) for alert in [*one.alerts, *two.alerts]]
    assert told == [(80, "cost_nano", 85, 100), (95, "cost_nano", 95, 100)]


async def test_nothing_is_held_without_an_open_reservation(machines: Make) -> None:
    """The ledger is the truth; what it does not know, or has closed, is not held."""
    one = machines()
    with pytest.raises(RefusedError, match="no open reservation"):
        await one.budget.hold("never")
    assert await one.hold("a") is None
    one.store.write_now(lambda tx: one.ledger.release(tx, "a"))
    with pytest.raises(RefusedError, match="no open reservation"):
        await one.budget.hold("a")


async def test_a_figure_told_late_does_not_undo_a_newer_one(machines: Make, day: Day) -> None:
    """Two processes of one store: the slower one read its sums before the quicker one settled."""
    one = machines()
    assert await one.hold("a", 10) is None
    assert await one.hold("b", 10) is None
    read = one.budget._read
    stale: list[Any] = []

    async def slow(work: Any) -> Any:
        found = await read(work)
        if not stale:
            stale.append(found)
            one.store.write_now(lambda tx: one.ledger.settle(tx, "a", 7, 1))
            await one.budget.flush()
        return found

    one.budget._read = slow  # type: ignore[method-assign]
    assert await one.budget.sent("b")

    assert (day()["spent_cost"], day()["reserved_cost"]) == (7, 10)


async def test_windows_are_forgotten_an_hour_after_their_end(machines: Make, redis_client: Any, prefix: str) -> None:
    """An hour by its hour, a day by its day, whatever the machines' clocks say."""
    one = machines()
    one.clock.advance(-3 * 24 * 3600)
    assert await one.hold("a") is None

    left = {
        key.decode().rpartition("|")[2].partition(":")[0]: redis_client.pttl(key)
        for key in redis_client.keys(f"{prefix}:{{budget}}:window:*")
    }
    assert set(left) == {"hour", "day"}
    assert 3_590_000 < left["hour"] <= 2 * 3_600_000
    assert left["hour"] <= left["day"] <= 25 * 3_600_000


# -- processes that die


async def test_a_hold_that_was_never_sent_is_given_back(
    machines: Make, day: Day, redis_client: Any, prefix: str
) -> None:
    """Its machine need not come back; after a minute anybody's next call frees it."""
    dead, alive = machines(), machines()
    assert await dead.hold("a", 90) is None
    assert isinstance(await alive.hold("b", 20), Exceeded)
    unsent = f"{prefix}:{{budget}}:unsent"
    (member,) = redis_client.zrange(unsent, 0, -1)
    redis_client.zadd(unsent, {member: 0})  # a minute later

    assert await alive.hold("c", 20) is None
    assert day()["reserved_cost"] == 20
    assert await dead.budget.sent("a") is False


async def test_a_hold_that_was_sent_stands_until_its_store_closes_it(
    machines: Make, day: Day, redis_url: str, prefix: str
) -> None:
    """It may have been billed: the store's next process charges it, and reconciles by key."""
    dead, alive = machines(), machines()
    assert await dead.hold("a", 90) is None
    assert await dead.budget.sent("a")
    assert isinstance(await alive.hold("b", 20), Exceeded)

    again = dead.another_process(redis_url, prefix)
    dead.store.write_now(lambda tx: dead.ledger.mark_sent(tx, "a"))
    dead.store.write_now(lambda tx: dead.ledger.expire(tx, dead.clock.now_ns() + 2 * HOUR))
    assert await again.reconcile() == 1
    await again.close()

    assert (day()["spent_cost"], day()["reserved_cost"]) == (90, 0)
    assert await alive.hold("c", 10) is None


# -- a server that fails


async def test_a_server_that_lost_its_data_is_told_again(
    machines: Make, day: Day, redis_client: Any, prefix: str
) -> None:
    """What the stores have spent, and what the process that notices it holds."""
    one, two = machines(), machines()
    for machine, key in ((one, "a"), (two, "b")):
        assert await machine.hold(key, 30) is None
        await machine.spend(key, 30)
    assert await one.hold("c", 20) is None
    redis_client.delete(*redis_client.keys(f"{prefix}:*"))

    assert await one.hold("d", 1) is None
    assert await two.hold("e", 1) is None

    assert (day()["spent_cost"], day()["reserved_cost"]) == (60, 22)


async def test_a_replica_that_took_over_with_older_data_is_told_again(
    machines: Make, day: Day, redis_client: Any, prefix: str
) -> None:
    """It has the mark of the server before it; that the connection is another one is what gives it away."""
    one, two = machines(), machines()
    assert await one.hold("a", 30) is None
    assert await two.hold("b", 5) is None
    await two.spend("b", 5)
    older = {key: redis_client.dump(key) for key in redis_client.keys(f"{prefix}:*")}
    assert await one.hold("c", 40) is None
    await one.spend("a", 20)

    redis_client.delete(*redis_client.keys(f"{prefix}:*"))
    for key, data in older.items():
        redis_client.restore(key, 0, data)
    for machine in (one, two):
        redis_client.client_kill_filter(_id=await machine.budget._client.client_id())

    assert await one.hold("d", 1) is None
    assert (day()["spent_cost"], day()["reserved_cost"]) == (25, 41)
    assert isinstance(await two.hold("e", 35), Exceeded)
    await one.spend("c", 40)
    await one.spend("d", 1)
    assert (day()["spent_cost"], day()["reserved_cost"]) == (66, 0)


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[str]:
    """A server that gives the same answer to everything; None: it never answers."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            if answer is not None:
                writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"redis://127.0.0.1:{port}/0?protocol=2"
    finally:
        server.close()


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"+OK\r\n",
        b"$-1\r\n",
        b"*2\r\n$5\r\nmaybe\r\n$1\r\nm\r\n",
        b"-ERR no such script\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=["silence", "another type", "nothing", "an unknown word", "an error", "another protocol"],
)
async def test_a_server_that_answers_garbage_or_not_at_all_is_down(tmp_path: Path, answer: bytes | None) -> None:
    """Nothing is taken for a yes."""
    async with answering(answer) as url:
        with Store.open(tmp_path / "ooda.db") as store:
            ledger = Ledger()
            budget = RedisBudget(url, store, ledger, SystemClock(), timeout_s=0.3)
            now_ns = time.time_ns()
            asked = ReserveRequest(key="a", scopes=(ALL,), cost_nano=1, tokens=1, now_ns=now_ns, expires_ns=2 * now_ns)
            store.write_now(lambda tx: ledger.reserve(tx, asked))

            with pytest.raises(IntegrationError) as caught:
                await budget.hold("a")
            await budget.close()

    assert (caught.value.facts["service"], caught.value.facts["retryable"]) == ("redis", True)
    assert "governance.redis_url" in str(caught.value)


async def test_a_server_that_is_not_there_is_told_at_once(machines: Make) -> None:
    """And the books are unchanged but for the reservation the caller releases."""
    one = machines(url="redis://127.0.0.1:1/0")

    with pytest.raises(IntegrationError, match="cannot hold"):
        await one.hold("a")


def test_a_url_that_is_none_is_told(tmp_path: Path) -> None:
    """Without the password it may hold."""
    with Store.open(tmp_path / "ooda.db") as store, pytest.raises(ConfigError, match="no Redis URL") as caught:
        RedisBudget("http://u:hunter22@h", store, Ledger(), SystemClock())

    assert "hunter22" not in str(caught.value)


# -- any interleaving

STEPS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(["hold", "settle", "release", "die"]), st.integers(0, 60)),
    max_size=14,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(steps=STEPS)
def test_stores_together_never_pass_the_cap(
    tmp_path: Path, redis_url: str, redis_client: Any, steps: list[tuple[int, str, int]]
) -> None:
    """In every order of calls, deaths and losses of data; at the end nothing is reserved and the sums agree."""
    prefix, folder = uuid.uuid4().hex, tmp_path / uuid.uuid4().hex

    async def play() -> None:
        with Store.open(folder / "0" / "ooda.db") as first, Store.open(folder / "1" / "ooda.db") as second:
            both = [Machine(store, redis_url, prefix, 100) for store in (first, second)]
            opened: list[list[str]] = [[], []]
            for number, (which, what, amount) in enumerate(steps):
                machine, keys = both[which], opened[which]
                match what:
                    case "hold":
                        key = f"{which}-{number}"
                        got = machine.reserve(key, amount)
                        if isinstance(got, Reservation):
                            if await machine.budget.hold(key) is None and await machine.budget.sent(key):
                                keys.append(key)
                            else:
                                machine.store.write_now(lambda tx, k=key, m=machine: m.ledger.release(tx, k))
                    case "settle" | "release" if keys:
                        key = keys.pop()
                        close = machine.ledger.settle if what == "settle" else machine.ledger.release
                        machine.store.write_now(lambda tx, k=key, c=close: c(tx, k))
                        await machine.budget.flush()
                    case "die":
                        # Its next process settles what was open, and reconciles.
                        await machine.budget.close()
                        machine.budget = machine.another_process(redis_url, prefix)
                        for key in keys:
                            machine.store.write_now(lambda tx, k=key, m=machine: m.ledger.settle(tx, k))
                        keys.clear()
                        await machine.budget.reconcile()
                spent = [total(machine.store) for machine in both]
                assert sum(spent[0]) + sum(spent[1]) <= 100
            for machine, keys in zip(both, opened, strict=True):
                for key in keys:
                    machine.store.write_now(lambda tx, k=key, m=machine: m.ledger.settle(tx, k))
                await machine.budget.flush()
                await machine.budget.close()
            found = redis_client.keys(f"{prefix}:{{budget}}:window:global|day:*")
            spent_cost, reserved_cost = (
                (int(value or 0) for value in redis_client.hmget(found[0], "spent_cost", "reserved_cost"))
                if found
                else (0, 0)
            )
            assert reserved_cost == 0
            assert spent_cost == sum(total(machine.store)[0] for machine in both)

    asyncio.run(play())


def total(store: Store) -> tuple[int, int]:
    """Spent and reserved of the day."""
    rows = store.read(
        lambda tx: tx.execute("SELECT spent_cost, reserved_cost FROM budget_windows WHERE span LIKE 'day%'")
    )
    return (int(rows[0][0]), int(rows[0][1])) if rows else (0, 0)


# -- many processes


CAP = 300_000


def work(folder: Path, url: str, prefix: str, process: int, calls: int) -> None:
    """One process on a machine of its own: reserve, hold, send, settle; or give back; or be cut off."""
    dice = random.Random(process)

    async def run() -> None:
        with Store.open(folder / str(process) / "ooda.db") as store:
            machine = Machine(store, url, prefix, CAP)
            for number in range(calls):
                key, amount = f"{process}-{number}", dice.randint(500, 1500)
                got = machine.reserve(key, amount)
                if isinstance(got, Exceeded):
                    continue
                if await machine.budget.hold(key) is not None or dice.random() < 0.2:
                    store.write_now(lambda tx, k=key: machine.ledger.release(tx, k))
                    continue
                assert await machine.budget.sent(key)
                paid = None if dice.random() < 0.2 else dice.randint(0, amount)
                store.write_now(lambda tx, k=key, p=paid: machine.ledger.settle(tx, k, p, None if p is None else 1))
            await machine.budget.flush()
            await machine.budget.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("processes", "calls"),
    [pytest.param(64, 12, id="64x12"), pytest.param(64, 200, id="64x200", marks=pytest.mark.soak)],
)
def test_64_processes_with_64_stores_spend_one_cap_and_not_a_nano_more(
    tmp_path: Path, redis_url: str, redis_client: Any, prefix: str, processes: int, calls: int
) -> None:
    """Against the real server: nothing over, nothing left reserved, its figure equal to all books together."""
    fork = multiprocessing.get_context("fork")
    children = [
        fork.Process(target=work, args=(tmp_path, redis_url, prefix, number, calls)) for number in range(processes)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    (key,) = redis_client.keys(f"{prefix}:{{budget}}:window:global|day:*")
    spent, reserved = (int(value) for value in redis_client.hmget(key, "spent_cost", "reserved_cost"))
    books = []
    for number in range(processes):
        with Store.open(tmp_path / str(number) / "ooda.db", readonly=True) as store:
            books.append(total(store))

    assert [child.exitcode for child in children] == [0] * processes
    assert reserved == 0
    assert spent == sum(cost for cost, _ in books) <= CAP
    assert spent > CAP * 6 // 10
    assert {held for _, held in books} == {0}
