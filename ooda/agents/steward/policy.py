"""The policy of the steward's decision: quiet hours, grace, warnings, activity, exclusions, hold.

One frozen value with the field names people write. A policy that contradicts itself, or names a time zone nobody
knows, is a mistake of configuration: `problem_of` says which, and the decision then keeps everything running.
Knows words and local times of day; turns nothing into instants (`quiet_calendar` does).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from ooda.errors import nearest

__all__ = ["WEEKDAYS", "AllDay", "Policy", "day_of", "minutes_of", "problem_of", "weekday_of", "zone_named"]

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NO_ZONES = ("posix/", "right/", "localtime", "posixrules", "Factory")
"""Files of a system's zone folder that are no zones: `right/` counts leap seconds, `localtime` is another machine's."""
_MOST_MINUTES = 525_600.0


class AllDay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Days that are quiet from local midnight to local midnight."""

    weekdays: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    """`2026-12-25`."""


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the workspaces of a fleet are stopped."""

    enabled: bool = True
    """Whether there are quiet hours; time to live is looked at either way."""
    start: str = "18:00"
    """Local time of day at which a window starts; `24:00` is the next midnight."""
    end: str = "08:00"
    """Its end; on the next date when not later than the start."""
    timezone: str = "UTC"
    """IANA name."""
    tz_source: Literal["policy", "owner"] = "policy"
    """Whose zone counts: the policy's, or the owner's where it is known."""
    days: tuple[str, ...] = WEEKDAYS
    """Weekdays on whose dates a window starts."""
    all_day: AllDay = AllDay()
    skip_dates: tuple[str, ...] = ()
    """Dates on which no window starts."""
    grace_minutes: float = 60
    """From the start of the window, or of the workspace when that is later, to the stop."""
    warn_minutes: float = 30
    """How long before a stop its warning opens."""
    idle_minutes: float = 30
    """Unused for at least this long before a quiet stop, where `respect_activity`."""
    respect_activity: bool = True
    overdue_grace_minutes: float = 5
    """What Coder itself gets to act on a deadline before the steward does."""
    max_clock_skew_s: float = 120
    """Nothing is done while Coder's clock and ours differ by more."""
    excluded_users: tuple[str, ...] = ("admin", "on-call")
    """Owners without quiet hours, compared without case."""
    excluded_templates: tuple[str, ...] = ("production", "critical")
    """Templates without quiet hours."""
    hold_until: datetime | None = None
    """Nothing is stopped before: the emergency override."""


def problem_of(policy: Policy) -> str:
    """What is wrong with a policy, as a sentence; empty when nothing is.

    The time zone is judged apart (`zone_named`): with `tz_source: owner` each workspace has its own.
    """
    mistakes = [*_bad_times(policy), *_bad_days(policy), *_bad_numbers(policy)]
    if policy.hold_until is not None and policy.hold_until.tzinfo is None:
        mistakes.append("`hold_until` has no zone; write it like `2026-11-21T18:00:00Z`")
    return "; ".join(mistakes)


def _bad_times(policy: Policy) -> Iterable[str]:
    start, end = minutes_of(policy.start), minutes_of(policy.end)
    for name, given, minutes in (("start", policy.start, start), ("end", policy.end, end)):
        if minutes is None:
            yield f"`{name}` is {given!r}; expected a time of day from `00:00` to `24:00`"
    if start is not None and start == end:
        yield f"`start` and `end` are both `{policy.start}`; for whole days use `all_day`"


def _bad_days(policy: Policy) -> Iterable[str]:
    for name, words in (("days", policy.days), ("all_day.weekdays", policy.all_day.weekdays)):
        for word in words:
            if weekday_of(word) is None:
                near = nearest(word.lower(), WEEKDAYS)
                yield f"`{name}` has {word!r}; " + (f"did you mean `{near}`?" if near else "expected `mon` to `sun`")
    for name, texts in (("skip_dates", policy.skip_dates), ("all_day.dates", policy.all_day.dates)):
        for text in texts:
            if day_of(text) is None:
                yield f"`{name}` has {text!r}; expected a date such as `2026-12-25`"


def _bad_numbers(policy: Policy) -> Iterable[str]:
    fields = ("grace_minutes", "warn_minutes", "idle_minutes", "overdue_grace_minutes", "max_clock_skew_s")
    for name in fields:
        value = getattr(policy, name)
        if not 0 <= value <= _MOST_MINUTES:
            yield f"`{name}` is {value:g}; expected 0 to {_MOST_MINUTES:g}"


def minutes_of(text: str) -> int | None:
    """A time of day in minutes from midnight, `24:00` included; None when it is none."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hours, minutes = int(match[1]), int(match[2])
    return hours * 60 + minutes if minutes < 60 and hours * 60 + minutes <= 1_440 else None


def weekday_of(word: str) -> int | None:
    """0 for `mon` (or `Monday`) to 6; None for another word."""
    short = word.strip().lower()
    if short[:3] in WEEKDAYS and (len(short) == 3 or short in _LONG):
        return WEEKDAYS.index(short[:3])
    return None


_LONG = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def day_of(text: str) -> date | None:
    """A date; None when the text is none."""
    if not _DATE.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


@lru_cache(maxsize=1_024)
def zone_named(name: str | None) -> ZoneInfo | None:
    """The time zone of an IANA name; None for a name nobody knows."""
    if not name or name.startswith(_NO_ZONES):
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, no usable name, a folder of zones
        return None
