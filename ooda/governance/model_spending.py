"""What one model call costs while it is under way: every attempt charged, every model at its own price.

A call holds one reservation at a time. A failed attempt that may have been billed is charged before the next one
begins, and the next one begins only if the budget still covers it. Another model takes a reservation of its own.
Where stores share a budget the same is asked there, before anything leaves. Knows money; must not know requests.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from ooda.errors import IntegrationError, ModelOutputError
from ooda.events import Usage
from ooda.governance.audit import AuditFact
from ooda.governance.audit import append as append_audit
from ooda.governance.budget import Alert, Exceeded, Reservation, ReserveRequest
from ooda.governance.ledger import Ledger
from ooda.governance.prices import PriceRow
from ooda.governance.sent_mark import SentMark
from ooda.store import Store, Tx

__all__ = ["Books", "ModelSpending", "SharedBudget"]


class SharedBudget(Protocol):
    """A budget that stores share which share no database (`redis_ledger`)."""

    async def hold(self, key: str) -> Exceeded | None: ...
    async def again(self, key: str) -> Exceeded | None: ...
    async def sent(self, key: str) -> bool: ...
    async def flush(self) -> tuple[Alert, ...]: ...


class Books(msgspec.Struct, frozen=True):
    """Where a run's calls are booked."""

    store: Store
    ledger: Ledger
    check_fence: Callable[[Tx], None]
    """Raises LeaseLostError when the run is another's: then nothing is booked for it any more."""
    fact: Callable[[str, str, str, str], AuditFact]
    """Action, subject, decision and reason as a fact for the audit."""
    shared: SharedBudget | None = None
    sent: SentMark | None = None


class ModelSpending:
    """The money of one call.

    Args:
        request: What was reserved for it, in the transaction of its intent; other models are reserved like it.
        input_tokens: Upper guess of what is sent.
    """

    def __init__(
        self, books: Books, model: str, price: PriceRow, held: Reservation, request: ReserveRequest, input_tokens: int
    ) -> None:
        self.model = model
        self.price = price
        self.held = held
        self.charged_nano = 0
        """Nano-USD of attempts and models before this one, in the ledger already."""
        self.charged_tokens = 0
        self._books = books
        self._request = request
        self._input_tokens = input_tokens
        self._owed = (0, 0)
        """What the settlement has to add for the last attempt."""
        self._number = 0
        self._alerts: list[Alert] = []
        """What the models asked before passed; told with the end of the call."""

    async def begin(self) -> Exceeded | None:
        """Ask the shared budget, if there is one.

        Raises:
            IntegrationError: the shared budget cannot be asked; nothing may be sent.
        """
        shared, key = self._books.shared, self.held.key
        if shared is not None:
            for _ in range(2):
                if (refused := await shared.hold(key)) is not None:
                    return refused
                if await shared.sent(key):
                    break
            else:
                raise IntegrationError(
                    "the shared budget gave the hold back twice before the call could be sent; look at its clock",
                    service="redis",
                    operation="sent",
                    status=None,
                    retryable=True,
                )
        return None

    def leaves(self) -> None:
        """Note that the call is about to leave: cut off from here on, it is charged. Called again at each attempt."""
        if self._books.sent is not None:
            self._books.sent.note(self.held.key)

    def failed(self, usage: Usage | None, *, is_billable: bool, goes_on: bool) -> Awaitable[None] | None:
        """An attempt has failed; what is given has to be awaited before the next one.

        Args:
            usage: What the provider said it used; None when it said nothing.
            is_billable: Something may have been generated: without a usage the attempt costs its reservation.
            goes_on: Another attempt at the same model follows.
        """
        if usage is None and not is_billable:
            return None
        used, cost_nano = self.priced(usage)
        tokens = used.total_tokens if usage is not None else self.held.tokens
        if goes_on:
            return self._book(cost_nano, tokens)
        self._owed = (self._owed[0] + cost_nano, self._owed[1] + tokens)
        return None

    async def move(self, model: str, price: PriceRow) -> None:
        """Close what the model before has cost, and reserve the same call for another one at its own price.

        Raises:
            BudgetExceededError: no budget covers it.
            IntegrationError: as `begin`.
        """
        self._number += 1
        output_tokens = self._request.tokens - self._input_tokens
        request = msgspec.structs.replace(
            self._request,
            key=f"{self._request.key}-{self._number}",
            cost_nano=price.worst_case_nano(self._input_tokens, output_tokens),
            price=price.as_json(),
        )

        alerts: list[Alert] = []

        def work(tx: Tx) -> Reservation | Exceeded:
            alerts.clear()
            self._books.check_fence(tx)
            alerts.extend(self.close(tx))
            held = self._books.ledger.reserve(tx, request)
            done = "refuse" if isinstance(held, Exceeded) else "allow"
            append_audit(tx, self._books.fact(done, model, "reserve", f"{request.cost_nano} nano-USD, a fallback"))
            return held

        held = await self._books.store.write(work)
        self._alerts += alerts
        self.charged_nano, self.charged_tokens = self.charged_nano + self._owed[0], self.charged_tokens + self._owed[1]
        self._owed = (0, 0)
        if isinstance(held, Exceeded):
            raise held.error()
        self.model, self.price, self.held = model, price, held
        if (refused := await self.begin()) is not None:
            raise refused.error()

    def priced(self, usage: Usage | None) -> tuple[Usage, int]:
        """What was used and what it costs; without a usage block, or with an impossible one, what was reserved."""
        if usage is not None:
            # Impossible counts are no counts: then the reservation is what is charged.
            with contextlib.suppress(ModelOutputError):
                return usage, self.price.cost_nano(usage)
        return Usage(input_tokens=self._input_tokens), self.held.cost_nano

    @property
    def cost_nano(self) -> int:
        """Nano-USD of all failed attempts so far."""
        return self.charged_nano + self._owed[0]

    @property
    def tokens(self) -> int:
        """Tokens of all failed attempts so far."""
        return self.charged_tokens + self._owed[1]

    def settle(self, tx: Tx, cost_nano: int, tokens: int) -> tuple[Alert, ...]:
        """Exchange the reservation for what the reply and the last failed attempts cost; gives the alerts."""
        owed = (self._owed[0] + cost_nano, self._owed[1] + tokens)
        return (*self._alerts, *self._books.ledger.settle_held(tx, self.held, *owed))

    def close(self, tx: Tx) -> tuple[Alert, ...]:
        """Close the reservation of a call that brought no reply."""
        if any(self._owed):
            return self.settle(tx, 0, 0)
        return (*self._alerts, *self._books.ledger.close_held(tx, self.held))

    async def _book(self, cost_nano: int, tokens: int) -> None:
        ledger, key = self._books.ledger, self.held.key

        def work(tx: Tx) -> Exceeded | None:
            self._books.check_fence(tx)
            what = f"{cost_nano} nano-USD, {tokens} tokens for an attempt that failed"
            append_audit(tx, self._books.fact("settle", self.model, "charge", what))
            return ledger.retry(tx, key, cost_nano, tokens)

        refused = await self._books.store.write(work)
        self.charged_nano, self.charged_tokens = self.charged_nano + cost_nano, self.charged_tokens + tokens
        if refused is None and self._books.shared is not None:
            refused = await self._books.shared.again(key)
        if refused is not None:
            raise refused.error()
