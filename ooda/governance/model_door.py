"""Model calls through the door: priced, reserved at their worst case, settled at their true cost.

    ask:   price -> reservation and ModelAsked in one transaction -> marked sent -> request
    end:   settlement and ModelReplied (or ModelFailed) in one transaction

What was sent and never answered is charged at its reservation; what was never sent is released. Knows nothing of
HTTP: the request is a function that takes the grant.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, Sequence

import msgspec

from ooda.errors import (
    BudgetExceededError,
    ContextOverflowError,
    CredentialError,
    ModelError,
    ModelOutputError,
    ModelUnavailableError,
    UserError,
)
from ooda.events import Body, ModelAsked, ModelFailed, ModelReplied, ToolCall, Usage
from ooda.governance.audit import AuditFact
from ooda.governance.audit import append as append_audit
from ooda.governance.budget import Exceeded, ReserveRequest
from ooda.governance.grant import Grant, Mint
from ooda.governance.ledger import Ledger
from ooda.governance.policy import DoorPolicy
from ooda.governance.prices import PriceRow
from ooda.governance.recorder import Recorder
from ooda.ids import effect_key
from ooda.runtime.commands import CallModel, Command
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


class ModelDoor:
    """The door for the model calls of one run."""

    def __init__(
        self,
        *,
        recorder: Recorder,
        mint: Mint,
        policy: DoorPolicy,
        ledger: Ledger,
        model: str,
        price: PriceRow,
        deadline_s: float = 600.0,
    ) -> None:
        self.model = model
        self.price = price
        self.deadline_s = deadline_s
        self._recorder = recorder
        self._mint = mint
        self._policy = policy
        self._ledger = ledger

    def switch(self, model: str, price: PriceRow) -> None:
        """Another model from the next call on."""
        self.model, self.price = model, price

    async def ask(
        self,
        command: CallModel,
        *,
        digest: str,
        messages: int,
        input_bytes: int,
        send: Send,
    ) -> tuple[Command, ...]:
        """One model call from reservation to settlement; gives the commands that follow its answer.

        Args:
            digest: Of the normalised request, for replays.
            input_bytes: Size of the encoded messages and tools; half of it is the upper guess of their tokens.
        """
        recorder = self._recorder
        tokens = input_bytes // 2 + input_bytes // 40 + 64  # bytes/2 as an upper guess, 5 % and the frame on top
        hold = self.price.worst_case_nano(tokens, command.reply_tokens)
        key = ""

        def asked(seq: int) -> ModelAsked:
            nonlocal key
            key = effect_key(recorder.state.run, seq, command.ask)
            return ModelAsked(
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

        def reserve(tx: Tx, seq: int) -> None:
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
                    price=self.price.as_json(),
                ),
            )
            if isinstance(held, Exceeded):
                raise held.error()
            for alert in held.alerts:
                self._audit(tx, "alert", alert.scope, f"{alert.percent} %", f"{alert.window} budget")
            self._audit(tx, "allow", self.model, "reserve", f"{hold} nano-USD held")

        try:
            await recorder.record(asked, also=reserve)
        except BudgetExceededError as error:
            return await self._fail(command.ask, "budget", str(error))
        grant = self._grant(command, key, input_bytes)
        await recorder.store.write(lambda tx: self._ledger.mark_sent(tx, key))
        charge = Charge()
        try:
            reply = await send(grant, charge)
        except (ModelError, CredentialError, UserError) as error:
            return await self._failed(command.ask, key, error, charge, hold)
        return await self._replied(command.ask, key, reply, charge, hold, tokens)

    def _grant(self, command: CallModel, key: str, input_bytes: int) -> Grant:
        recorder = self._recorder
        return self._mint.grant(
            kind="model",
            run=recorder.state.run,
            seq=recorder.state.next_seq - 1,
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

    async def _replied(
        self, ask: str, key: str, reply: Reply, charge: Charge, hold: int, tokens: int
    ) -> tuple[Command, ...]:
        usage = reply.usage or Usage(input_tokens=tokens)
        cost = self.price.cost_nano(usage) if reply.usage is not None else hold
        cost += charge.cost_nano + charge.billable * hold
        event = ModelReplied(
            ask=ask,
            model=reply.model,
            message=Body(reply.message.decode()),
            content=Body(reply.content or reply.refusal),
            calls=tuple(ToolCall(call.id, call.name, Body(call.arguments)) for call in reply.calls),
            usage=usage,
            cost_nano=cost,
            finish=reply.finish,
            latency_ms=reply.latency_ms,
        )
        return await self._recorder.record(
            event,
            label=self._recorder.state.label,
            also=lambda tx, seq: self._settle(tx, key, cost, usage.total_tokens + charge.tokens),
        )

    async def _failed(self, ask: str, key: str, error: Exception, charge: Charge, hold: int) -> tuple[Command, ...]:
        cost = charge.cost_nano + charge.billable * hold
        match error:
            case ContextOverflowError():
                kind = "overflow"
            case ModelOutputError():
                kind = "output"
            case ModelUnavailableError():
                kind = "unavailable"
            case CredentialError():
                kind = "credential"
            case _:
                kind = "refused"
        return await self._fail(ask, kind, str(error), key, cost, charge.tokens)

    async def _fail(
        self, ask: str, kind: str, message: str, key: str = "", cost: int = 0, tokens: int = 0
    ) -> tuple[Command, ...]:
        event = ModelFailed(
            ask=ask,
            error=kind,  # type: ignore[arg-type]  # the callers above name only its values
            message=message,
            cost_nano=cost,
            tokens=tokens,
        )

        def also(tx: Tx, seq: int) -> None:
            if not key:
                self._audit(tx, "refuse", self.model, kind, message)
            elif cost or tokens:
                self._settle(tx, key, cost, tokens)
            else:
                self._ledger.release(tx, key)

        return await self._recorder.record(event, also=also)

    async def abandon(self, ask: str, kind: str, message: str) -> tuple[Command, ...]:
        """Close a model call that was cut off: charged at its reservation when it had been sent, released when not."""
        key = ""
        cost = tokens = 0

        def settle(tx: Tx) -> None:
            nonlocal key, cost, tokens
            key, cost, tokens = self._ledger.close_open(tx, self._recorder.state.run)

        self._recorder.store.write_now(settle)
        event = ModelFailed(
            ask=ask,
            error=kind,  # type: ignore[arg-type]
            message=message,
            cost_nano=cost,
            tokens=tokens,
        )
        return await self._recorder.record(event)

    def _settle(self, tx: Tx, key: str, cost: int, tokens: int) -> None:
        self._ledger.settle(tx, key, cost, tokens)
        self._audit(tx, "settle", self.model, "charge", f"{cost} nano-USD, {tokens} tokens")

    def _audit(self, tx: Tx, action: str, subject: str, decision: str, reason: str) -> None:
        append_audit(
            tx,
            AuditFact(
                at_ns=self._recorder.clock.now_ns(),
                actor=self._policy.actor,
                action=action,
                run=self._recorder.state.run,
                subject=subject,
                decision=decision,
                reason=self._recorder.redactor.redact(reason).text,
                details={},
            ),
        )
