"""How fast and how often Coder is asked: a token bucket, and waits between tries with full jitter."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import msgspec

from ooda.clock import Clock

__all__ = ["Bucket", "Pace", "Waits"]

Sleep = Callable[[float], Awaitable[None]]
_NANO = 1_000_000_000


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one client."""

    calls_per_s: float = 20
    """Sustained rate of all calls together; Coder itself allows 512 a minute for one path."""
    burst: int = 200
    """Calls that may go at once after a quiet time."""
    connections: int = 8
    attempts: int = 4
    """Tries of one call: the first and three more."""
    base_s: float = 0.5
    """The longest wait before the second try; it doubles with each further one."""
    longest_s: float = 20
    patience_s: float = 120
    """When all tries of one call together have taken this long, it has failed."""
    timeout_s: float = 30
    """Of one try, from connecting to the last byte."""


class Bucket:
    """Lets calls through at the pace of its limits."""

    def __init__(self, pace: Pace, clock: Clock, sleep: Sleep = asyncio.sleep) -> None:
        self._pace = pace
        self._clock = clock
        self._sleep = sleep
        self._level = float(pace.burst)
        self._at_ns = clock.now_ns()

    async def take(self) -> None:
        """Wait until one more call may go."""
        now_ns = self._clock.now_ns()
        gained = max(0, now_ns - self._at_ns) / _NANO * self._pace.calls_per_s
        self._level = min(self._pace.burst, self._level + gained) - 1
        self._at_ns = now_ns
        if self._level < 0:
            await self._sleep(-self._level / self._pace.calls_per_s)


class Waits:
    """The waits of one call between its tries."""

    def __init__(self, pace: Pace, clock: Clock, sleep: Sleep, jitter: Callable[[], float] = random.random) -> None:
        self._pace = pace
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._until_ns = clock.now_ns() + int(pace.patience_s * _NANO)
        self.tries = 1

    async def again(self, asked_s: float | None = None) -> bool:
        """Wait before the next try, as long as the server asked or with full jitter; False when there is none."""
        if self.tries >= self._pace.attempts:
            return False
        longest_s = min(self._pace.longest_s, self._pace.base_s * 2 ** (self.tries - 1))
        wait_s = asked_s if asked_s is not None else longest_s * self._jitter()
        if self._clock.now_ns() + int(wait_s * _NANO) > self._until_ns:
            return False
        self.tries += 1
        await self._sleep(wait_s)
        return True
