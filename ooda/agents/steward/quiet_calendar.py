"""Quiet windows of one policy in one time zone, as instants.

Local dates and times are turned into instants first; everything after that (dropping, joining, membership) is done
on instants, so that a change of the clocks needs no case of its own. A local time that does not exist moves forward
by the gap, one that occurs twice means its first occurrence: RFC 5545 section 3.3.5, and `fold=0` of zoneinfo.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from operator import attrgetter
from zoneinfo import ZoneInfo

import msgspec

from ooda.agents.steward.instants import DAY_NS, ns_of, utc
from ooda.agents.steward.policy import Policy, day_of, minutes_of, weekday_of

__all__ = ["QuietCalendar", "Window"]

_FIRST_DAYS = 12
_FIRST_BACK = 7
_MOST_DAYS = 400
"""How far windows are looked for from an instant: every weekday meets every change of the clocks in a year."""
_MARGIN_DAYS = 4
"""A window of one date reaches less than three days beyond it, `24:00` and a skipped calendar day included."""
_DAY = timedelta(days=1)
_END = attrgetter("end_ns")


class Window(msgspec.Struct, frozen=True, order=True):
    """One stretch of quiet: `start_ns <= now < end_ns`."""

    start_ns: int
    end_ns: int


class QuietCalendar:
    """The joined windows of a policy in a zone, worked out as far as they are asked for."""

    def __init__(self, policy: Policy, zone: ZoneInfo) -> None:
        """`policy` has no problem (`problem_of`)."""
        self.zone = zone
        self._start = minutes_of(policy.start) or 0
        self._end = minutes_of(policy.end) or 0
        self._weekdays = frozenset(weekday_of(word) for word in policy.days)
        self._skipped = frozenset(day_of(text) for text in policy.skip_dates)
        self._all_days = frozenset(weekday_of(word) for word in policy.all_day.weekdays)
        self._all_dates = frozenset(day_of(text) for text in policy.all_day.dates)
        self._from_ns = self._until_ns = 0
        """The windows that end between these two are known from start to end."""
        self._windows: list[Window] = []

    def ahead(self, now_ns: int) -> Iterator[Window]:
        """Windows that end after `now_ns`, in order, as far as 400 days ahead (and 400 beyond the last named date)."""
        last_ns = self._last_day(now_ns)
        wanted_ns = seen_ns = now_ns
        days = _FIRST_DAYS
        while wanted_ns < last_ns:
            wanted_ns = min(now_ns + days * DAY_NS, last_ns)
            days *= 4
            if not (self._from_ns <= now_ns and wanted_ns <= self._until_ns):
                self._build(now_ns, wanted_ns)
            for window in self._windows[bisect_right(self._windows, seen_ns, key=_END) :]:
                # A window that reaches beyond what was looked at may be longer than it seems. Where nobody looks
                # further, it lasts for as long as anybody can tell.
                if window.end_ns > wanted_ns + DAY_NS and wanted_ns < last_ns:
                    break
                yield window
                seen_ns = window.end_ns

    def _last_day(self, now_ns: int) -> int:
        named = [day for day in (*self._skipped, *self._all_dates) if day is not None]
        latest = ns_of(datetime(*max(named).timetuple()[:3], tzinfo=self.zone)) if named else 0
        furthest = min(max(now_ns, latest), now_ns + 10 * 365 * DAY_NS)
        return furthest + _MOST_DAYS * DAY_NS

    def _build(self, now_ns: int, wanted_ns: int) -> None:
        today, until = self._date(now_ns), self._date(wanted_ns)
        back = _FIRST_BACK
        while True:
            first = today - back * _DAY
            windows = _joined(self._raw(first, until + _MARGIN_DAYS * _DAY))
            # The window under way may have begun long ago: look further back until its beginning is sure.
            current = next((window for window in windows if window.end_ns > now_ns), None)
            sure_ns = self._instant(first, 0) + _MARGIN_DAYS * DAY_NS
            if current is None or current.start_ns >= min(sure_ns, now_ns) or back >= _MOST_DAYS:
                break
            back = min(back * 4, _MOST_DAYS)
        self._from_ns, self._until_ns, self._windows = now_ns, wanted_ns, windows

    def _raw(self, first: date, last: date) -> Iterator[Window]:
        day = first
        while day <= last:
            weekday = day.weekday()
            if weekday in self._weekdays and day not in self._skipped:
                end_day = day if self._end > self._start else day + _DAY
                yield Window(self._instant(day, self._start), self._instant(end_day, self._end))
            if weekday in self._all_days or day in self._all_dates:
                yield Window(self._instant(day, 0), self._instant(day + _DAY, 0))
            day += _DAY

    def _instant(self, day: date, minutes: int) -> int:
        if minutes == 1_440:
            day, minutes = day + _DAY, 0
        return ns_of(datetime(day.year, day.month, day.day, minutes // 60, minutes % 60, tzinfo=self.zone))

    def _date(self, at_ns: int) -> date:
        return utc(at_ns).astimezone(self.zone).date()


def _joined(raw: Iterator[Window]) -> list[Window]:
    """Windows in order, empty ones dropped, those that touch or overlap made one."""
    joined: list[Window] = []
    for window in sorted(window for window in raw if window.end_ns > window.start_ns):
        if joined and window.start_ns <= joined[-1].end_ns:
            if window.end_ns > joined[-1].end_ns:
                joined[-1] = Window(joined[-1].start_ns, window.end_ns)
        else:
            joined.append(window)
    return joined
