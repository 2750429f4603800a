"""Holidays and absences from iCalendar text (RFC 5545): whole days on which the fleet, or one owner, is away.

An all-day event is a day off; recurring ones are unfolded. Timed events are meetings and mean nothing here. Reading
needs the package `icalendar` (extra `calendar`), loaded on first use. Pure otherwise: fetching the text is another's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
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
_LONGEST_DAYS = 3_660
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
    # dateutil has no stubs of its own, and comes with icalendar only.
    from dateutil.rrule import rrulestr  # type: ignore[import-untyped]

    beginnings: list[date] = [*more]
    for rule in rules:
        text = rule.to_ical().decode()
        if not _RULE.fullmatch(text) or start.year < 1900:
            raise ValueError(f"the recurrence {text[:80]!r} is none of whole days")
        # dateutil wants UNTIL without a zone where the start has none.
        unfolded = rrulestr(re.sub(r"(UNTIL=[0-9T]+)Z", r"\1", text), dtstart=datetime.combine(start, time()))
        low, high = datetime.combine(first, time()), datetime.combine(last, time())
        beginnings += [at.date() for at in unfolded.between(low, high, inc=True)]
    return beginnings


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
