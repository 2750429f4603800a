"""The decision agrees with a second reading of its rules on another time library, over many random records."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import pytest

from ooda.agents.steward import decide_lines
from tests.agents.steward.oracle import draw, expected

pytest.importorskip("whenever", reason="the second reading needs `whenever`: pip install 'ooda-agents[dev]'")


def _compare(seed: int, draws: int) -> Counter[str]:
    from whenever import Instant

    rng = Random(seed)
    seen: Counter[str] = Counter()
    for _ in range(draws):
        record = draw(rng)
        (line,) = decide_lines([json.dumps(record)])
        answer = json.loads(line)
        at = answer["next_change"]
        said = (answer["decision"], answer["reason"], None if at is None else Instant.parse_iso(at).timestamp())
        wanted = expected(record)
        assert said == wanted, json.dumps(record)
        seen[f"{said[0]} {said[1]}"] += 1
    return seen


def test_decisions_agree_with_a_second_reading_of_the_rules() -> None:
    """Same decision, reason and next change for every record; no kind of answer goes untried."""
    seen = _compare(20261121, 4_000)
    assert set(seen) == {
        *(f"stop {cause}" for cause in ("max_deadline", "ttl", "quiet_hours")),
        *(f"warn {cause}" for cause in ("max_deadline", "ttl", "quiet_hours")),
        *(f"keep {guard}" for guard in ("config_error", "clock_skew", "dormant", "not_running", "held_by_override")),
        *(f"keep {why}" for why in ("active_connection", "within_ttl", "no_ttl", "excluded_user")),
        *(f"keep {why}" for why in ("excluded_template", "recently_used", "in_grace", "outside_quiet_hours")),
    }


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("part", range(10))
def test_a_million_decisions_agree(part: int) -> None:
    """The same over a million records, in ten parts."""
    assert sum(_compare(part, 100_000).values()) == 100_000
