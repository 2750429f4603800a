"""`ooda steward status|running|hold|release|holds|operations|metrics`: looks, and overrides by people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.steward.fleet_home import FleetHome


def test_status_says_how_deployment_token_and_steward_stand(fleet: FleetHome) -> None:
    """In lines for people and as JSON; the token itself is in neither."""
    fleet.person("ada", 2)
    fleet.ooda("steward", "hold", "--owner", "ada", "--for", "1h")
    done = fleet.ooda("steward", "status")
    assert done.code == 0, done.err
    assert fleet.fake.url in done.out and "2 running" in done.out and "everything of ada until" in done.out
    found = fleet.ooda("steward", "status", "--json").json()
    assert (found["workspaces"], found["statuses"], found["open_builds"]) == (2, {"running": 2}, 0)
    assert fleet.fake.token not in done.out + str(found)


def test_status_of_one_workspace_names_the_decision_and_what_we_did(fleet: FleetHome) -> None:
    """By `owner/name` or id; a wrong name is answered with the nearest one."""
    (space,) = fleet.person("ada")
    found = fleet.ooda("steward", "status", "ada/w0", "--json").json()
    assert (found["id"], found["said"]["decision"], found["said"]["reason"]) == (space.id, "stop", "quiet_hours")
    assert fleet.ooda("steward", "stop", "ada/w0").code == 0
    after = fleet.ooda("steward", "status", space.id)
    assert "stopped" in after.out.splitlines()[0]
    assert "stop ada/w0" in after.out
    wrong = fleet.ooda("steward", "status", "ada/w9")
    assert (wrong.code, wrong.out) == (2, "")
    assert "did you mean `ada/w0`?" in wrong.err


def test_running_lists_those_that_pass_every_filter(fleet: FleetHome) -> None:
    """Filters narrow; what is no length of time is refused with an example."""
    fleet.person("ada", 2)
    fleet.person("bob", last_used_at=datetime.now(UTC))

    def titles(*options: str) -> list[str]:
        listed = fleet.ooda("steward", "running", *options, "--json").json()
        return [f"{seen['owner']}/{seen['name']}" for seen in listed]

    assert titles() == ["ada/w0", "ada/w1", "bob/w2"]
    assert titles("--idle", "4h") == ["ada/w0", "ada/w1"]
    assert titles("--owner", "ada", "--name", "*1") == ["ada/w1"]
    assert titles("--up", "9h") == []
    wrong = fleet.ooda("steward", "running", "--idle", "soon")
    assert wrong.code == 2
    assert "write it as 2h or 90m" in wrong.err


@pytest.mark.parametrize("scope", [("ada/w0",), ("--owner", "ada"), ("--fleet",)], ids=["workspace", "owner", "fleet"])
def test_what_is_held_is_not_stopped_until_it_is_released(fleet: FleetHome, scope: tuple[str, ...]) -> None:
    """The emergency override: it stands in the store, names who made it, and ends by itself or by `release`."""
    fleet.person("ada")
    made = fleet.ooda("steward", "hold", *scope, "--for", "2h", "--reason", "a demo", environ={"OODA_USER": "grace"})
    assert made.code == 0, made.err
    assert fleet.ooda("steward", "quiet-hours", "--execute").code == 0
    assert fleet.fake.posts() == []
    (held,) = fleet.ooda("steward", "holds", "--json").json()
    assert (held["made_by"], held["reason"]) == ("grace", "a demo")
    seat = fleet.ooda("steward", "quiet-hours", "--json").json()["workspaces"][0]
    assert (seat["decision"], seat["reason"]) == ("keep", "held_by_override")

    assert fleet.ooda("steward", "release", *scope).code == 0
    assert fleet.ooda("steward", "release", *scope).code == 1
    assert fleet.ooda("steward", "quiet-hours", "--execute").code == 0
    assert len(fleet.fake.posts()) == 1


def test_a_hold_ends_at_its_time(fleet: FleetHome) -> None:
    """`--until` wants a zone; a time that has passed is refused."""
    fleet.person("ada")
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds")
    assert fleet.ooda("steward", "hold", "ada/w0", "--until", soon).code == 0
    for wrong in ("18:00", "2026-11-21T18:00:00"):
        done = fleet.ooda("steward", "hold", "ada/w0", "--until", wrong)
        assert done.code == 2
        assert "with its zone" in done.err
    past = fleet.ooda("steward", "hold", "ada/w0", "--until", "2020-01-01T00:00:00Z")
    assert past.code == 2, past.out
    both = fleet.ooda("steward", "hold", "ada/w0", "--owner", "ada", "--for", "1h")
    assert both.code == 2
    assert "say what is held" in both.err


def test_operations_and_counters_tell_what_was_done(fleet: FleetHome) -> None:
    """By the requirement's names, and in Prometheus' format."""
    fleet.person("ada", 2)
    assert fleet.ooda("steward", "quiet-hours", "--execute").code == 0
    rows = fleet.ooda("steward", "operations", "--json").json()
    assert [(row["workspace"], row["transition"], row["state"]) for row in rows] == [
        ("ada/w0", "stop", "done"),
        ("ada/w1", "stop", "done"),
    ]
    assert fleet.ooda("steward", "operations").out.count("quiet_hours; done") == 2
    counted = fleet.ooda("steward", "metrics", "--json").json()
    assert counted["workspaces_stopped_quiet_hours"] == 2
    wanted = {"workspaces_stopped_ttl", "workspaces_stopped_autostop", "api_errors", "notification_failures"}
    assert wanted <= counted.keys()
    exposed = fleet.ooda("steward", "metrics", "--prometheus").out
    assert "# TYPE" in exposed and " 2\n" in exposed
