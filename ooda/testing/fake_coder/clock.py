"""The fake's clock: it runs from a chosen moment, or stands still and moves when told."""

from __future__ import annotations

from datetime import UTC, datetime

from ooda.clock import Clock, ManualClock, SystemClock, to_datetime

__all__ = ["FleetClock"]

_NANO = 1_000_000_000


class FleetClock:
    """Virtual time, a `Clock` for whoever shares it with the fake."""

    def __init__(self, start: datetime | None = None, *, runs: bool = True) -> None:
        """`start` is now when left out; a clock that does not run moves by `advance` only."""
        self._source: Clock = SystemClock() if runs else ManualClock(0)
        real_ns = self._source.now_ns()
        start_ns = int((start or datetime.now(UTC)).timestamp() * _NANO)
        self._ahead_ns = start_ns - real_ns
        self.skew_s = 0.0
        """What the fake's answers are ahead of this clock, in seconds: a fault to be planned."""

    def now_ns(self) -> int:
        return self._source.now_ns() + self._ahead_ns

    def now(self) -> datetime:
        """Aware, UTC."""
        return to_datetime(self.now_ns())

    def shown(self) -> datetime:
        """Now as the fake's own machine has it, skewed."""
        return to_datetime(self.now_ns() + int(self.skew_s * _NANO))

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._ahead_ns += int(seconds * _NANO)

    async def sleep(self, seconds: float) -> None:
        """A sleep that passes at once, for clients that take one as an argument."""
        self.advance(seconds)
