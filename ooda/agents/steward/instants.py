"""Instants of the steward: integer nanoseconds since 1970, UTC, and their RFC 3339 spelling.

Coder writes times with up to nine fractional digits and uses Go's zero time (year 1) for "never". Pure arithmetic;
reads no clock and knows no time zone but UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = [
    "DAY_NS",
    "HOUR_NS",
    "MINUTE_NS",
    "NEVER_NS",
    "SECOND_NS",
    "lasting",
    "minute_of",
    "ns_of",
    "set_ns",
    "spelled",
    "utc",
]

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)

NEVER_NS = (datetime(9999, 1, 1, tzinfo=UTC) - _EPOCH) // _TICK * 1_000
"""Later than every instant that means something: what never happens is compared as this."""


def ns_of(at: datetime) -> int:
    """An aware datetime as an instant."""
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND_NS + since.microseconds * 1_000


def set_ns(at: datetime | None) -> int | None:
    """The instant, or None for what Coder calls unset: null and times of the year 1."""
    if at is None or at.year <= 1:
        return None
    return ns_of(at)


def utc(at_ns: int) -> datetime:
    """The instant as an aware UTC datetime, microsecond precision."""
    return _EPOCH + timedelta(microseconds=at_ns // 1_000)


def spelled(at_ns: int) -> str:
    """`2026-11-21T08:00:00Z`; fractions only where there are any."""
    seconds, fraction = divmod(at_ns, SECOND_NS)
    text = utc(seconds * SECOND_NS).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:09d}".rstrip("0") + "Z" if fraction else text + "Z"


def minute_of(at_ns: int) -> str:
    """`2026-11-21 08:00 UTC`, for people."""
    return utc(at_ns).strftime("%Y-%m-%d %H:%M UTC")


def lasting(span_ns: int) -> str:
    """A length of time for people, to the minute: `2h 30m`, `45m`, `8h`, `3d 4h`; `0m` below one."""
    minutes = max(0, span_ns) // MINUTE_NS
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24) if hours >= 48 else (0, hours)
    parts = [f"{number}{unit}" for number, unit in ((days, "d"), (hours, "h"), (minutes, "m")) if number]
    return " ".join(parts) or "0m"
