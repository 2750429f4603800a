"""How often and how long a model is asked: every back end's attempts run through here.

tenacity waits and counts. It is imported at the first failure: a call that succeeds at once, nearly every call,
should not pay for it. The grant is spent once, before the first attempt; each attempt that fails is reported, so
that what was sent is charged although the call holds one reservation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from ooda.governance.grant import Grant
from ooda.models.failures import AttemptFailure, Sort, unreachable
from ooda.models.request import Attempt, ModelReply, ModelRequest, OnAttempt

if TYPE_CHECKING:
    from tenacity import RetryCallState

__all__ = ["RetryPolicy", "Try", "run_attempts"]


class Try:
    """One attempt as its back end sees it."""

    __slots__ = ("_on_send", "deadline", "sent")

    def __init__(self, deadline: float, on_send: Callable[[], None] | None = None) -> None:
        self._on_send = on_send
        self.deadline = deadline
        """On the loop's clock, for the whole call."""
        self.sent = False

    def mark_sent(self) -> None:
        """Called just before the first byte leaves; a call cancelled later may have to be paid."""
        if self._on_send is not None:
            self._on_send()
        self.sent = True


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one call; the request's deadline stands above them all."""

    attempts: int = 5
    """When the provider is busy: 408, 409, 425, 429, 5xx, timeouts, connections cut."""
    unreachable_attempts: int = 3
    """When nothing answers: a machine that is offline should hear so within seconds."""
    output_attempts: int = 2
    """When the answer is broken: each may have been billed in full."""
    first_wait_s: float = 0.5
    """Doubled at each attempt, up to `max_wait_s`; plus between nothing and this much, so that agents that failed
    together do not come back together. The provider's own wish stands when it is longer."""
    max_wait_s: float = 30.0

    def attempts_for(self, sort: Sort) -> int:
        """How many attempts a failure of this sort ends at."""
        limits = {"final": 1, "unreachable": self.unreachable_attempts, "output": self.output_attempts}
        return limits.get(sort, self.attempts)


async def run_attempts(
    request: ModelRequest,
    grant: Grant,
    once: Callable[[Try], Awaitable[ModelReply]],
    *,
    policy: RetryPolicy,
    who: str,
    on_attempt: OnAttempt | None,
) -> ModelReply:
    """Spend the grant, then ask until there is a reply or no point in asking again.

    Args:
        once: one attempt; raises AttemptFailure, and marks when it sends.
        who: whom is asked for what, for messages.

    Raises:
        RefusedError: from the grant.
        ModelError, UserError: the last failure, saying how often and how long was tried.
    """
    grant.spend(request.model, kind="model")
    return await _Call(request, once, policy, who, on_attempt).run()


class _Call:
    """The attempts of one call."""

    def __init__(
        self,
        request: ModelRequest,
        once: Callable[[Try], Awaitable[ModelReply]],
        policy: RetryPolicy,
        who: str,
        on_attempt: OnAttempt | None,
    ) -> None:
        self._once, self._policy, self._who, self._on_attempt = once, policy, who, on_attempt
        self._model, self._on_send = request.model, request.on_send
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._deadline = self._began + request.deadline_s
        self._number = 0
        self._attempt_began = self._began

    async def run(self) -> ModelReply:
        try:
            return await self._attempt()
        except AttemptFailure as failure:
            if self._is_last(failure, 1, 0.0):
                raise self._end(failure) from failure
            first = failure
        try:
            return await self._again(first)
        except AttemptFailure as failure:
            raise self._end(failure) from failure

    async def _attempt(self) -> ModelReply:
        self._number += 1
        self._attempt_began = self._clock()
        current = Try(self._deadline, self._on_send)
        try:
            reply = await self._once(current)
        except asyncio.CancelledError:
            # Whoever pays must know what has left, though nobody waits for the answer.
            self._report(unreachable("the call was cancelled", self._who, sent=current.sent), 0.0)
            raise
        return msgspec.structs.replace(reply, attempts=self._number, latency_ms=self._latency_ms())

    async def _again(self, first: AttemptFailure) -> ModelReply:
        """Let tenacity go on where the first attempt failed: it counts that one too."""
        import tenacity

        policy = self._policy
        wait = tenacity.wait_exponential(multiplier=policy.first_wait_s, max=policy.max_wait_s) + tenacity.wait_random(
            0, policy.first_wait_s
        )

        def wait_s(state: RetryCallState) -> float:
            return max(wait(state), _failure_of(state).wait_s or 0.0)

        def is_last(state: RetryCallState) -> bool:
            return self._is_last(_failure_of(state), state.attempt_number, state.upcoming_sleep)

        async def report(state: RetryCallState) -> None:
            charging = self._report(_failure_of(state), state.upcoming_sleep, goes_on=True)
            if charging is not None:
                await charging

        failed: AttemptFailure | None = first

        async def attempt() -> ModelReply:
            nonlocal failed
            if failed is not None:
                already, failed = failed, None
                raise already
            return await self._attempt()

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(AttemptFailure),
            wait=wait_s,
            stop=is_last,
            before_sleep=report,
            sleep=asyncio.sleep,
            reraise=True,
        )
        return await retrying(attempt)

    def _is_last(self, failure: AttemptFailure, number: int, wait_s: float) -> bool:
        """Whether asking again is pointless: enough tried, or the deadline comes before the wait ends."""
        return (
            number >= self._policy.attempts_for(failure.sort)
            or self._clock() + max(wait_s, failure.wait_s or 0.0) >= self._deadline
        )

    def _end(self, failure: AttemptFailure) -> Exception:
        self._report(failure, 0.0)
        tried = f"{self._number} attempts in {self._clock() - self._began:.1f} s"
        return failure.to_error(f" ({tried})" if self._number > 1 else "")

    def _report(self, failure: AttemptFailure, wait_s: float, *, goes_on: bool = False) -> Awaitable[None] | None:
        if self._on_attempt is None:
            return None
        return self._on_attempt(
            Attempt(
                number=self._number,
                model=self._model,
                sent=failure.sent,
                is_billable=failure.is_billable,
                status=failure.status,
                problem=failure.message,
                usage=failure.usage,
                latency_ms=self._latency_ms(),
                wait_s=wait_s,
                goes_on=goes_on,
            )
        )

    def _latency_ms(self) -> int:
        return round((self._clock() - self._attempt_began) * 1000)


def _failure_of(state: RetryCallState) -> AttemptFailure:
    """tenacity's outcome; only AttemptFailure is ever retried, hence nothing else is asked about."""
    failure = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(failure, AttemptFailure)
    return failure
