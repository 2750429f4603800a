"""Time as a value handed in. The only module that reads the wall clock, the monotonic clock and the
operating system's randomness; the core never imports it.
"""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "ManualClock", "RandomIds", "SystemClock", "to_datetime", "to_rfc3339"]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32: no i, l, o, u


class Clock(Protocol):
    """Wall time in integer nanoseconds since the epoch, UTC."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970-01-01T00:00:00Z; may step backwards when the system clock does."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        return time.time_ns()


class ManualClock:
    """A clock that moves only when told: tests and replays."""

    def __init__(self, start_ns: int = 1_700_000_000_000_000_000, step_ns: int = 0) -> None:
        self._now_ns = start_ns
        self._step_ns = step_ns

    def now_ns(self) -> int:
        self._now_ns += self._step_ns
        return self._now_ns

    def advance(self, seconds: float) -> None:
        """Move the clock by `seconds` (negative: a clock that jumps back)."""
        self._now_ns += int(seconds * 1_000_000_000)


class RandomIds:
    """Time-ordered random ids: 48 bits of milliseconds, 50 bits of the system's randomness."""

    def new(self, prefix: str) -> str:
        value = (time.time_ns() // 1_000_000) << 52 | secrets.randbits(52)
        return prefix + "-" + "".join(_ALPHABET[value >> shift & 31] for shift in range(95, -1, -5))


def to_datetime(at_ns: int) -> datetime:
    """An aware UTC datetime, microsecond precision."""
    return datetime.fromtimestamp(at_ns // 1_000 / 1_000_000, tz=UTC)


def to_rfc3339(at_ns: int) -> str:
    """`2026-11-21T08:00:00.123Z`: milliseconds, UTC."""
    return to_datetime(at_ns).isoformat(timespec="milliseconds").replace("+00:00", "Z")
