"""Model calls through the door: every attempt and every model paid, thresholds told, nothing left reserved.

Whole runs with a scripted model and a price file; the books are compared with the journal.
"""

import asyncio
import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ooda.api.budgets import run_scopes
from ooda.api.runs import entries_of
from ooda.api.session import Session
from ooda.engines.world import Topic
from ooda.errors import ModelUnavailableError
from ooda.events import Body, Limits, ModelFailed, ModelReplied, Notified, RunStarted, Usage
from ooda.governance.budget import Cap, Reservation, ReserveRequest, Scope
from ooda.governance.ledger_check import check_books
from ooda.governance.sent_mark import SentMark
from ooda.models.fallback import FallbackModel
from ooda.models.request import Attempt, ModelReply
from ooda.models.scripted import Script, ScriptedModel, say
from ooda.runtime.journal import GENESIS, seal
from ooda.store import leases
from ooda.testing.runs import RunBench

pytestmark = pytest.mark.bubblewrap

PRICES = """
[models]
"dear" = { input = 1.0, output = 10.0 }
"cheap" = { input = 0.1, output = 1.0 }
"""
USED = Usage(input_tokens=100, output_tokens=10)
DEAR, CHEAP = 100 * 1_000 + 10 * 10_000, 100 * 100 + 10 * 1_000
"""Nano-USD of `USED`."""

PLAN = say("Plan.", ("update_plan", {"steps": [{"description": "x"}], "files_to_modify": ["sums.py"]}), usage=USED)
MEND = say("Mend.", ("edit_file", {"path": "sums.py", "old": "a - b", "new": "a + b"}), usage=USED)
FINISH = say("Done.", ("finish", {"summary": "add() adds now."}), usage=USED)


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., RunBench]:
    """A bench with these settings, and the price file."""
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES)

    def make(**settings: object) -> RunBench:
        return RunBench(tmp_path, settings={"budget.price_file": str(prices), **settings})

    return make


class Struggling(ScriptedModel):
    """Reports attempts that failed before each of its first replies, as the transport does."""

    def __init__(self, replies: list[Script], attempts: list[list[Attempt]], name: str = "dear") -> None:
        super().__init__(replies, name=name)
        self.attempts = attempts
        self.sent = 0

    async def complete(self, request: Any, grant: Any, *, on_piece: Any = None, on_attempt: Any = None) -> ModelReply:
        for attempt in self.attempts.pop(0) if self.attempts else []:
            self.sent += 1
            charging = on_attempt(attempt)
            if charging is not None:
                await charging
        self.sent += 1
        return await super().complete(request, grant, on_piece=on_piece, on_attempt=on_attempt)


def attempt(*, billable: bool = True, usage: Usage | None = None, goes_on: bool = True) -> Attempt:
    return Attempt(
        number=1, model="dear", sent=True, is_billable=billable, problem="cut off", usage=usage, goes_on=goes_on
    )


def books(session: Session) -> list[tuple[object, ...]]:
    """Every reservation with its state and what it was charged, in the order of their making."""
    return session.store.read(
        lambda tx: tx.execute(
            "SELECT r.state, r.price, COALESCE(SUM(c.cost_nano), 0), COUNT(c.key) FROM reservations r "
            "LEFT JOIN charges c ON c.key = r.key GROUP BY r.key, r.state, r.price, r.created_ns "
            "ORDER BY r.created_ns, r.key"
        )
    )


def total_nano(bench: RunBench) -> int:
    """What the journal says the model calls cost."""
    return sum(event.cost_nano for event in bench.heard if isinstance(event, ModelReplied | ModelFailed))


def ledger_nano(session: Session, run: str) -> tuple[int, int]:
    """What the ledger says the run has spent and holds."""
    rows = session.store.read(
        lambda tx: tx.execute(
            "SELECT spent_cost, reserved_cost FROM budget_windows WHERE key = ?", (f"run:{run}|life",)
        )
    )
    return int(rows[0][0]), int(rows[0][1])


# -- attempts


async def test_every_attempt_that_may_have_been_billed_is_paid(made: Callable[..., RunBench]) -> None:
    """By its usage where the provider told one, by its reservation where not; a refused one costs nothing."""
    bench = made()
    model = Struggling(
        [PLAN, MEND, FINISH],
        [[attempt(usage=USED), attempt(billable=False), attempt()], [attempt(usage=USED, goes_on=False)]],
    )

    ending = await bench.run(bench.task(), model)

    with bench.session() as session:
        rows = books(session)
        spent = ledger_nano(session, ending.state.run)
        reserved = session.store.read(lambda tx: tx.execute("SELECT cost_nano FROM reservations ORDER BY created_ns"))
    assert ending.status == "success"
    assert [row[0] for row in rows] == ["settled"] * 3
    assert [row[2:] for row in rows] == [
        (DEAR + reserved[0][0] + DEAR, 3),
        (2 * DEAR, 1),
        (DEAR, 1),
    ]
    assert spent == (total_nano(bench), 0)


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input_tokens=-5, output_tokens=10),
        Usage(input_tokens=100, output_tokens=10**15),
        Usage(input_tokens=100, cached_input_tokens=101, output_tokens=10),
        Usage(input_tokens=float("nan"), output_tokens=10),  # type: ignore[arg-type]
    ],
    ids=["negative", "absurd", "a part above its whole", "NaN"],
)
async def test_impossible_counts_are_charged_at_the_reservation(made: Callable[..., RunBench], usage: Usage) -> None:
    """What a provider says it used is believed within reason only; the run goes on, and its books are whole."""
    bench = made()
    plan = say("Plan.", ("update_plan", {"steps": [{"description": "x"}], "files_to_modify": ["sums.py"]}), usage=usage)
    ending = await bench.run(bench.task(), ScriptedModel([plan, MEND, FINISH], name="dear"))

    with bench.session() as session:
        held = session.store.read(lambda tx: tx.execute("SELECT cost_nano FROM reservations ORDER BY created_ns"))
        assert [row[2] for row in books(session)] == [held[0][0], DEAR, DEAR]
        assert ledger_nano(session, ending.state.run) == (held[0][0] + 2 * DEAR, 0)
        assert session.store.read(check_books).discrepancies == ()
    assert ending.status == "success"
    assert total_nano(bench) == held[0][0] + 2 * DEAR


async def test_an_attempt_that_no_longer_fits_is_not_made(made: Callable[..., RunBench]) -> None:
    """The failed one is paid, the run ends as over budget, and nothing stays reserved."""
    bench = made()
    model = Struggling([PLAN], [[attempt(), attempt()]])

    ending = await bench.run(bench.task(limits={"usd": 0.15}), model)

    with bench.session() as session:
        spent = ledger_nano(session, ending.state.run)
    assert ending.status == "budget_exceeded"
    assert model.sent == 1
    assert spent == (total_nano(bench), 0)
    assert 0 < spent[0] <= 150_000_000


# -- fallbacks


async def test_another_model_is_reserved_and_paid_at_its_own_price(made: Callable[..., RunBench]) -> None:
    """The hold of the one that was unavailable is given back; its billed attempt is not."""
    bench = made()
    down = ModelUnavailableError("overloaded", status=529)
    first = Struggling([down, down, down], [[attempt(usage=USED, goes_on=False)]])
    model = FallbackModel([first, ScriptedModel([PLAN, MEND, FINISH], name="cheap")], regrant=None)  # type: ignore[arg-type]

    ending = await bench.run(bench.task(), model)

    with bench.session() as session:
        rows = books(session)
        spent = ledger_nano(session, ending.state.run)
        audit = session.store.read(lambda tx: tx.execute("SELECT COUNT(*) FROM audit WHERE reason LIKE '%a fallback'"))
    assert ending.status == "success"
    assert sorted((row[0], "cheap" in str(row[1]), row[2]) for row in rows) == sorted(
        [("settled", False, DEAR), ("released", False, 0), ("released", False, 0), *[("settled", True, CHEAP)] * 3]
    )
    assert spent == (total_nano(bench), 0) == (DEAR + 3 * CHEAP, 0)
    assert audit == [(3,)]


async def test_a_fallback_the_budget_does_not_cover_is_not_asked(made: Callable[..., RunBench]) -> None:
    """The dearer model would pass the cap: the run ends as over budget, not as unavailable."""
    bench = made()
    down = ModelUnavailableError("overloaded", status=529)
    dear = ScriptedModel([PLAN], name="dear")
    model = FallbackModel([ScriptedModel([down], name="cheap"), dear], regrant=None)  # type: ignore[arg-type]

    ending = await bench.run(bench.task(limits={"usd": 0.05}), model)

    with bench.session() as session:
        assert {row[0] for row in books(session)} == {"released"}
    assert (ending.status, dear.requests) == ("budget_exceeded", [])


async def test_a_fallback_without_a_price_is_told_before_the_run_begins(made: Callable[..., RunBench]) -> None:
    """Not when the first model has failed at three in the morning."""
    bench = made()

    class Faraway(ScriptedModel):
        is_loopback = False

    model = FallbackModel([ScriptedModel([], name="cheap"), Faraway([], name="unheard-of")], regrant=None)  # type: ignore[arg-type]
    with pytest.raises(Exception, match="'unheard-of' has no known price"):
        await bench.run(bench.task(), model)
    with bench.session() as session:
        assert session.store.read(lambda tx: tx.execute("SELECT COUNT(*) FROM runs")) == [(0,)]


# -- thresholds


async def test_a_threshold_is_told_in_journal_outbox_and_audit_once(made: Callable[..., RunBench]) -> None:
    """80 per cent is a warning, 95 critical."""
    bench = made(**{"budget.hour_usd": "0.29"})
    big = Usage(input_tokens=100, output_tokens=24_000)  # 0.241 USD: past 80 per cent of the hour
    plan = say("Plan.", ("update_plan", {"steps": [{"description": "x"}], "files_to_modify": ["sums.py"]}), usage=big)

    await bench.run(bench.task(limits={"reply_tokens": 100}), ScriptedModel([plan, MEND, FINISH], name="dear"))

    told = [event for event in bench.heard if isinstance(event, Notified) and event.kind_ == "budget_alert"]
    with bench.session() as session:
        notices = session.store.read(lambda tx: tx.execute("SELECT channel FROM outbox WHERE id LIKE 'budget-%'"))
        audit = session.store.read(
            lambda tx: tx.execute("SELECT subject, decision FROM audit WHERE action = 'alert' ORDER BY seq")
        )
    assert [(event.details["percent"], event.details["severity"], event.details["scope"]) for event in told] == [
        (80, "warning", "global")
    ]
    assert told[0].message.startswith("80 % of the budget of global in hour:")
    assert len(notices) == 1
    assert notices[0][0].endswith(".budget_alert")
    assert audit == [("global", "budget")]


async def test_a_threshold_is_told_however_the_call_that_passed_it_ended(made: Callable[..., RunBench]) -> None:
    """By an attempt that failed before another model was asked, and by a call that was cut off."""
    bench = made(**{"budget.hour_usd": "0.29"})
    big = Usage(input_tokens=100, output_tokens=24_000)  # 0.241 USD: past 80 per cent of the hour

    class CutOff(Struggling):
        async def complete(self, request: Any, grant: Any, **more: Any) -> ModelReply:
            if len(self.requests) == 1:
                request.on_send()
                bench.live.engine.interrupt("enough")
                await asyncio.Event().wait()
            return await super().complete(request, grant, **more)

    model = CutOff([PLAN], [[attempt(usage=big)]])
    await bench.run(bench.task(limits={"reply_tokens": 3_600}), model)

    told = [
        event.details["percent"]
        for event in bench.heard
        if isinstance(event, Notified) and event.kind_ == "budget_alert"
    ]
    assert told == [80, 95]
    with bench.session() as session:
        audit = session.store.read(
            lambda tx: tx.execute("SELECT action, reason FROM audit WHERE action IN ('alert', 'settle') ORDER BY seq")
        )
    assert [action for action, _ in audit] == ["settle", "alert", "settle", "alert", "settle"]


# -- what dead processes leave behind


@pytest.mark.parametrize(("was_sent", "state", "spent"), [(True, "expired", 70), (False, "released", 0)])
def test_opening_a_session_closes_what_a_dead_process_left_reserved(
    made: Callable[..., RunBench], was_sent: bool, state: str, spent: int
) -> None:
    """Charged when its run noted that the call left, released when not."""
    bench = made(**{"budget.day_usd": "0.00000008"})  # 80 nano-USD
    with bench.session() as session:
        asked = ReserveRequest(
            key="k", run="run-dead", scopes=(Scope("global"),), cost_nano=70, tokens=7, now_ns=1, expires_ns=2
        )
        session.store.write_now(lambda tx: session.ledger.reserve(tx, asked))
        folder = session.places.run("run-dead").folder
        folder.mkdir(parents=True)
        mark = SentMark(folder / "sent")
        mark.note("k" if was_sent else "another")
        mark.close()

    def audited(action: str) -> list[tuple[Any, ...]]:
        with bench.session() as session:
            return session.store.read(
                lambda tx: tx.execute("SELECT run, subject, reason FROM audit WHERE action = ?", (action,))
            )

    with bench.session() as session:
        found = session.store.read(lambda tx: session.ledger.find(tx, "k"))
        told_to_people = session.store.read(lambda tx: tx.execute("SELECT channel FROM outbox"))
        windows = session.store.read(
            lambda tx: tx.execute("SELECT spent_cost, reserved_cost FROM budget_windows WHERE span LIKE 'day%'")
        )

    assert isinstance(found, Reservation)
    assert (found.state, windows) == (state, [(spent, 0)])
    told = audited("settle") if was_sent else audited("release")
    assert [(run, subject) for run, subject, _ in told] == [("run-dead", "k")]
    assert f"{spent} nano-USD" in told[0][2] if was_sent else "never sent" in told[0][2]
    assert [subject for _, subject, _ in audited("alert")] == (["global"] if was_sent else [])
    assert told_to_people == ([("local.budget.run-dead.budget_alert",)] if was_sent else [])


# -- who pays


def begin(session: Session, run: str, parent: str, cost_nano: int) -> None:
    """A run with nothing but its first event."""
    started = RunStarted(
        agent="coding",
        task=Body("{}"),
        task_digest=hashlib.sha256(b"{}").hexdigest(),
        rules=Body(""),
        brief=Body(""),
        limits=Limits(cost_nano=cost_nano, tokens=10),
        loop_version=1,
        parent=parent,
    )
    fence = session.store.write_now(lambda tx: leases.take(tx, run, "me", 60, 1)).fence
    row = seal(run, 0, started, 1, "trusted/internal", GENESIS)
    session.store.write_now(lambda tx: session.store.append(tx, [row], fence))


def test_a_child_draws_from_all_its_ancestors_and_the_tasks_cap_is_the_roots(made: Callable[..., RunBench]) -> None:
    """Of a resumed child the record tells who its parent is."""
    topic = Topic(company_id="acme", project_id="shop", task_id="T-1")
    with made().session() as session:
        begin(session, "run-root", "", 900)
        begin(session, "run-middle", "run-root", 500)
        begin(session, "run-leaf", "run-middle", 100)
        fresh = run_scopes(session, "coding", topic, "run-new", Limits(cost_nano=50, tokens=5), "run-middle")
        again = run_scopes(session, "coding", topic, "run-leaf", Limits(cost_nano=100, tokens=10), "")
        alone = run_scopes(session, "coding", topic, "run-alone", Limits(cost_nano=7, tokens=1), "")

    above = (Scope("run", "run-middle", Cap(500, 10)), Scope("run", "run-root", Cap(900, 10)))
    common = (Scope("global"), Scope("company", "acme"), Scope("project", "acme/shop"), Scope("agent", "coding"))
    assert fresh == (
        *common, Scope("task", "acme/shop/T-1", Cap(900, 10)), Scope("run", "run-new", Cap(50, 5)), *above,
    )  # fmt: skip
    assert again[4:] == (
        Scope("task", "acme/shop/T-1", Cap(900, 10)), Scope("run", "run-leaf", Cap(100, 10)), *above,
    )  # fmt: skip
    assert alone[4:] == (Scope("task", "acme/shop/T-1", Cap(7, 1)), Scope("run", "run-alone", Cap(7, 1)))


# -- a budget that machines share


async def test_runs_on_two_machines_share_one_cap(tmp_path: Path, redis_url: str) -> None:
    """Each has a store of its own; what one has spent the other is refused, and nothing stays held."""
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES)
    shared = {"budget.price_file": str(prices), "governance.redis_url": redis_url, "budget.hour_usd": "0.3"}
    prefix = uuid.uuid4().hex  # a folder's name comes back within the hour, and the server remembers
    ends = []
    for name, used in (("one", Usage(input_tokens=100, output_tokens=29_000)), ("two", USED)):
        (tmp_path / name).mkdir()
        bench = RunBench(tmp_path / name, settings={**shared, "governance.redis_prefix": prefix})
        finish = say("Done.", ("finish", {"summary": "add() adds now."}), usage=used)
        model = ScriptedModel([PLAN, MEND, finish], name="dear")
        ends.append((await bench.run(bench.task(limits={"reply_tokens": 1000}), model), len(model.requests)))

    assert [(ending.status, asked) for ending, asked in ends] == [("success", 3), ("budget_exceeded", 0)]
    assert "allows 300000000 nano-USD" in ends[1][0].reason


class Line:
    """The wire to the Redis server, which can be cut and mended."""

    def __init__(self, url: str) -> None:
        self._to = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._pumps: set[asyncio.Task[None]] = set()
        self._port = 0

    async def mend(self) -> str:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return f"redis://127.0.0.1:{self._port}{self._to.path}"

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self._writers.clear()
        self._pumps.clear()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._to.hostname, self._to.port)
        self._writers += [writer, back]

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)

        self._pumps |= {asyncio.ensure_future(pump(reader, back)), asyncio.ensure_future(pump(there, writer))}


async def test_a_shared_budget_that_is_lost_between_hold_and_settlement_is_settled_later(
    made: Callable[..., RunBench], redis_url: str, redis_client: Any
) -> None:
    """The answer that was on its way is paid in the store; the next call is not made; resumed, both say the same."""
    line, prefix = Line(redis_url), uuid.uuid4().hex
    bench = made(**{"governance.redis_url": await line.mend(), "governance.redis_prefix": prefix})

    class Losing(ScriptedModel):
        async def complete(self, request: Any, grant: Any, **more: Any) -> ModelReply:
            reply = await super().complete(request, grant, **more)
            if len(self.requests) == 2:
                await line.cut()
            return reply

    model = Losing([PLAN, MEND, FINISH], name="dear")
    ending = await bench.run(bench.task(), model)

    def shared() -> tuple[int, int]:
        (key,) = redis_client.keys(f"{prefix}:{{budget}}:window:run:{ending.state.run}|life")
        return tuple(int(value or 0) for value in redis_client.hmget(key, "spent_cost", "reserved_cost"))  # type: ignore[return-value]

    with bench.session() as session:
        states = [row[0] for row in books(session)]
        audit = session.store.read(lambda tx: tx.execute("SELECT reason FROM audit WHERE action = 'refuse'"))
        assert ledger_nano(session, ending.state.run) == (2 * DEAR, 0)
    assert (ending.status, len(model.requests), states) == ("refused", 2, ["settled", "settled", "released"])
    assert "Redis" in audit[-1][0]
    assert shared()[0] == DEAR
    assert shared()[1] > 0

    await line.mend()
    resumed = await bench.resume(ending.state.run, ScriptedModel([FINISH], name="dear"))
    await line.cut()

    assert resumed.status == "success"
    with bench.session() as session:
        assert ledger_nano(session, ending.state.run) == shared() == (3 * DEAR, 0)


async def test_a_shared_budget_that_is_down_stops_the_run_and_leaves_clean_books(
    made: Callable[..., RunBench],
) -> None:
    """Fail closed: the model is not asked, the reservation is given back, the audit says why."""
    bench = made(**{"governance.redis_url": "redis://127.0.0.1:1/0"})
    model = ScriptedModel([PLAN], name="dear")

    ending = await bench.run(bench.task(), model)

    with bench.session() as session:
        rows = books(session)
        audit = session.store.read(lambda tx: tx.execute("SELECT reason FROM audit WHERE action = 'refuse'"))
        entries = entries_of(session, ending.state.run)
    assert (ending.status, model.requests) == ("refused", [])
    assert [row[0] for row in rows] == ["released"]
    assert "Redis" in audit[-1][0]
    assert any(isinstance(entry.event, ModelFailed) for entry in entries)
