"""The client of a Coder deployment, against the fake one: what is read, repeated, refused and never done twice."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from ooda.errors import ConfigError, CredentialError, IntegrationError
from ooda.services.coder import BuildIntent, CoderClient, happened, is_loopback, kind_of
from ooda.testing.fake_coder import FakeCoder
from tests.services.coder.fleet import SHORT_S, START, client_of, fleet


async def intent_for(fake: FakeCoder, client: CoderClient, transition: Any = "stop") -> BuildIntent:
    """A stop (or start) of the first workspace it fits."""
    seen = next(
        seen
        for seen in fake.world.workspaces.values()
        if seen.latest.is_running == (transition == "stop") and not seen.is_prebuild
    )
    return BuildIntent(
        workspace=seen.id,
        transition=transition,
        after=seen.latest.id,
        after_number=seen.latest.number,
        by=(await client.me()).id,
    )


# -- addresses and tokens ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://coder.example.com",
        "http://10.0.0.1:3000",
        "http://127.0.0.1.example.com",
        "https://user:pw@coder.example.com",
        "https://coder.example.com?token=x",
        "ftp://coder.example.com",
        "coder.example.com",
        "https://",
        "https://[::1",
        "http://localhost.example.com",
    ],
)
def test_an_unsafe_address_is_refused_before_anything_is_sent(url: str) -> None:
    """https is required unless the address is this machine, and it holds nothing but an address."""
    with pytest.raises(ConfigError) as caught:
        CoderClient(url, SecretStr("id-secret"))
    assert "id-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://coder.example.com/", "http://127.0.0.1:1", "http://localhost:3000", "http://[::1]:1"]
)
def test_https_and_this_machine_are_safe(url: str) -> None:
    """A trailing slash and `/api/v2` do not matter."""
    assert CoderClient(url.rstrip("/") + "/api/v2/", SecretStr("id-secret")).url == url.rstrip("/")


def test_loopback_is_judged_without_asking_anybody() -> None:
    """Names that only look like this machine are not it."""
    assert [is_loopback(host) for host in ("127.8.8.8", "::1", "x.localhost", "127.1.example.com", "0.0.0.0")] == [
        True,
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("token", ["", "  ", "a\nb", "tökén"])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    """The message says what to set, and does not show it."""
    with pytest.raises(CredentialError, match="CODER_TOKEN"):
        CoderClient("https://coder.example.com", SecretStr(token))


async def test_the_token_stands_in_its_header_and_nowhere_else() -> None:
    """Not in a path, a query, a repr or an error."""
    async with fleet(3) as (fake, client):
        await client.workspaces("status:running")
        fake.faults.add("500", times=9)
        with pytest.raises(IntegrationError) as caught:
            await client.build_info()
        secret = fake.token.partition("-")[2]
        assert all(request.headers["coder-session-token"] == fake.token for request in fake.requests)
        shown = [f"{request.path} {request.query}" for request in fake.requests]
        assert not any(secret in text for text in (*shown, repr(client), repr(vars(client)), repr(caught.value)))


# -- reading ----------------------------------------------------------------------------------------------


async def test_a_fleet_is_read_as_it_is() -> None:
    """Every workspace once, with its build; licences, users with roles, templates and the token's end."""
    async with fleet(60) as (fake, client):
        listing = await client.workspaces()
        assert {seen.id for seen in listing.rows} == set(fake.world.workspaces)
        assert (listing.missing, listing.passes) == (0, 1)
        seen = listing.rows[0]
        truth = fake.world.workspaces[seen.id]
        assert (seen.latest_build.id, seen.latest_build.job.completed_at) == (
            truth.latest.id,
            truth.latest.completed_at,
        )
        assert (seen.owner_name, seen.template_name, seen.ttl_ms) == (
            truth.owner.username,
            truth.template.name,
            truth.ttl_ms,
        )
        assert (await client.me()).role_names == {"owner"}
        assert {user.username for user in (await client.users()).rows} == {
            u.username for u in fake.world.users.values()
        }
        assert (await client.entitlements()).has("audit_log")
        assert not (await client.entitlements()).has("teleportation")
        assert {template.name for template in await client.templates()} == {"docker", "kubernetes", "gpu", "production"}
        assert (await client.token_key()).expires_at == START + timedelta(days=30)
        assert (await client.build_info()).version.startswith("v2.36")
        somebody = next(user for user in fake.world.users.values() if user.schedule)
        assert (await client.quiet_hours(somebody.id)).raw_schedule == somebody.schedule
        builds = await client.builds(seen.id)
        assert [build.build_number for build in builds] == sorted(range(1, len(truth.builds) + 1), reverse=True)


async def test_pages_are_read_to_the_end() -> None:
    """The offset goes on by what was asked for, although pages are short of hidden rows."""
    async with fleet(57) as (fake, _), client_of(fake, page_rows=10) as client:
        fake.world.hidden = set(list(fake.world.workspaces)[3:9])
        listing = await client.workspaces()
        assert {seen.id for seen in listing.rows} == set(fake.world.workspaces) - fake.world.hidden
        assert listing.missing == 6


async def test_a_row_that_moves_between_two_pages_is_not_lost() -> None:
    """A workspace stops while pages are read, and another slips over the edge: the listing is read again."""
    async with fleet(40) as (fake, _), client_of(fake, page_rows=10) as client:
        running = [seen for seen in fake.world.workspaces.values() if seen.latest.is_running]

        def somebody_stops() -> None:
            first = min(running, key=lambda seen: (seen.owner.username, seen.name))
            first.latest.transition = "stop"
            first.rendered = b""

        fake.faults.before(somebody_stops, path="/api/v2/workspaces", skip=1)
        listing = await client.workspaces()
        assert {seen.id for seen in listing.rows} == set(fake.world.workspaces)
        assert listing.passes == 2


async def test_an_empty_listing_is_one_question() -> None:
    """No rows, no further pages."""
    async with fleet(5) as (fake, client):
        assert (await client.workspaces("owner:nobody")).rows == ()
        assert len(fake.requests) == 1


# -- failures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["429", "500", "502", "timeout_before", "reset_before", "truncated"])
async def test_what_fails_in_passing_is_read_again(kind: Any) -> None:
    """Three failures and one answer are an answer; four are an error that may be tried again later."""
    async with fleet(1, SHORT_S) as (fake, client):
        fake.faults.add(kind, times=3)
        assert (await client.build_info()).version
        assert len(fake.requests) == 4
        fake.faults.add(kind, times=4)
        with pytest.raises(IntegrationError) as caught:
            await client.build_info()
        assert caught.value.facts["retryable"]
        assert len(fake.requests) == 8


async def test_waits_double_and_follow_retry_after() -> None:
    """Half a second, one, two; what the server asks for counts instead, and too long a wait is an error at once."""
    async with fleet(1) as (fake, client):
        fake.faults.add("500", times=3)
        await client.build_info()
        assert fake.clock.now() == START + timedelta(seconds=3.5)
        fake.faults.add("429", retry_after_s=7)
        await client.build_info()
        assert fake.clock.now() == START + timedelta(seconds=10.5)
        fake.faults.add("429", retry_after_s=3_600)
        with pytest.raises(IntegrationError) as caught:
            await client.build_info()
        assert (caught.value.facts["kind"], caught.value.facts["retry_after_s"]) == ("busy", 3_600)


async def test_a_rejected_token_is_never_tried_again() -> None:
    """401 is for a person: one request, and what to do."""
    async with fleet(1) as (fake, _), client_of(fake, token="wrong-token") as client:
        with pytest.raises(CredentialError, match="coder tokens create"):
            await client.workspaces()
        assert len(fake.requests) == 1


async def test_forbidden_and_absent_are_told_apart_and_not_repeated() -> None:
    """403 and 404 each end at the first answer, with their own kind."""
    async with fleet(1) as (fake, client):
        fake.faults.add("403")
        kinds = []
        for _ in range(2):
            with pytest.raises(IntegrationError) as caught:
                await client.workspace(fake.world.uuid())
            kinds.append(kind_of(caught.value))
        assert (kinds, len(fake.requests)) == (["forbidden", "not_found"], 2)
        assert kind_of(ValueError()) is None


async def test_mistakes_are_named_as_coder_names_them() -> None:
    """The fields of `validations` stand in the message."""
    async with fleet(1) as (_, client):
        with pytest.raises(IntegrationError, match="colour") as caught:
            await client.workspaces("colour:red")
        assert caught.value.facts["kind"] == "rejected"


async def test_a_page_of_somebody_else_is_no_answer() -> None:
    """An address that is no Coder deployment is said to be none."""
    async with fleet(1) as (fake, _):
        client = CoderClient(fake.url + "/elsewhere", SecretStr(fake.token), clock=fake.clock, sleep=fake.clock.sleep)
        with pytest.raises(IntegrationError):
            await client.me()
        await client.close()
        fake.violations.clear()  # the request is meant to go astray


async def test_nobody_at_home_is_an_error_of_its_own() -> None:
    """A closed port was never sent anything."""
    async with fleet(1) as (fake, _):
        client = client_of(fake)
        await fake.close()
        with pytest.raises(IntegrationError) as caught:
            await client.me()
        assert caught.value.facts["kind"] == "never_sent"
        await client.close()


async def test_calls_keep_to_their_pace() -> None:
    """Beyond the burst, calls wait for their turn."""
    async with fleet(1) as (fake, _), client_of(fake, burst=2, calls_per_s=4) as client:
        for _ in range(6):
            await client.build_info()
        assert fake.clock.now() == START + timedelta(seconds=1)


@pytest.mark.parametrize(("skew_s", "seen_s"), [(0, 0), (0.4, 0), (3_600, 3_600), (-90, -90)])
async def test_the_servers_clock_is_seen(skew_s: float, seen_s: float) -> None:
    """From the date of its answers; what whole seconds explain is no difference."""
    async with fleet(1) as (fake, client):
        fake.clock.skew_s = skew_s
        assert client.server_now_ns() is None
        await client.build_info()
        server = client.server_now_ns()
        assert server is not None
        assert abs((server - fake.clock.now_ns()) / 1e9 - seen_s) <= 1


# -- builds -----------------------------------------------------------------------------------------------


async def test_a_stop_is_made_once() -> None:
    """The reason on the wire is one Coder knows; the outcome names the build."""
    async with fleet(9) as (fake, client):
        intent = await intent_for(fake, client)
        outcome = await client.make_build(intent)
        truth = fake.world.workspaces[intent.workspace]
        assert (outcome.status, outcome.build and outcome.build.id) == ("made", truth.latest.id)
        assert truth.latest.reason == "cli"
        assert outcome.build is not None
        assert (await client.finished_build(outcome.build.id)).job.status == "succeeded"
        assert (await client.make_build(intent)).status == "made"  # the same intent again: it is there already
        assert fake.posts() == [intent.workspace]


@pytest.mark.parametrize("kind", ["timeout_after", "reset_after", "truncated"])
async def test_a_lost_answer_is_looked_for_and_not_asked_for_again(kind: Any) -> None:
    """The build was made; the next look finds it."""
    async with fleet(9, SHORT_S) as (fake, client):
        intent = await intent_for(fake, client)
        fake.faults.add(kind, method="POST")
        outcome = await client.make_build(intent)
        assert (outcome.status, len(fake.world.workspaces[intent.workspace].builds)) == ("made", 2)
        assert fake.posts() == [intent.workspace]


@pytest.mark.parametrize("kind", ["timeout_before", "reset_before", "500", "502", "429"])
async def test_what_did_not_happen_is_asked_for_again(kind: Any) -> None:
    """After a look that shows nothing."""
    async with fleet(9, SHORT_S) as (fake, client):
        intent = await intent_for(fake, client)
        fake.faults.add(kind, method="POST")
        outcome = await client.make_build(intent)
        assert (outcome.status, len(fake.world.workspaces[intent.workspace].builds)) == ("made", 2)
        methods = [request.method for request in fake.requests]
        assert methods[-4:] == ["GET", "POST", "GET", "POST"]


async def test_when_all_tries_are_lost_the_last_look_decides() -> None:
    """Made after all, or an error that says it is unknown."""
    async with fleet(9, SHORT_S) as (fake, client):
        intent = await intent_for(fake, client)
        fake.faults.add("timeout_before", method="POST", times=3)
        fake.faults.add("timeout_after", method="POST")
        assert (await client.make_build(intent)).status == "made"
        other = await intent_for(fake, client)
        fake.faults.add("timeout_before", method="POST", times=4)
        with pytest.raises(IntegrationError) as caught:
            await client.make_build(other)
        assert caught.value.facts["kind"] == "unknown"
        assert happened(await client.builds(other.workspace), other) is False
        assert happened(await client.builds(intent.workspace), intent) is True
        assert happened((await client.builds(intent.workspace))[:0], intent) is None


async def test_a_workspace_that_moved_on_is_left_alone() -> None:
    """Its owner restarted it between plan and execution: nothing is posted."""
    async with fleet(9) as (fake, client):
        intent = await intent_for(fake, client)
        space = fake.world.workspaces[intent.workspace]

        def owner_restarts() -> None:
            fake.world.build(space, "start", space.owner)

        fake.faults.before(owner_restarts, path=f"/api/v2/workspaces/{space.id}")
        outcome = await client.make_build(intent)
        assert (outcome.status, fake.posts()) == ("moved", [])


async def test_a_build_under_way_is_not_disturbed() -> None:
    """Seen before the POST, or told by a 409."""
    async with fleet(9, SHORT_S) as (fake, client):
        intent = await intent_for(fake, client)
        space = fake.world.workspaces[intent.workspace]
        space.latest.job_status = "canceling"
        space.rendered = b""
        assert (await client.make_build(intent)).status == "busy"
        space.latest.job_status = "succeeded"
        space.rendered = b""
        fake.faults.add("409", method="POST")
        assert (await client.make_build(intent)).status == "busy"
        # A 409 because our own lost build is under way.
        fake.faults.add("timeout_after", method="POST")
        assert (await client.make_build(intent)).status == "made"
        assert len(space.builds) == 2


async def test_what_is_stopped_already_is_not_stopped_again() -> None:
    """Coder would take it; we do not ask."""
    async with fleet(9) as (fake, client):
        started = await intent_for(fake, client, "start")
        stop = BuildIntent(
            workspace=started.workspace,
            transition="stop",
            after=started.after,
            after_number=started.after_number,
            by=started.by,
        )
        assert ((await client.make_build(stop)).status, fake.posts()) == ("already", [])


@pytest.mark.parametrize(("kind", "found"), [("403", "forbidden"), ("406", "not_ready")])
async def test_refused_builds_are_refused_once(kind: Any, found: str) -> None:
    """No right and no ready version are for people."""
    async with fleet(9) as (fake, client):
        fake.faults.add(kind, method="POST")
        with pytest.raises(IntegrationError) as caught:
            await client.make_build(await intent_for(fake, client))
        assert (caught.value.facts["kind"], len(fake.posts())) == (found, 1)


async def test_a_start_names_its_template_version() -> None:
    """So that putting a workspace back does not upgrade it."""
    async with fleet(9) as (fake, client):
        intent = await intent_for(fake, client, "start")
        space = fake.world.workspaces[intent.workspace]
        old = space.latest.version_id
        fake.world.publish(space.template)
        start = BuildIntent(
            workspace=space.id,
            transition="start",
            after=intent.after,
            after_number=intent.after_number,
            by=intent.by,
            template_version=old,
        )
        await client.make_build(start)
        assert (space.latest.transition, space.latest.version_id) == ("start", old)


async def test_a_waiting_build_can_be_cancelled() -> None:
    """True when it was in the expected state, False when it had moved on."""
    async with fleet(9) as (fake, client):
        outcome = await client.make_build(await intent_for(fake, client))
        assert outcome.build is not None
        assert await client.cancel_build(outcome.build.id, "pending")
        assert not await client.cancel_build(outcome.build.id, "pending")


async def test_time_to_live_deadline_and_notice_are_set() -> None:
    """Absolute values, so that a repeated request changes nothing more."""
    async with fleet(9, SHORT_S) as (fake, client):
        intent = await intent_for(fake, client)
        space = fake.world.workspaces[intent.workspace]
        fake.world.executor_runs = False
        space.template.allow_user_autostop = True
        space.latest.deadline, space.latest.max_deadline = START + timedelta(hours=1), None
        fake.faults.add("reset_after", method="PUT", times=2)
        await client.set_ttl(space.id, 7_200_000)
        fake.faults.add("timeout_after", method="PUT")
        await client.extend(space.id, START + timedelta(hours=3))
        assert (space.ttl_ms, space.latest.deadline) == (7_200_000, START + timedelta(hours=3))
        await client.notify_self("Steward " * 40, "")
        ((user, title, message),) = fake.world.notices
        assert (user.username, len(title), message[:7]) == ("steward", 120, "Steward")
        assert (await client.audit(limit=5)) != ()


async def test_a_thousand_faults_stop_nothing_twice() -> None:
    """Whatever is lost, late, cut or refused: at most one stop build for each intent, and none unaccounted for."""
    kinds: Any = ("429", "500", "502", "timeout_before", "timeout_after", "reset_before", "reset_after", "truncated")
    outcomes: Counter[str] = Counter()
    faults = 0
    for seed in range(60):
        async with fleet(24, seed=seed, requests_per_minute=0) as (fake, _), client_of(fake, timeout_s=0.02) as client:
            fake.world.executor_runs = False
            me = await client.me()
            spaces = [space for space in fake.world.workspaces.values() if space.latest.is_running]
            before = {space.id: len(space.builds) for space in spaces}
            fake.faults.at_random(0.5, kinds, seed)
            for space in spaces:
                intent = BuildIntent(
                    workspace=space.id,
                    transition="stop",
                    after=space.latest.id,
                    after_number=space.latest.number,
                    by=me.id,
                )
                try:
                    status = (await client.make_build(intent)).status
                except IntegrationError as error:
                    status = f"error {error.facts['kind']}"
                outcomes[status] += 1
                made = len(space.builds) - before[space.id]
                assert made <= 1
                assert made == 1 or status != "made"
            faults += len(fake.faults.seen)
            if faults >= 1_000:
                break
    assert faults >= 1_000
    assert set(outcomes) <= {"made", "error unknown", "error busy", "error protocol"}
    assert outcomes["made"] > 100
