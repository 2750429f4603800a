"""`decide_lines`: records in, decisions out, and every line answered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooda.agents.steward import Policy, decide_lines
from ooda.agents.steward.policy import problem_of

RECORD: dict[str, Any] = {
    "id": "ws-1",
    "now": "2026-11-20T18:40:00Z",
    "policy": {},
    "workspace": {
        "owner": "alice",
        "owner_tz": None,
        "template": "dev",
        "status": "running",
        "started_at": "2026-11-20T08:00:00.123456789Z",
        "last_used_at": "2026-11-20T12:00:00+02:00",
        "active_connections": None,
        "ttl_ms": 28_800_000,
        "deadline": None,
        "max_deadline": "0001-01-01T00:00:00Z",
        "dormant_at": None,
    },
}


def answer(line: str) -> Any:
    (said,) = decide_lines([line])
    return json.loads(said)


def test_a_record_is_answered_with_its_id() -> None:
    """Exactly the four fields; times in RFC 3339, UTC."""
    assert answer(json.dumps(RECORD)) == {
        "id": "ws-1",
        "decision": "warn",
        "reason": "quiet_hours",
        "next_change": "2026-11-20T19:00:00Z",
    }


def test_a_policy_may_be_left_out() -> None:
    """The defaults are a policy; an id is optional."""
    bare = {"now": RECORD["now"], "workspace": {"owner": "a", "template": "b", "status": "stopped"}}
    assert answer(json.dumps(bare)) == {"id": None, "decision": "keep", "reason": "not_running", "next_change": None}


def test_fractions_of_a_second_are_kept() -> None:
    """A next change is as exact as the times it comes from, to the microsecond."""
    late = {**RECORD, "workspace": {**RECORD["workspace"], "started_at": "2026-11-20T18:10:00.25Z"}}
    assert answer(json.dumps(late))["next_change"] == "2026-11-20T18:40:00.25Z"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nonsense", "not JSON"),
        ('{"id": "x"', "not JSON"),
        ('{"id": "x"}', "missing required field `now`"),
        ("[]", "Expected `object`"),
        (json.dumps({**RECORD, "now": "2026-11-20T18:40:00"}), "timezone"),
        (json.dumps({**RECORD, "now": "0001-01-01T00:00:00Z"}), "1970 to 2199"),
        (json.dumps({**RECORD, "policy": {"excluded_user": ["a"]}}), "did you mean `excluded_users`"),
        (json.dumps({**RECORD, "policy": {"all_day": {"date": []}}}), "did you mean `dates`"),
        (json.dumps({**RECORD, "policy": {"grace_minutes": "long"}}), "in its policy"),
        (json.dumps({**RECORD, "policy": {"tz_source": "moon"}}), "in its policy"),
        (json.dumps({**RECORD, "workspace": {**RECORD["workspace"], "status": None}}), "$.workspace.status"),
        (json.dumps({**RECORD, "policy": {"hold_until": "9999-12-31T23:59:59-14:00"}}), "year 9999"),
        ('{"id": "\udc80"}', "surrogate"),
    ],
)
def test_a_line_that_cannot_be_read_is_answered_in_its_place(line: str, says: str) -> None:
    """It says what is wrong, decides nothing, and the lines behind it go on."""
    first, second = (json.loads(said) for said in decide_lines([line, json.dumps(RECORD)]))
    assert set(first) == {"id", "line", "error"}
    assert first["line"] == 1
    assert says in first["error"]
    assert second["decision"] == "warn"


def test_blank_lines_have_no_answer_and_keep_the_count() -> None:
    """The number in a complaint is that of the line in the file."""
    said = [json.loads(text) for text in decide_lines(["\n", json.dumps(RECORD) + "\n", "  ", "x\n"])]
    assert [row.get("line") for row in said] == [None, 4]


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner)).map(json.dumps))
def test_no_line_stops_the_others(line: str) -> None:
    """Whatever is read, there is one answer or none, and it is JSON."""
    answers = list(decide_lines([line]))
    assert len(answers) == (1 if line.strip() else 0)
    assert all("decision" not in json.loads(said) for said in answers)


def test_many_policies_are_all_understood() -> None:
    """More different policies than are kept at a time."""
    lines = [json.dumps({**RECORD, "policy": {"grace_minutes": minutes}}) for minutes in range(700)]
    stops = [json.loads(said)["decision"] for said in decide_lines(lines)]
    assert stops == ["stop"] * 41 + ["warn"] * 30 + ["keep"] * 629


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"start": "1800"}, "`start` is '1800'"),
        ({"end": "24:01"}, "`end` is '24:01'"),
        ({"start": "09:00", "end": "9:00"}, "use `all_day`"),
        ({"days": ("tuu",)}, "did you mean `tue`"),
        ({"all_day": {"weekdays": ["x"]}}, "`all_day.weekdays` has 'x'"),
        ({"all_day": {"dates": ["20261225"]}}, "such as `2026-12-25`"),
        ({"warn_minutes": 1e9}, "`warn_minutes` is 1e+09"),
    ],
)
def test_a_policys_mistakes_are_named(given: dict[str, Any], says: str) -> None:
    """Each with what was given and what is expected."""
    import msgspec

    assert says in problem_of(msgspec.convert(given, Policy))
    assert problem_of(Policy(days=("Monday", "TUE"), start="24:00", end="8:00")) == ""
