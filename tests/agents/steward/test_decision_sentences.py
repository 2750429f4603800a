"""Sentences of the decision's specification no other test states, on records as `ooda steward decide` reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ooda.agents.steward import decide_lines

RUNNING: dict[str, Any] = {
    "owner": "ada",
    "owner_tz": None,
    "template": "dev",
    "status": "running",
    "started_at": "2026-01-01T00:00:00Z",
    "last_used_at": None,
    "active_connections": None,
    "ttl_ms": None,
    "deadline": None,
    "max_deadline": None,
    "dormant_at": None,
}


def said(now: str, policy: dict[str, Any], **fields: Any) -> tuple[str, str, str | None]:
    """Decision, reason and next change of a workspace that was started in January and never used."""
    server = {"server_now": fields.pop("server_now")} if "server_now" in fields else {}
    record = {"id": 1, "now": now, **server, "policy": policy, "workspace": {**RUNNING, **fields}}
    (line,) = decide_lines([json.dumps(record)])
    answer = json.loads(line)
    return answer["decision"], answer["reason"], answer["next_change"]


STOP = ("stop", "quiet_hours", None)


@pytest.mark.parametrize(
    ("now", "decision"),
    [
        ("2026-11-20T22:59:59Z", "warn"),
        ("2026-11-20T23:00:00Z", "stop"),
        ("2026-11-20T23:59:59Z", "stop"),
        ("2026-11-21T00:00:00Z", "keep"),
    ],
)
def test_24_00_is_the_next_midnight(now: str, decision: str) -> None:
    """As an end it lies on the same date, as it is later than the start."""
    assert said(now, {"start": "22:00", "end": "24:00"})[0] == decision


def test_a_start_at_24_00_belongs_to_the_date_before() -> None:
    """Friday's window from 24:00 begins on Saturday at midnight."""
    policy = {"start": "24:00", "end": "06:00", "days": ["fri"], "grace_minutes": 0}
    assert said("2026-11-21T00:00:00Z", policy) == STOP
    assert said("2026-11-20T00:00:00Z", policy)[1] == "outside_quiet_hours"


def test_an_overnight_window_belongs_to_the_day_it_starts_on() -> None:
    """Sunday's reaches into Monday morning; Friday's and Saturday's do not exist, and neither do their mornings."""
    policy = {"days": ["sun", "mon", "tue", "wed", "thu"]}
    assert said("2026-11-23T03:00:00Z", policy) == STOP  # Monday
    assert said("2026-11-20T03:00:00Z", policy) == STOP  # Friday, from Thursday
    assert said("2026-11-21T03:00:00Z", policy) == ("keep", "outside_quiet_hours", "2026-11-22T18:30:00Z")


def test_a_skipped_date_takes_the_morning_after_with_it_and_not_its_own() -> None:
    """Its window does not start; the one of the day before still ends on it."""
    policy = {"skip_dates": ["2026-11-20"]}
    assert said("2026-11-20T07:00:00Z", policy) == STOP
    assert said("2026-11-21T07:00:00Z", policy) == ("keep", "outside_quiet_hours", "2026-11-21T18:30:00Z")


def test_skip_dates_leave_all_day_windows() -> None:
    """A date that is skipped and all day is quiet from midnight to midnight."""
    policy = {"days": [], "skip_dates": ["2026-11-20"], "all_day": {"dates": ["2026-11-20"]}}
    assert said("2026-11-20T12:00:00Z", policy) == STOP


@pytest.mark.parametrize(
    ("date", "opens", "closes"),
    [
        ("2026-03-08", "2026-03-08T05:00:00Z", "2026-03-09T03:59:59Z"),  # 23 hours
        ("2026-11-01", "2026-11-01T04:00:00Z", "2026-11-02T04:59:59Z"),  # 25 hours
    ],
)
def test_a_whole_day_is_as_long_as_its_clocks_make_it(date: str, opens: str, closes: str) -> None:
    """From local midnight to the next local midnight."""
    policy = {
        "days": [],
        "all_day": {"dates": [date]},
        "timezone": "America/New_York",
        "grace_minutes": 0,
        "warn_minutes": 0,
    }
    assert said(opens, policy) == STOP
    assert said(closes, policy) == STOP
    after = closes.replace("59:59", "00:00").replace("T03", "T04") if "-03-" in date else "2026-11-02T05:00:00Z"
    assert said(after, policy)[0] == "keep"


def test_a_window_that_a_gap_turns_round_is_dropped() -> None:
    """02:30 to 03:00 on the night the clocks jump from 02:00 to 03:00: it would start at 03:30 and end at 03:00."""
    policy = {"start": "02:30", "end": "03:00", "timezone": "America/New_York", "grace_minutes": 0}
    assert said("2026-03-08T06:59:00Z", policy) == ("keep", "outside_quiet_hours", "2026-03-09T06:00:00Z")
    assert said("2026-03-08T07:30:00Z", policy) == ("keep", "outside_quiet_hours", "2026-03-09T06:00:00Z")


def test_windows_that_touch_are_one() -> None:
    """A whole Saturday follows a Friday that ends at midnight: the grace began on Friday evening."""
    policy = {"start": "18:00", "end": "24:00", "days": ["fri"], "all_day": {"weekdays": ["sat"]}, "grace_minutes": 420}
    assert said("2026-11-21T00:59:00Z", policy) == ("warn", "quiet_hours", "2026-11-21T01:00:00Z")
    assert said("2026-11-21T01:00:00Z", policy) == STOP


def test_grace_is_elapsed_time_over_a_change_of_the_clocks() -> None:
    """Two hours from 01:00 EDT are over at 02:00 EST."""
    policy = {"start": "01:00", "end": "08:00", "timezone": "America/New_York", "grace_minutes": 120}
    assert said("2026-11-01T06:59:59Z", policy)[0] == "warn"
    assert said("2026-11-01T07:00:00Z", policy) == STOP


def test_a_due_stop_comes_before_a_warning_and_a_warning_before_any_reason_to_keep() -> None:
    """An excluded user's maximum deadline is announced and kept to, connected or not."""
    given: dict[str, Any] = {"owner": "Admin", "active_connections": 2, "max_deadline": "2026-11-20T20:00:00Z"}
    assert said("2026-11-20T19:00:00Z", {}, **given) == ("keep", "active_connection", "2026-11-20T19:35:00Z")
    assert said("2026-11-20T19:35:00Z", {}, **given) == ("warn", "max_deadline", "2026-11-20T20:05:00Z")
    assert said("2026-11-20T20:05:00Z", {}, **given) == ("stop", "max_deadline", None)


@pytest.mark.parametrize(("seconds", "reason"), [(0, "clock_skew"), (1, "quiet_hours")])
def test_a_skew_of_just_the_allowed_is_none(seconds: int, reason: str) -> None:
    """More than `max_clock_skew_s`, in either direction; else the server's clock decides."""
    policy = {"max_clock_skew_s": 59 + seconds}
    for server_now in ("2026-11-20T19:01:00Z", "2026-11-20T18:59:00Z"):
        assert said("2026-11-20T19:00:00Z", policy, server_now=server_now)[1] == reason


@pytest.mark.parametrize("unset", [None, "0001-01-01T00:00:00Z"])
def test_null_and_the_year_1_are_unset(unset: str | None) -> None:
    """For every time of a workspace."""
    fields = dict.fromkeys(("started_at", "last_used_at", "deadline", "max_deadline", "dormant_at"), unset)
    assert said("2026-11-20T18:00:00Z", {}, **fields) == ("keep", "in_grace", "2026-11-20T18:30:00Z")
    assert said("2026-11-20T19:00:00Z", {}, **fields) == STOP


@pytest.mark.parametrize(
    ("name", "meant"),
    [("last_usd_at", "last_used_at"), ("lastUsedAt", "last_used_at"), ("active_conections", "active_connections")],
)
def test_a_slip_of_the_pen_is_named_instead_of_a_workspace_nobody_uses(name: str, meant: str) -> None:
    """Where the field itself is missing; whatever else a record holds is passed over."""
    seen = {field: value for field, value in RUNNING.items() if field != meant}
    record = {"id": 7, "now": "2026-11-20T20:00:00Z", "policy": {}, "workspace": seen}
    (line,) = decide_lines([json.dumps({**record, "workspace": {**seen, name: None}})])
    assert json.loads(line)["id"] == 7
    assert f"did you mean `workspace.{meant}`?" in json.loads(line)["error"]
    (line,) = decide_lines([json.dumps({**record, "polcy": {}, "policy": {}, "note": 1})])
    assert json.loads(line)["decision"] == "stop"
    del record["policy"]
    (line,) = decide_lines([json.dumps({**record, "polcy": {}})])
    assert "did you mean `policy`?" in json.loads(line)["error"]


def test_a_start_that_is_still_to_come_is_followed_as_far_as_one_of_today() -> None:
    """Only on the night the clocks go back is the window longer than the grace, and that night is 14 months away."""
    policy = {
        "start": "18:00",
        "timezone": "Pacific/Apia",
        "skip_dates": ["2019-02-12"],
        "grace_minutes": 840,
        "warn_minutes": 5,
        "respect_activity": False,
        "excluded_templates": [],
    }
    answer = said("2019-02-12T15:17:19Z", policy, started_at="2019-06-28T19:08:19Z")
    assert answer == ("keep", "outside_quiet_hours", "2020-04-04T17:55:00Z")
