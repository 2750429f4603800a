"""Model calls through the door: priced, reserved at their worst case, settled at their true cost.

    ask:   price -> reservation and ModelAsked in one transaction -> marked sent -> request
    end:   settlement and ModelReplied (or ModelFailed) in one transaction

What was sent and never answered is charged at its reservation; what was never sent is released. Knows nothing of
HTTP: the request is a function that takes the grant.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, Protocol

import msgspec

from ooda.errors import (
    ConfigError,
    ContextOverflowError,
    CredentialError,
    ModelError,
    ModelOutputError,
    ModelUnavailableError,
    UserError,
)
from ooda.events import Body, ModelAsked, ModelFailed, ModelReplied, ToolCall, Usage
from ooda.governance.audit import AuditFact
from ooda.governance.budget import Alert, Exceeded, Reservation, ReserveRequest
from ooda.governance.grant import Grant, Mint
from ooda.governance.ledger import Ledger
from ooda.governance.policy import DoorPolicy
from ooda.governance.prices import PriceRow
from ooda.governance.recorder import Intent, Recorder
from ooda.governance.sent_mark import SentMark
from ooda.ids import effect_key
from ooda.runtime.commands import CallModel
from ooda.store import Tx

__all__ = ["Charge", "ModelDoor", "Reply"]

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


class Charge(msgspec.Struct):
    """What failed attempts of one call cost; filled by the sender while it retries."""

    billable: int = 0
    """Attempts that were sent and whose usage is unknown: each is charged at the reservation."""
    cost_nano: int = 0
    tokens: int = 0


Send = Callable[[Grant, Charge], Awaitable[Reply]]
FailureKind = Literal[
    "unavailable", "overflow", "output", "credential", "budget", "refused", "cancelled", "interrupted"
]


class _Call(msgspec.Struct, frozen=True):
    """A model call under way."""

    ask: str
    held: Reservation
    tokens: int
    """Upper guess of its input."""
    grant: Any


class ModelDoor:
    """The door for the model calls of one run.

    Args:
        sent: Where this machine notes what it sends. None where another machine may take the run up, which could not
            read it: every call then counts as sent from its intent on, and is charged when nobody ever settles it.
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
        reads_only: Callable[[str], bool] = lambda tool: False,
        deadline_s: float = 600.0,
    ) -> None:
        self.model = model
        self.price = price
        self.deadline_s = deadline_s
        self._recorder = recorder
        self._mint = mint
        self._policy = policy
        self._ledger = ledger
        self._sent = sent
        self._reads_only = reads_only
        self._price_json = price.as_json()

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
        now_ns = recorder.clock.now_ns()
        held = self._ledger.reserve(
            tx,
            ReserveRequest(
                key=key,
                run=recorder.state.run,
                scopes=self._policy.scopes,
                cost_nano=hold,
                tokens=tokens + command.reply_tokens,
                now_ns=now_ns,
                expires_ns=now_ns + _HOLD_NS,
                price=self._price_json,
                is_sent=self._sent is None,
            ),
        )
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
        )
        call = _Call(command.ask, held, tokens, self._grant(command, key))

        def also(tx: Tx) -> None:
            self._audit("allow", self.model, "reserve", f"{hold} nano-USD held")
            self._told(held.alerts)

        return Intent(asked, also=also, start=lambda: self._send(call, send))

    async def _send(self, call: _Call, send: Send) -> Intent:
        """Mark the hold as sent, make the call, give the answer to record."""
        if self._sent is not None:
            self._sent.note(call.held.key)
        charge = Charge()
        try:
            reply = await send(call.grant, charge)
        except (ModelError, UserError) as error:
            return self._failed(call, error, charge)
        return self._replied(call, reply, charge)

    def _grant(self, command: CallModel, key: str) -> Grant:
        recorder = self._recorder
        return self._mint.grant(
            kind="model",
            run=recorder.state.run,
            seq=recorder.state.next_seq,
            call=command.ask,
            tool=self.model,
            definition=self.model,
            arguments=command.prefix_hash,
            operation=None,
            effect="keyed",
            key=key,
            fence=recorder.fence,
            deadline_ns=recorder.clock.now_ns() + int(self.deadline_s * _NANO),
            label=recorder.state.label,
            reservation=key,
        )

    def _replied(self, call: _Call, reply: Reply, charge: Charge) -> Intent:
        usage, cost = self._priced(reply.usage, call)
        cost += charge.cost_nano + charge.billable * call.held.cost_nano
        event = ModelReplied(
            ask=call.ask,
            model=reply.model,
            message=Body(reply.message.decode()),
            content=Body(reply.content or reply.refusal),
            calls=tuple(ToolCall(raw.id, raw.name, Body(raw.arguments)) for raw in reply.calls),
            usage=usage,
            cost_nano=cost,
            finish=reply.finish,
            latency_ms=reply.latency_ms,
        )
        return Intent(
            event,
            self._recorder.state.label,
            also=lambda tx: self._settle(tx, call.held, cost, usage.total_tokens + charge.tokens),
            leads_to_reads=bool(reply.calls) and all(self._reads_only(raw.name) for raw in reply.calls),
        )

    def _priced(self, usage: Usage | None, call: _Call) -> tuple[Usage, int]:
        """What the reply used and costs; without a usage block, or with an impossible one, what was reserved."""
        if usage is not None:
            # Impossible counts are no counts: then the reservation is what is charged.
            with contextlib.suppress(ModelOutputError):
                return usage, self.price.cost_nano(usage)
        return Usage(input_tokens=call.tokens), call.held.cost_nano

    def _failed(self, call: _Call, error: Exception, charge: Charge) -> Intent:
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
            case _:
                kind = "refused"
        cost = charge.cost_nano + charge.billable * call.held.cost_nano
        return self._failure(call.ask, kind, str(error), call.held, cost, charge.tokens)

    def _failure(
        self, ask: str, kind: FailureKind, message: str, held: Reservation | None = None, cost: int = 0, tokens: int = 0
    ) -> Intent:
        event = ModelFailed(ask=ask, error=kind, message=message, cost_nano=cost, tokens=tokens)

        def also(tx: Tx) -> None:
            if held is None:
                self._audit("refuse", self.model, kind, self._recorder.redactor.redact(message).text)
            elif cost or tokens:
                self._settle(tx, held, cost, tokens)
            else:
                self._ledger.release(tx, held.key)

        return Intent(event, also=also)

    def abandon(self, tx: Tx, ask: str, kind: Literal["interrupted", "cancelled"], message: str) -> Intent:
        """Close a model call that was cut off: charged at its reservation when it had been sent, released when not."""
        sent = self._sent.last() if self._sent is not None else ""
        if sent and (held := self._ledger.find(tx, sent)) and held.state == "held":
            self._ledger.mark_sent(tx, sent)
        left = self._ledger.close_open(tx, self._recorder.state.run)
        return Intent(ModelFailed(ask=ask, error=kind, message=message, cost_nano=left.cost_nano, tokens=left.tokens))

    def _settle(self, tx: Tx, held: Reservation, cost: int, tokens: int) -> None:
        self._told(self._ledger.settle_held(tx, held, cost, tokens))
        self._audit("settle", self.model, "charge", f"{cost} nano-USD, {tokens} tokens")

    def _told(self, alerts: tuple[Alert, ...]) -> None:
        for alert in alerts:
            what = f"{alert.percent} % of {alert.measure} in window {alert.window}" if alert.percent else alert.message
            self._audit("alert", alert.scope or "clock", alert.kind, self._recorder.redactor.redact(what).text)

    def _audit(self, action: str, subject: str, decision: str, reason: str) -> None:
        """Audit a fact; a `reason` with other words than our own and figures is redacted before."""
        self._recorder.audit(
            AuditFact(
                at_ns=self._recorder.clock.now_ns(),
                actor=self._policy.actor,
                action=action,
                run=self._recorder.state.run,
                subject=subject,
                decision=decision,
                reason=reason,
                details={},
            )
        )
