"""Books that somebody else wrote to: found figure by figure, mended from what happened, and nothing spent meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ooda.api.spending import mended_books
from ooda.errors import RefusedError
from ooda.events import ModelFailed
from ooda.governance.ledger_check import check_books, mend_windows
from ooda.models.scripted import ScriptedModel, say
from ooda.store import Store
from ooda.testing.runs import RunBench
from tests.governance.test_ledger import ALL, NOW, books, capped, request

DAY = "global|day:2023-11-14"


@pytest.fixture
def store(tmp_path: Path, store_url: str) -> Iterator[Store]:
    """A call in each state."""
    with Store.open(tmp_path / "ooda.db", url=store_url) as opened:
        fill(opened)
        yield opened


def fill(store: Store) -> None:
    ledger = capped(1000)
    for key in ("settled", "sent", "held", "released", "retried"):
        store.write_now(lambda tx, k=key: ledger.reserve(tx, request(k, 50, 5, ALL, is_sent=k == "sent")))
    store.write_now(lambda tx: ledger.settle(tx, "settled", 40, 4))
    store.write_now(lambda tx: ledger.release(tx, "released"))
    store.write_now(lambda tx: ledger.retry(tx, "retried", 7, 1))


SET = "UPDATE budget_windows SET {} WHERE key = '" + DAY + "'"
DAMAGE: dict[str, tuple[str, str, int | None, int]] = {
    "money that was never spent": (SET.format("spent_cost = 900"), "spent_cost", 900, 47),
    "spending made undone": (SET.format("spent_cost = -47"), "spent_cost", -47, 47),
    "tokens": (SET.format("spent_tokens = 0"), "spent_tokens", 0, 5),
    "a hold that leaked": (SET.format("reserved_cost = 151"), "reserved_cost", 151, 150),
    "a window that is gone": (f"DELETE FROM budget_windows WHERE key = '{DAY}'", "spent_cost", None, 47),
    "a charge that is gone": ("DELETE FROM charges WHERE key = 'settled'", "spent_cost", 47, 7),
    "another state": ("UPDATE reservations SET state = 'settled' WHERE key = 'held'", "reserved_cost", 150, 100),
}


@pytest.mark.parametrize(("sql", "figure", "found", "expected"), DAMAGE.values(), ids=DAMAGE)
def test_a_figure_that_does_not_add_up_is_named_and_mended(
    store: Store, sql: str, figure: str, found: int | None, expected: int
) -> None:
    """What happened, row by row, is the truth; afterwards everything agrees and the caps hold on it."""
    assert store.read(check_books).discrepancies == ()
    store.write_now(lambda tx: tx.change(sql))

    wrong = store.read(check_books).discrepancies
    assert (DAY, figure, found, expected) in [(i.window, i.figure, i.found, i.expected) for i in wrong]
    assert str(expected) in str(next(item for item in wrong if item.figure == figure))

    assert store.write_now(mend_windows).discrepancies == wrong
    assert store.read(check_books).discrepancies == ()
    ledger = capped(1000)
    left = 1000 - sum(
        store.read(lambda tx: tx.execute(f"SELECT spent_cost, reserved_cost FROM budget_windows WHERE key = '{DAY}'"))[
            0
        ]
    )
    refused = store.write_now(lambda tx: ledger.reserve(tx, request("over", left + 1)))
    assert "allows" in str(refused)
    store.write_now(lambda tx: ledger.reserve(tx, request("fits", left)))
    assert store.read(check_books).discrepancies == ()


def test_nothing_is_spent_on_damaged_books(store: Store) -> None:
    """Less than nothing, and a reservation that cannot be read: refused with what to do, and not a row is changed."""
    ledger = capped(1000)
    store.write_now(lambda tx: tx.change(f"UPDATE budget_windows SET spent_cost = -500 WHERE key = '{DAY}'"))
    store.write_now(lambda tx: tx.change("UPDATE reservations SET windows = 'garbage' WHERE key = 'sent'"))
    before = books(store)

    for work in (
        lambda tx: ledger.reserve(tx, request("new")),
        lambda tx: ledger.settle(tx, "sent", 1, 1),
        lambda tx: ledger.release(tx, "sent"),
    ):
        with pytest.raises(RefusedError, match="`ooda budget check`"):
            store.write_now(work)
    assert books(store) == before
    assert [item.window for item in store.read(check_books).discrepancies if item.expected is None] == ["sent"]
    closed = store.write_now(lambda tx: ledger.expire(tx, NOW * 2))
    assert {item.key for item in closed} == {"held", "retried"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(
    figure=st.sampled_from(["spent_cost", "spent_tokens", "reserved_cost", "reserved_tokens"]),
    by=st.integers(-(2**40), 2**40).filter(bool),
)
def test_any_change_of_a_window_is_found_and_mended(store: Store, figure: str, by: int) -> None:
    """By however little."""
    store.write_now(lambda tx: tx.change(f"UPDATE budget_windows SET {figure} = {figure} + {by} WHERE key = '{DAY}'"))
    (wrong,) = store.write_now(mend_windows).discrepancies
    assert (wrong.figure, wrong.found) == (figure, (wrong.expected or 0) + by)
    assert store.read(check_books).discrepancies == ()


async def test_a_run_on_damaged_books_is_refused_on_record_and_goes_on_when_they_are_mended(tmp_path: Path) -> None:
    """The model is not asked; the audit names the window; mending is on record too."""
    bench = RunBench(tmp_path, settings={"sandbox.backend": "none"})
    plan = say("Plan.", ("update_plan", {"steps": [{"description": "x"}], "files_to_modify": ["sums.py"]}))
    mend = say("Mend.", ("edit_file", {"path": "sums.py", "old": "a - b", "new": "a + b"}))
    finish = say("Done.", ("finish", {"summary": "add() adds now."}))
    with bench.session() as session:
        first = await bench.run(bench.task(), [plan, mend, finish], session=session)
        session.store.write_now(
            lambda tx: tx.change("UPDATE budget_windows SET spent_tokens = -9 WHERE scope = 'global'")
        )
        model = ScriptedModel([plan])
        again = await bench.run(bench.task(), model, session=session)
        assert (first.status, again.status, model.requests) == ("success", "refused", [])
        assert [event.error for event in bench.heard if isinstance(event, ModelFailed)] == ["refused"]
        assert mended_books(session).discrepancies
        audit = session.store.read(lambda tx: tx.execute("SELECT action, subject, reason FROM audit ORDER BY seq"))
        assert any(action == "refuse" and "the books are damaged: window 'global|" in why for action, _, why in audit)
        assert [subject.partition("|")[0] for action, subject, _ in audit if action == "mend"][:1] == ["global"]
        resumed = await bench.resume(again.state.run, [plan, mend, finish], session=session)
        assert resumed.status == "success"
