"""What goes beyond stopping: suggested stop times, money saved, holidays, reports and the dashboard."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from datetime import date
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ooda.agents.steward import AllDay, Policy
from ooda.agents.steward.absences import DayOff, away, days_off, with_days_off
from ooda.agents.steward.autostop_schedule import schedule
from ooda.agents.steward.cost import PriceTable, StopRecord, report_savings
from ooda.agents.steward.dashboard import dashboard, timeline
from ooda.agents.steward.document import as_json, html_page, html_tables, markdown
from ooda.agents.steward.fleet import plan_fleet
from ooda.agents.steward.instants import DAY_NS, HOUR_NS, MINUTE_NS
from ooda.agents.steward.reports import (
    autostop_document,
    forecast_document,
    plan_document,
    plan_text,
    savings_document,
    ttl_document,
)
from ooda.agents.steward.rules import parse_rules
from ooda.agents.steward.ttl import analyze_ttl
from ooda.agents.steward.usage import forecast_stop, last_uses_by_day
from ooda.errors import ConfigError
from tests.agents.steward.samples import at, workspace

BERLIN = ZoneInfo("Europe/Berlin")
NOW = at("2026-11-20 12:00")


# -- suggested stop times ---------------------------------------------------------------------------------


def days_of_work(ends: list[int], first: str = "2026-10-26 00:00+01:00") -> list[int]:
    """Uses on consecutive working days from a Monday: at noon, and last at these minutes after midnight."""
    uses = []
    for number, minute in enumerate(ends):
        day = at(first) + (number // 5 * 7 + number % 5) * DAY_NS
        uses += [day + 12 * HOUR_NS, day + minute * MINUTE_NS]
    return uses


def test_a_stop_time_is_learnt_and_its_error_is_shown() -> None:
    """Nine of ten days end before it; the error was measured with each day left out."""
    ends = [1_080 + offset for offset in (0, 5, -10, 20, 0, 10, -5, 15, 0, 30)]
    (found,) = forecast_stop(NOW, days_of_work(ends), BERLIN)
    assert (found.is_weekend, found.days, found.typical_minute) == (False, 10, 1_082)
    assert found.local_time == "19:00"  # the latest of ten days is 18:30, and half an hour
    assert found.error_minutes == 10
    assert found.too_early_percent == 0
    assert found.next_after(at("2026-11-20 12:00"), BERLIN) == at("2026-11-20 19:00+01:00")
    assert found.next_after(at("2026-11-20 19:00"), BERLIN) == at("2026-11-23 19:00+01:00")


def test_an_outlier_is_counted_as_too_early() -> None:
    """One late night in eleven days is work that the suggestion would have cut off."""
    (found,) = forecast_stop(NOW, days_of_work([1_080] * 10 + [1_320]), BERLIN)
    assert found.too_early_percent == pytest.approx(9.1)


def test_a_night_belongs_to_the_evening_before() -> None:
    """Use at half past one is the end of yesterday, and the suggestion may lie on the next date."""
    assert last_uses_by_day([at("2026-11-03 01:30+01:00")], BERLIN) == {date(2026, 11, 2): 1_530}
    (found,) = forecast_stop(NOW, days_of_work([1_530] * 6), BERLIN)
    assert found.local_time == "02:00+1"


def test_too_few_days_foretell_nothing() -> None:
    """Five days of a kind are the least; today is not over and does not count."""
    assert forecast_stop(NOW, days_of_work([1_080] * 4), BERLIN) == ()
    assert forecast_stop(at("2026-10-30 12:00"), days_of_work([1_080] * 5), BERLIN) == ()


def test_the_suggestion_stands_up_to_new_days() -> None:
    """On days it never saw, drawn from the same habits, it is too early about as often as it said."""
    rng = Random(5)
    for _ in range(20):
        habits = [round(rng.gauss(1_080, 25)) for _ in range(80)]
        (found,) = forecast_stop(NOW, days_of_work(habits[:19]), BERLIN)
        early = sum(end > found.minute for end in habits[20:])
        assert early <= 6


# -- money ------------------------------------------------------------------------------------------------


def test_savings_end_with_the_next_start_or_the_own_deadline() -> None:
    """Hours not run, and never more than the workspace would have gone on by itself."""
    stopped = at("2026-11-19 20:00")
    stops = [
        StopRecord(workspace="a/1", template="gpu", stopped_ns=stopped, started_ns=stopped + 10 * HOUR_NS),
        StopRecord(workspace="a/2", template="gpu", stopped_ns=stopped, would_end_ns=stopped + 2 * HOUR_NS),
        StopRecord(workspace="a/3", template="dev", stopped_ns=stopped),
        StopRecord(workspace="a/4", template="dev", stopped_ns=stopped, would_end_ns=stopped - HOUR_NS),
    ]
    report = report_savings(NOW, stops, PriceTable.parse({"gpu": "2.50"}))
    assert [(row.template, row.stops, row.hours, row.usd) for row in report.rows] == [
        ("dev", 2, Decimal("16.00"), None),
        ("gpu", 2, Decimal("12.00"), Decimal("30.00")),
    ]
    assert (report.hours, report.usd, report.unpriced) == (Decimal("28.00"), Decimal("30.00"), ("dev",))
    assert report_savings(NOW, stops, PriceTable.parse({"*": 1})).unpriced == ()
    assert "Nobody knows a price for: dev." in savings_document(report).sentences


@pytest.mark.parametrize("given", [[], {"gpu": "cheap"}, {"gpu": -1}, {"gpu": "NaN"}, {"gpu": None}])
def test_prices_are_amounts(given: Any) -> None:
    """Anything else is named with its template."""
    with pytest.raises(ConfigError, match="price"):
        PriceTable.parse(given)


# -- holidays ---------------------------------------------------------------------------------------------


def calendar(*events: str) -> str:
    body = "".join(f"BEGIN:VEVENT\nUID:{number}\n{event}\nEND:VEVENT\n" for number, event in enumerate(events))
    return f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//x//y//EN\n{body}END:VCALENDAR\n".replace("\n", "\r\n")


CHRISTMAS = "DTSTART;VALUE=DATE:20261225"
FRIDAYS = "DTSTART;VALUE=DATE:20261204\nRRULE:FREQ=WEEKLY"


@pytest.mark.parametrize(
    ("event", "days"),
    [
        (f"{CHRISTMAS}\nSUMMARY:Christmas", "25"),
        ("DTSTART;VALUE=DATE:20261224\nDTEND;VALUE=DATE:20261227", "24 25 26"),
        ("DTSTART;VALUE=DATE:20261230\nDURATION:P5D", "30 31"),
        ("DTSTART;VALUE=DATE:20201225\nRRULE:FREQ=YEARLY", "25"),
        (f"{FRIDAYS};UNTIL=20261218T000000Z", "04 11 18"),
        (f"{FRIDAYS};COUNT=3\nEXDATE;VALUE=DATE:20261211", "04 18"),
        ("DTSTART;VALUE=DATE:20261201\nRDATE;VALUE=DATE:20261220", "01 20"),
        ("DTSTART;VALUE=DATE:20260301\nDTEND;VALUE=DATE:20261203", "01 02"),
        ("DTSTART:20261225T090000Z\nSUMMARY:Stand-up", ""),
        (f"{CHRISTMAS}\nSTATUS:CANCELLED", ""),
        ("SUMMARY:nothing", ""),
    ],
)
def test_whole_days_of_a_calendar_are_days_off(event: str, days: str) -> None:
    """One or many days, recurring, with exceptions; meetings and cancelled events are none."""
    pytest.importorskip("icalendar", reason="needs the extra `calendar`: pip install 'ooda-agents[calendar]'")
    found = days_off(calendar(event), date(2026, 12, 1), date(2026, 12, 31))
    assert [f"{off.day:%d}" for off in found] == days.split()


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "",
        calendar("DTSTART;VALUE=DATE:20261201\nRRULE:FREQ=SECONDLY"),
        calendar("DTSTART;VALUE=DATE:20261201\nRRULE:FREQ=DAILY;BYSECOND=1,2,3"),
        calendar("DTSTART;VALUE=DATE:00010101\nRRULE:FREQ=DAILY"),
    ],
)
def test_what_is_no_calendar_is_said_to_be_none(text: str) -> None:
    """Nonsense, and rules that are there to keep us busy."""
    pytest.importorskip("icalendar", reason="needs the extra `calendar`: pip install 'ooda-agents[calendar]'")
    with pytest.raises(ConfigError, match="cannot be read"):
        days_off(text, date(2026, 12, 1), date(2026, 12, 31))


def test_days_off_are_quiet_days_of_the_fleet_or_of_one_owner() -> None:
    """Added to those the policy has; an owner's own through a rule."""
    policy = Policy(all_day=AllDay(weekdays=("sun",), dates=("2026-12-24",)))
    holidays = (DayOff(date(2026, 12, 24)), DayOff(date(2026, 12, 25), "Christmas"))
    assert with_days_off(policy, holidays).all_day == AllDay(weekdays=("sun",), dates=("2026-12-24", "2026-12-25"))
    rules = parse_rules([away("alice", holidays[1:], policy)], policy)
    noon = at("2026-12-25 12:00")
    fleet = [workspace(), workspace(owner="bob")]
    assert [seat.said.decision for seat in plan_fleet(noon, policy, fleet, rules=rules)] == ["stop", "keep"]


# -- reports ----------------------------------------------------------------------------------------------

NASTY = "x|`<script>alert(1)</script>`"


def documents() -> list[Any]:
    seats = plan_fleet(NOW, Policy(), [workspace(name=NASTY, deadline="2026-11-20 11:00"), workspace(owner="admin")])
    report = report_savings(NOW, [StopRecord(workspace="a", template=NASTY, stopped_ns=0)], PriceTable({}))
    ends = forecast_stop(NOW, days_of_work([1_080] * 6), BERLIN)
    return [
        plan_document(NOW, seats, is_dry=True),
        ttl_document(analyze_ttl(NOW, [seat.workspace for seat in seats])),
        autostop_document(NOW, schedule(NOW, seats)),
        savings_document(report),
        forecast_document((NASTY, found) for found in ends),
        forecast_document(()),
    ]


@pytest.mark.parametrize("number", range(6))
def test_names_from_outside_stay_names_in_every_form(number: int) -> None:
    """A workspace called like a script or a table cell is text in HTML and Markdown."""
    document = documents()[number]
    page = html_page(document)
    ElementTree.fromstring(f"<x>{html_tables(document)}</x>")
    assert "<script" not in page
    cells = [line for line in markdown(document).splitlines() if line.startswith("|")]
    assert all(line.replace("\\|", "").count("|") == cells[0].count("|") for line in cells[:3])
    assert "<script" not in markdown(document)


def test_the_plan_names_who_when_why_and_what_comes_next() -> None:
    """Stops first, then warnings, then the rest."""
    fleet = [workspace(name="kept", owner="admin"), workspace(name="due", deadline="2026-11-20 11:00"),
             workspace(name="soon", deadline="2026-11-20 12:10"), workspace(name="off", status="stopped")]  # fmt: skip
    text = plan_text(plan_document(NOW, plan_fleet(NOW, Policy(), fleet), is_dry=True))
    assert "3 of 4 workspaces run; this pass would stop 1, warn 1 and leave 1 alone." in text
    rows = [line.split("  ")[0] for line in text.splitlines()[3:]]
    assert rows == ["alice/due", "alice/soon", "admin/kept"]
    assert "2026-11-20 12:15 UTC (in 15m)" in text
    assert "no workspace is running" in plan_text(plan_document(NOW, (), is_dry=False))


def test_reports_as_json_spell_their_instants() -> None:
    """`…_ns` becomes RFC 3339 under the plain name, amounts are texts."""
    report = analyze_ttl(NOW, [workspace(id="w", deadline="2026-11-20 11:00")])
    value = json.loads(json.dumps(as_json(report)))
    assert value["at"] == "2026-11-20T12:00:00Z"
    assert value["should_have_stopped"][0] == {
        "id": "w",
        "workspace": "alice/box",
        "stop": "2026-11-20T11:00:00Z",
        "ttl_ms": None,
        "is_late": True,
    }
    assert as_json({"usd": Decimal("1.50"), "at": None}) == {"usd": "1.50", "at": None}


def test_the_dashboard_draws_the_fleet() -> None:
    """Quiet windows, use and stops of every running workspace; large fleets are cut and say so."""
    fleet = [workspace(name=f"w{number}", deadline="2026-11-20 15:00") for number in range(410)]
    seats = plan_fleet(NOW, Policy(), [*fleet, workspace(name="off", status="stopped"), workspace(name=NASTY)])
    drawing = timeline(NOW, seats)
    tree = ElementTree.fromstring(f"<x>{drawing}</x>")
    assert len(tree.findall("div/svg/g")) == 400
    assert len(tree.findall("div/svg/text")) == 8 + 1
    assert "11 more running workspaces are not drawn" in drawing
    ids = [found.get("id") for found in tree.iter() if found.get("id")]
    assert len(ids) == len(set(ids))
    page = dashboard(NOW, seats[-1:], plan_document(NOW, seats, is_dry=True), ttl_document(analyze_ttl(NOW, fleet)))
    assert page.count("<h2>") == 4
    assert "<script" not in page
