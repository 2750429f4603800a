"""Holidays and absences from iCalendar text (RFC 5545): whole days on which the fleet, or one owner, is away.

An all-day event is a day off; recurring ones are unfolded. Timed events are meetings and mean nothing here. Reading
needs the package `icalendar` (extra `calendar`), loaded on first use. Pure otherwise: fetching the text is another's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from ooda.agents.steward.policy import AllDay, Policy
from ooda.errors import ConfigError

if TYPE_CHECKING:
    from icalendar import Event

__all__ = ["DayOff", "away", "days_off", "with_days_off"]

_MOST_DAYS = 400
_MOST_BYTES = 10 << 20
_MOST_EVENTS = 20_000
_MOST_WORK = 60_000
"""Of recurring events together: a thousand birthdays, or some seconds."""
_CYCLES = 19 * 400
"""Years by which rules are moved towards the end of time."""
_LONGEST_DAYS = 3_660
_STEP_DAYS = {"DAILY": 1, "WEEKLY": 7}
_RULE = re.compile(r"FREQ=(DAILY|WEEKLY|MONTHLY|YEARLY)(;(?!BY(HOUR|MINUTE|SECOND)=)[A-Z]+=[^;]*)*")
"""Recurrence of whole days. Finer rules on a whole day are nonsense, or meant to keep us busy."""


class DayOff(msgspec.Struct, frozen=True, order=True):
    """One whole day and what it is called."""

    day: date
    title: str = ""


def days_off(text: str, first: date, last: date) -> tuple[DayOff, ...]:
    """The days off of a calendar from `first` to `last`, at most 400 days, in order.

    Raises:
        ConfigError: the text is no calendar, or `icalendar` is not installed.
    """
    if len(text) > _MOST_BYTES:
        raise ConfigError(f"a calendar of {len(text) >> 20} MiB is not read; at most {_MOST_BYTES >> 20} MiB are")
    try:
        from icalendar import Calendar
    except ImportError as error:
        raise ConfigError("calendars need a package: `pip install 'ooda-agents[calendar]'`") from error
    last = min(last, first + timedelta(days=_MOST_DAYS))
    try:
        calendar: Any = Calendar.from_ical(text)
        events = calendar.walk("VEVENT")[:_MOST_EVENTS]
        if sum(_work(event, last) for event in events) > _MOST_WORK:
            raise ValueError("its recurring events are too many, or reach too far back, to be gone through")
        found = {day for event in events for day in _of_event(event, first, last)}
    except (ValueError, IndexError, KeyError, AttributeError, TypeError) as error:
        # What `icalendar` and `dateutil` raise for text that is no calendar, or a rule that is none.
        raise ConfigError(f"the calendar cannot be read: {error}") from error
    return tuple(sorted(found))


def _of_event(event: Event, first: date, last: date) -> Iterator[DayOff]:
    start = event.get("DTSTART")
    if start is None or isinstance(start.dt, datetime) or str(event.get("STATUS", "")).upper() == "CANCELLED":
        return
    length = min(max(1, _days_long(event, start.dt)), _LONGEST_DAYS)
    title = str(event.get("SUMMARY", "")).strip()
    skipped = {_day(found.dt) for group in _listed(event.get("EXDATE")) for found in group.dts}
    for begin in _beginnings(event, start.dt, first - timedelta(days=length), last):
        day, end = max(begin, first), min(begin + timedelta(days=length - 1), last)
        while begin not in skipped and day <= end:
            yield DayOff(day, title)
            day += timedelta(days=1)


def _days_long(event: Event, start: date) -> int:
    if (end := event.get("DTEND")) is not None:
        return (_day(end.dt) - start).days
    if (duration := event.get("DURATION")) is not None:
        days: int = duration.dt.days
        return days
    return 1


def _beginnings(event: Event, start: date, first: date, last: date) -> Iterable[date]:
    more = [_day(found.dt) for group in _listed(event.get("RDATE")) for found in group.dts]
    rules = _listed(event.get("RRULE"))
    if not rules:
        return [start, *more]
    return [*more, *(day for rule in rules for day in _unfolded(rule.to_ical().decode(), start, first, last))]


def _unfolded(text: str, start: date, first: date, last: date) -> Iterator[date]:
    """The days from `first` to `last` on which a rule begins.

    A calendar cannot keep us busy: rules of days and weeks begin near `first`, none is followed beyond `last`, and one
    that fits no day at all, which dateutil follows to the year 9999, is followed from near its end: the calendar is the
    same every 400 years.
    """
    # dateutil has no stubs of its own, and comes with icalendar only.
    from dateutil.rrule import rrulestr  # type: ignore[import-untyped]

    if not _RULE.fullmatch(text) or start.year < 1900:
        raise ValueError(f"the recurrence {text[:80]!r} is none of whole days")
    parts = dict(part.split("=", 1) for part in text.split(";"))
    count = int(parts.pop("COUNT")) if "COUNT" in parts else None
    until = min(last, date.fromisoformat(parts.pop("UNTIL", "99991231")[:8]))
    interval = int(parts.get("INTERVAL", "1"))
    if interval < 1 or (count is not None and count < 1):
        raise ValueError(f"the recurrence {text[:80]!r} counts from nothing")
    step = interval * _STEP_DAYS.get(parts["FREQ"], 0)
    if step and count is None and start < first:
        start += timedelta(days=(first - start).days // step * step)
    if start > until:
        return
    plain = ";".join(f"{name}={value}" for name, value in parts.items())
    unfolded = rrulestr(f"{plain};UNTIL={_later(until):%Y%m%d}T000000", dtstart=datetime.combine(_later(start), time()))
    for at in islice(unfolded, count):
        day = at.date().replace(year=at.year - _CYCLES)
        if day >= first:
            yield day


def _later(day: date) -> date:
    """The same day of the last cycle of the calendar."""
    return day.replace(year=min(day.year, 9_999 - _CYCLES) + _CYCLES)


def _work(event: Event, last: date) -> int:
    """About how much unfolding an event takes, in years of a yearly rule: a tenth of a millisecond each."""
    start = event.get("DTSTART")
    if start is None or isinstance(start.dt, datetime):
        return 0
    years = max(1, last.year - start.dt.year)
    return sum(_work_of(rule.to_ical().decode(), years) for rule in _listed(event.get("RRULE")))


def _work_of(rule: str, years: int) -> int:
    may_fit_nothing = re.search(r";BY(?!DAY=)", rule) is not None
    if "FREQ=DAILY" in rule or "FREQ=WEEKLY" in rule:
        return (150 * years if "COUNT=" in rule else 100) + (2_000 if may_fit_nothing else 0)
    return years * (3 if "MONTHLY" in rule else 1) + (400 if may_fit_nothing else 0)


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def _day(value: date) -> date:
    return value.date() if isinstance(value, datetime) else value


def with_days_off(policy: Policy, days: Iterable[DayOff]) -> Policy:
    """The policy with whole quiet days added: nobody is expected to work on them."""
    dates = dict.fromkeys((*policy.all_day.dates, *(found.day.isoformat() for found in days)))
    all_day = AllDay(weekdays=policy.all_day.weekdays, dates=tuple(dates))
    return msgspec.structs.replace(policy, all_day=all_day)


def away(owner: str, days: Iterable[DayOff], policy: Policy) -> dict[str, object]:
    """A rule (`parse_rules`) that makes an owner's days of absence quiet days for their workspaces alone."""
    all_day = msgspec.to_builtins(with_days_off(policy, days).all_day)
    return {"name": f"{owner} is away", "when": {"owner": owner}, "policy": {"all_day": all_day}}
