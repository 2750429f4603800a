"""A whole fleet under policies: rules, holds, roles, prebuilt workspaces, and what comes from Coder's answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ooda.agents.steward import Policy
from ooda.agents.steward.fleet import Hold, holders_of, plan_fleet, workspace_of, zone_of
from ooda.agents.steward.rules import RuleBook, parse_rules
from ooda.errors import ConfigError
from tests.agents.steward.samples import at, workspace
from tests.services.coder.fleet import fleet

NOW = at("2026-11-20 20:00")
EVENING = Policy()


def said(*seen: Any, **options: Any) -> list[str]:
    return [f"{seat.said.decision} {seat.said.reason}" for seat in plan_fleet(NOW, EVENING, seen, **options)]


def test_a_hold_covers_a_workspace_an_owner_or_everybody() -> None:
    """By id or `owner/name`, by user name without case, and only until its end."""
    fleet = [workspace(id="1"), workspace(id="2", name="other"), workspace(id="3", owner="bob")]
    held, due = "keep held_by_override", "stop quiet_hours"
    until = at("2026-11-20 22:00")
    for hold, expected in (
        (Hold(scope="workspace", target="1", until_ns=until), [held, due, due]),
        (Hold(scope="workspace", target="alice/OTHER", until_ns=until), [due, held, due]),
        (Hold(scope="owner", target="Alice", until_ns=until), [held, held, due]),
        (Hold(scope="fleet", until_ns=until), [held, held, held]),
        (Hold(scope="fleet", until_ns=NOW), [due, due, due]),
    ):
        assert said(*fleet, holds=(hold,)) == expected


def test_of_several_holds_the_last_to_end_counts() -> None:
    """And the policy's own hold is one of them."""
    policy = Policy(hold_until=datetime(2026, 11, 20, 21, 0, tzinfo=UTC))
    holds = tuple(Hold(scope="fleet", until_ns=at(f"2026-11-20 {hour}:00")) for hour in ("20", "23", "22"))
    (seat,) = plan_fleet(NOW, policy, [workspace()], holds=holds)
    assert seat.said.next_ns == at("2026-11-20 23:00")
    (seat,) = plan_fleet(NOW, policy, [workspace()], holds=holds[:1])
    assert seat.said.next_ns == at("2026-11-20 21:00")


def test_prebuilt_workspaces_are_in_no_fleet() -> None:
    """Nobody's policy is for what belongs to nobody yet."""
    assert said(workspace(is_prebuild=True), workspace()) == ["stop quiet_hours"]


CHEAP_OR_KNOWN = {"any": [{"owner": ["bob", "c*"]}, {"daily_cost": {"at_most": 1}}]}
RULES = [
    {"name": "gpu", "when": {"template": "GPU-*", "not": {"role": "owner"}}, "policy": {"start": "06:00"}},
    {"name": "kept", "when": CHEAP_OR_KNOWN, "policy": {"enabled": False}},
]


def test_the_first_rule_that_fits_chooses_the_policy() -> None:
    """Globs without case, roles, numbers, `all`, `any` and `not`; without a rule the fleet's policy stands."""
    rules = parse_rules(RULES, EVENING)
    seats = plan_fleet(
        NOW,
        EVENING,
        [
            workspace(template="gpu-a100", owner="bob", daily_cost=5),
            workspace(template="gpu-a100", owner="root", daily_cost=5),
            workspace(owner="carl", daily_cost=5),
            workspace(owner="dora", daily_cost=1),
            workspace(owner="dora", daily_cost=5),
        ],
        rules=rules,
        roles={"root": frozenset({"Owner"})},
    )
    assert [seat.rule for seat in seats] == ["gpu", "", "kept", "kept", ""]
    assert [seat.policy.start for seat in seats] == ["06:00", "18:00", "18:00", "18:00", "18:00"]
    assert [seat.said.reason for seat in seats[2:4]] == ["no_ttl", "no_ttl"]


@pytest.mark.parametrize(
    ("condition", "fits"),
    [
        ({"organization": "core"}, True),
        ({"name": "b?x"}, True),
        ({"workspace": "alice/*"}, True),
        ({"owner_tz": "Europe/*"}, False),
        ({"has_ttl": True}, True),
        ({"has_deadline": True}, False),
        ({"has_autostart": False}, True),
        ({"is_healthy": True, "is_outdated": True}, False),
        ({"ttl_hours": {"at_least": 8, "at_most": 8}}, True),
        ({"all": [{"owner": "alice"}, {"not": {"template": "dev"}}]}, False),
    ],
)
def test_every_criterion(condition: dict[str, Any], fits: bool) -> None:
    """Each looks at one fact; several of one object must all hold."""
    seen = workspace(organization="core", ttl_ms=28_800_000)
    book = parse_rules([{"name": "r", "when": condition, "policy": {}}], EVENING)
    assert (book.picked(seen) is not None) is fits


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"when": {}, "policy": {}}, "missing required field `name`"),
        ({"name": "", "when": {}, "policy": {}}, "has no name"),
        ({"name": "x", "when": {"templte": "a"}, "policy": {}}, "did you mean `template`"),
        ({"name": "x", "when": {"colour": "a"}, "policy": {}}, "known are `owner`"),
        ({"name": "x", "when": {"template": 3}, "policy": {}}, "a text or a list of texts"),
        ({"name": "x", "when": {"has_ttl": "yes"}, "policy": {}}, "true or false"),
        ({"name": "x", "when": {"daily_cost": 5}, "policy": {}}, "at_least"),
        ({"name": "x", "when": {"daily_cost": {"at_least": "5"}}, "policy": {}}, "takes a number"),
        ({"name": "x", "when": {"any": []}, "policy": {}}, "a list of conditions"),
        ({"name": "x", "when": {"not": "a"}, "policy": {}}, "takes a condition"),
        ({"name": "x", "when": {}, "policy": {"start": "26:00"}}, "`start` is '26:00'"),
        ({"name": "x", "when": {}, "policy": {"strt": "06:00"}}, "strt"),
    ],
)
def test_mistakes_in_rules_are_named(rule: dict[str, Any], says: str) -> None:
    """Before anything is decided by them."""
    with pytest.raises(ConfigError, match="ule") as caught:
        parse_rules([rule], EVENING)
    assert says in str(caught.value)


def test_rules_have_names_of_their_own_and_bounded_depth() -> None:
    """Two of one name would hide each other; a tower of conditions is refused."""
    rule = {"name": "x", "when": {}, "policy": {}}
    with pytest.raises(ConfigError, match="two rules"):
        parse_rules([rule, rule], EVENING)
    deep: dict[str, Any] = {"owner": "a"}
    for _ in range(12):
        deep = {"not": deep}
    with pytest.raises(ConfigError, match="deep"):
        parse_rules([{**rule, "when": deep}], EVENING)
    assert RuleBook().picked(workspace()) is None


async def test_coders_answers_become_the_fleet() -> None:
    """Owner, times, build and policy facts; the zone from quiet hours people set themselves."""
    async with fleet(40) as (fake, client):
        listing = await client.workspaces()
        users = (await client.users()).rows
        for row in listing.rows:
            seen, truth = workspace_of(row, active_connections=2), fake.world.workspaces[row.id]
            assert (seen.title, seen.status) == (f"{truth.owner.username}/{truth.name}", truth.latest.status)
            assert (seen.build_id, seen.build_number) == (truth.latest.id, truth.latest.number)
            assert (seen.started_ns is not None) == truth.latest.is_running
            assert (seen.deadline_ns is not None) == (truth.latest.deadline is not None)
            assert (seen.is_prebuild, seen.active_connections) == (truth.is_prebuild, 2)
        assert holders_of({"OWNER"}, users) == ("steward",)
        own = next(user for user in fake.world.users.values() if user.schedule)
        none = next(user for user in fake.world.users.values() if not user.schedule)
        assert zone_of(await client.quiet_hours(own.id)) == own.timezone
        assert zone_of(await client.quiet_hours(none.id)) is None
