"""`ooda steward audit|dashboard|last-seen|bump-ttl`: the scripts the steward grew out of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.cli.steward.fleet_home import FleetHome


def test_audit_names_what_is_wrong_with_each_workspace(fleet: FleetHome) -> None:
    """Running without an end, overdue, unused for long."""
    now = datetime.now(UTC)
    (endless,) = fleet.person("ada")
    fleet.do(lambda: setattr(endless.latest, "deadline", None))
    fleet.person("bob", last_used_at=now - timedelta(days=40))
    found = fleet.ooda("steward", "audit", "--json").json()
    findings = {f"{row['owner']}/{row['name']}": row["findings"] for row in found["workspaces"]}
    assert "runs without an end" in findings["ada/w0"]
    assert any(said.startswith("not used for 40d") for said in findings["bob/w1"]), findings
    text = fleet.ooda("steward", "audit").out
    assert "2 workspaces were looked at, 2 have findings" in text


def test_audit_stops_the_idle_when_it_is_told_to(fleet: FleetHome) -> None:
    """It wants a filter, previews first, and stops through the same pass as everything else."""
    fleet.person("ada", 2)
    fleet.person("bob", last_used_at=datetime.now(UTC))
    blind = fleet.ooda("steward", "audit", "--stop", "--execute")
    assert (blind.code, fleet.fake.posts()) == (2, [])
    assert "wants to know which" in blind.err
    assert fleet.ooda("steward", "audit", "--stop", "--idle", "4h").code == 0
    assert fleet.fake.posts() == []
    assert fleet.ooda("steward", "audit", "--stop", "--idle", "4h", "--execute").code == 0
    assert [row.title for row in fleet.builds()] == ["ada/w0", "ada/w1"]


def test_last_seen_lists_users_seen_longest_ago_first(fleet: FleetHome) -> None:
    """With what of theirs runs; `--inactive` narrows."""
    fleet.person("ada", 2)
    fleet.person("bob", last_used_at=datetime.now(UTC))
    found = fleet.ooda("steward", "last-seen", "--json").json()
    by_name = {one["user"]: one for one in found}
    assert by_name["ada"]["running"] == ["ada/w0", "ada/w1"]
    seen = [one["seen"] or "" for one in found]
    assert seen == sorted(seen)
    only = fleet.ooda("steward", "last-seen", "--user", "ada", "--json").json()
    assert [one["user"] for one in only] == ["ada"]
    inactive = fleet.ooda("steward", "last-seen", "--inactive", "36500d", "--json").json()
    assert "bob" not in [one["user"] for one in inactive]


def test_the_dashboard_is_one_page_that_needs_nothing_else(fleet: FleetHome) -> None:
    """A timeline and tables; no script and no request, whatever a workspace is called."""
    fleet.person("ada", 2)
    page = fleet.ooda("steward", "dashboard").out
    assert page.startswith("<!doctype html>") and "<svg" in page and "ada/w0" in page
    assert "<script" not in page and "http://" not in page.replace("http://www.w3.org", "")
    done = fleet.ooda("steward", "dashboard", "--output", "fleet.html")
    assert (done.code, done.out) == (0, "")
    assert "ada/w1" in (fleet.folder / "fleet.html").read_text()
    assert fleet.ooda("steward", "dashboard", "--output", "nowhere/fleet.html").code == 2


def test_bump_ttl_lets_a_workspace_run_longer(fleet: FleetHome) -> None:
    """The running build's deadline moves; without names the times to live are shown."""
    soon = datetime.now(UTC) + timedelta(minutes=40)
    (space,) = fleet.person("ada", ttl_ms=8 * 3_600_000)
    fleet.do(lambda: setattr(space.latest, "deadline", soon))
    shown = fleet.ooda("steward", "bump-ttl")
    assert shown.code == 0, shown.err
    assert "ada/w0" in shown.out
    done = fleet.ooda("steward", "bump-ttl", "ada/w0", "--by", "2h")
    assert done.code == 0, done.err
    assert space.latest.deadline is not None
    assert space.latest.deadline >= soon + timedelta(hours=1, minutes=59)
