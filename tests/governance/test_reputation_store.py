"""Every store of reputation keeps the same promise: SQLite, PostgreSQL, and Supabase over PostgREST."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from ooda.errors import ConfigError
from ooda.governance import reputation_store as room
from ooda.governance.levels import Level
from ooda.governance.reputation import ReputationEvent, fold
from ooda.governance.reputation_store import ReputationStore, SqlReputation
from ooda.services.supabase import PostgrestClient, SupabaseReputation
from ooda.store import Store
from tests.services.supabase.fake import KEY, FakePostgrest

DAY = 86_400 * 10**9
NOW = 1_700_000_000_000_000_000


@pytest.fixture(params=["sqlite", "postgres", "supabase"])
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ReputationStore]:
    """Each store with nothing in it."""
    if request.param == "supabase":
        async with FakePostgrest() as fake:
            client = PostgrestClient(fake.url, SecretStr(KEY), timeout_s=5)
            yield SupabaseReputation(client)
            await client.close()
        return
    url = str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else ""
    with Store.open(tmp_path / "ooda.db", url=url) as store:
        yield SqlReputation(store, lambda: NOW)


def success(number: int, at_ns: int = 0) -> ReputationEvent:
    return ReputationEvent(
        id=f"e{number}", kind="task_success", at_ns=at_ns or NOW + number, run=f"r{number}", task=f"t{number}",
        is_checked=True, cause="tests passed",
    )  # fmt: skip


# -- the contract


async def test_an_agent_is_registered_once(kept: ReputationStore) -> None:
    """The same name gives the same id, whoever asks how often; another name another."""
    first = await kept.get_or_create_agent("ops_agent")

    assert await kept.get_or_create_agent("ops_agent") == first
    assert await kept.get_or_create_agent("coding_agent") != first
    assert await kept.events(first) == ()


async def test_a_fresh_agent_stands_at_a_hundred_and_may_do_what_the_sandbox_allows(kept: ReputationStore) -> None:
    """Eligible for staging, granted nothing."""
    standing = fold(await kept.events(await kept.get_or_create_agent("ops_agent")))

    assert (standing.score, standing.granted, standing.eligible, standing.effective) == (
        100, Level.SANDBOX_ONLY, Level.STAGING_ACCESS, Level.SANDBOX_ONLY,
    )  # fmt: skip


async def test_events_come_back_whole_and_in_order(kept: ReputationStore) -> None:
    """Of one agent only, whatever order they were given in."""
    agent, other = await kept.get_or_create_agent("ops_agent"), await kept.get_or_create_agent("coding_agent")
    events = [
        success(1),
        ReputationEvent(id="d", kind="permission_denied", at_ns=NOW + 2, run="r", operation="deploy_production"),
        ReputationEvent(id="p", kind="promoted", at_ns=NOW + 3, level="staging_access", by="ada", cause="reviewed ✓"),
        ReputationEvent(id="b", kind="budget_exceeded", at_ns=NOW + 4, task="t", window="day:2026-01-01"),
    ]
    await kept.append(agent, events[:2])
    await kept.append(agent, events[2:])
    await kept.append(other, [success(9)])

    assert await kept.events(agent) == tuple(events)
    assert await kept.events(other) == (success(9),)


async def test_an_event_is_kept_once(kept: ReputationStore) -> None:
    """Repeating a batch, or part of it, changes nothing; what stands is not overwritten."""
    agent = await kept.get_or_create_agent("ops_agent")
    await kept.append(agent, [success(1), success(2)])
    await kept.append(agent, [success(2), ReputationEvent(id="e1", kind="task_failure", at_ns=NOW), success(3)])

    assert [event.id for event in await kept.events(agent)] == ["e1", "e2", "e3"]
    assert fold(await kept.events(agent)).score == 106


async def test_many_events_are_kept(kept: ReputationStore) -> None:
    """More than one page of any store."""
    agent = await kept.get_or_create_agent("ops_agent")
    events = [success(number, NOW + number * DAY) for number in range(1, 620)]
    await kept.append(agent, events)

    assert len(await kept.events(agent)) == 619
    assert fold(await kept.events(agent)).score == 200


# -- the store's own


@pytest.fixture
def store(tmp_path: Path, store_url: str) -> AsyncIterator[Store]:
    with Store.open(tmp_path / "ooda.db", url=store_url) as opened:
        yield opened  # type: ignore[misc]


def test_appending_tells_what_it_changed_and_keeps_the_level_beside_the_agent(store: Store) -> None:
    """Down at once when the score no longer carries it."""
    agent = store.write_now(lambda tx: room.get_or_create_agent(tx, "ops_agent", NOW))
    wins = [success(number, NOW + number * DAY) for number in range(10)]
    store.write_now(lambda tx: room.append(tx, agent.id, wins))
    promoted = ReputationEvent(id="p", kind="promoted", at_ns=NOW + 20 * DAY, level="staging_access", by="ada")
    up = store.write_now(lambda tx: room.append(tx, agent.id, [promoted]))
    losses = [
        ReputationEvent(id=f"x{number}", kind="budget_exceeded", at_ns=NOW + 21 * DAY, task=f"t{number}", window="day")
        for number in range(4)
    ]
    down = store.write_now(lambda tx: room.append(tx, agent.id, losses))

    assert (up.before.granted, up.after.granted, up.after.score) == (Level.SANDBOX_ONLY, Level.STAGING_ACCESS, 120)
    assert (down.after.granted, down.after.score) == (Level.SANDBOX_ONLY, 80)
    rows = store.read(lambda tx: tx.execute("SELECT granted_level FROM agents"))
    deltas = store.read(lambda tx: tx.execute("SELECT SUM(delta) FROM reputation_events"))
    assert (rows, int(deltas[0][0])) == ([("sandbox_only",)], -20)


def test_a_clock_that_went_back_does_not_rewrite_a_record(store: Store) -> None:
    """An event is never placed before the last one."""
    agent = store.write_now(lambda tx: room.get_or_create_agent(tx, "ops_agent", NOW))
    store.write_now(lambda tx: room.append(tx, agent.id, [success(1, NOW + DAY)]))
    store.write_now(lambda tx: room.append(tx, agent.id, [success(2, NOW)]))

    assert [event.id for event in store.read(lambda tx: room.events_of(tx, agent.id))] == ["e1", "e2"]


def test_events_of_another_store_are_taken_over_at_their_own_times(store: Store) -> None:
    """Merging twice changes nothing; the standing is that of all events in their order."""
    agent = store.write_now(lambda tx: room.get_or_create_agent(tx, "ops_agent", NOW))
    store.write_now(lambda tx: room.append(tx, agent.id, [success(5, NOW + 5 * DAY)]))
    theirs = [success(number, NOW + number * DAY) for number in (1, 2, 9)]
    for _ in range(2):
        change = store.write_now(lambda tx: room.merge(tx, agent.id, theirs))

    assert change.after.score == 108
    assert [event.id for event in store.read(lambda tx: room.events_of(tx, agent.id))] == ["e1", "e2", "e5", "e9"]


def test_an_unknown_agent_is_told_with_the_nearest_name(store: Store) -> None:
    """The kind alone is enough."""
    store.write_now(lambda tx: room.get_or_create_agent(tx, "coding_agent", NOW))

    assert store.read(lambda tx: room.known_agent(tx, "coding")).name == "coding_agent"
    with pytest.raises(ConfigError, match="did you mean `coding_agent`"):
        store.read(lambda tx: room.known_agent(tx, "codng_agent"))
    with pytest.raises(ConfigError, match="printable"):
        store.write_now(lambda tx: room.get_or_create_agent(tx, "a\nb", NOW))
