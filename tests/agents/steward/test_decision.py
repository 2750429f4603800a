"""The decision, rule by rule. Times are UTC unless a zone is named; the default window is 18:00 to 08:00."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ooda.agents.steward import AllDay, Planner, Policy, Workspace, decide
from ooda.agents.steward.instants import MINUTE_NS, NEVER_NS
from tests.agents.steward.samples import at, decided, workspace


def at_time(text: str) -> Any:
    """An aware datetime for a policy's hold."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ("2026-11-20 12:00", ("keep", "outside_quiet_hours", "2026-11-20 18:30")),
        ("2026-11-20 18:00", ("keep", "in_grace", "2026-11-20 18:30")),
        ("2026-11-20 18:30", ("warn", "quiet_hours", "2026-11-20 19:00")),
        ("2026-11-20 18:59:59", ("warn", "quiet_hours", "2026-11-20 19:00")),
        ("2026-11-20 19:00", ("stop", "quiet_hours", "")),
        ("2026-11-21 07:59:59", ("stop", "quiet_hours", "")),
        ("2026-11-21 08:00", ("keep", "outside_quiet_hours", "2026-11-21 18:30")),
    ],
)
def test_a_night_passes(now: str, said: tuple[str, ...]) -> None:
    """The stop is due an hour after the window opens, announced half an hour before, and never outside the window."""
    assert decided(now) == said


def test_a_late_start_has_its_own_grace() -> None:
    """A workspace started inside the window is left alone for the grace from its start."""
    assert decided("2026-11-20 22:50", started="2026-11-20 22:30") == ("keep", "in_grace", "2026-11-20 23:00")
    assert decided("2026-11-20 23:30", started="2026-11-20 22:30") == ("stop", "quiet_hours", "")


def test_recent_use_puts_the_stop_off() -> None:
    """Not before the last use plus the idle time; where that sets the later time, it names the reason."""
    assert decided("2026-11-20 19:05", last_used="2026-11-20 19:04") == (
        "warn",
        "quiet_hours",
        "2026-11-20 19:34",
    )
    long_idle = Policy(idle_minutes=120)
    assert decided("2026-11-20 19:05", long_idle, last_used="2026-11-20 19:04") == (
        "keep",
        "recently_used",
        "2026-11-20 20:34",
    )
    assert decided("2026-11-20 19:05", Policy(respect_activity=False), last_used="2026-11-20 19:04") == (
        "stop",
        "quiet_hours",
        "",
    )


def test_a_stop_that_does_not_fit_waits_for_the_next_window() -> None:
    """Started at 07:30, due at 08:30 when the window is over: the evening counts."""
    said = decided("2026-11-20 07:45", started="2026-11-20 07:30", last_used="2026-11-20 07:30")
    assert said == ("keep", "in_grace", "2026-11-20 18:30")


def test_a_grace_longer_than_the_window_never_stops() -> None:
    """No window has room for the stop, so there is none."""
    assert decided("2026-11-20 20:00", Policy(grace_minutes=14 * 60)) == ("keep", "in_grace", "")


def test_an_open_connection_keeps_it_past_window_and_deadline() -> None:
    """Connections hold off quiet hours and the deadline, not the maximum deadline."""
    busy: dict[str, Any] = {"active_connections": 1}
    assert decided("2026-11-20 20:00", **busy) == ("keep", "active_connection", "")
    assert decided("2026-11-20 13:00", deadline="2026-11-20 12:00", **busy) == ("keep", "active_connection", "")
    assert decided("2026-11-20 13:00", **busy) == ("keep", "outside_quiet_hours", "")
    assert decided("2026-11-20 20:00", max_deadline="2026-11-20 19:55", **busy) == ("stop", "max_deadline", "")
    ignored = Policy(respect_activity=False)
    assert decided("2026-11-20 20:00", ignored, **busy) == ("stop", "quiet_hours", "")


def test_deadlines_are_the_servers_first() -> None:
    """A deadline stop is due only after Coder itself had its grace."""
    assert decided("2026-11-20 12:04", deadline="2026-11-20 12:00") == ("warn", "ttl", "2026-11-20 12:05")
    assert decided("2026-11-20 12:05", deadline="2026-11-20 12:00") == ("stop", "ttl", "")
    assert decided("2026-11-20 12:00", ttl_ms=60_000) == ("keep", "outside_quiet_hours", "2026-11-20 18:30")


def test_of_several_due_stops_the_hardest_names_it() -> None:
    """max_deadline before ttl before quiet hours; for warnings the earliest, ties by the same rank."""
    past = {"deadline": "2026-11-20 19:00", "max_deadline": "2026-11-20 19:00"}
    assert decided("2026-11-20 20:00", **past) == ("stop", "max_deadline", "")
    assert decided("2026-11-20 20:00", deadline="2026-11-20 19:00") == ("stop", "ttl", "")
    tie = {"deadline": "2026-11-20 18:55", "max_deadline": "2026-11-20 18:55"}
    assert decided("2026-11-20 18:40", **tie) == ("warn", "max_deadline", "2026-11-20 19:00")
    assert decided("2026-11-20 18:40", deadline="2026-11-20 18:55") == ("warn", "ttl", "2026-11-20 19:00")
    assert decided("2026-11-20 18:40", deadline="2026-11-20 18:56") == ("warn", "quiet_hours", "2026-11-20 19:00")


def test_exclusions_are_from_quiet_hours_only() -> None:
    """User names are compared without case, template names as they are; deadlines hold for everybody."""
    assert decided("2026-11-20 20:00", owner="ADMIN") == ("keep", "excluded_user", "")
    assert decided("2026-11-20 20:00", template="production") == ("keep", "excluded_template", "")
    assert decided("2026-11-20 20:00", template="Production") == ("stop", "quiet_hours", "")
    assert decided("2026-11-20 20:00", owner="admin", deadline="2026-11-20 19:00") == ("stop", "ttl", "")


def test_quiet_hours_off_leaves_the_time_to_live() -> None:
    """Then the reason tells whether there is a deadline at all."""
    off = Policy(enabled=False)
    assert decided("2026-11-20 20:00", off) == ("keep", "no_ttl", "")
    assert decided("2026-11-20 20:00", off, ttl_ms=60_000) == ("keep", "no_ttl", "")
    assert decided("2026-11-20 20:00", off, deadline="2026-11-20 23:00") == ("keep", "within_ttl", "2026-11-20 22:35")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"policy": Policy(timezone="Mars/Base"), "dormant": "2026-11-01 00:00"}, "config_error"),
        ({"policy": Policy(start="08:00", end="8:00")}, "config_error"),
        ({"policy": Policy(start="25:00")}, "config_error"),
        ({"policy": Policy(days=("funday",))}, "config_error"),
        ({"policy": Policy(skip_dates=("2026-02-30",))}, "config_error"),
        ({"policy": Policy(grace_minutes=-1)}, "config_error"),
        ({"server_now": "2026-11-20 20:02:01", "status": "stopped"}, "clock_skew"),
        ({"dormant": "2026-11-01 00:00", "status": "stopped"}, "dormant"),
        ({"status": "stopped"}, "not_running"),
        ({"status": "failed"}, "not_running"),
    ],
)
def test_guards_come_first_and_in_their_order(given: dict[str, Any], reason: str) -> None:
    """Whatever else is due, a guard keeps the workspace and promises nothing."""
    assert decided("2026-11-20 20:00", **given) == ("keep", reason, "")


def test_a_hold_keeps_everything_until_its_end() -> None:
    """The emergency override: the end of the hold is the next change; at that instant it is over."""
    hold = Policy(hold_until=at_time("2026-11-20 21:00"))
    assert decided("2026-11-20 20:00", hold, deadline="2026-11-20 12:00") == (
        "keep",
        "held_by_override",
        "2026-11-20 21:00",
    )
    assert decided("2026-11-20 21:00", hold) == ("stop", "quiet_hours", "")


def test_the_servers_clock_counts_where_it_is_known() -> None:
    """Within the allowed skew it is taken as now, in both directions."""
    assert decided("2026-11-20 18:59", server_now="2026-11-20 19:00") == ("stop", "quiet_hours", "")
    assert decided("2026-11-20 19:00", server_now="2026-11-20 18:58")[0] == "warn"


def test_the_owners_zone_counts_when_asked_for() -> None:
    """Unknown or missing, it is the policy's; unknown there too, it is a mistake of configuration."""
    policy = Policy(tz_source="owner", timezone="America/New_York")
    assert decided("2026-11-20 19:00", policy, owner_tz="UTC") == ("stop", "quiet_hours", "")
    for unknown in (None, "", "Mars/Base", "America", "../etc/passwd", "right/UTC"):
        assert decided("2026-11-20 19:00", policy, owner_tz=unknown)[1] == "outside_quiet_hours"
    assert decided("2026-11-20 19:00", Policy(tz_source="owner", timezone="Mars/Base"))[1] == "config_error"


@pytest.mark.parametrize(
    ("now", "policy", "said"),
    [
        # Spring forward in New York on 8 March 2026: 02:30 does not exist and means 03:30 EDT, 07:30 UTC.
        ("2026-03-08 08:29", {"start": "02:30", "end": "06:00"}, "warn"),
        ("2026-03-08 08:30", {"start": "02:30", "end": "06:00"}, "stop"),
        # Fall back on 1 November 2026: 01:30 means its first occurrence, 05:30 UTC.
        ("2026-11-01 05:30", {"start": "01:30", "end": "06:00", "grace_minutes": 0}, "stop"),
        ("2026-11-01 05:29", {"start": "01:30", "end": "06:00", "grace_minutes": 0}, "warn"),
        # The end of a window that began before the change is at the new offset: 08:00 EST is 13:00 UTC.
        ("2026-11-01 12:59", {}, "stop"),
        ("2026-11-01 13:00", {}, "keep"),
    ],
)
def test_changes_of_the_clocks(now: str, policy: dict[str, Any], said: str) -> None:
    """A missing local time moves forward by the gap; a double one means its first occurrence."""
    seen = workspace(started="2026-03-01 00:00", last_used=None)
    assert decided(now, Policy(timezone="America/New_York", **policy), seen)[0] == said


def test_weekend_windows_are_joined() -> None:
    """Friday evening to Monday morning is one window: its grace begins once, on Friday."""
    weekend = Policy(days=("fri", "sun"), all_day=AllDay(weekdays=("sat", "sun")))
    assert decided("2026-11-22 00:10", weekend) == ("stop", "quiet_hours", "")
    apart = Policy(days=("fri",), end="23:00", all_day=AllDay(weekdays=("sat",)))
    assert decided("2026-11-21 00:10", apart) == ("keep", "in_grace", "2026-11-21 00:30")


def test_skipped_and_whole_days() -> None:
    """No window starts on a skipped date; a whole day runs from local midnight to midnight."""
    holiday = Policy(skip_dates=("2026-11-20",), all_day=AllDay(dates=("2026-11-21",)))
    assert decided("2026-11-20 20:00", holiday) == ("keep", "outside_quiet_hours", "2026-11-21 00:30")
    assert decided("2026-11-21 13:00", holiday) == ("stop", "quiet_hours", "")


def test_a_distant_date_is_still_found() -> None:
    """The next change may be a year and more away."""
    once = Policy(days=(), all_day=AllDay(dates=("2028-02-29",)))
    assert decided("2026-11-20 12:00", once) == ("keep", "outside_quiet_hours", "2028-02-29 00:30")


def test_endless_quiet_is_one_window() -> None:
    """All days all day: the start of the workspace, not of a window, begins the grace."""
    always = Policy(all_day=AllDay(weekdays=("mon", "tue", "wed", "thu", "fri", "sat", "sun")))
    assert decided("2026-11-20 12:10", always, started="2026-11-20 12:00", last_used=None) == (
        "keep",
        "in_grace",
        "2026-11-20 12:30",
    )
    assert decided("2026-11-20 13:00", always, started="2026-11-20 12:00", last_used=None)[0] == "stop"


def test_a_day_that_was_left_out_of_the_calendar_has_no_window() -> None:
    """Samoa skipped 30 December 2011; an all-day window on that date is empty and dropped."""
    samoa = Policy(days=(), all_day=AllDay(dates=("2011-12-30",)), timezone="Pacific/Apia")
    assert decided("2011-12-30 09:30", samoa, last_used=None, started=None) == ("keep", "outside_quiet_hours", "")


def test_the_fleet_is_decided_in_its_order() -> None:
    """`plan` gives for each workspace what `decide` gives."""
    planner = Planner(Policy(tz_source="owner"))
    fleet = [workspace(owner_tz=zone, owner=owner) for zone in (None, "Asia/Tokyo", "UTC") for owner in ("admin", "a")]
    now = at("2026-11-20 19:30")
    assert planner.plan(now, fleet) == [decide(now, planner.policy, seen) for seen in fleet]


times = st.integers(at("2026-10-20 00:00") // MINUTE_NS, at("2026-11-20 00:00") // MINUTE_NS).map(MINUTE_NS.__mul__)


@settings(max_examples=300, deadline=None)
@given(
    now=times,
    last_used=st.none() | times,
    started=st.none() | times,
    deadline=st.none() | times,
    grace=st.sampled_from((0, 60, 110)),
    zone=st.sampled_from(("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")),
)
def test_the_next_change_is_where_the_decision_changes(
    now: int, last_used: int | None, started: int | None, deadline: int | None, grace: int, zone: str
) -> None:
    """Nothing changes until then, and then it does: keep becomes warn, warn becomes the stop it announced."""
    planner = Planner(Policy(timezone=zone, grace_minutes=grace, end="20:00"))
    seen = Workspace(
        owner="alice",
        template="dev",
        status="running",
        started_ns=started,
        last_used_ns=last_used,
        deadline_ns=deadline,
    )
    said = planner.plan(now, [seen])[0]
    if said.decision == "stop":
        assert said.next_ns is None
        return
    assert said.next_ns is not None
    assert now < said.next_ns < NEVER_NS
    before, after = (planner.plan(at_ns, [seen])[0].decision for at_ns in (said.next_ns - 1, said.next_ns))
    assert (before, after) in (("keep", "warn"), ("warn", "stop"))
    assert before == said.decision
