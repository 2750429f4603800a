"""Recurring days off are those that dateutil finds, however far back they begin, and no calendar keeps us busy."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ooda.agents.steward.absences import days_off
from ooda.errors import ConfigError

pytest.importorskip("icalendar", reason="needs the extra `calendar`: pip install 'ooda-agents[calendar]'")
from dateutil.rrule import rrulestr

FIRST, LAST = date(2026, 6, 1), date(2027, 5, 31)
WEEKDAYS = st.lists(st.sampled_from(["MO", "TU", "WE", "TH", "FR", "SA", "SU"]), min_size=1, max_size=3, unique=True)
MONTH_DAYS = st.lists(st.integers(1, 31) | st.integers(-31, -1), min_size=1, max_size=3, unique=True)


def calendar(start: date, *rules: str) -> str:
    events = "".join(
        f"BEGIN:VEVENT\nUID:{number}\nDTSTART;VALUE=DATE:{start:%Y%m%d}\nRRULE:{rule}\nEND:VEVENT\n"
        for number, rule in enumerate(rules)
    )
    return f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//x//y//EN\n{events}END:VCALENDAR\n".replace("\n", "\r\n")


@st.composite
def rules(draw: st.DrawFn) -> str:
    """Rules that people's calendars hold; each fits some day."""
    freq = draw(st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]))
    parts = [f"FREQ={freq}"]
    if draw(st.booleans()):
        parts.append(f"INTERVAL={draw(st.integers(1, 5))}")
    match freq:
        case "WEEKLY" if draw(st.booleans()):
            parts += [f"BYDAY={','.join(draw(WEEKDAYS))}", f"WKST={draw(st.sampled_from(['MO', 'SU']))}"]
        case "MONTHLY" if draw(st.booleans()):
            parts.append(f"BYDAY={draw(st.sampled_from(['1MO', '-1FR', '2TU', 'WE']))}")
        case "MONTHLY" if draw(st.booleans()):
            parts.append(f"BYMONTHDAY={draw(st.integers(1, 28))}")
        case "YEARLY" if draw(st.booleans()):
            parts += [f"BYMONTH={draw(st.integers(1, 12))}", f"BYDAY={draw(st.sampled_from(['4TH', '-1MO', '1SU']))}"]
    end = draw(st.sampled_from(["", "COUNT", "UNTIL"]))
    if end == "COUNT":
        parts.append(f"COUNT={draw(st.integers(1, 2_000))}")
    if end == "UNTIL":
        parts.append(f"UNTIL={draw(st.dates(date(2020, 1, 1), date(2028, 1, 1))):%Y%m%d}T000000Z")
    return ";".join(parts)


@settings(max_examples=200, deadline=None)
@given(start=st.dates(date(1950, 1, 1), date(2027, 6, 1)), rule=rules())
def test_recurring_days_are_those_of_dateutil(start: date, rule: str) -> None:
    """Moving a rule towards the window, or by whole cycles of the calendar, changes nothing."""
    plain = rrulestr(rule.replace("Z", ""), dtstart=datetime.combine(start, time()))
    low, high = datetime.combine(FIRST, time()), datetime.combine(LAST, time())
    expected = [found.date() for found in plain.between(low, high, inc=True)]
    assert [off.day for off in days_off(calendar(start, rule), FIRST, LAST)] == expected


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=31",
        "FREQ=MONTHLY;BYMONTH=4;BYMONTHDAY=31",
        "FREQ=DAILY;COUNT=1000000000;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;INTERVAL=999999999",
    ],
)
def test_a_rule_that_fits_no_day_ends(rule: str) -> None:
    """dateutil alone looks for such a day until the year 9999: seconds for each rule."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    assert days_off(calendar(date(2025, 3, 1), rule), FIRST, LAST) == ()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 2.5


@pytest.mark.parametrize(
    "rules",
    [("FREQ=YEARLY",) * 1_000, ("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",) * 40, ("FREQ=DAILY;COUNT=99999",) * 10],
    ids=["yearly since 1900", "never", "counted days since 1900"],
)
def test_more_work_than_a_calendar_is_worth_is_refused(rules: tuple[str, ...]) -> None:
    """Before it is begun."""
    with pytest.raises(ConfigError, match="too many, or reach too far back"):
        days_off(calendar(date(1900, 1, 1), *rules), FIRST, LAST)


@pytest.mark.parametrize(
    "rule", ["FREQ=DAILY;INTERVAL=0", "FREQ=DAILY;COUNT=0", "FREQ=DAILY;UNTIL=soon", "FREQ=DAILY;COUNT=x"]
)
def test_a_rule_that_counts_from_nothing_is_said_to_be_wrong(rule: str) -> None:
    """As any text that is no calendar."""
    with pytest.raises(ConfigError, match="cannot be read"):
        days_off(calendar(FIRST - timedelta(days=1), rule), FIRST, LAST)
