"""Which budget windows a moment falls into, for a clock that may go back.

Hours are absolute UTC hours; days begin at midnight of one configured zone. The newest window ever opened is kept in
the store, and a moment before it counts into that window: a clock set back, or a zone that repeats an hour, never
opens an old window again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal

import msgspec

from ooda.clock import to_rfc3339
from ooda.errors import ConfigError
from ooda.store.tx import Tx

__all__ = ["CLOCK", "Now", "Span", "Windows"]

Span = Literal["hour", "day", "life"]
"""How long a window lasts; `life` is everything a scope ever spends."""

_NANO = 1_000_000_000
_HOUR_NS = 3600 * _NANO

# Processes and machines disagree by a little: across a full hour that is no clock set back.
_TOLERANCE_NS = 60 * _NANO

CLOCK = "ledger.clock"
"""Key in `meta` of the newest windows ever opened."""
_ALERTED = "ledger.clock_regression"


class Now(msgspec.Struct, frozen=True):
    """The windows of one moment."""

    hour: str
    """`hour:2026-11-21T08`"""
    day: str
    """`day:2026-11-21`"""
    is_newest: bool
    """False when the clock stands before the newest window opened."""
    is_noted: bool = False
    """These windows are in the ledger as the newest already."""
    behind: str = ""
    """What to tell when the clock has gone back by more than a minute; empty otherwise."""


class Windows:
    """The windows of one ledger."""

    def __init__(self, day_zone: str = "UTC") -> None:
        self._zone = _zone(day_zone)
        self._cached = (-1, "", "")

    def marked(self, now_ns: int) -> tuple[str, str, str]:
        """Hour and day of `now_ns` by this clock alone, and the mark under which they are the newest in the ledger.

        A caller that finds this mark under `CLOCK` need not ask `at`: nothing is new and nothing lies behind.
        """
        hour, day = self._labels(now_ns)
        return f"hour:{hour}", f"day:{day}", f"{hour} {day}"

    def at(self, tx: Tx, now_ns: int) -> Now:
        """The windows `now_ns` counts into. Changes nothing."""
        hour, day = self._labels(now_ns)
        found = tx.execute("SELECT value FROM meta WHERE key = ?", (CLOCK,))
        newest_hour, _, newest_day = found[0][0].partition(" ") if found else (hour, "", day)
        if hour >= newest_hour:
            # The day may repeat where a zone sets its clocks back over midnight; the later one stands.
            is_noted = bool(found) and (hour, max(day, newest_day)) == (newest_hour, newest_day)
            return Now(f"hour:{hour}", f"day:{max(day, newest_day)}", is_newest=True, is_noted=is_noted)
        began = datetime.strptime(newest_hour, "%Y-%m-%dT%H").replace(tzinfo=UTC)
        began_ns = int(began.timestamp()) * _NANO
        behind = (
            f"the clock shows {to_rfc3339(now_ns)}, but the hour of {to_rfc3339(began_ns)} has already begun in the "
            "ledger; spending counts into that hour until the clock has caught up"
        )
        return Now(
            f"hour:{newest_hour}",
            f"day:{max(day, newest_day)}",
            is_newest=False,
            behind=behind if began_ns - now_ns > _TOLERANCE_NS else "",
        )

    def opened(self, tx: Tx, now: Now) -> bool:
        """Keep these windows as the newest. True when a clock gone back has to be told: once for each mark."""
        if now.is_noted or (not now.is_newest and not now.behind):
            return False
        changed = tx.change(
            "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value "
            "WHERE meta.value <> excluded.value",
            (CLOCK if now.is_newest else _ALERTED, f"{now.hour[5:]} {now.day[4:]}"),
        )
        return changed > 0 and not now.is_newest

    def ends_ns(self, span: str) -> int | None:
        """When the hour or the day of a window's span is over; None for `life`."""
        kind, _, label = span.partition(":")
        match kind:
            case "hour":
                ends = datetime.strptime(label, "%Y-%m-%dT%H").replace(tzinfo=UTC) + timedelta(hours=1)
            case "day":
                ends = (datetime.strptime(label, "%Y-%m-%d") + timedelta(days=1)).replace(tzinfo=self._zone)
            case _:
                return None
        return int(ends.timestamp()) * _NANO

    def _labels(self, now_ns: int) -> tuple[str, str]:
        number = now_ns // (_HOUR_NS // 4)  # zones are offset by quarters of an hour at the finest
        if self._cached[0] != number:
            moment = datetime.fromtimestamp(now_ns // _NANO, tz=UTC)
            self._cached = (
                number,
                moment.strftime("%Y-%m-%dT%H"),
                moment.astimezone(self._zone).strftime("%Y-%m-%d"),
            )
        return self._cached[1], self._cached[2]


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigError(
            f"`budget.day_zone` is {name!r}, expected a time zone of the IANA database such as `Europe/Vienna`",
            setting="budget.day_zone",
            found=name,
        ) from error
