"""Model calls through the door: priced, reserved at their worst case, settled at their true cost.

    ask:   price -> reservation and ModelAsked in one transaction -> marked sent with the first byte -> request
    end:   settlement and ModelReplied (or ModelFailed) in one transaction

What was sent and never answered is charged at its reservation; what was never sent is released. Knows nothing of
HTTP: the request is a function that takes the grant.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Literal, Protocol

import msgspec

from ooda.errors import (
    BudgetExceededError,
    ConfigError,
    ContextOverflowError,
    CredentialError,
    IntegrationError,
    ModelError,
    ModelOutputError,
    ModelUnavailableError,
    RefusedError,
    UserError,
)
from ooda.events import Body, ModelAsked, ModelFailed, ModelReplied, Notified, ToolCall, Usage
from ooda.governance.audit import AuditFact
from ooda.governance.budget import Alert, Exceeded, ReserveRequest
from ooda.governance.grant import Grant, Mint
from ooda.governance.ledger import Ledger
from ooda.governance.model_spending import Books, ModelSpending, SharedBudget
from ooda.governance.policy import DoorPolicy
from ooda.governance.prices import PriceRow
from ooda.governance.recorder import Intent, Recorder
from ooda.governance.sent_mark import SentMark
from ooda.ids import effect_key
from ooda.labels import TOOL
from ooda.runtime.commands import CallModel
from ooda.store import Tx
from ooda.store.leases import check as check_lease

__all__ = ["ModelDoor", "Reply", "budget_notice"]

_NANO = 1_000_000_000
_HOLD_NS = 3600 * _NANO
"""A reservation nobody settles within an hour belongs to a dead process; longer than any model call may take."""


class RawCall(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def arguments(self) -> str: ...


class Reply(Protocol):
    """What the door needs of a model's reply."""

    @property
    def message(self) -> bytes: ...
    @property
    def content(self) -> str: ...
    @property
    def calls(self) -> Sequence[RawCall]: ...
    @property
    def usage(self) -> Usage | None: ...
    @property
    def finish(self) -> str: ...
    @property
    def refusal(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def latency_ms(self) -> int: ...


Send = Callable[[Grant, ModelSpending], Awaitable[Reply]]
FailureKind = Literal[
    "unavailable", "overflow", "output", "credential", "budget", "refused", "cancelled", "interrupted"
]


class _Facts(msgspec.Struct, frozen=True):
    """What tells of a call in the journal whether the next one is the same."""

    error: str = ""
    digest: str = ""
    model: str = ""
    key: str = ""
    reservation: str = ""


_FACTS = msgspec.json.Decoder(_Facts)
_CUT = ("interrupted", "cancelled")
"""How a call ended that was neither answered nor refused."""


class _Call(msgspec.Struct, frozen=True):
    """A model call under way."""

    ask: str
    spending: ModelSpending
    grant: Any


class ModelDoor:
    """The door for the model calls of one run.

    Args:
        sent: Where this machine notes what it sends. None where another machine may take the run up, which could not
            read it: every call then counts as sent from its intent on, and is charged when nobody ever settles it.
        shared: Asked before anything is sent, where stores share a budget.
    """

    def __init__(
        self,
        *,
        recorder: Recorder,
        mint: Mint,
        policy: DoorPolicy,
        ledger: Ledger,
        model: str,
        price: PriceRow,
        sent: SentMark | None,
        deadline_s: float = 600.0,
        shared: SharedBudget | None = None,
    ) -> None:
        self.model = model
        self.price = price
        self.deadline_s = deadline_s
        self._recorder = recorder
        self._mint = mint
        self._policy = policy
        self._ledger = ledger
        self._sent = sent
        self._shared = shared
        self.price_of: Callable[[str], PriceRow] | None = None
        """The price of a model that may be asked when this one is unavailable; None where there is none."""
        self.notice: Callable[[Tx, Notified], None] = lambda tx, notified: None
        """Writes with a notice what is delivered of it."""
        self._price_json = price.as_json()
        self._under_way: _Call | None = None
        self._is_first = True
        self._cut_off: _Facts | None = None
        """The call that was cut off just now."""
        self._books = Books(recorder.store, ledger, self._check_fence, self._fact, shared, sent)

    def switch(self, model: str, price: PriceRow) -> None:
        """Another model from the next call on."""
        self.model, self.price, self._price_json = model, price, price.as_json()

    def close(self) -> None:
        """Let go of the run's note of what was sent."""
        if self._sent is not None:
            self._sent.close()

    def intent(self, tx: Tx, command: CallModel, *, digest: str, messages: int, input_bytes: int, send: Send) -> Intent:
        """The intent of a model call with its reservation, or the failure to record when no budget covers it.

        Args:
            digest: Of the normalised request, for replays.
            input_bytes: Size of the encoded messages and tools; half of it is the upper guess of their tokens.
            send: Makes the call with the grant; adds to the charge what failed attempts cost.
        """
        recorder = self._recorder
        seq = recorder.state.next_seq
        tokens = input_bytes // 2 + input_bytes // 40 + 64  # bytes/2 as an upper guess, 5 % and the frame on top
        hold = self.price.worst_case_nano(tokens, command.reply_tokens)
        key = effect_key(recorder.state.run, seq, command.ask)
        again = self._key_again(tx, digest)
        now_ns = recorder.clock.now_ns()
        wanted = ReserveRequest(
            key=key,
            run=recorder.state.run,
            scopes=self._policy.scopes,
            cost_nano=hold,
            tokens=tokens + command.reply_tokens,
            now_ns=now_ns,
            expires_ns=now_ns + _HOLD_NS,
            price=self._price_json,
            is_sent=self._sent is None,
        )
        try:
            held = self._ledger.reserve(tx, wanted)
        except RefusedError as error:  # damaged books: nothing may be spent, and that is on record
            return self._failure(command.ask, "refused", str(error))
        if isinstance(held, Exceeded):
            return self._failure(command.ask, "budget", str(held))
        asked = ModelAsked(
            ask=command.ask,
            model=self.model,
            upto_seq=seq - 1,
            prefix_hash=recorder.state.context_hash,
            digest=digest,
            messages=messages,
            input_bytes=input_bytes,
            reply_tokens=command.reply_tokens,
            reservation=key,
            key=again,
        )
        spending = ModelSpending(self._books, self.model, self.price, held, wanted, tokens)
        call = _Call(command.ask, spending, self._grant(self.model, command.ask, command.prefix_hash, key, again))

        def also(tx: Tx) -> None:
            self._audit("allow", self.model, "reserve", f"{hold} nano-USD held")
            self._told(held.alerts)

        return Intent(asked, also=also, start=lambda: self._send(call, send))

    async def _send(self, call: _Call, send: Send) -> Intent:
        """Make the call, give the answer to record."""
        self._under_way = call
        try:
            if (refused := await call.spending.begin()) is not None:
                return self._failure(call.ask, "budget", str(refused), call.spending)
            reply = await send(call.grant, call.spending)
        except (ModelError, UserError, BudgetExceededError, IntegrationError) as error:
            return self._failed(call, error)
        return self._replied(call, reply)

    async def regrant(self, spent: Grant, model: str) -> Grant:
        """The same call decided anew for another model: reserved at its own price, under a grant of its own.

        Raises:
            RefusedError: no call is under way under `spent`, or no budget covers the other model.
        """
        call = self._under_way
        if call is None or call.ask != spent.call or not spent.is_spent or self.price_of is None:
            raise RefusedError(f"no call is under way that model {model!r} could be asked instead for", model=model)
        await call.spending.move(model, self.price_of(model))
        return self._grant(model, spent.call, spent.arguments, call.spending.held.key)

    def _key_again(self, tx: Tx, digest: str) -> str:
        """The key of the last call when it was cut off and asked just this: a provider that knows keys answers once."""
        cut, self._cut_off = self._cut_off, None
        if self._is_first and cut is None:
            rows = self._last(tx, "ModelAsked", "ModelFailed", "ModelReplied")
            if [kind for kind, _ in rows] == ["ModelFailed", "ModelAsked"] and rows[0][1].error in _CUT:
                cut = rows[1][1]
        self._is_first = False
        if cut is None or (cut.digest, cut.model) != (digest, self.model):
            return ""
        return cut.key or cut.reservation

    def _last(self, tx: Tx, *kinds: str) -> list[tuple[str, _Facts]]:
        """The last two events of these kinds in the journal, the later one first."""
        rows = tx.execute(
            "SELECT kind, body FROM events WHERE run = ? AND kind IN (?, ?, ?) ORDER BY seq DESC LIMIT 2",
            (self._recorder.state.run, *(kinds * 3)[:3]),
        )
        return [(kind, _FACTS.decode(bytes(body))) for kind, body in rows]

    def _grant(self, model: str, ask: str, arguments: str, key: str, again: str = "") -> Grant:
        recorder = self._recorder
        return self._mint.grant(
            kind="model",
            run=recorder.state.run,
            seq=recorder.state.next_seq,
            call=ask,
            tool=model,
            definition=model,
            arguments=arguments,
            operation=None,
            effect="keyed",
            key=again or key,
            fence=recorder.fence,
            deadline_ns=recorder.clock.now_ns() + int(self.deadline_s * _NANO),
            label=recorder.state.label,
            reservation=key,
        )

    def _replied(self, call: _Call, reply: Reply) -> Intent:
        spending = call.spending
        usage, cost = spending.priced(reply.usage)
        event = ModelReplied(
            ask=call.ask,
            model=reply.model,
            message=Body(reply.message.decode()),
            content=Body(reply.content or reply.refusal),
            calls=tuple(ToolCall(raw.id, raw.name, Body(raw.arguments)) for raw in reply.calls),
            usage=usage,
            cost_nano=cost + spending.cost_nano,
            finish=reply.finish,
            latency_ms=reply.latency_ms,
        )

        def also(tx: Tx) -> None:
            self._told(spending.settle(tx, cost, usage.total_tokens))
            self._audit("settle", spending.model, "charge", f"{event.cost_nano} nano-USD, {usage.total_tokens} tokens")

        return Intent(
            event,
            self._recorder.state.label,
            also=also,
            start=self._after,
            is_repeatable=True,
            may_wait=True,
        )

    def _failed(self, call: _Call, error: Exception) -> Intent:
        kind: FailureKind
        match error:
            case ContextOverflowError():
                kind = "overflow"
            case ModelOutputError():
                kind = "output"
            case ModelUnavailableError() | ConfigError():  # a wrong URL or name, found out by asking
                kind = "unavailable"
            case CredentialError():
                kind = "credential"
            case BudgetExceededError():
                kind = "budget"
            case _:
                kind = "refused"
        return self._failure(call.ask, kind, str(error), call.spending)

    def _failure(self, ask: str, kind: FailureKind, message: str, spending: ModelSpending | None = None) -> Intent:
        cost, tokens = (spending.cost_nano, spending.tokens) if spending is not None else (0, 0)
        event = ModelFailed(ask=ask, error=kind, message=message, cost_nano=cost, tokens=tokens)

        def also(tx: Tx) -> None:
            if spending is not None:
                self._told(spending.close(tx))
            if kind in ("budget", "refused"):
                self._audit("refuse", self.model, kind, self._recorder.redactor.redact(message).text)
            elif cost or tokens:
                self._audit("settle", self.model, "charge", f"{cost} nano-USD, {tokens} tokens of failed attempts")

        return Intent(event, also=also, start=self._after if spending is not None else None, is_repeatable=True)

    def abandon(self, tx: Tx, ask: str, kind: Literal["interrupted", "cancelled"], message: str) -> Intent:
        """Close a model call that was cut off: charged at its reservation when it had been sent, released when not."""
        self._cut_off = next((asked for _, asked in self._last(tx, "ModelAsked")), None)
        cost, tokens = self._expired(tx)
        left = self._ledger.close_open(tx, self._recorder.state.run)
        event = ModelFailed(
            ask=ask, error=kind, message=message, cost_nano=left.cost_nano + cost, tokens=left.tokens + tokens
        )

        def also(tx: Tx) -> None:
            self._told(left.alerts)
            if event.cost_nano or event.tokens:
                what = f"{event.cost_nano} nano-USD, {event.tokens} tokens of a call that was cut off"
                self._audit("settle", self.model, "charge", what)

        return Intent(event, also=also, start=self._after, is_repeatable=True)

    def _expired(self, tx: Tx) -> tuple[int, int]:
        """Mark the call as sent if it was; what it cost if its time ran out before the run was taken up."""
        sent = self._sent.last() if self._sent is not None else ""
        held = self._ledger.find(tx, sent) if sent else None
        if held is None or self._sent is None:
            return 0, 0
        if held.state == "held":
            self._ledger.mark_sent(tx, sent)
        if held.state != "expired":
            return 0, 0
        self._sent.note("")  # told once
        return held.cost_nano, held.tokens

    @property
    def _after(self) -> Callable[[], Coroutine[Any, Any, Intent | None]] | None:
        """What follows a settlement once it is on disk."""
        return self._tell_shared if self._shared is not None else None

    async def _tell_shared(self) -> Intent | None:
        """Close there what was settled here; gives the notice of a threshold that all stores passed together."""
        assert self._shared is not None
        try:
            alerts = await self._shared.flush()
        except IntegrationError:
            # What cannot be told now is told before the next call, or when the store is opened again.
            return None
        if not alerts:
            return None
        first = budget_notice(alerts[0])

        def also(tx: Tx) -> None:
            self._audit_alert(alerts[0])
            self.notice(tx, first)
            self._told(alerts[1:])

        return Intent(first, TOOL, also=also)

    def _told(self, alerts: tuple[Alert, ...]) -> None:
        """Record thresholds that were passed, and tell people, in the transaction under way."""
        for alert in alerts:
            self._audit_alert(alert)
            notified = budget_notice(alert)
            self._recorder.join(Intent(notified, TOOL, also=partial(self._deliver, notified)))

    def _audit_alert(self, alert: Alert) -> None:
        what = f"{alert.percent} % of {alert.measure} in window {alert.window}" if alert.percent else alert.message
        self._audit("alert", alert.scope or "clock", alert.kind, self._recorder.redactor.redact(what).text)

    def _deliver(self, notified: Notified, tx: Tx) -> None:
        self.notice(tx, notified)

    def _check_fence(self, tx: Tx) -> None:
        check_lease(tx, self._recorder.state.run, self._recorder.fence)

    def _audit(self, action: str, subject: str, decision: str, reason: str) -> None:
        """Audit a fact; a `reason` with other words than our own and figures is redacted before."""
        self._recorder.audit(self._fact(action, subject, decision, reason))

    def _fact(self, action: str, subject: str, decision: str, reason: str) -> AuditFact:
        return AuditFact(
            at_ns=self._recorder.clock.now_ns(),
            actor=self._policy.actor,
            action=action,
            run=self._recorder.state.run,
            subject=subject,
            decision=decision,
            reason=reason,
            details={},
        )


def budget_notice(alert: Alert) -> Notified:
    """An alert as a notice; the same threshold of the same window is the same notice."""
    severity = "critical" if alert.percent >= 95 or alert.kind == "clock_regression" else "warning"
    if alert.kind == "clock_regression":
        message, what = alert.message, alert.message
    else:
        unit = f"{alert.used / _NANO:.2f} of {alert.limit / _NANO:.2f} USD"
        unit = unit if alert.measure == "cost_nano" else f"{alert.used} of {alert.limit} tokens"
        message = f"{alert.percent} % of the budget of {alert.scope} in {alert.window} is spent: {unit}"
        what = f"{alert.scope}|{alert.window}|{alert.measure}|{alert.percent}"
    return Notified(
        notice=f"budget-{hashlib.sha256(what.encode()).hexdigest()[:20]}",
        kind_="budget_alert",
        message=message,
        details={"severity": severity, **msgspec.structs.asdict(alert)},
    )
