"""Attempts are bounded by their sort, by the deadline and by what the provider asks for."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from ooda.errors import ModelUnavailableError
from ooda.models.failures import AttemptFailure, Sort, output_failure, unreachable
from ooda.models.request import Attempt, ModelReply
from ooda.models.retry import RetryPolicy, Try, run_attempts

REPLY = ModelReply(message=b"{}", content="x", usage=None, finish="stop", model="m")


class Failing:
    """A back end that fails `times` times, then answers."""

    def __init__(self, times: int, failure: AttemptFailure) -> None:
        self.left = times
        self.failure = failure
        self.tries: list[Try] = []

    async def __call__(self, current: Try) -> ModelReply:
        self.tries.append(current)
        if self.left:
            self.left -= 1
            raise self.failure
        return REPLY


async def run(asking: Any, once: Failing, policy: RetryPolicy, deadline_s: float = 5.0) -> tuple[Any, list[Attempt]]:
    attempts: list[Attempt] = []
    try:
        request = asking.request(deadline_s=deadline_s)
        reply = await run_attempts(request, asking.grant(), once, policy=policy, who="`m`", on_attempt=attempts.append)
    except ModelUnavailableError as error:
        return error, attempts
    return reply, attempts


def busy(wait_s: float | None = None) -> AttemptFailure:
    return AttemptFailure(ModelUnavailableError, "busy", sort="busy", status=429, wait_s=wait_s)


@pytest.mark.parametrize(
    ("sort", "most"), [("final", 1), ("output", 2), ("unreachable", 3), ("busy", 5)], ids=lambda value: str(value)
)
async def test_each_sort_of_failure_has_its_own_bound(asking: Any, sort: Sort, most: int) -> None:
    """One attempt fewer succeeds, one more is given up."""
    failure = AttemptFailure(ModelUnavailableError, "no", sort=sort)
    if most > 1:
        reply, _ = await run(asking, Failing(most - 1, failure), asking.fast)
        assert reply.attempts == most
    once = Failing(most, failure)
    error, attempts = await run(asking, once, asking.fast)
    assert isinstance(error, ModelUnavailableError)
    assert len(once.tries) == len(attempts) == most


async def test_the_last_failure_decides_when_their_sorts_differ(asking: Any) -> None:
    """An output failure at the second attempt ends the call although busy servers get five."""
    failures = [busy(), output_failure("nonsense", "`m`"), busy()]

    class Mixed(Failing):
        async def __call__(self, current: Try) -> ModelReply:
            self.failure = failures[len(self.tries)]
            return await super().__call__(current)

    attempts: list[Attempt] = []
    with pytest.raises(Exception, match="nonsense"):
        await run_attempts(
            asking.request(),
            asking.grant(),
            Mixed(3, busy()),
            policy=asking.fast,
            who="`m`",
            on_attempt=attempts.append,
        )
    assert len(attempts) == 2


async def test_waits_grow_and_stay_below_their_ceiling(asking: Any) -> None:
    """Doubling from the first wait, with jitter on top."""
    policy = RetryPolicy(attempts=6, first_wait_s=0.001, max_wait_s=0.004)
    _, attempts = await run(asking, Failing(6, busy()), policy)
    waits = [attempt.wait_s for attempt in attempts]
    assert waits[-1] == 0.0
    assert all(0.001 * 2**n <= wait + 1e-9 for n, wait in enumerate(waits[:3]))
    assert all(wait <= 0.005 for wait in waits)


async def test_the_providers_wish_outweighs_our_own_wait(asking: Any) -> None:
    """Even above the ceiling: asking earlier would be turned away again."""
    policy = RetryPolicy(first_wait_s=0.001, max_wait_s=0.002)
    _, attempts = await run(asking, Failing(1, busy(wait_s=0.03)), policy)
    assert attempts[0].wait_s == pytest.approx(0.03)


@pytest.mark.parametrize("number", [1, 2], ids=["first", "later"])
async def test_a_wait_that_ends_after_the_deadline_is_not_begun(asking: Any, number: int) -> None:
    """Whether it is asked for at the first attempt or at a later one."""

    class Later(Failing):
        async def __call__(self, current: Try) -> ModelReply:
            self.failure = busy(wait_s=60.0 if len(self.tries) + 1 == number else None)
            return await super().__call__(current)

    error, attempts = await run(asking, Later(9, busy()), asking.fast, deadline_s=2.0)
    assert len(attempts) == number
    assert error.facts == {"status": 429, "retry_after_s": 60.0}


async def test_every_failed_attempt_is_reported_before_the_next(asking: Any) -> None:
    """In order, with what each may cost: this is what a call is charged by."""
    failures = [unreachable("refused", "`m`", sent=False), unreachable("cut", "`m`", sent=True, sort="busy")]
    order: list[str] = []

    class Noted(Failing):
        async def __call__(self, current: Try) -> ModelReply:
            self.failure = failures[min(len(self.tries), 1)]
            order.append("try")
            return await super().__call__(current)

    def report(attempt: Attempt) -> None:
        order.append(f"{attempt.number} {attempt.sent} {attempt.is_billable}")

    await run_attempts(
        asking.request(), asking.grant(), Noted(2, busy()), policy=asking.fast, who="`m`", on_attempt=report
    )
    assert order == ["try", "1 False False", "try", "2 True True", "try"]


async def test_the_grant_is_spent_once_for_all_attempts(asking: Any) -> None:
    """One call, one reservation, however often it is sent."""
    grant = asking.grant()
    await run_attempts(asking.request(), grant, Failing(2, busy()), policy=asking.fast, who="`m`", on_attempt=None)
    assert grant.is_spent


def test_a_call_that_succeeds_at_once_never_loads_tenacity() -> None:
    """It costs 60 ms of CPU to import; most runs never need it."""
    code = "import sys, ooda.models.chat, ooda.models.select; print('tenacity' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
