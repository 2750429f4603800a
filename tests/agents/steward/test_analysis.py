"""Times to live, coming stops and the autostop schedule, with what follows where policies meet."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooda.agents.steward import Planner, Policy
from ooda.agents.steward.autostop_schedule import autostop_text, schedule
from ooda.agents.steward.fleet import Hold, plan_fleet
from ooda.agents.steward.instants import HOUR_NS, MINUTE_NS, lasting, spelled, utc
from ooda.agents.steward.stops import coming_stops
from ooda.agents.steward.ttl import TtlPolicy, analyze_ttl, ttl_text
from ooda.services.coder import Template
from tests.agents.steward.samples import at, workspace

NOW = at("2026-11-20 12:00")
HOUR_MS = 3_600_000


def test_the_report_reads_as_it_was_asked_for() -> None:
    """The requirement's own form, line by line."""
    report = analyze_ttl(
        NOW,
        [
            workspace(owner="user1", name="workspace1", deadline="2026-11-20 09:30", ttl_ms=8 * HOUR_MS),
            workspace(owner="user2", name="workspace2", deadline="2026-11-20 11:15", ttl_ms=4 * HOUR_MS),
            workspace(owner="user3", name="workspace3", deadline="2026-11-20 12:15", ttl_ms=8 * HOUR_MS),
            workspace(owner="user4", name="workspace4", deadline="2026-11-20 13:20", ttl_ms=12 * HOUR_MS),
            workspace(owner="user5", deadline="2026-11-20 15:00", ttl_ms=12 * HOUR_MS),
            workspace(owner="user6"),
        ],
        TtlPolicy(soon_s=2 * 3_600),
    )
    assert ttl_text(report) == (
        "TTL Compliance Report\n"
        "=====================\n"
        "Workspaces that SHOULD HAVE STOPPED:\n"
        "- user1/workspace1: Expired 2h 30m ago (TTL: 8h)\n"
        "- user2/workspace2: Expired 45m ago (TTL: 4h)\n"
        "\n"
        "Workspaces STOPPING SOON:\n"
        "- user3/workspace3: Stopping in 15m (TTL: 8h)\n"
        "- user4/workspace4: Stopping in 1h 20m (TTL: 12h)\n"
        "\n"
        "TTL POLICY VIOLATIONS:\n"
        "- user1/workspace1: overdue, should have stopped 2h 30m ago\n"
        "- user2/workspace2: overdue, should have stopped 45m ago\n"
        "\n"
        "Deadlines pass without a stop: Coder's own autostop seems to be failing.\n"
    )


def test_a_fleet_in_order_is_said_to_be_so() -> None:
    """Nothing overdue, nothing soon, no violations."""
    text = ttl_text(analyze_ttl(NOW, [workspace(status="stopped", deadline="2026-11-20 09:30")]))
    assert text.count("- none") == 2
    assert "VIOLATIONS" not in text


def test_the_earlier_end_counts_and_a_fresh_one_is_not_yet_a_fault() -> None:
    """Deadline or maximum, whichever comes first; Coder gets two minutes to act."""
    seen = workspace(deadline="2026-11-20 15:00", max_deadline="2026-11-20 11:59")
    report = analyze_ttl(NOW, [seen])
    assert [entry.stop_ns for entry in report.should_have_stopped] == [at("2026-11-20 11:59")]
    assert (report.is_executor_failing, report.violations) == (False, ())


def test_dormant_workspaces_are_nobodys_to_stop() -> None:
    """Coder leaves them, so their deadline is no violation; they are still counted."""
    report = analyze_ttl(NOW, [workspace(deadline="2026-11-20 09:00", dormant="2026-11-19 00:00")])
    assert (report.checked, report.should_have_stopped, report.violations) == (1, (), ())


def test_rules_about_times_to_live_are_held() -> None:
    """No deadline where one is required, and times to live beyond the longest allowed, told from when they began."""
    strict = TtlPolicy(is_required=True, longest_s=8 * 3_600)
    fleet = [workspace(name="free"), workspace(name="long", ttl_ms=24 * HOUR_MS, deadline="2026-11-21 08:00")]
    report = analyze_ttl(NOW, fleet, strict)
    assert [(found.workspace, found.kind, found.since_ns) for found in report.violations] == [
        ("alice/free", "no_deadline", at("2026-11-20 08:00")),
        ("alice/long", "ttl_too_long", at("2026-11-20 08:00")),
    ]
    assert analyze_ttl(NOW, fleet, strict, owner="BOB").checked == 0
    assert analyze_ttl(NOW, fleet, strict, owner="Alice").checked == 2


def test_coming_stops_are_foretold_with_their_cause() -> None:
    """Coder acts on deadlines, the steward on quiet hours; the earliest stands first."""
    planner = Planner(Policy())
    seen = workspace(deadline="2026-11-20 23:00", max_deadline="2026-11-21 03:00")
    assert [(stop.cause, stop.by, spelled(stop.at_ns)[11:16]) for stop in coming_stops(planner, NOW, seen)] == [
        ("quiet_hours", "steward", "19:00"),
        ("ttl", "coder", "23:00"),
        ("max_deadline", "coder", "03:00"),
    ]
    assert coming_stops(planner, NOW, workspace(status="stopped")) == ()
    assert coming_stops(planner, NOW, workspace(dormant="2026-11-01 00:00")) == ()
    (due,) = coming_stops(planner, at("2026-11-20 20:00"), workspace())
    assert due.at_ns == at("2026-11-20 20:00")
    held = Planner(Policy(hold_until=datetime(2026, 11, 20, 22, 0, tzinfo=UTC)))
    (after,) = coming_stops(held, at("2026-11-20 20:00"), workspace())
    assert after.at_ns == at("2026-11-20 22:00")
    assert coming_stops(Planner(Policy(enabled=False)), NOW, workspace()) == ()


@given(
    now=st.integers(0, 10_000).map(lambda minutes: NOW + minutes * MINUTE_NS),
    last_used=st.integers(-600, 600),
    warn=st.integers(0, 600),
)
def test_a_foretold_quiet_stop_happens_when_it_was_foretold(now: int, last_used: int, warn: int) -> None:
    """At that instant, and not before, the decision is to stop."""
    planner = Planner(Policy(warn_minutes=warn))
    seen = workspace(owner="alice", last_used=None, started=None)
    seen = type(seen)(owner="a", template="t", status="running", last_used_ns=now + last_used * MINUTE_NS)
    (stop,) = coming_stops(planner, now, seen)
    before, then = (planner.plan(at_ns, [seen])[0].decision for at_ns in (stop.at_ns - 1, stop.at_ns))
    assert then == "stop"
    assert before != "stop" or stop.at_ns == now


def template(**given: Any) -> Template:
    return Template(id="t1", name="dev", organization_name="o", **given)


@pytest.mark.parametrize(
    ("seen", "options", "kinds"),
    [
        ({"deadline": "2026-11-20 23:00"}, {}, ["quiet_before_ttl"]),
        ({"deadline": "2026-11-20 15:00"}, {}, ["ttl_before_quiet"]),
        ({"deadline": "2026-11-20 15:00", "max_deadline": "2026-11-20 15:00"}, {}, ["ttl_before_quiet", "capped"]),
        ({"owner": "admin", "deadline": "2026-11-20 15:00"}, {}, ["excluded_from_quiet_only"]),
        ({"template": "critical", "deadline": "2026-11-20 15:00"}, {}, ["excluded_from_quiet_only"]),
        ({"owner": "admin"}, {}, ["no_end"]),
        ({"dormant": "2026-11-01 00:00"}, {}, ["dormant"]),
        ({"next_start_ns": at("2026-11-21 06:00")}, {}, ["autostart_after_stop"]),
        (
            {"template_id": "t1", "ttl_ms": HOUR_MS, "deadline": "2026-11-20 16:00"},
            {"templates": {"t1": template(allow_user_autostop=False, default_ttl_ms=8 * HOUR_MS)}},
            ["ttl_before_quiet", "ttl_overruled"],
        ),
        (
            {"template_id": "t1", "ttl_ms": 10 * HOUR_MS, "deadline": "2026-11-20 16:00"},
            {"templates": {"t1": template()}},
            ["ttl_before_quiet", "ttl_from_next_start"],
        ),
    ],
)
def test_where_policies_meet_it_is_said_what_comes_of_it(
    seen: dict[str, Any], options: dict[str, Any], kinds: list[str]
) -> None:
    """Each meeting of two policies is explained."""
    (line,) = schedule(NOW, plan_fleet(NOW, Policy(), [workspace(**seen)]), **options)
    assert [conflict.kind for conflict in line.conflicts] == kinds


def test_a_hold_of_ours_does_not_bind_coder() -> None:
    """The steward leaves it, its deadline does not."""
    holds = (Hold(scope="fleet", until_ns=at("2026-11-20 23:00")),)
    (line,) = schedule(NOW, plan_fleet(NOW, Policy(), [workspace(deadline="2026-11-20 15:00")], holds=holds))
    assert "Coder itself stops it at 2026-11-20 15:00 UTC" in line.conflicts[-1].says


def test_the_schedule_is_in_the_order_of_the_stops() -> None:
    """Soonest first, without an end last; the text says when, why, by whom, and what else is coming."""
    fleet = [
        workspace(owner="admin", name="forever"),
        workspace(name="late", ttl_ms=HOUR_MS),
        workspace(name="early", deadline="2026-11-20 13:20"),
        workspace(name="off", status="stopped"),
    ]
    lines = schedule(NOW, plan_fleet(NOW, Policy(), fleet))
    assert [line.workspace.name for line in lines] == ["early", "late", "forever"]
    assert [line.policy for line in lines] == ["quiet hours", "time to live 1h; quiet hours", "none"]
    text = autostop_text(NOW, lines)
    assert "- alice/early: 2026-11-20 13:20 UTC (in 1h 20m) by time to live, coder\n" in text
    assert "    then 2026-11-20 19:00 UTC by quiet hours, steward\n" in text
    assert "- admin/forever: no stop is coming (none)\n    nothing will ever stop it\n" in text
    assert autostop_text(NOW, ()).endswith("- no workspace is running\n")


@pytest.mark.parametrize(
    ("span_ns", "words"),
    [
        (0, "0m"),
        (-5, "0m"),
        (59 * 10**9, "0m"),
        (150 * MINUTE_NS, "2h 30m"),
        (47 * HOUR_NS, "47h"),
        (76 * HOUR_NS, "3d 4h"),
    ],
)
def test_lengths_of_time_in_words(span_ns: int, words: str) -> None:
    """Hours and minutes, days from two of them on."""
    assert lasting(span_ns) == words


def test_instants_keep_their_spelling() -> None:
    """Fractions only where there are any."""
    assert spelled(at("2026-11-20 12:00")) == "2026-11-20T12:00:00Z"
    assert spelled(at("2026-11-20 12:00") + 250_000_000) == "2026-11-20T12:00:00.25Z"
    assert utc(-1) == datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
