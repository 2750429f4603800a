"""Calendars and rules are looked at before they count."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from tests.cli.steward.fleet_home import FleetHome


def calendar(fleet: FleetHome) -> tuple[str, str]:
    """A file with one day off, tomorrow; its path and the day."""
    day = (datetime.now(UTC) + timedelta(days=1)).date()
    path = fleet.folder / "holidays.ics"
    path.write_text(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\n"
        f"DTSTART;VALUE=DATE:{day:%Y%m%d}\r\nSUMMARY:Founders' day\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
        newline="",
    )
    return str(path), day.isoformat()


def test_days_off_are_listed_by_calendar(fleet: FleetHome) -> None:
    """Of a file that is named, or of the settings; one that cannot be read is said, and exit 1."""
    path, day = calendar(fleet)
    named = fleet.ooda("steward", "calendar", path)
    configured = fleet.ooda("steward", "calendar", "--json", "--set", f"steward.policy.holidays={path}").json()
    missing = fleet.ooda("steward", "calendar", path, str(fleet.folder / "none.ics"))
    none = fleet.ooda("steward", "calendar")

    assert named.code == 0 and day in named.out and "Founders' day" in named.out
    assert configured == [{"source": path, "days": [{"day": day, "title": "Founders' day"}], "problem": ""}]
    assert missing.code == 1 and "cannot be read" in missing.out and day in missing.out
    assert none.code == 2 and "`steward.policy.holidays` names none" in none.err


def test_rules_are_checked_and_shown(fleet: FleetHome) -> None:
    """A mistake names the rule and what is known."""
    rule = {"name": "gpu", "when": {"template": "gpu-*"}, "policy": {"idle_minutes": 15}}
    good, bad = fleet.folder / "good.json", fleet.folder / "bad.json"
    good.write_text(json.dumps([rule]))
    bad.write_text(json.dumps([{**rule, "when": {"templates": "gpu-*"}}]))
    shown = fleet.ooda("steward", "rules", str(good))
    wrong = fleet.ooda("steward", "rules", str(bad))

    assert shown.code == 0 and '{"idle_minutes":15}' in shown.out
    assert wrong.code == 2 and "rule 'gpu': there is no criterion `templates`; did you mean `template`?" in wrong.err
