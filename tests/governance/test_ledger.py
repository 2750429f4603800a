"""The books: no interleaving spends past a cap, nothing leaks, and every charge lands once."""

import json
import multiprocessing
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)

from ooda.errors import BudgetExceededError, ConfigError, RefusedError
from ooda.governance.ledger import (
    LARGEST,
    Alert,
    BudgetRow,
    Cap,
    CapRule,
    Caps,
    Exceeded,
    Ledger,
    Reservation,
    ReserveRequest,
    Scope,
    Settlement,
)
from ooda.store import Store, Tx
from tests.governance.shared_ledger import RedisBackedLedger

HOUR = 3_600_000_000_000
NOW = 1_700_000_000_000_000_000  # 2023-11-14T22:13:20Z
ALL = Scope("global")


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def store(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Each back end: SQLite, PostgreSQL, and SQLite whose caps are kept by counters on Redis."""
    url = str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else ""
    with Store.open(tmp_path / "ooda.db", url=url) as opened:
        if request.param == "redis":
            client = request.getfixturevalue("redis_client")
            shared = lambda caps=Caps(): RedisBackedLedger(caps, opened, client)  # noqa: E731, B008
            monkeypatch.setattr(sys.modules[__name__], "Ledger", shared)
        yield opened


def request(key: str, cost_nano: int = 10, tokens: int = 1, *scopes: Scope, **more: object) -> ReserveRequest:
    given = {"now_ns": NOW, "expires_ns": NOW + HOUR} | more
    return ReserveRequest(key=key, scopes=scopes or (ALL,), cost_nano=cost_nano, tokens=tokens, **given)  # type: ignore[arg-type]


def capped(cost_nano: int | None = None, tokens: int | None = None, **more: object) -> Ledger:
    rule = CapRule(scope="global", span="day", cost_nano=cost_nano, tokens=tokens)
    return Ledger(Caps((msgspec.structs.replace(rule, **more),)))


def books(store: Store) -> list[tuple[object, ...]]:
    """Everything the ledger keeps."""
    tables = ("budget_windows", "reservations", "charges")
    return store.read(lambda tx: [row for name in tables for row in tx.execute(f"SELECT * FROM {name}")])


def row(store: Store, ledger: Ledger, scope: str = "global", span: str = "day", now_ns: int = NOW) -> BudgetRow:
    rows = store.read(lambda tx: ledger.report(tx, now_ns))
    return next(item for item in rows if item.scope == scope and item.span.startswith(span))


# -- one call


def test_a_call_is_reserved_sent_and_settled(store: Store) -> None:
    """The hold is exchanged for the true cost in every window it was taken from."""
    ledger = capped(100)
    task = Scope("task", "t-1", Cap(cost_nano=50, tokens=10))

    held = store.write_now(lambda tx: ledger.reserve(tx, request("k", 40, 7, ALL, task, run="run-a", price='{"p":1}')))
    reserved = row(store, ledger)
    store.write_now(lambda tx: ledger.mark_sent(tx, "k"))
    settled = store.write_now(lambda tx: ledger.settle(tx, "k", 25, 5))

    assert held == Reservation(
        key="k",
        run="run-a",
        state="held",
        cost_nano=40,
        tokens=7,
        windows=("global|day:2023-11-14", "global|hour:2023-11-14T22", "task:t-1|life"),
        expires_ns=NOW + HOUR,
    )
    assert (reserved.spent_cost, reserved.reserved_cost, reserved.cap_cost) == (0, 40, 100)
    assert settled == Settlement(key="k", state="settled", cost_nano=25, tokens=5, is_new=True)
    assert store.read(lambda tx: ledger.report(tx, NOW)) == [
        BudgetRow(
            scope=scope,
            span=span,
            cap_cost=cost,
            cap_tokens=tokens,
            spent_cost=25,
            spent_tokens=5,
            reserved_cost=0,
            reserved_tokens=0,
        )
        for scope, span, cost, tokens in (
            ("global", "day:2023-11-14", 100, None),
            ("global", "hour:2023-11-14T22", None, None),
            ("task:t-1", "life", 50, 10),
        )
    ]
    assert store.read(lambda tx: tx.execute("SELECT price FROM reservations")) == [('{"p":1}',)]


def test_a_refused_call_leaves_no_trace_and_says_which_cap(store: Store) -> None:
    """Not in the windows that would have had room, not even an empty row."""
    ledger = capped(100)
    tight = Scope("task", "t-1", Cap(cost_nano=50))
    store.write_now(lambda tx: ledger.reserve(tx, request("k1", 30)))
    before = books(store)

    refused = store.write_now(lambda tx: ledger.reserve(tx, request("k2", 60, 1, ALL, tight)))

    assert refused == Exceeded("task:t-1", "life", "cost_nano", limit=50, used=0, asked=60)
    assert books(store) == before
    assert isinstance(refused, Exceeded)
    error = refused.error()
    assert isinstance(error, BudgetExceededError)
    assert (error.facts["scope"], error.facts["limit"], error.facts["asked"]) == ("task:t-1", 50, 60)
    assert "ooda budget show" in str(error)


def test_reserving_twice_under_one_key_reserves_once(store: Store) -> None:
    """A resumed run asks again; another amount under the same key is another call and refused."""
    ledger = capped(100)
    first = store.write_now(lambda tx: ledger.reserve(tx, request("k", 60)))
    before = books(store)

    assert store.write_now(lambda tx: ledger.reserve(tx, request("k", 60))) == first
    with pytest.raises(RefusedError, match="key of its own"):
        store.write_now(lambda tx: ledger.reserve(tx, request("k", 50)))
    assert books(store) == before
    store.write_now(lambda tx: ledger.settle(tx, "k", 60, 1))
    with pytest.raises(RefusedError, match="settled"):
        store.write_now(lambda tx: ledger.reserve(tx, request("k", 60)))


def test_settling_twice_charges_once(store: Store) -> None:
    """The second time the books stay as they are, whatever amount is named."""
    ledger = capped(100)
    store.write_now(lambda tx: ledger.reserve(tx, request("k", 60)))
    store.write_now(lambda tx: ledger.settle(tx, "k", 20, 2))
    before = books(store)

    again = store.write_now(lambda tx: ledger.settle(tx, "k", 55, 9))

    assert again == Settlement(key="k", state="settled", cost_nano=20, tokens=2, is_new=False)
    assert books(store) == before


def test_a_call_without_a_known_cost_is_charged_at_its_hold(store: Store) -> None:
    """Cut off, or no usage block in the answer."""
    ledger = capped(100)
    store.write_now(lambda tx: ledger.reserve(tx, request("k", 60, 3)))

    settled = store.write_now(lambda tx: ledger.settle(tx, "k"))

    assert (settled.cost_nano, settled.tokens) == (60, 3)


def test_a_provider_that_bills_more_than_reserved_is_recorded_and_flagged(store: Store) -> None:
    """The money is gone: the books say so, and the next call is refused."""
    ledger = capped(100)
    store.write_now(lambda tx: ledger.reserve(tx, request("k1", 60)))

    settled = store.write_now(lambda tx: ledger.settle(tx, "k1", 110, 1))
    refused = store.write_now(lambda tx: ledger.reserve(tx, request("k2", 1)))

    assert settled.over_nano == 50
    assert refused == Exceeded("global", "day:2023-11-14", "cost_nano", limit=100, used=110, asked=1)


def test_release_gives_the_hold_back_whole_and_only_once(store: Store) -> None:
    """The windows are as if the call had never been."""
    ledger = capped(100)
    store.write_now(lambda tx: ledger.reserve(tx, request("k0", 10)))
    before = row(store, ledger)
    store.write_now(lambda tx: ledger.reserve(tx, request("k", 60)))

    released = [store.write_now(lambda tx: ledger.release(tx, "k")) for _ in range(2)]

    assert released == [True, False]
    assert row(store, ledger) == before


def test_nothing_is_sent_under_a_hold_that_is_gone(store: Store) -> None:
    """A process that slept through the expiry of its hold must reserve again."""
    ledger = capped(100)
    store.write_now(lambda tx: ledger.reserve(tx, request("k", 60)))
    store.write_now(lambda tx: ledger.mark_sent(tx, "k"))
    store.write_now(lambda tx: ledger.mark_sent(tx, "k"))
    store.write_now(lambda tx: ledger.release(tx, "k"))

    for refused in (ledger.mark_sent, ledger.retry):
        with pytest.raises(RefusedError, match="reserve again"):
            store.write_now(lambda tx, refused=refused: refused(tx, "k"))
    with pytest.raises(RefusedError, match="no reservation"):
        store.write_now(lambda tx: ledger.settle(tx, "unknown", 1, 1))


# -- holds that nobody settles


def test_an_expired_hold_is_released_if_unsent_and_charged_if_sent(store: Store) -> None:
    """What may have been billed counts as billed; the rest is free again."""
    ledger = capped(1000)
    for key in ("unsent", "sent", "later"):
        expires_ns = NOW + (2 * HOUR if key == "later" else HOUR)
        store.write_now(lambda tx, key=key, at=expires_ns: ledger.reserve(tx, request(key, 60, expires_ns=at)))
    store.write_now(lambda tx: ledger.mark_sent(tx, "sent"))

    early = store.write_now(lambda tx: ledger.expire(tx, NOW))
    closed = store.write_now(lambda tx: ledger.expire(tx, NOW + HOUR))

    assert early == ()
    assert {(item.key, item.state, item.cost_nano) for item in closed} == {
        ("sent", "expired", 60),
        ("unsent", "released", 0),
    }
    left = row(store, ledger)
    assert (left.spent_cost, left.reserved_cost) == (60, 60)


def test_a_late_true_figure_corrects_once(store: Store) -> None:
    """In the window of the hold, even when that is long over."""
    ledger = capped(1000)
    for key in ("sent", "unsent"):
        store.write_now(lambda tx, key=key: ledger.reserve(tx, request(key, 60, is_sent=key == "sent")))
    store.write_now(lambda tx: ledger.expire(tx, NOW + HOUR))

    late = store.write_now(lambda tx: ledger.settle(tx, "sent", 25, 9))
    surprise = store.write_now(lambda tx: ledger.settle(tx, "unsent", 5, 1))
    again = store.write_now(lambda tx: ledger.correct(tx, "sent", 1, 1))

    assert (late.cost_nano, late.tokens, late.is_new) == (25, 9, True)
    assert (surprise.cost_nano, surprise.is_new) == (5, True)
    assert (again.cost_nano, again.is_new) == (25, False)
    assert (row(store, ledger).spent_cost, row(store, ledger).spent_tokens) == (30, 10)


def test_settling_an_expired_call_without_a_figure_changes_nothing(store: Store) -> None:
    """The hold was charged already."""
    ledger = capped(1000)
    store.write_now(lambda tx: ledger.reserve(tx, request("k", 60, is_sent=True)))
    store.write_now(lambda tx: ledger.expire(tx, NOW + HOUR))
    before = books(store)

    assert store.write_now(lambda tx: ledger.settle(tx, "k")).is_new is False
    assert books(store) == before


def test_what_a_dead_run_left_open_is_closed_with_it(store: Store) -> None:
    """Only its own calls, each as it stood."""
    ledger = capped(1000)
    for key, run, is_sent in (("a", "run-1", True), ("b", "run-1", False), ("c", "run-1", True), ("d", "run-2", True)):
        store.write_now(lambda tx, k=key, r=run, s=is_sent: ledger.reserve(tx, request(k, 10, 2, run=r, is_sent=s)))

    assert store.write_now(lambda tx: ledger.close_open(tx, "run-1")) == ("a,b,c", 20, 4, ())
    assert store.write_now(lambda tx: ledger.close_open(tx, "run-1")) == ("", 0, 0, ())
    assert row(store, ledger).reserved_cost == 10


# -- repeated attempts


def test_each_attempt_that_was_sent_is_charged_and_one_hold_is_kept(store: Store) -> None:
    """The failed ones at what they cost, or at the hold; the total is theirs and the last one's."""
    ledger = capped(1000)
    store.write_now(lambda tx: ledger.reserve(tx, request("k", 100, 10)))

    assert store.write_now(lambda tx: ledger.retry(tx, "k", 30, 3)) is None
    assert store.write_now(lambda tx: ledger.retry(tx, "k")) is None
    between = row(store, ledger)
    settled = store.write_now(lambda tx: ledger.settle(tx, "k", 50, 5))

    assert (between.spent_cost, between.reserved_cost) == (130, 100)
    assert (settled.cost_nano, settled.tokens, settled.over_nano) == (180, 18, 0)
    assert (row(store, ledger).spent_cost, row(store, ledger).reserved_cost) == (180, 0)


def test_an_attempt_that_no_longer_fits_is_the_last(store: Store) -> None:
    """What was sent is charged, the hold is given back, and nothing more may be sent."""
    ledger = capped(150)
    store.write_now(lambda tx: ledger.reserve(tx, request("k", 100, 10)))

    refused = store.write_now(lambda tx: ledger.retry(tx, "k", 60, 3))

    assert refused == Exceeded("global", "day:2023-11-14", "cost_nano", limit=150, used=60, asked=100)
    assert (row(store, ledger).spent_cost, row(store, ledger).reserved_cost) == (60, 0)
    with pytest.raises(RefusedError):
        store.write_now(lambda tx: ledger.mark_sent(tx, "k"))


# -- scopes and windows


def test_a_child_draws_from_all_its_ancestors(store: Store) -> None:
    """The tree of runs has one purse; a narrower cap can only tighten."""
    ledger = Ledger(
        Caps(
            (CapRule(scope="run", span="life", cost_nano=80), CapRule(scope="agent", id="x", span="hour", cost_nano=50))
        )
    )
    parent, child = Scope("run", "p", Cap(cost_nano=60)), Scope("run", "c", Cap(cost_nano=1000))

    first = store.write_now(lambda tx: ledger.reserve(tx, request("k1", 50, 1, parent, child)))
    second = store.write_now(lambda tx: ledger.reserve(tx, request("k2", 20, 1, parent, child)))
    other = store.write_now(lambda tx: ledger.reserve(tx, request("k3", 51, 1, Scope("agent", "x"))))
    free = store.write_now(lambda tx: ledger.reserve(tx, request("k4", 51, 1, Scope("agent", "y"))))

    assert isinstance(first, Reservation)
    assert second == Exceeded("run:p", "life", "cost_nano", limit=60, used=50, asked=20)
    assert other == Exceeded("agent:x", "hour:2023-11-14T22", "cost_nano", limit=50, used=0, asked=51)
    assert isinstance(free, Reservation)


def test_a_cap_set_at_noon_knows_what_was_spent_since_midnight(store: Store) -> None:
    """Windows are counted before anybody caps them; a cap that changes holds at once."""
    store.write_now(lambda tx: Ledger().reserve(tx, request("k1", 70)))

    refused = store.write_now(lambda tx: capped(100).reserve(tx, request("k2", 31)))
    wider = store.write_now(lambda tx: capped(101).reserve(tx, request("k3", 31)))

    assert refused == Exceeded("global", "day:2023-11-14", "cost_nano", limit=100, used=70, asked=31)
    assert isinstance(wider, Reservation)
    assert row(store, capped(101)).cap_cost == 101


def test_the_next_window_starts_empty_and_a_settlement_lands_in_its_own(store: Store) -> None:
    """Spending carried over midnight belongs to the day it was reserved in."""
    ledger = capped(100)
    tomorrow = NOW + 24 * HOUR
    store.write_now(lambda tx: ledger.reserve(tx, request("k1", 90)))
    fresh = store.write_now(lambda tx: ledger.reserve(tx, request("k2", 90, now_ns=tomorrow)))
    store.write_now(lambda tx: ledger.settle(tx, "k1", 80, 1))

    assert isinstance(fresh, Reservation)
    today = row(store, ledger, now_ns=tomorrow)
    assert (today.span, today.spent_cost, today.reserved_cost) == ("day:2023-11-15", 0, 90)
    assert store.read(
        lambda tx: tx.execute("SELECT spent_cost FROM budget_windows WHERE key = 'global|day:2023-11-14'")
    ) == [(80,)]


def test_a_clock_set_back_opens_no_window_again(store: Store) -> None:
    """What it spends counts into the newest window; that is told once."""
    ledger = capped(100)
    store.write_now(lambda tx: ledger.reserve(tx, request("k1", 40, now_ns=NOW)))
    store.write_now(lambda tx: ledger.reserve(tx, request("k2", 90, now_ns=NOW + 24 * HOUR)))

    back = [
        store.write_now(lambda tx, key=key: ledger.reserve(tx, request(key, 5, now_ns=NOW)))
        for key in ("k3", "k4", "k5")
    ]
    store.write_now(lambda tx: ledger.release(tx, "k2"))

    first, second, third = back
    assert isinstance(first, Reservation)
    assert isinstance(second, Reservation)
    assert [alert.kind for alert in first.alerts] == ["clock_regression"]
    assert "2023-11-14T22:13:20" in first.alerts[0].message
    assert second.alerts == ()
    assert third == Exceeded("global", "day:2023-11-15", "cost_nano", limit=100, used=100, asked=5)


def test_clocks_that_disagree_by_seconds_are_no_alarm(store: Store) -> None:
    """Two machines around the full hour."""
    ledger = capped(100)
    full_hour = NOW - NOW % HOUR + HOUR
    store.write_now(lambda tx: ledger.reserve(tx, request("k1", now_ns=full_hour)))

    late = store.write_now(lambda tx: ledger.reserve(tx, request("k2", now_ns=full_hour - 30 * 10**9)))

    assert isinstance(late, Reservation)
    assert late.alerts == ()
    assert late.windows == ("global|day:2023-11-14", "global|hour:2023-11-14T23")


def test_a_day_may_begin_elsewhere(store: Store) -> None:
    """Hours stay absolute; an unknown zone is a setting to change."""
    ledger = Ledger(Caps((), day_zone="Pacific/Auckland"))

    held = store.write_now(lambda tx: ledger.reserve(tx, request("k")))

    assert isinstance(held, Reservation)
    assert held.windows == ("global|day:2023-11-15", "global|hour:2023-11-14T22")
    with pytest.raises(ConfigError, match="IANA"):
        Ledger(Caps((), day_zone="Mars/Olympus"))


def test_a_day_that_begins_twice_is_one_day(store: Store) -> None:
    """In Newfoundland the clocks were set back from 00:01 to 23:01 of the day before."""
    ledger = Ledger(Caps((CapRule(scope="global", span="day", cost_nano=100),), day_zone="America/St_Johns"))
    midnight = 1_289_097_000_000_000_000  # 2010-11-07T00:00 in St. John's
    before, after, again = (
        store.write_now(lambda tx, key=key, at=at: ledger.reserve(tx, request(key, 10, now_ns=at)))
        for key, at in (("k1", midnight - 10**9), ("k2", midnight), ("k3", midnight + 60 * 10**9))
    )

    assert isinstance(before, Reservation)
    assert isinstance(after, Reservation)
    assert isinstance(again, Reservation)
    assert [held.windows[0] for held in (before, after, again)] == [
        "global|day:2010-11-06",
        "global|day:2010-11-07",
        "global|day:2010-11-07",
    ]


# -- alerts


def test_each_threshold_is_told_once_for_each_window_and_measure(store: Store) -> None:
    """80 and 95 per cent of what is really spent; a jump past both tells the higher."""
    ledger = capped(1000, tokens=100)
    told = []
    for number, (cost_nano, tokens) in enumerate([(799, 0), (1, 0), (100, 0), (50, 0), (10, 96), (1, 1)]):
        store.write_now(lambda tx, n=number, c=cost_nano, t=tokens: ledger.reserve(tx, request(f"k{n}", c, t)))
        settled = store.write_now(lambda tx, n=number, c=cost_nano, t=tokens: ledger.settle(tx, f"k{n}", c, t))
        told.append([(alert.measure, alert.percent, alert.used) for alert in settled.alerts])

    assert told == [[], [("cost_nano", 80, 800)], [], [("cost_nano", 95, 950)], [("tokens", 95, 96)], []]
    assert Alert("budget", "global", "day:2023-11-14", 80, "cost_nano", 800, 1000).limit == 1000


def test_a_threshold_that_a_failed_attempt_passed_is_told_with_the_settlement(store: Store) -> None:
    """Whoever charges an attempt tells nobody; whoever closes the call does, also when it closes without a reply."""
    ledger = capped(1000)
    told = []
    for key, cost in (("k1", 800), ("k2", 150)):
        held = store.write_now(lambda tx, k=key: ledger.reserve(tx, request(k, 50, 1)))
        assert isinstance(held, Reservation)
        assert store.write_now(lambda tx, k=key, c=cost: ledger.retry(tx, k, c, 1)) is None or key == "k2"
        told.append(store.write_now(lambda tx, h=held: ledger.close_held(tx, h)))
        told.append(store.write_now(lambda tx, h=held: ledger.close_held(tx, h)))

    assert [[alert.percent for alert in alerts] for alerts in told] == [[80], [], [95], []]
    assert row(store, ledger).reserved_cost == 0


def test_a_threshold_that_a_dead_runs_calls_passed_is_given_once(store: Store) -> None:
    """Charged at their holds because nobody knows better."""
    ledger = capped(1000)
    for key, cost in (("a", 400), ("b", 450)):
        store.write_now(lambda tx, k=key, c=cost: ledger.reserve(tx, request(k, c, 1, run="dead", is_sent=True)))

    left = [store.write_now(lambda tx: ledger.close_open(tx, "dead")) for _ in range(2)]

    assert [[alert.percent for alert in abandoned.alerts] for abandoned in left] == [[80], []]


# -- bad input


@pytest.mark.parametrize("amount", [-1, LARGEST + 1, 2**63, 1.5, float("nan"), True, "7", None])
def test_amounts_are_whole_numbers_in_range(store: Store, amount: object) -> None:
    """Negative, fractional, absurd: refused before anything changes; the hold stands."""
    ledger = capped(10**9)
    store.write_now(lambda tx: ledger.reserve(tx, request("k", 60)))
    before = books(store)

    for bad in (
        lambda tx: ledger.reserve(tx, request("k2", amount)),  # type: ignore[arg-type]
        lambda tx: ledger.reserve(tx, request("k2", 1, amount)),  # type: ignore[arg-type]
        lambda tx: ledger.correct(tx, "k", amount, 1),  # type: ignore[arg-type]
        lambda tx: ledger.settle(tx, "k", 1, amount if amount is not None else -1),  # type: ignore[arg-type]
    ):
        with pytest.raises(RefusedError, match="whole numbers"):
            store.write_now(bad)

    assert books(store) == before


@pytest.mark.parametrize("amount", [-1, 2**53])
def test_a_cap_out_of_range_is_refused(amount: int) -> None:
    """It could not be compared exactly everywhere."""
    with pytest.raises(RefusedError, match="cap of global per day"):
        capped(amount)


def test_without_a_cap_there_is_still_an_end(store: Store) -> None:
    """Sums never leave the numbers that are exact everywhere."""
    ledger = Ledger()
    store.write_now(lambda tx: ledger.reserve(tx, request("k1", LARGEST)))

    refused = store.write_now(lambda tx: ledger.reserve(tx, request("k2", 1)))

    assert isinstance(refused, Exceeded)
    assert refused.limit == LARGEST


def test_a_call_that_costs_nothing_passes_an_exhausted_cap(store: Store) -> None:
    """A local model is free; its tokens still count."""
    ledger = capped(0, tokens=5)

    assert isinstance(store.write_now(lambda tx: ledger.reserve(tx, request("k1", 0, 5))), Reservation)
    assert isinstance(store.write_now(lambda tx: ledger.reserve(tx, request("k2", 0, 1))), Exceeded)
    assert isinstance(store.write_now(lambda tx: ledger.reserve(tx, request("k3", 1, 0))), Exceeded)


# -- any interleaving

SCOPES = [
    (ALL,),
    (ALL, Scope("agent", "a"), Scope("task", "t", Cap(cost_nano=60))),
    (ALL, Scope("run", "p", Cap(cost_nano=50, tokens=40)), Scope("run", "c", Cap(tokens=20))),
]


def machine(store: Store) -> type[RuleBasedStateMachine]:
    """Any number of calls in any state, interleaved in any order, over a clock that jumps."""

    class Books(RuleBasedStateMachine):
        held = Bundle("held")

        def __init__(self) -> None:
            super().__init__()
            rules = (
                CapRule(scope="global", span="day", cost_nano=100, tokens=80),
                CapRule(scope="agent", span="hour", cost_nano=70),
            )
            self.ledger = Ledger(Caps(rules))
            self.number = 0
            self.now_ns = NOW
            store.write_now(self.wipe)

        @staticmethod
        def wipe(tx: Tx) -> None:
            for name in ("charges", "reservations", "budget_windows"):
                tx.change(f"DELETE FROM {name}")
            tx.change("DELETE FROM meta WHERE key <> 'store.id'")  # the store keeps its name

        def do(self, work: Callable[[Tx], object]) -> object:
            return store.write_now(work)

        @rule(target=held, scopes=st.sampled_from(SCOPES), cost=st.integers(0, 60), tokens=st.integers(0, 30))
        def reserve(self, scopes: tuple[Scope, ...], cost: int, tokens: int) -> Reservation | None:
            self.number += 1
            asked = request(
                f"k{self.number}", cost, tokens, *scopes, now_ns=self.now_ns, expires_ns=self.now_ns + HOUR, run="r"
            )
            before = books(store)
            got = self.do(lambda tx: self.ledger.reserve(tx, asked))
            if isinstance(got, Exceeded):
                assert books(store) == before
                return None
            assert isinstance(got, Reservation)
            return got

        @rule(held=held)
        def again(self, held: Reservation | None) -> None:
            if held and self.state(held) in ("held", "sent"):
                before = books(store)
                asked = request(held.key, held.cost_nano, held.tokens)
                assert isinstance(self.do(lambda tx: self.ledger.reserve(tx, asked)), Reservation)
                assert books(store) == before

        @rule(held=held)
        def send(self, held: Reservation | None) -> None:
            if held and self.state(held) in ("held", "sent"):
                self.do(lambda tx: self.ledger.mark_sent(tx, held.key))

        @rule(held=held, share=st.integers(0, 100))
        def settle(self, held: Reservation | None, share: int) -> None:
            if held:
                paid = (held.cost_nano * share // 100, held.tokens * share // 100)
                if self.state(held) in ("held", "sent", "expired"):
                    self.do(lambda tx: self.ledger.settle(tx, held.key, *paid))
                before = books(store)
                if self.state(held) == "settled":
                    self.do(lambda tx: self.ledger.settle(tx, held.key, *paid))
                assert books(store) == before

        @rule(held=held)
        def retry(self, held: Reservation | None) -> None:
            if held and self.state(held) in ("held", "sent"):
                self.do(lambda tx: self.ledger.retry(tx, held.key))

        @rule(held=consumes(held))
        def release(self, held: Reservation | None) -> None:
            if held:
                self.do(lambda tx: self.ledger.release(tx, held.key))

        @rule(minutes=st.integers(-200, 200))
        def pass_time(self, minutes: int) -> None:
            self.now_ns += minutes * 60 * 10**9

        @rule()
        def expire(self) -> None:
            self.do(lambda tx: self.ledger.expire(tx, self.now_ns))

        @rule()
        def die(self) -> None:
            self.do(lambda tx: self.ledger.close_open(tx, "r"))

        def state(self, held: Reservation) -> str:
            found = store.read(lambda tx: self.ledger.find(tx, held.key))
            assert found is not None
            return found.state

        @invariant()
        def no_window_is_ever_past_its_cap(self) -> None:
            for key, cap, spent, reserved in store.read(
                lambda tx: tx.execute(
                    "SELECT key, cap_cost, spent_cost, reserved_cost FROM budget_windows UNION ALL "
                    "SELECT key, cap_tokens, spent_tokens, reserved_tokens FROM budget_windows"
                )
            ):
                assert spent >= 0, key
                assert reserved >= 0, key
                assert cap is None or spent + reserved <= cap, key

        @invariant()
        def windows_are_the_sum_of_their_calls(self) -> None:
            def total(tx: Tx) -> None:
                expected: dict[str, list[int]] = {}
                for key, state, cost, tokens, windows in tx.execute(
                    "SELECT key, state, cost_nano, tokens, windows FROM reservations"
                ):
                    spent = tx.execute(
                        "SELECT COALESCE(SUM(cost_nano), 0), COALESCE(SUM(tokens), 0) FROM charges WHERE key = ?",
                        (key,),
                    )[0]
                    held = (cost, tokens) if state in ("held", "sent") else (0, 0)
                    for window in json.loads(windows):
                        sums = expected.setdefault(window, [0, 0, 0, 0])
                        for place, amount in enumerate((*spent, *held)):
                            sums[place] += amount
                found = tx.execute(
                    "SELECT key, spent_cost, spent_tokens, reserved_cost, reserved_tokens FROM budget_windows"
                )
                assert {key: sums for key, *sums in found} == expected

            store.read(total)

    return Books


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_spend_never_passes_a_cap_under_any_interleaving(store: Store) -> None:
    """Caps hold, sums agree, refusals leave no trace and repetitions change nothing, in every order of calls."""
    run_state_machine_as_test(
        machine(store),
        settings=settings(
            max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(amounts=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=6))
def test_release_undoes_reserve(store: Store, amounts: list[tuple[int, int]]) -> None:
    """In whatever order, all holds given back leave windows in which nothing is held and nothing was spent."""
    store.write_now(lambda tx: [tx.change(f"DELETE FROM {name}") for name in ("reservations", "budget_windows")])
    ledger = capped(1000, tokens=1000)
    keys = [f"k{number}" for number in range(len(amounts))]
    for key, (cost_nano, tokens) in zip(keys, amounts, strict=True):
        asked = request(key, cost_nano, tokens)
        store.write_now(lambda tx, r=asked: ledger.reserve(tx, r))
    random.Random(len(amounts)).shuffle(keys)
    for key in keys:
        store.write_now(lambda tx, key=key: ledger.find(tx, key) and ledger.release(tx, key))

    rows = store.read(lambda tx: ledger.report(tx, NOW))
    assert {(r.spent_cost, r.spent_tokens, r.reserved_cost, r.reserved_tokens) for r in rows} <= {(0, 0, 0, 0)}


# -- many processes


def spend(path: Path, url: str, process: int, calls: int) -> None:
    """One process: reserve, then settle at the full hold, release or be cut off, as its own dice say."""
    dice = random.Random(process)
    ledger = capped(1_000_000)
    with Store.open(path, url=url, busy_timeout_s=60) as store:
        for number in range(calls):
            key = f"{process}-{number}"
            amount = dice.randint(500, 1500)
            asked = request(key, amount)
            held = store.write_now(lambda tx, r=asked: ledger.reserve(tx, r))
            if isinstance(held, Exceeded):
                continue
            match dice.randrange(4):
                case 0:
                    store.write_now(lambda tx, key=key: ledger.release(tx, key))
                case 1:
                    store.write_now(lambda tx, key=key: (ledger.mark_sent(tx, key), ledger.settle(tx, key)))
                case _:
                    store.write_now(lambda tx, key=key, n=amount: ledger.settle(tx, key, n, 1))


@pytest.mark.parametrize(
    ("processes", "calls"),
    [pytest.param(64, 30, id="64x30"), pytest.param(64, 200, id="64x200", marks=pytest.mark.soak)],
)
def test_64_processes_spend_one_cap_and_not_a_nano_more(
    tmp_path: Path, store_url: str, processes: int, calls: int
) -> None:
    """Against one database, with real locks: nothing over, nothing left reserved, the books equal to the calls."""
    path = tmp_path / "ooda.db"
    Store.open(path, url=store_url).close()
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=spend, args=(path, store_url, number, calls)) for number in range(processes)]
    for child in children:
        child.start()
    for child in children:
        child.join()

    with Store.open(path, url=store_url) as store:
        left = row(store, capped(1_000_000))
        states = dict(store.read(lambda tx: tx.execute("SELECT state, COUNT(*) FROM reservations GROUP BY state")))
        charged = store.read(lambda tx: tx.execute("SELECT SUM(cost_nano) FROM charges"))[0][0]

    assert [child.exitcode for child in children] == [0] * processes
    assert left.reserved_cost == 0
    assert left.spent_cost == charged <= 1_000_000
    assert left.spent_cost > 1_000_000 - 1500
    assert set(states) == {"settled", "released"}
