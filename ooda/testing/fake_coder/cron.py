"""The cron lines Coder writes: `CRON_TZ=Area/City m h * * dow`. Only what schedules of workspaces and users use."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = ["DailyTime", "parse"]

_LINE = re.compile(r"(?:CRON_TZ=(\S+)\s+)?(\d{1,2})\s+(\d{1,2})\s+\*\s+\*\s+(\S+)")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


class DailyTime:
    """A time of day in a zone, on some weekdays."""

    def __init__(self, zone: ZoneInfo, at: time, weekdays: frozenset[int]) -> None:
        self.zone = zone
        self.at = at
        self.weekdays = weekdays
        """0 is Monday."""

    def after(self, moment: datetime) -> datetime:
        """The first such instant later than `moment`, UTC."""
        day = moment.astimezone(self.zone).date()
        while True:
            found = datetime.combine(day, self.at, tzinfo=self.zone).astimezone(UTC)
            if found > moment and day.weekday() in self.weekdays:
                return found
            day += timedelta(days=1)


def parse(line: str) -> DailyTime:
    """Raises ValueError for a line that is none of these."""
    match = _LINE.fullmatch(line.strip())
    if match is None:
        raise ValueError(f"{line!r} is no daily schedule such as `CRON_TZ=Europe/Berlin 0 20 * * *`")
    try:
        zone = ZoneInfo(match[1] or "UTC")
    except (ZoneInfoNotFoundError, OSError) as error:
        raise ValueError(f"unknown time zone {match[1]!r}") from error
    days = frozenset(number for part in match[4].split(",") for number in _days(part))
    if not days:
        raise ValueError(f"{line!r} never happens")
    return DailyTime(zone, time(int(match[3]), int(match[2])), days)


def _days(part: str) -> range | tuple[int, ...]:
    """Weekdays of one part, Monday 0; cron counts from Sunday."""
    if part == "*":
        return range(7)
    first, _, last = part.lower().partition("-")
    low = _number(first)
    high = _number(last) if last else low
    return tuple((number - 1) % 7 for number in range(low, high + 1))


def _number(word: str) -> int:
    if word in _DAYS:
        return _DAYS.index(word)
    number = int(word)
    if not 0 <= number <= 7:
        raise ValueError(f"{word!r} is no weekday")
    return number
