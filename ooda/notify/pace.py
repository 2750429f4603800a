"""How fast and how often: a token bucket, waits with full jitter, and `Retry-After` in both its forms. Pure."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

__all__ = ["Bucket", "Patience", "retry_after_s"]

_NANO = 1_000_000_000


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """Waits between the attempts at one message."""

    base_s: float = 5.0
    """The longest wait after the first attempt; it doubles with each further one."""
    longest_s: float = 3_600.0
    longest_asked_s: float = 86_400.0
    """Most that a server may ask us to wait."""

    def wait_s(self, attempts: int, jitter: float, asked_s: float | None = None) -> float:
        """Seconds until the next attempt.

        Args:
            attempts: how many there were, at least one.
            jitter: from 0 to 1. Of a wait we choose ourselves it takes that part; to one the server asked for it
                adds up to a tenth, so that not all come back in the same instant.
        """
        if asked_s is not None:
            return min(asked_s, self.longest_asked_s) * (1 + jitter / 10)
        return jitter * min(self.longest_s, self.base_s * 2.0 ** min(attempts - 1, 60))


def retry_after_s(value: str, now_ns: int) -> float | None:
    """Seconds from now in a `Retry-After` header: a number of seconds or an HTTP date (RFC 9110, 10.2.3).

    A date that has passed is 0. None when it is neither.
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        seconds = float(text) if text.isascii() else math.nan
    except ValueError:
        seconds = math.nan
    if math.isfinite(seconds):
        return max(0.0, seconds)  # some servers send fractions
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.fromtimestamp(now_ns / _NANO, tz=UTC)).total_seconds())


class Bucket:
    """A token bucket: `burst` at once, then `per_second`."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._level = float(burst)
        self._at_s = 0.0

    def wait_s(self, now_s: float) -> float:
        """Take a token and give 0, or take none and give the seconds until there is one.

        Args:
            now_s: of a clock that only goes forward.
        """
        self._level = min(self._burst, self._level + max(0.0, now_s - self._at_s) * self._per_second)
        self._at_s = now_s
        if self._level >= 1:
            self._level -= 1
            return 0.0
        return max(0.001, (1 - self._level) / self._per_second)

    def give_back(self) -> None:
        """Put back a token that was not needed."""
        self._level = min(self._burst, self._level + 1)
