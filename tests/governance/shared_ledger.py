"""The ledger and the counters on Redis as one: so that both can be held to the ledger's own suite.

Whether a call fits is decided by Redis alone; the books in the database are kept without being asked, and have to
agree. After every change both must say the same of every window.
"""

from __future__ import annotations

import uuid
from typing import Any

from ooda.governance import ledger as ledger_room
from ooda.governance.budget import Abandoned, Caps, Exceeded, Reservation, ReserveRequest, Settlement
from ooda.governance.ledger import Ledger
from ooda.governance.redis_ledger import Held, Script, SharedWindow, held_in, script_text
from ooda.store import Store, Tx

__all__ = ["RedisBackedLedger"]


class RedisBackedLedger(Ledger):
    """Every change in the database, and the same on Redis."""

    def __init__(self, caps: Caps, store: Store, client: Any) -> None:
        super().__init__(caps)
        self.client = client
        self.run = client.register_script(script_text())
        self.store: Any = store

    def reserve(self, tx: Tx, request: ReserveRequest) -> Reservation | Exceeded:
        ledger_room._check("reservation", request.cost_nano, request.tokens)
        if not tx.execute("SELECT 1 FROM budget_windows"):
            self.store.redis_prefix = uuid.uuid4().hex
        if self.find(tx, request.key) is None:
            held = self.wanted(tx, request)
            refused = self.script.refusal(held, self.call("hold", held, request.now_ns))
            if refused is not None:
                return refused
            if request.is_sent:
                assert self.call("sent", held, request.now_ns)[0] == b"ok"
        got = super().reserve(tx, request)
        assert isinstance(got, Reservation), "Redis admitted what the books refuse"
        self.compare(tx)
        return got

    def mark_sent(self, tx: Tx, key: str) -> None:
        super().mark_sent(tx, key)
        held = held_in(tx, key)
        assert held is not None
        assert self.call("sent", held, 0)[0] == b"ok"

    def settle(self, tx: Tx, key: str, cost_nano: int | None = None, tokens: int | None = None) -> Settlement:
        return self.closed(tx, super().settle(tx, key, cost_nano, tokens), key)

    def correct(self, tx: Tx, key: str, cost_nano: int, tokens: int) -> Settlement:
        return self.closed(tx, super().correct(tx, key, cost_nano, tokens), key)

    def retry(self, tx: Tx, key: str, cost_nano: int | None = None, tokens: int | None = None) -> Exceeded | None:
        refused = super().retry(tx, key, cost_nano, tokens)
        if refused is not None:
            return self.closed(tx, refused, key)
        held = held_in(tx, key)
        assert held is not None
        self.call("hold", held, 0)
        self.compare(tx)
        return None

    def release(self, tx: Tx, key: str) -> bool:
        return self.closed(tx, super().release(tx, key), key)

    def expire(self, tx: Tx, now_ns: int) -> tuple[Settlement, ...]:
        over = super().expire(tx, now_ns)
        return self.closed(tx, over, *(item.key for item in over))

    def close_open(self, tx: Tx, run: str) -> Abandoned:
        left = super().close_open(tx, run)
        return self.closed(tx, left, *filter(None, left.keys.split(",")))

    # -- small parts ------------------------------------------------------------------------------------

    @property
    def script(self) -> Script:
        """Ledgers of one store share their counters; with its books wiped it is another store."""
        return Script("store", self.ends_ns, self.store.redis_prefix)

    def wanted(self, tx: Tx, request: ReserveRequest) -> Held:
        """The reservation as it will stand, with the caps of this ledger."""
        now = self._clock.at(tx, request.now_ns)
        windows = []
        for window, *_ in self._plan(request.scopes, now.hour, now.day).limits:
            rows = tx.execute(
                "SELECT spent_cost, spent_tokens, revision FROM budget_windows WHERE key = ?", (window.key,)
            )
            spent = rows[0] if rows else (0, 0, 0)
            windows.append(
                SharedWindow(window.key, window.scope, window.span, window.cap_cost, window.cap_tokens, *spent)
            )
        return Held(request.key, True, request.cost_nano, request.tokens, tuple(windows))

    def closed(self, tx: Tx, result: Any, *keys: str) -> Any:
        for key in keys:
            held = held_in(tx, key)
            assert held is not None
            if not held.is_open:
                self.call("close", held, 0)
        self.compare(tx)
        return result

    def call(self, op: Any, held: Held, now_ns: int) -> list[Any]:
        keys, arguments = self.script.command(op, held, now_ns)
        return self.run(keys=keys, args=arguments)  # type: ignore[no-any-return]

    def compare(self, tx: Tx) -> None:
        """Both say the same of every window."""
        for key, *amounts in tx.execute(
            "SELECT key, spent_cost, spent_tokens, reserved_cost, reserved_tokens FROM budget_windows"
        ):
            names = ("spent_cost", "spent_tokens", "reserved_cost", "reserved_tokens")
            found = self.client.hmget(f"{self.store.redis_prefix}:{{budget}}:window:{key}", names)
            assert [int(value or 0) for value in found] == amounts, key
