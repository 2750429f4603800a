"""A second, plain reading of the decision's rules, for comparison: `whenever` for time, brute force for windows.

Works on the JSON record itself and shares no code with `ooda.agents.steward`. Draws of records come from here too.
"""

from __future__ import annotations

from random import Random
from typing import Any

from whenever import Instant, PlainDateTime, TimeZoneNotFoundError, ZonedDateTime

__all__ = ["draw", "expected"]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DEFAULTS: dict[str, Any] = {
    "enabled": True,
    "start": "18:00",
    "end": "08:00",
    "timezone": "UTC",
    "tz_source": "policy",
    "days": list(DAYS),
    "all_day": {"weekdays": [], "dates": []},
    "skip_dates": [],
    "grace_minutes": 60,
    "warn_minutes": 30,
    "idle_minutes": 30,
    "respect_activity": True,
    "overdue_grace_minutes": 5,
    "max_clock_skew_s": 120,
    "excluded_users": ["admin", "on-call"],
    "excluded_templates": ["production", "critical"],
    "hold_until": None,
}
MINUTE = 60

Outcome = tuple[str, str, float | None]


def expected(record: dict[str, Any]) -> Outcome:
    """Decision, reason and next change (seconds since 1970) of a record."""
    policy, seen = {**DEFAULTS, **record["policy"]}, record["workspace"]
    zone = _zone(policy, seen)
    if zone is None or policy["start"] == policy["end"]:
        return "keep", "config_error", None
    now = _at(record["now"])
    assert now is not None
    if (server := _at(record.get("server_now"))) is not None:
        if abs(server - now) > policy["max_clock_skew_s"]:
            return "keep", "clock_skew", None
        now = server
    if _at(seen.get("dormant_at")) is not None:
        return "keep", "dormant", None
    if seen["status"] != "running":
        return "keep", "not_running", None
    hold = _at(policy["hold_until"])
    if hold is not None and now < hold:
        return "keep", "held_by_override", hold

    stops = _stops(now, policy, seen, zone)
    for cause in ("max_deadline", "ttl", "quiet_hours"):
        if cause in stops and stops[cause] <= now:
            return "stop", cause, None
    earliest = min(stops.values(), default=None)
    if earliest is not None and earliest - policy["warn_minutes"] * MINUTE <= now:
        cause = next(c for c in ("max_deadline", "ttl", "quiet_hours") if stops.get(c) == earliest)
        return "warn", cause, earliest
    opens = None if earliest is None else earliest - policy["warn_minutes"] * MINUTE
    return "keep", _kept(now, policy, seen, zone), opens


def _stops(now: float, policy: dict[str, Any], seen: dict[str, Any], zone: str) -> dict[str, float]:
    stops = {}
    late = policy["overdue_grace_minutes"] * MINUTE
    busy = policy["respect_activity"] and (seen.get("active_connections") or 0) > 0
    if (at := _at(seen.get("max_deadline"))) is not None:
        stops["max_deadline"] = at + late
    if (at := _at(seen.get("deadline"))) is not None and not busy:
        stops["ttl"] = at + late
    excluded = seen["owner"].lower() in [user.lower() for user in policy["excluded_users"]]
    if policy["enabled"] and not busy and not excluded and seen["template"] not in policy["excluded_templates"]:
        for days in (12, 430):
            for start, end in _windows(now, policy, zone, days):
                due = max(_late(start, policy, seen))
                if end > now and due < end and due < now + (days - 5) * 86_400:
                    stops["quiet_hours"] = due
                    return stops
    return stops


def _late(start: float, policy: dict[str, Any], seen: dict[str, Any]) -> tuple[float, float]:
    """When grace ends, and when the workspace counts as idle."""
    started, used = _at(seen.get("started_at")), _at(seen.get("last_used_at"))
    graced = max(start, started if started is not None else start) + policy["grace_minutes"] * MINUTE
    idle = used + policy["idle_minutes"] * MINUTE if used is not None and policy["respect_activity"] else -1e18
    return graced, idle


def _kept(now: float, policy: dict[str, Any], seen: dict[str, Any], zone: str) -> str:
    inside = None
    if policy["enabled"]:
        inside = next((w for w in _windows(now, policy, zone, 12) if w[0] <= now < w[1]), None)
    deadline, max_deadline = _at(seen.get("deadline")), _at(seen.get("max_deadline"))
    busy = policy["respect_activity"] and (seen.get("active_connections") or 0) > 0
    if busy and (inside or (deadline is not None and now >= deadline)):
        return "active_connection"
    if not policy["enabled"]:
        return "no_ttl" if deadline is None and max_deadline is None else "within_ttl"
    if seen["owner"].lower() in [user.lower() for user in policy["excluded_users"]]:
        return "excluded_user"
    if seen["template"] in policy["excluded_templates"]:
        return "excluded_template"
    if inside:
        graced, idle = _late(inside[0], policy, seen)
        return "recently_used" if idle > graced else "in_grace"
    return "outside_quiet_hours"


def _windows(now: float, policy: dict[str, Any], zone: str, days: int) -> list[tuple[float, float]]:
    first = Instant.from_timestamp(int(now)).to_tz(zone).date().subtract(days=12)
    weekday = first.day_of_week().value - 1
    raw = []
    for offset in range(12 + days):
        day = first.add(days=offset)
        word, text = DAYS[(weekday + offset) % 7], str(day)
        if word in policy["days"] and text not in policy["skip_dates"]:
            ends = day if _minutes(policy["end"]) > _minutes(policy["start"]) else day.add(days=1)
            raw.append((_local(day, policy["start"], zone), _local(ends, policy["end"], zone)))
        if word in policy["all_day"]["weekdays"] or text in policy["all_day"]["dates"]:
            raw.append((_local(day, "00:00", zone), _local(day, "24:00", zone)))
    joined: list[tuple[float, float]] = []
    for start, end in sorted(pair for pair in raw if pair[0] < pair[1]):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined


def _local(day: Any, text: str, zone: str) -> float:
    if text == "24:00":
        day, text = day.add(days=1), "00:00"
    hour, minute = map(int, text.split(":"))
    plain = PlainDateTime(day.year, day.month, day.day, hour, minute)
    return plain.assume_tz(zone, disambiguation="compatible").timestamp()


def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


def _zone(policy: dict[str, Any], seen: dict[str, Any]) -> str | None:
    wanted = (seen.get("owner_tz"), policy["timezone"]) if policy["tz_source"] == "owner" else (policy["timezone"],)
    for name in wanted:
        try:
            if name:
                ZonedDateTime(2026, 6, 1, tz=name)
                return str(name)
        except TimeZoneNotFoundError:
            continue
    return None


def _at(text: str | None) -> float | None:
    if text is None or text.startswith("0001-"):
        return None
    return Instant.parse_iso(text).timestamp()


# -- draws ----------------------------------------------------------------------------------------------------

ZONES = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Europe/London",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Tokyo",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "America/Sao_Paulo",
    "America/Santiago",
    "America/Havana",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Gaza",
    "Asia/Beirut",
    "Antarctica/Troll",
    "America/St_Johns",
]
# Changes of the clocks around which mistakes hide: gaps and overlaps, at midnight, of half an hour, of a day.
CHANGES = [
    "2026-03-08T07:00",
    "2026-11-01T06:00",
    "2026-03-29T01:00",
    "2026-10-25T01:00",
    "2026-04-04T15:00",
    "2026-10-03T15:30",
    "2011-12-30T10:00",
    "2018-11-04T03:00",
    "2018-02-18T02:00",
    "2026-09-06T04:00",
    "2026-04-05T03:00",
    "2026-04-23T22:00",
    "2026-10-29T21:00",
    "2026-02-15T02:00",
    "2026-03-22T02:00",
    "2026-03-28T22:00",
    "2026-10-24T21:00",
]
STATUSES = ("running",) * 12 + ("stopped", "starting", "stopping", "failed", "pending", "Running")


def draw(rng: Random) -> dict[str, Any]:
    """One record, mostly about an interesting moment."""
    if rng.random() < 0.6:
        centre = Instant.parse_iso(rng.choice(CHANGES) + ":00Z").timestamp()
    else:
        centre = rng.randrange(1_300_000_000, 1_900_000_000)
    now = int(centre) + rng.randrange(-60, 60) * 3_600 + rng.choice((0, 0, 1, -1, rng.randrange(3_600)))
    policy = _draw_policy(rng, now)
    workspace = {
        "owner": rng.choice(("alice", "bob", "Admin", "ON-CALL", "carol")),
        "owner_tz": rng.choice((None, "", "Mars/Base", *rng.sample(ZONES, 6))),
        "template": rng.choice(("dev", "gpu", "production", "critical", "Production")),
        "status": rng.choice(STATUSES),
        "started_at": _near(rng, now, 60, unset=0.1),
        "last_used_at": _near(rng, now, 40, unset=0.2),
        "active_connections": rng.choice((None, None, 0, 0, 1, 3)),
        "ttl_ms": rng.choice((None, 28_800_000)),
        "deadline": _near(rng, now, 12, unset=0.6),
        "max_deadline": _near(rng, now, 24, unset=0.8),
        "dormant_at": _near(rng, now, 100, unset=0.95),
    }
    record = {"id": rng.randrange(1 << 30), "now": _text(now), "policy": policy, "workspace": workspace}
    if rng.random() < 0.2:
        record["server_now"] = _text(now + rng.choice((0, 1, 60, 119, 120, 121, -120, -121, 4_000)))
    return record


def _draw_policy(rng: Random, now: int) -> dict[str, Any]:
    def maybe(value: Any, default_odds: float = 0.5) -> Any:
        return ... if rng.random() < default_odds else value

    days = [day for day in DAYS if rng.random() < 0.7]
    policy = {
        "enabled": maybe(rng.random() < 0.5, 0.8),
        "start": maybe(_time_of_day(rng), 0.3),
        "end": maybe(_time_of_day(rng), 0.3),
        "timezone": maybe(rng.choice((*ZONES, *ZONES, "Mars/Base", "")), 0.1),
        "tz_source": maybe("owner", 0.6),
        "days": maybe(days),
        "all_day": maybe({"weekdays": rng.sample(DAYS, rng.choice((0, 1, 2) * 5 + (7,))), "dates": _dates(rng, now)}),
        "skip_dates": maybe(_dates(rng, now)),
        "grace_minutes": maybe(rng.choice((0, 1, 30, 120, 240) * 4 + (600, 780, 840, 900, 1_440))),
        "warn_minutes": maybe(rng.choice((0, 5, 60, 240))),
        "idle_minutes": maybe(rng.choice((0, 10, 90, 300))),
        "respect_activity": maybe(False, 0.7),
        "overdue_grace_minutes": maybe(rng.choice((0, 15))),
        "max_clock_skew_s": maybe(rng.choice((0, 60)), 0.8),
        "excluded_users": maybe(["ADMIN", "bob"], 0.8),
        "excluded_templates": maybe(["gpu"], 0.8),
        "hold_until": maybe(_near(rng, now, 10, unset=0.2), 0.9),
    }
    return {name: value for name, value in policy.items() if value is not ...}


def _time_of_day(rng: Random) -> str:
    if rng.random() < 0.15:
        return rng.choice(("00:00", "24:00"))
    return f"{rng.randrange(24):02d}:{rng.choice((0, 0, 15, 30, 45, 59)):02d}"


def _dates(rng: Random, now: int) -> list[str]:
    today = Instant.from_timestamp(now).to_tz("UTC").date()
    return [str(today.add(days=rng.randrange(-3, 6))) for _ in range(rng.choice((0, 1, 2, 4)))]


def _near(rng: Random, now: int, hours: int, *, unset: float) -> str | None:
    if rng.random() < unset:
        return rng.choice((None, "0001-01-01T00:00:00Z"))
    ahead = hours if rng.random() < 0.5 else 2
    return _text(now + rng.randrange(-ahead * 3_600, ahead * 3_600) // rng.choice((1, 60, 900)) * rng.choice((1, 60)))


def _text(at: int) -> str:
    return Instant.from_timestamp(at).format_iso()
