"""The steward for Python programs, by the requirement's names, against a deployment on loopback."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ooda.api.steward.controller import (
    WorkspaceController,
    analyze_ttl_compliance,
    display_autostop_schedule,
    emergency_start_all,
    execute_autostop_batch,
    get_autostop_workspaces,
    handle_api_error,
    rollback_last_operation,
)
from ooda.errors import ConfigError, CredentialError, IntegrationError, UserError
from tests.cli.steward.fleet_home import FleetHome, fleet_home


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[FleetHome]:
    with fleet_home(tmp_path) as made:
        yield made


def controller_of(fleet: FleetHome, **settings: object) -> WorkspaceController:
    environ = {name: value for name, value in fleet.environ.items() if not name.startswith("CODER_")}
    return WorkspaceController(fleet.fake.url, fleet.fake.token, settings=settings, environ=environ, cwd=fleet.folder)


def test_one_workspace_is_stopped_and_its_build_is_named(fleet: FleetHome) -> None:
    """By id or name; what does not run is left, what nobody knows is said to be unknown."""
    first, second = fleet.person("ada", 2)
    control = controller_of(fleet)
    done = control.stop_workspace(first.id, reason="the quarter is over")
    assert (done.workspace, done.status, done.build) == ("ada/w0", "stopped", first.latest.id)
    again = control.stop_workspace("ada/w0")
    assert (again.status, len(fleet.fake.posts())) == ("left", 1)
    many = control.bulk_stop_workspaces(["ada/w1", "ada/none"], reason="Bulk stop")
    assert [(one.workspace, one.status) for one in many] == [("ada/w1", "stopped"), ("ada/none", "failed")]
    assert many[0].build == second.latest.id
    assert "there is no such workspace" in many[1].detail
    assert control.bulk_stop_workspaces([]) == ()
    assert fleet.fake.token not in repr(control)


async def test_it_works_inside_a_running_event_loop(fleet: FleetHome) -> None:
    """A notebook has one already."""
    fleet.person("ada")
    assert controller_of(fleet).get_workspace_status("ada/w0").status == "running"


def test_running_workspaces_can_be_filtered_by_the_fields_of_the_filter(fleet: FleetHome) -> None:
    """A filter nobody knows is named with those that are known."""
    fleet.person("ada", 2)
    fleet.person("bob", last_used_at=datetime.now(UTC))
    control = controller_of(fleet)
    assert [seen.title for seen in control.get_running_workspaces()] == ["ada/w0", "ada/w1", "bob/w2"]
    assert [seen.title for seen in control.get_running_workspaces({"idle_s": 14_400, "name": "*1"})] == ["ada/w1"]
    with pytest.raises(ConfigError, match="there is no filter 'idel'; known are"):
        control.get_running_workspaces({"idel": 3})
    with pytest.raises(ConfigError, match="filters cannot be used"):
        control.get_running_workspaces({"idle_s": "long"})


def test_owners_are_told_once_each(fleet: FleetHome) -> None:
    """Grouped: two workspaces of one owner are one notice."""
    fleet.person("ada", 2)
    fleet.person("bob")
    told = controller_of(fleet).notify_users(["ada/w0", "ada/w1", "bob/w2"], "Maintenance at noon.")
    assert told == 2
    assert {notice["to"]["email"] for notice in fleet.notices("steward.owner")} == {
        "ada@example.com",
        "bob@example.com",
    }


def test_reports_come_as_values_and_as_text(fleet: FleetHome, capsys: pytest.CaptureFixture[str]) -> None:
    """Time to live, what will stop, and when."""
    fleet.person("ada", 2)
    control = controller_of(fleet)
    report = analyze_ttl_compliance(control, threshold_s=7_200)
    assert report.checked == 2
    lines = get_autostop_workspaces(control)
    assert {line.workspace.title for line in lines} == {"ada/w0", "ada/w1"}
    text = display_autostop_schedule(control)
    assert capsys.readouterr().out == text
    assert "ada/w0" in text


def test_what_was_stopped_comes_back(fleet: FleetHome) -> None:
    """The last operation, or everything of the last hours; only where our stop is still the latest build."""
    first, second = fleet.person("ada", 2)
    control = controller_of(fleet)
    assert execute_autostop_batch(control, batch_size=1).status == "success"
    assert {first.latest.transition, second.latest.transition} == {"stop"}
    assert rollback_last_operation(control).status == "success"
    assert {first.latest.transition, second.latest.transition} == {"start"}
    builds = len(fleet.fake.posts())
    assert emergency_start_all(control).status == "success"
    assert len(fleet.fake.posts()) == builds


def test_a_stop_beyond_the_blast_radius_waits_for_a_person(fleet: FleetHome) -> None:
    """Nobody is at the terminal: nothing is stopped, and each outcome says so."""
    fleet.person("ada", 12)
    settings = {"steward.blast_count": 2, "steward.blast_percent": 10}
    outcomes = controller_of(fleet, **settings).bulk_stop_workspaces([f"ada/w{number}" for number in range(12)])
    assert {one.status for one in outcomes} == {"waiting"}
    assert fleet.fake.posts() == []


def test_errors_are_sorted_and_administrators_told_of_critical_ones(
    fleet: FleetHome, caplog: pytest.LogCaptureFixture
) -> None:
    """Logged in the requirement's words; a permission problem goes to the administrators, a busy server does not."""
    fleet.person("ada")
    control = controller_of(fleet)
    busy = IntegrationError("slow down", service="coder", operation="stop", status=429, retryable=True, retry_after_s=2)
    with caplog.at_level(logging.ERROR, "ooda.steward"):
        handled = handle_api_error(busy, "ada/w0", "stop", control)
    assert (handled.is_retryable, handled.retry_after_s, handled.admins_told) == (True, 2.0, False)
    assert "Failed to stop workspace ada/w0 (slow down)" in caplog.text
    assert handle_api_error(CredentialError("expired"), "ada/w0", "stop", control).admins_told
    assert len(fleet.notices("steward.admins")) == 1
    other = handle_api_error(ValueError("odd"), "ada/w0", "stop", control)
    assert (other.kind, other.is_retryable, other.admins_told) == ("other", False, False)


def test_a_token_that_is_not_taken_is_an_error_at_once(fleet: FleetHome) -> None:
    """It is not retried, and stands in no message."""
    control = WorkspaceController(
        fleet.fake.url, "wrong-token-0123456789", environ={"HOME": fleet.environ["HOME"]}, cwd=fleet.folder
    )
    with pytest.raises(UserError) as caught:
        control.get_running_workspaces()
    assert isinstance(caught.value, CredentialError)
    assert "wrong-token-0123456789" not in str(caught.value)
