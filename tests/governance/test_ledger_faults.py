"""The store fails in the middle of a booking: at every statement of every operation, nothing of it stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ooda.errors import IntegrationError
from ooda.governance.ledger import Ledger
from ooda.store import Store, Tx
from tests.governance.test_ledger import ALL, HOUR, NOW, books, capped, request

Work = Callable[[Ledger, Tx], object]

OPERATIONS: dict[str, Work] = {
    "reserve": lambda ledger, tx: ledger.reserve(tx, request("new", 30, 2, ALL, now_ns=NOW + 2 * HOUR)),
    "mark sent": lambda ledger, tx: ledger.mark_sent(tx, "held"),
    "settle": lambda ledger, tx: ledger.settle(tx, "sent", 790, 1),
    "correct": lambda ledger, tx: ledger.correct(tx, "old", 7, 1),
    "retry": lambda ledger, tx: ledger.retry(tx, "sent", 5, 1),
    "the last retry": lambda ledger, tx: ledger.retry(tx, "sent", 940, 1),
    "release": lambda ledger, tx: ledger.release(tx, "held"),
    "expire": lambda ledger, tx: ledger.expire(tx, NOW + HOUR),
    "close a dead run": lambda ledger, tx: ledger.close_open(tx, "r"),
}


class Breaking:
    """A transaction whose store is lost at one statement."""

    def __init__(self, tx: Tx, at: int) -> None:
        self._tx, self._left = tx, at

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._tx, name)
        if name not in ("execute", "change"):
            return found

        def counted(*given: Any) -> Any:
            if self._left == 0:
                raise IntegrationError(
                    "the store is gone", service="store", operation=name, status=None, retryable=True
                )
            self._left -= 1
            return found(*given)

        return counted


@pytest.fixture
def store(tmp_path: Path, store_url: str) -> Iterator[Store]:
    with Store.open(tmp_path / "ooda.db", url=store_url) as opened:
        ledger = capped(1000)
        for key, cost in (("old", 20), ("held", 30), ("sent", 60)):
            asked = request(key, cost, 3, run="r", is_sent=key != "held", expires_ns=NOW + (key != "old"))
            opened.write_now(lambda tx, a=asked: ledger.reserve(tx, a))
        opened.write_now(lambda tx: ledger.expire(tx, NOW))
        yield opened


@pytest.mark.parametrize("work", OPERATIONS.values(), ids=OPERATIONS)
def test_a_booking_that_is_cut_off_anywhere_leaves_no_trace_and_can_be_made_again(store: Store, work: Work) -> None:
    """Whatever statement the store is lost at; the last round finds the store there to the end."""
    before, ledger, rounds = books(store), capped(1000), 0
    while True:
        try:
            store.write_now(lambda tx, at=rounds: work(ledger, Breaking(tx, at)))  # type: ignore[arg-type]
        except IntegrationError:
            assert books(store) == before
            rounds += 1
        else:
            break
    assert rounds >= 1
    assert books(store) != before
    rows = store.read(
        lambda tx: tx.execute("SELECT spent_cost, reserved_cost FROM budget_windows WHERE span <> 'life'")
    )
    charged = store.read(lambda tx: tx.execute("SELECT COALESCE(SUM(cost_nano), 0) FROM charges"))[0][0]
    held = store.read(
        lambda tx: tx.execute("SELECT COALESCE(SUM(cost_nano), 0) FROM reservations WHERE state IN ('held', 'sent')")
    )[0][0]
    assert sum(spent for spent, _ in rows) == 2 * charged  # an hour and a day each
    assert sum(reserved for _, reserved in rows) == 2 * held
