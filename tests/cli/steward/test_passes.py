"""Passes from the command line over loopback HTTP: what is shown, what is stopped, what the exit code says."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ooda.agents.steward.instants import minute_of, ns_of
from tests.cli.steward.fleet_home import FleetHome

HOUR_MS = 3_600_000
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[[A-Z_]+\] (INFO|WARNING|ERROR): \S.*")


def test_a_dry_run_says_who_when_why_and_what_comes_next(fleet: FleetHome) -> None:
    """The default: a plan on stdout, log lines on stderr, and nothing is done."""
    fleet.person("ada", 2)
    fleet.person("bob", 1, last_used_at=datetime.now(UTC))
    done = fleet.ooda("steward", "quiet-hours", "--dry-run")
    assert done.code == 0, done.err
    rows = {line.split()[0]: line for line in done.out.splitlines() if "/w" in line}
    assert rows.keys() == {"ada/w0", "ada/w1", "bob/w2"}
    assert "stop" in rows["ada/w0"] and "quiet hours" in rows["ada/w0"]
    assert re.search(r"\d\d:\d\d UTC \(in (29|30)m\)", rows["bob/w2"]), rows["bob/w2"]
    assert all(LOG_LINE.fullmatch(line) for line in done.err.splitlines()), done.err
    assert (fleet.fake.posts(), fleet.builds(), fleet.notices("steward.owner")) == ([], [], [])


def test_execute_stops_what_is_due_once_and_tells_the_owner(fleet: FleetHome) -> None:
    """Each build is on record with its id; a second pass finds nothing."""
    spaces = fleet.person("ada", 3)
    done = fleet.ooda("steward", "quiet-hours", "--execute", "--json")
    assert done.code == 0, done.err
    result = done.json()
    assert {build["state"] for build in result["builds"]} == {"done"}
    assert {build["build"] for build in result["builds"]} == {space.latest.id for space in spaces}
    assert len(re.findall(r"\[WORKSPACE\] INFO: Stopped workspace ada/w\d \(reason: quiet hours\)", done.err)) == 3
    assert [notice["to"]["email"] for notice in fleet.notices("steward.owner")] == ["ada@example.com"]
    assert fleet.ooda("steward", "quiet-hours", "--execute").code == 0
    assert len(fleet.fake.posts()) == 3


def test_another_time_zone_moves_the_window(fleet: FleetHome) -> None:
    """Twelve hours away it is no night."""
    fleet.person("ada")
    for zone, stops in (("UTC", 1), ("Etc/GMT+11", 0)):
        result = fleet.ooda("steward", "quiet-hours", "--timezone", zone, "--json").json()
        assert result["counts"]["stop"] == stops, zone
    wrong = fleet.ooda("steward", "quiet-hours", "--timezone", "Mars/Base", "--json").json()
    assert {seat["reason"] for seat in wrong["workspaces"]} == {"config_error"}


def test_dry_run_from_the_environment_wins_over_execute(fleet: FleetHome) -> None:
    """`DRY_RUN=true` in a crontab makes every line a preview."""
    fleet.person("ada")
    done = fleet.ooda("steward", "quiet-hours", "--execute", environ={"DRY_RUN": "true"})
    assert (done.code, fleet.fake.posts()) == (0, [])
    assert "dry run" in done.err


def test_agents_config_is_read_below_environment_and_command_line(fleet: FleetHome) -> None:
    """Its keys are the requirement's; what the environment says wins, and it cannot switch a dry run off."""
    fleet.person("ada")
    fleet.person("eve")
    fleet.write(
        "agents_config.json",
        {"quiet_hours": {"start_time": "00:00", "end_time": "00:01", "excluded_users": ["eve"], "dry_run": False}},
    )
    result = fleet.ooda("steward", "quiet-hours", "--json").json()
    said = {seat["workspace"]: (seat["decision"], seat["reason"]) for seat in result["workspaces"]}
    assert said == {"ada/w0": ("stop", "quiet_hours"), "eve/w1": ("keep", "excluded_user")}
    done = fleet.ooda("steward", "quiet-hours", "--execute", environ={"DRY_RUN": "1"})
    assert (done.code, fleet.fake.posts()) == (0, [])
    fleet.write("agents_config.json", {"quiet_hours": {"start_tim": "1"}, "autostop": {"batch_size": "many"}})
    broken = fleet.ooda("steward", "quiet-hours")
    assert broken.code == 2
    assert "did you mean `start_time`?" in broken.err


def test_the_ttl_report_has_the_requirements_form(fleet: FleetHome, tmp_path: Path) -> None:
    """Text, JSON, Markdown and HTML; a threshold and a user narrow it; violations have a history."""
    now = datetime.now(UTC)
    fleet.person("ada", started_at=now - timedelta(hours=10, minutes=30), ttl_ms=8 * HOUR_MS)
    fleet.person("bob", started_at=now - timedelta(hours=6, minutes=15), ttl_ms=8 * HOUR_MS)
    text = fleet.ooda("steward", "ttl", "--report", "--threshold", "2h").out
    assert text.startswith("TTL Compliance Report\n=====================\nWorkspaces that SHOULD HAVE STOPPED:\n")
    assert re.search(r"^- ada/w0: Expired 2h 30m ago \(TTL: 8h\)$", text, re.M), text
    assert re.search(r"^- bob/w1: Stopping in 1h 4[45]m \(TTL: 8h\)$", text, re.M), text
    assert "bob/w1" not in fleet.ooda("steward", "ttl", "--threshold", "1h").out
    report = fleet.ooda("steward", "ttl", "--user", "ADA", "--json").json()
    assert [entry["workspace"] for entry in report["should_have_stopped"]] == ["ada/w0"]
    assert report["stopping_soon"] == []
    assert "| ada/w0 |" in fleet.ooda("steward", "ttl", "--format", "markdown").out
    assert "<td>ada/w0</td>" in fleet.ooda("steward", "ttl", "--format", "html").out
    assert "overdue" in fleet.ooda("steward", "ttl", "--history").out
    assert fleet.fake.posts() == []


def test_autostop_shows_its_schedule_and_carries_out_what_is_due(fleet: FleetHome) -> None:
    """Each stop with its cause; batches of the size that was asked for."""
    deadline = datetime.now(UTC) + timedelta(hours=2)
    fleet.person("ada", 3)
    fleet.person("eve", 1, started_at=deadline - timedelta(hours=8), last_used_at=datetime.now(UTC), ttl_ms=8 * HOUR_MS)
    shown = fleet.ooda("steward", "autostop", "--schedule")
    assert shown.code == 0, shown.err
    assert "- ada/w0: " in shown.out and "by quiet hours, steward" in shown.out
    assert f"then {minute_of(ns_of(deadline))} by time to live, coder" in shown.out
    listed = fleet.ooda("steward", "autostop", "--list-pending", "--json").json()
    assert listed["counts"] == {"stop": 3, "warn": 1, "keep": 0}
    assert "| ada/w0 |" in fleet.ooda("steward", "autostop", "--format", "markdown").out
    assert fleet.fake.posts() == []
    done = fleet.ooda("steward", "autostop", "--execute", "--batch-size", "2", "--json")
    assert (done.code, len(fleet.fake.posts())) == (0, 3)
    asked = fleet.fake.requests
    posts = [at for at, request in enumerate(asked) if request.method == "POST" and request.path.endswith("/builds")]
    looks = [request.path.startswith("/api/v2/workspacebuilds/") for request in asked[posts[1] : posts[2]]]
    assert any(looks), "a batch comes to its end before the next one is asked for"


def test_a_plan_beyond_the_cap_waits_and_is_gone_on_with_when_answered(fleet: FleetHome) -> None:
    """Exit 75; the same command again asks no second time; after a yes it stops them all."""
    fleet.person("ada", 8)
    narrow = {"OODA_STEWARD__BLAST_PERCENT": "20"}
    waiting = fleet.ooda("steward", "quiet-hours", "--execute", "--json", environ=narrow)
    assert (waiting.code, fleet.fake.posts()) == (75, [])
    again = fleet.ooda("steward", "quiet-hours", "--execute", "--json", environ=narrow)
    assert (again.code, again.json()["run"]) == (75, waiting.json()["run"])
    (asked,) = fleet.ooda("approvals", "list", "--json").json()
    assert "stop ada/w0: quiet hours" in asked["shown"]
    assert fleet.ooda("approvals", "answer", asked["id"], "--approve").code == 0
    done = fleet.ooda("steward", "quiet-hours", "--execute", "--json", environ=narrow)
    assert (done.code, len(fleet.fake.posts())) == (0, 8)


def test_a_task_file_of_kind_steward_is_run_and_resumed(fleet: FleetHome) -> None:
    """`ooda run` carries a pass; `runs resume` goes on with it; on another deployment it is refused."""
    fleet.person("ada", 1)
    task = {"kind": "steward", "check": "quiet_hours", "dry_run": False, "grants": []}
    path = fleet.write("task.json", task)
    done = fleet.ooda("run", str(path), "--json")
    assert (done.code, fleet.fake.posts()) == (75, [])
    (asked,) = fleet.ooda("approvals", "list", "--json").json()
    fleet.ooda("approvals", "answer", asked["id"], "--approve")
    elsewhere = fleet.ooda("runs", "resume", done.json()["run"], environ={"CODER_URL": "http://127.0.0.1:1"})
    assert elsewhere.code == 2 and fleet.fake.url in elsewhere.err
    assert fleet.ooda("runs", "resume", done.json()["run"], "--json").code == 0
    assert len(fleet.fake.posts()) == 1
    path = fleet.write("other.json", {**task, "deployment": "https://coder.example.com"})
    assert fleet.ooda("run", str(path)).code == 2
    assert fleet.ooda("run", str(path), "--model", "gpt").code == 2


def test_no_deployment_or_token_is_said_with_what_to_set(fleet: FleetHome) -> None:
    """Before anything is recorded."""
    for gone, code in (("CODER_URL", 2), ("CODER_TOKEN", 6)):
        done = fleet.ooda("steward", "quiet-hours", environ={gone: ""})
        assert (done.code, gone in done.err) == (code, True), done.err
    assert json.loads(fleet.ooda("runs", "list", "--json").out) == []
