"""The fake Coder deployment keeps the rules of release 2.36, and every word of it matches the published interface."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ooda.testing.fake_coder import Conscience, FakeCoder, FleetClock, serve
from tests.services.coder.fleet import START, specification

NEEDS_SPEC = pytest.mark.skipif(
    specification() is None, reason="set OODA_SPECS to the folder of published interfaces to hold the fake against them"
)


class Caller:
    """Plain HTTP to the fake, as somebody who knows nothing of our client."""

    def __init__(self, fake: FakeCoder) -> None:
        self.fake = fake
        self._http = httpx.AsyncClient(base_url=fake.url, headers={"Coder-Session-Token": fake.token}, timeout=2)

    async def __call__(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        response = await self._http.request(method, "/api/v2" + path, json=body, params=query)
        return response.status_code, response.json() if response.content else None

    async def raw(self, method: str, path: str, **options: Any) -> httpx.Response:
        return await self._http.request(method, "/api/v2" + path, **options)

    async def close(self) -> None:
        await self._http.aclose()


@pytest.fixture
async def call() -> AsyncIterator[Caller]:
    async with serve(30, spec=specification(), clock=FleetClock(START, runs=False)) as fake:
        caller = Caller(fake)
        yield caller
        await caller.close()


def running(fake: FakeCoder) -> Any:
    """A running workspace with plain scheduling."""
    return next(
        seen
        for seen in fake.world.workspaces.values()
        if seen.latest.is_running and seen.template.name == "docker" and not seen.is_prebuild
    )


async def test_the_token_is_enforced_and_never_taken_from_elsewhere(call: Caller) -> None:
    """No token, a wrong one or an expired one is 401; the header of another name is no token."""
    for headers in ({}, {"Coder-Session-Token": "nobody-x"}, {"X-Token": call.fake.token}):
        async with httpx.AsyncClient(base_url=call.fake.url) as http:
            assert (await http.get("/api/v2/users/me", headers=headers)).status_code == 401
    call.fake.clock.advance(31 * 86_400)
    assert (await call("GET", "/users/me"))[0] == 401


async def test_absent_and_forbidden_look_alike(call: Caller) -> None:
    """A stranger learns nothing from the 404 of somebody else's workspace."""
    stranger = call.fake.world.add_token(call.fake.world.add_user("stranger")).text
    theirs = running(call.fake)
    headers = {"Coder-Session-Token": stranger}
    forbidden = await call.raw("GET", f"/workspaces/{theirs.id}", headers=headers)
    absent = await call.raw("GET", f"/workspaces/{call.fake.world.uuid()}", headers=headers)
    assert (forbidden.status_code, forbidden.content) == (404, absent.content)
    assert (await call("GET", "/nowhere"))[0] == 404
    assert (await call("GET", "/workspaces/x"))[1]["message"] == absent.json()["message"]


async def test_a_build_is_queued_and_takes_its_time(call: Caller) -> None:
    """201, then pending, running, succeeded; the deadline of a start is set when it ends."""
    seen = running(call.fake)
    path = f"/workspaces/{seen.id}/builds"
    status, stop = await call("POST", path, {"transition": "stop", "reason": "cli"})
    assert (status, stop["build_number"], stop["job"]["status"], stop["reason"]) == (201, 2, "pending", "cli")
    call.fake.clock.advance(2)
    assert (await call("GET", f"/workspacebuilds/{stop['id']}"))[1]["status"] == "stopping"
    assert (await call("POST", path, {"transition": "start"}))[0] == 409
    call.fake.clock.advance(60)
    assert (await call("GET", f"/workspaces/{seen.id}"))[1]["latest_build"]["status"] == "stopped"
    seen.ttl_ms = 7_200_000
    _, start = await call("POST", path, {"transition": "start"})
    call.fake.clock.advance(60)
    _, build = await call("GET", f"/workspacebuilds/{start['id']}")
    assert build["deadline"] == (START + timedelta(seconds=83, hours=2)).isoformat().replace("+00:00", "Z")
    rows = (await call("GET", "/audit", limit=5, q="username:steward"))[1]["audit_logs"]
    assert [(row["action"], row["additional_fields"]["build_reason"]) for row in rows[:2]] == [
        ("start", "initiator"),
        ("stop", "cli"),
    ]


async def test_a_second_stop_is_accepted(call: Caller) -> None:
    """Stopping a stopped workspace is no error: it is one more build."""
    seen = running(call.fake)
    for number in (2, 3):
        status, build = await call("POST", f"/workspaces/{seen.id}/builds", {"transition": "stop"})
        assert (status, build["build_number"]) == (201, number)
        call.fake.clock.advance(60)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"transition": "pause"}, "transition"),
        ({}, "transition"),
        ({"transition": "stop", "reason": "Automated stop - quiet hours"}, "reason"),
    ],
)
async def test_closed_lists_are_closed(call: Caller, body: dict[str, str], field: str) -> None:
    """A build's transition and reason are enumerations; free text is a mistake of the request."""
    call.fake.world.hidden.clear()
    status, said = await call("POST", f"/workspaces/{running(call.fake).id}/builds", body)
    call.fake.violations.clear()  # the request is meant to be wrong
    assert (status, [entry["field"] for entry in said["validations"]]) == (400, [field])


async def test_bodies_must_be_json_and_say_so(call: Caller) -> None:
    """Another content type is refused, and so is text that is no JSON."""
    path = f"/workspaces/{running(call.fake).id}/ttl"
    assert (await call.raw("PUT", path, content=b"{}", headers={"Content-Type": "text/plain"})).status_code == 415
    assert (await call.raw("PUT", path, content=b"{", headers={"Content-Type": "application/json"})).status_code == 400
    call.fake.violations.clear()


async def test_provisioners_are_few_and_builds_wait_in_line() -> None:
    """What no provisioner is free for waits, with its place in the queue."""
    async with serve(20, workers=1, clock=FleetClock(START, runs=False), spec=specification()) as fake:
        caller = Caller(fake)
        seen = [space for space in fake.world.workspaces.values() if space.latest.is_running][:3]
        ids = [
            (await caller("POST", f"/workspaces/{space.id}/builds", {"transition": "stop"}))[1]["id"] for space in seen
        ]
        fake.clock.advance(2)
        jobs = [(await caller("GET", f"/workspacebuilds/{id}"))[1]["job"] for id in ids]
        assert [(job["status"], job["queue_position"]) for job in jobs] == [
            ("running", 0),
            ("pending", 1),
            ("pending", 2),
        ]
        status, _ = await caller("PATCH", f"/workspacebuilds/{ids[2]}/cancel", expect_status="running")
        assert status == 412
        assert (await caller("PATCH", f"/workspacebuilds/{ids[2]}/cancel", expect_status="pending"))[0] == 200
        fake.clock.advance(30)
        statuses = [(await caller("GET", f"/workspacebuilds/{id}"))[1]["status"] for id in ids]
        assert statuses == ["stopped", "stopped", "canceled"]
        assert (await caller("PATCH", f"/workspacebuilds/{ids[2]}/cancel"))[0] == 400
        await caller.close()
        assert fake.violations == []


async def test_the_executor_stops_what_is_overdue_and_spares_the_dormant(call: Caller) -> None:
    """Once a minute: started, succeeded, past its deadline, not dormant."""
    world = call.fake.world
    user = world.add_user("late")
    template = next(iter(world.templates.values()))
    started = START - timedelta(hours=9)
    late, dormant, idle = (
        world.add_workspace(user, template, name, started_at=started, ttl_ms=8 * 3_600_000)
        for name in ("late", "dormant", "unheeded")
    )
    world.set_dormant(dormant, True)
    call.fake.clock.advance(90)
    await call("GET", "/users/me")
    assert (late.latest.transition, late.latest.reason, dormant.latest.transition) == ("stop", "autostop", "start")
    assert idle.latest.reason == "autostop"
    world.executor_runs = False
    other = world.add_workspace(user, template, "kept", started_at=started, ttl_ms=8 * 3_600_000)
    call.fake.clock.advance(600)
    await call("GET", "/users/me")
    assert other.latest.is_running


async def test_use_bumps_the_deadline_up_to_its_maximum(call: Caller) -> None:
    """Activity moves the deadline by the template's bump, never beyond the maximum."""
    world = call.fake.world
    template = world.add_template("bumpy", activity_bump_ms=3_600_000, autostop_days=("friday", "saturday"))
    owner = world.add_user("busy", schedule="CRON_TZ=UTC 30 19 * * *")
    space = world.add_workspace(owner, template, "box", started_at=START - timedelta(hours=1), ttl_ms=7_200_000)
    assert (space.latest.deadline, space.latest.max_deadline) == (
        START + timedelta(hours=1),
        START + timedelta(hours=2, minutes=30),
    )
    call.fake.clock.advance(1_800)
    world.settle()
    world.use(space)
    assert space.latest.deadline == START + timedelta(hours=1, minutes=30)
    for _ in range(2):
        call.fake.clock.advance(3_500)
        world.settle()
        world.use(space)
    assert space.latest.deadline == space.latest.max_deadline


async def test_autostart_starts_by_schedule(call: Caller) -> None:
    """At the minute of its schedule a stopped workspace starts by itself."""
    space = running(call.fake)
    await call("POST", f"/workspaces/{space.id}/builds", {"transition": "stop"})
    assert (await call("PUT", f"/workspaces/{space.id}/autostart", {"schedule": "CRON_TZ=UTC 5 17 * * 5"}))[0] == 204
    _, shown = await call("GET", f"/workspaces/{space.id}")
    assert shown["next_start_at"] == "2026-11-20T17:05:00Z"
    call.fake.clock.advance(400)
    await call("GET", "/users/me")
    assert (space.latest.transition, space.latest.reason) == ("start", "autostart")


async def test_time_to_live_and_extension_have_their_limits(call: Caller) -> None:
    """Whole minutes, 1 minute to 30 days; null is off; a prebuild refuses both; templates may forbid."""
    space = running(call.fake)
    path = f"/workspaces/{space.id}"
    assert (await call("PUT", f"{path}/ttl", {"ttl_ms": 3_630_000}))[0] == 204
    assert (await call("GET", path))[1]["ttl_ms"] == 3_600_000
    assert (await call("PUT", f"{path}/ttl", {"ttl_ms": 1_000}))[0] == 400
    space.latest.deadline = START + timedelta(hours=1)
    soon, later = (json.loads(json.dumps((START + timedelta(minutes=m)).isoformat())) for m in (28, 90))
    assert (await call("PUT", f"{path}/extend", {"deadline": soon}))[0] == 400
    assert (await call("PUT", f"{path}/extend", {"deadline": later}))[0] == 200
    assert space.latest.deadline == START + timedelta(minutes=90)
    assert (await call("PUT", f"{path}/ttl", {"ttl_ms": None}))[0] == 204
    assert (space.ttl_ms, space.latest.deadline) == (None, None)
    assert (await call("PUT", f"{path}/extend", {"deadline": later}))[0] == 409
    space.is_prebuild = True
    for request, body in (("ttl", {"ttl_ms": 60_000}), ("extend", {"deadline": later}), ("dormant", {"dormant": True})):
        assert (await call("PUT", f"{path}/{request}", body))[0] == 409
    space.is_prebuild = False
    space.template.allow_user_autostop = False
    assert (await call("PUT", f"{path}/ttl", {"ttl_ms": 60_000}))[0] == 400


async def test_dormant_is_a_mark_and_stops_nothing(call: Caller) -> None:
    """200, then 304; the workspace runs on."""
    space = running(call.fake)
    statuses = [(await call("PUT", f"/workspaces/{space.id}/dormant", {"dormant": True}))[0] for _ in range(2)]
    assert (statuses, space.latest.is_running) == ([200, 304], True)


async def test_quiet_hours_cost_a_licence(call: Caller) -> None:
    """One object, not a list; a bad schedule is the server's own error; without a licence it is 403."""
    user = next(user for user in call.fake.world.users.values() if user.schedule)
    _, schedule = await call("GET", f"/users/{user.username}/quiet-hours")
    assert (schedule["raw_schedule"], schedule["user_set"]) == (user.schedule, True)
    path = f"/users/{user.id}/quiet-hours"
    assert (await call("PUT", path, {"schedule": "CRON_TZ=Europe/Berlin 0 20 * * *"}))[1]["time"] == "20:00"
    assert (await call("PUT", path, {"schedule": "* * * * *"}))[0] == 500
    call.fake.world.licensed.clear()
    assert (await call("GET", path))[0] == 403
    _, entitlements = await call("GET", "/entitlements")
    assert entitlements["features"]["advanced_template_scheduling"]["entitlement"] == "not_entitled"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status:running", lambda seen: seen.latest.is_running),
        ("status:stopped template:docker", lambda seen: not seen.latest.is_running and seen.template.name == "docker"),
        ("name:dev", lambda seen: "dev" in seen.name),
        ("dormant:false", lambda seen: True),
        ('last_used_before:"2026-11-20T09:00:00Z"', lambda seen: seen.last_used_at < START - timedelta(hours=8)),
        ("healthy:true outdated:false organization:coder", lambda seen: True),
        ("has-ai-task:true", lambda seen: False),
        ("API", lambda seen: "api" in seen.name),
    ],
)
async def test_the_filter_language(call: Caller, query: str, expected: Any) -> None:
    """Each key means what the documentation says; the query's case does not matter."""
    status, found = await call("GET", "/workspaces", q=query)
    wanted = {seen.id for seen in call.fake.world.workspaces.values() if expected(seen)}
    assert (status, {row["id"] for row in found["workspaces"]}, found["count"]) == (200, wanted, len(wanted))


@pytest.mark.parametrize("query", ["colour:red", "status:asleep", "dormant:maybe", "a:b:c", ":x", 'name:"x'])
async def test_mistakes_in_a_filter_are_400(call: Caller, query: str) -> None:
    """Unknown keys and bad values are named in `validations`."""
    status, said = await call("GET", "/workspaces", q=query)
    assert (status, len(said["validations"])) == (400, 1)


async def test_a_listing_has_running_first_and_counts_all(call: Caller) -> None:
    """Favourites, running, owner, name; limit 0 means all; the count is of all pages."""
    _, whole = await call("GET", "/workspaces", limit=0)
    statuses = [row["latest_build"]["status"] for row in whole["workspaces"]]
    assert statuses == sorted(statuses, key=lambda status: status != "running")
    assert whole["count"] == len(whole["workspaces"]) == 30
    _, page = await call("GET", "/workspaces", limit=4, offset=28)
    assert [row["id"] for row in page["workspaces"]] == [row["id"] for row in whole["workspaces"]][28:]
    favourite = call.fake.world.workspaces[whole["workspaces"][-1]["id"]]
    favourite.favorite_of.add(call.fake.admin.id)
    assert (await call("GET", "/workspaces", limit=1))[1]["workspaces"][0]["id"] == favourite.id


async def test_the_limiter_counts_per_user_and_path() -> None:
    """The request over the limit is 429; another path is not touched."""
    async with serve(1, requests_per_minute=3, clock=FleetClock(START, runs=False)) as fake:
        caller = Caller(fake)
        assert [(await caller("GET", "/users/me"))[0] for _ in range(4)] == [200, 200, 200, 429]
        assert (await caller("GET", "/buildinfo"))[0] == 200
        fake.clock.advance(60)
        assert (await caller("GET", "/users/me"))[0] == 200
        await caller.close()


async def test_roles_decide_what_is_seen_and_built(call: Caller) -> None:
    """A member sees and builds their own; an auditor sees all and builds nothing of others."""
    world, space = call.fake.world, running(call.fake)
    auditor = {"Coder-Session-Token": world.add_token(world.add_user("eye", roles=("auditor",))).text}
    path = f"/workspaces/{space.id}"
    assert (await call.raw("GET", path, headers=auditor)).status_code == 200
    body = {"transition": "stop"}
    assert (await call.raw("POST", f"{path}/builds", headers=auditor, json=body)).status_code == 403
    own = {"Coder-Session-Token": world.add_token(space.owner).text}
    assert (await call.raw("POST", f"{path}/builds", headers=own, json=body)).status_code == 201


async def test_faults_happen_as_planned(call: Caller) -> None:
    """Before or after the effect, once or often, and only where they were meant to."""
    space = running(call.fake)
    path = f"/workspaces/{space.id}/builds"
    faults = call.fake.faults
    faults.add("502", path="*/builds")
    response = await call.raw("POST", path, json={"transition": "stop"})
    assert (response.status_code, response.text[:6], len(space.builds)) == (502, "<html>", 1)
    faults.add("reset_after", path="*/builds")
    with pytest.raises(httpx.TransportError):
        await call("POST", path, {"transition": "stop"})
    assert len(space.builds) == 2
    faults.add("timeout_before", path="*/users/me")
    with pytest.raises(httpx.ReadTimeout):
        await call.raw("GET", "/users/me", timeout=0.05)
    faults.add("truncated", path="*/templates")
    with pytest.raises(httpx.RemoteProtocolError):
        await call("GET", "/templates")
    faults.add("slow", path="*/templates")
    assert (await call("GET", "/templates"))[0] == 200
    faults.add("429", path="*/templates", retry_after_s=7)
    assert (await call.raw("GET", "/templates")).headers["retry-after"] == "7"
    call.fake.clock.skew_s = 3_600
    assert (await call.raw("GET", "/templates")).headers["date"] == "Fri, 20 Nov 2026 18:00:00 GMT"
    assert [line.partition(" ")[0] for line in faults.seen] == [
        "502", "reset_after", "timeout_before", "truncated", "slow", "429",
    ]  # fmt: skip


async def test_people_act_between_two_looks(call: Caller) -> None:
    """An action planned before a request changes what that request meets."""
    space = running(call.fake)
    call.fake.faults.before(lambda: space.owner.__setattr__("status", "suspended"), path="*/buildinfo", skip=1)
    await call("GET", "/buildinfo")
    assert space.owner.status == "active"
    await call("GET", "/buildinfo")
    assert space.owner.status == "suspended"


async def test_a_version_that_is_being_imported_cannot_be_built(call: Caller) -> None:
    """406 until the import is done; a template that requires its active version insists on it."""
    space = running(call.fake)
    version = call.fake.world.publish(space.template, is_importing=True)
    await call("POST", f"/workspaces/{space.id}/builds", {"transition": "stop"})
    call.fake.clock.advance(60)
    body = {"transition": "start", "template_version_id": version}
    assert (await call("POST", f"/workspaces/{space.id}/builds", body))[0] == 406
    assert (await call("GET", f"/workspaces/{space.id}"))[1]["outdated"] is True
    space.template.importing.clear()
    space.template.require_active_version = True
    _, build = await call("POST", f"/workspaces/{space.id}/builds", {"transition": "start"})
    assert build["template_version_id"] == version


async def test_the_same_seed_is_the_same_fleet() -> None:
    """Two fakes of one seed show the same workspaces, another seed shows others."""

    def names(seed: int) -> list[str]:
        fake = FakeCoder(workspaces=40, seed=seed, clock=FleetClock(START, runs=False))
        return [f"{seen.id} {seen.owner.username}/{seen.name}" for seen in fake.world.workspaces.values()]

    assert names(7) == names(7)
    assert names(7) != names(8)


@NEEDS_SPEC
async def test_every_path_answers_as_the_published_interface_says(call: Caller) -> None:
    """All paths of the fake, right and wrong requests, held against the strict document in both directions."""
    space = running(call.fake)
    user = space.owner
    v = f"/workspaces/{space.id}"
    calls: list[tuple[str, str, Any]] = [
        ("GET", "/buildinfo", None),
        ("GET", "/entitlements", None),
        ("GET", "/users?limit=3", None),
        ("GET", f"/users/{user.id}", None),
        ("GET", f"/users/{user.id}/roles", None),
        ("GET", f"/users/{user.id}/quiet-hours", None),
        ("GET", f"/users/me/keys/{call.fake.token.partition('-')[0]}", None),
        ("GET", f"/users/{user.username}/workspace/{space.name}", None),
        ("GET", f"/users/{user.username}/workspace/{space.name}/builds/1", None),
        ("GET", f"/users/{user.username}/workspace/{space.name}/builds/9", None),
        ("GET", "/workspaces", None),
        ("GET", v, None),
        ("GET", f"{v}/builds?limit=2", None),
        ("PUT", f"{v}/dormant", {"dormant": False}),
        ("POST", f"{v}/builds", {"transition": "stop", "reason": "cli"}),
        ("POST", f"{v}/builds", {"transition": "stop"}),
        ("GET", f"/workspacebuilds/{space.latest.id}", None),
        ("GET", "/templates", None),
        ("GET", f"/templates/{space.template.id}", None),
        ("PATCH", f"/templates/{space.template.id}", {"default_ttl_ms": 3_600_000}),
        ("GET", "/audit?limit=10&q=action:stop", None),
        ("GET", "/audit", None),
        ("POST", "/notifications/custom", {"content": {"title": "t", "message": "m"}}),
        ("GET", "/workspaces?q=x:y", None),
        ("GET", f"/workspaces/{call.fake.world.uuid()}", None),
    ]
    for method, path, body in calls:
        await call.raw(method, path, json=body)
    assert call.fake.violations == []


@NEEDS_SPEC
def test_the_conscience_notices() -> None:
    """A wrong field, a missing one, an unknown one and an unknown query are each found."""
    judge = Conscience(specification() or Path())
    assert judge.request("PUT", "/api/v2/workspaces/x/ttl", {}, b'{"ttl_ms": "long"}')
    assert judge.request("GET", "/api/v2/workspaces", {"colour": "red"}, b"")
    assert judge.request("GET", "/api/v2/nowhere", {}, b"")
    assert judge.answer("GET", "/api/v2/workspaces", 200, b'{"workspaces": []}')
    assert judge.answer("GET", "/api/v2/workspaces", 200, b'{"workspaces": null, "count": 0, "more": 1}')
    assert judge.answer("GET", "/api/v2/workspaces", 200, b'{"workspaces": null, "count": 0}') == []
    assert judge.answer("PUT", "/api/v2/workspaces/x/ttl", 200, b"")


@NEEDS_SPEC
def test_the_published_samples_pass_the_conscience() -> None:
    """The samples of the reference pages are right by the document, so the document is read rightly."""
    folder = Path(os.environ["OODA_SPECS"], "coder", "examples")
    sample = json.loads((folder / "workspaces-list.json").read_text())
    judge = Conscience(specification() or Path())
    assert judge.answer("GET", "/api/v2/workspaces", 200, json.dumps(sample["body"]).encode()) == []
