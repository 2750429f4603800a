"""When somebody is done for the day, learnt from when they were last active on earlier days, with its error shown.

No model and no training: the last uses of past days are a distribution, its upper part is a stop time that would
have come too early on few of them. How few, and how far off the typical day, is measured on the same days by leaving
each one out in turn, so that a suggestion never looks better than it was. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from statistics import median
from zoneinfo import ZoneInfo

import msgspec

from ooda.agents.steward.instants import ns_of, utc

__all__ = ["StopForecast", "forecast_stop", "last_uses_by_day"]

_NIGHT_OWL_HOUR = 4
"""Use before this hour belongs to the evening before."""
_FEWEST_DAYS = 5
_DAYS_BACK = 56
_LATE_SHARE = 0.9
_MINUTES = 24 * 60


class StopForecast(msgspec.Struct, frozen=True, kw_only=True):
    """A suggested stop time for one kind of day."""

    is_weekend: bool
    minute: int
    """Minutes after the day's midnight; beyond 1,440 on the next date."""
    typical_minute: int
    """When the median day ends."""
    days: int
    """Days it was learnt from."""
    error_minutes: int
    """Median distance between the end of a day and what the other days foretold as typical."""
    too_early_percent: float
    """Share of days on which work went on after the time the other days would have suggested."""

    @property
    def local_time(self) -> str:
        """`19:40`; `00:30+1` on the next date."""
        days, minute = divmod(self.minute, _MINUTES)
        return f"{minute // 60:02d}:{minute % 60:02d}" + ("+1" if days else "")

    def next_after(self, now_ns: int, zone: ZoneInfo) -> int:
        """The next instant this time comes around on such a day."""
        day = utc(now_ns).astimezone(zone).date() - timedelta(days=1)
        while True:
            local = datetime(day.year, day.month, day.day, tzinfo=zone) + timedelta(minutes=self.minute)
            if (day.weekday() >= 5) == self.is_weekend and (at_ns := ns_of(local)) > now_ns:
                return at_ns
            day += timedelta(days=1)


def last_uses_by_day(uses_ns: Iterable[int], zone: ZoneInfo) -> dict[date, int]:
    """The last use of each working day, in minutes after its midnight. The day ends at 04:00 local time."""
    ends: dict[date, int] = {}
    for at_ns in uses_ns:
        local = utc(at_ns).astimezone(zone)
        day = (local - timedelta(hours=_NIGHT_OWL_HOUR)).date()
        minute = (local.date() - day).days * _MINUTES + local.hour * 60 + local.minute
        ends[day] = max(ends.get(day, 0), minute)
    return ends


def forecast_stop(
    now_ns: int, uses_ns: Iterable[int], zone: ZoneInfo, *, idle_minutes: int = 30
) -> tuple[StopForecast, ...]:
    """Suggested stop times for working days and weekends; none for a kind of day with fewer than five days of use.

    Args:
        uses_ns: when a workspace, or all of an owner's, were seen in use; order and repetition do not matter.
        idle_minutes: left free after the last use.
    """
    today = utc(now_ns).astimezone(zone).date()
    kinds: dict[bool, list[int]] = defaultdict(list)
    for day, minute in last_uses_by_day(uses_ns, zone).items():
        if 0 < (today - day).days <= _DAYS_BACK:  # today is not over
            kinds[day.weekday() >= 5].append(minute)
    return tuple(
        _forecast(is_weekend, sorted(ends), idle_minutes)
        for is_weekend, ends in sorted(kinds.items())
        if len(ends) >= _FEWEST_DAYS
    )


def _forecast(is_weekend: bool, ends: list[int], idle_minutes: int) -> StopForecast:
    others = [ends[:at] + ends[at + 1 :] for at in range(len(ends))]
    errors = [abs(end - round(median(rest))) for end, rest in zip(ends, others, strict=True)]
    early = sum(end > _late(rest) + idle_minutes for end, rest in zip(ends, others, strict=True))
    return StopForecast(
        is_weekend=is_weekend,
        minute=_late(ends) + idle_minutes,
        typical_minute=round(median(ends)),
        days=len(ends),
        error_minutes=round(median(errors)),
        too_early_percent=round(100 * early / len(ends), 1),
    )


def _late(ends: list[int]) -> int:
    """The end that nine of ten days do not pass; `ends` are sorted."""
    return ends[min(len(ends) - 1, int(len(ends) * _LATE_SHARE))]
