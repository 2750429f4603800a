"""The difference between Coder's clock and ours, from the `Date` of its answers."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from ooda.clock import Clock

__all__ = ["Skew"]

_SECOND_NS = 1_000_000_000


class Skew:
    """Coder's clock as last seen."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_ns: int | None = None

    def saw(self, headers: Mapping[str, str], sent_ns: int) -> None:
        """Take note of an answer to a request that was sent at `sent_ns`."""
        try:
            at_s = parsedate_to_datetime(headers.get("date", "")).timestamp()
        except ValueError:
            return
        # The header counts whole seconds, and the answer was made somewhere between request and arrival: a
        # difference that this explains is none.
        low_ns = int(at_s) * _SECOND_NS - self._clock.now_ns()
        high_ns = (int(at_s) + 1) * _SECOND_NS - sent_ns
        self._ahead_ns = low_ns if low_ns > 0 else high_ns if high_ns < 0 else 0

    def server_now_ns(self) -> int | None:
        """Coder's clock now, to the second; None before its first answer."""
        return None if self._ahead_ns is None else self._clock.now_ns() + self._ahead_ns
