"""`ooda steward decide`: a record in, a decision out, whatever the line holds."""

from __future__ import annotations

import json
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli.steward.fleet_home import FleetHome

RECORD = {
    "id": "a",
    "now": "2026-11-20T19:05:00Z",
    "policy": {},
    "workspace": {
        "owner": "ada",
        "template": "docker",
        "status": "running",
        "started_at": "2026-11-20T08:00:00Z",
        "last_used_at": "2026-11-20T10:00:00Z",
    },
}


def changed(**fields: object) -> dict[str, object]:
    return {**RECORD, "workspace": {**RECORD["workspace"], **fields}}  # type: ignore[dict-item]


def test_records_are_answered_in_kind_and_in_order() -> None:
    """As a process, without a home, a deployment or a token."""
    lines = [
        RECORD,
        {**RECORD, "id": 2, "now": "2026-11-20T18:45:00Z"},
        {**RECORD, "id": None, "policy": {"start": "25:00"}},
    ]
    done = subprocess.run(
        [sys.executable, "-m", "ooda", "steward", "decide"],
        input="\n".join(map(json.dumps, lines)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"id": "a", "decision": "stop", "reason": "quiet_hours", "next_change": None},
        {"id": 2, "decision": "warn", "reason": "quiet_hours", "next_change": "2026-11-20T19:00:00Z"},
        {"id": None, "decision": "keep", "reason": "config_error", "next_change": None},
    ]


def test_a_mistake_is_answered_in_its_place_and_names_the_field(fleet: FleetHome) -> None:
    """And the lines around it are decided."""
    lines = [
        json.dumps(changed(ttl_ms="x")),
        json.dumps({**RECORD, "now": "yesterday"}),
        json.dumps({**RECORD, "policy": {"graze_minutes": 5}}),
        json.dumps({**RECORD, "policy": {"grace_minutes": "long"}}),
        json.dumps({"id": "b", "now": RECORD["now"], "workspace": {"template": "t", "status": "running"}}),
        "nonsense",
        json.dumps(RECORD),
    ]
    done = fleet.ooda("steward", "decide", stdin="\n".join(lines).encode())
    answers = [json.loads(line) for line in done.out.splitlines()]
    fields = ("ttl_ms", "now", "grace_minutes", "grace_minutes", "owner", "JSON")
    assert [field in answer["error"] for field, answer in zip(fields, answers, strict=False)] == [True] * 6
    assert answers[6]["decision"] == "stop"
    assert done.code == 0
    assert fleet.ooda("steward", "decide", "--strict", stdin=lines[0].encode()).code == 2


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=60), st.just(json.dumps(RECORD).encode())), max_size=5))
def test_no_bytes_crash_it(lines: list[bytes]) -> None:
    """One answer for every line that is not blank, each of them JSON."""
    from io import BytesIO

    from ooda.agents.steward.lines import decide_lines
    from ooda.cli.steward_decide import lines_of

    given_lines = list(lines_of(BytesIO(b"\n".join(lines))))
    answers = [json.loads(answer) for answer in decide_lines(given_lines)]
    assert len(answers) == sum(bool(line.strip()) for line in given_lines)
    assert all("decision" in answer or "error" in answer for answer in answers)
