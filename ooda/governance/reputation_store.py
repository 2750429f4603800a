"""Agents and their reputation events in the store: registered once, appended only, read back as a standing.

What an event does to a score is the fold's business (`reputation`); here it is kept, in the transaction of what it
tells. Stores elsewhere (`ooda.services.supabase`) keep the same events under the same ids behind `ReputationStore`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec

from ooda.errors import ConfigError, nearest
from ooda.governance.reputation import DEFAULT_POLICY, Policy, ReputationEvent, Standing, fold
from ooda.store import Store, Tx

__all__ = [
    "Agent",
    "Change",
    "ReputationStore",
    "SqlReputation",
    "agent_named",
    "agents",
    "append",
    "events_of",
    "get_or_create_agent",
    "known_agent",
    "merge",
]

T = TypeVar("T")


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """A registered agent."""

    id: UUID
    name: str
    """`coding_agent`, `ops_agent`, …"""
    created_ns: int


class Change(msgspec.Struct, frozen=True):
    """What appending did."""

    before: Standing
    after: Standing


class ReputationStore(Protocol):
    """Where agents and their events are kept. All of it may be repeated."""

    async def get_or_create_agent(self, name: str) -> UUID:
        """The id of the agent with this name, registered now if it was not."""
        ...

    async def append(self, agent: UUID, events: Sequence[ReputationEvent]) -> None:
        """Keep events; one whose id is there already is left as it stands."""
        ...

    async def events(self, agent: UUID) -> tuple[ReputationEvent, ...]:
        """All events of an agent, the oldest first."""
        ...


def get_or_create_agent(tx: Tx, name: str, now_ns: int, id: UUID | None = None) -> Agent:
    """The agent with this name, registered with score 100 and `sandbox_only` if it was not there.

    Args:
        id: The id it has elsewhere; by default one made of this store's and its name.
    """
    if not name or len(name) > 100 or not name.isprintable():
        raise ConfigError(f"an agent's name is {name!r}; expected up to 100 printable characters")
    found = agent_named(tx, name)
    if found is not None:
        return found
    identity = tx.execute("SELECT value FROM meta WHERE key = 'store.id'")
    made = Agent(id=id or uuid5(NAMESPACE_URL, f"ooda:{identity[0][0]}:{name}"), name=name, created_ns=now_ns)
    tx.change(
        "INSERT INTO agents (id, name, kind, granted_level, created_ns) VALUES (?, ?, ?, 'sandbox_only', ?) "
        "ON CONFLICT DO NOTHING",
        (str(made.id), name, name.removesuffix("_agent"), now_ns),
    )
    return agent_named(tx, name) or made


def agent_named(tx: Tx, name: str) -> Agent | None:
    """The agent with this name."""
    rows = tx.execute("SELECT id, name, created_ns FROM agents WHERE name = ?", (name,))
    return _agent(rows[0]) if rows else None


def known_agent(tx: Tx, name: str) -> Agent:
    """The agent with this name, `coding` for `coding_agent` too.

    Raises:
        ConfigError: nobody has that name; the nearest one is named.
    """
    found = agent_named(tx, name) or agent_named(tx, f"{name}_agent")
    if found is None:
        known = [agent.name for agent in agents(tx)]
        near = nearest(name, known)
        hint = (
            f"did you mean `{near}`?"
            if near
            else f"known are {', '.join(known) or 'none yet: the first run registers one'}"
        )
        raise ConfigError(f"no agent is registered as {name!r}; {hint}", agent=name)
    return found


def agents(tx: Tx) -> list[Agent]:
    """All registered agents, by name."""
    return [_agent(row) for row in tx.execute("SELECT id, name, created_ns FROM agents ORDER BY name")]


def events_of(tx: Tx, agent: UUID) -> tuple[ReputationEvent, ...]:
    """All events of an agent, the oldest first."""
    rows = tx.execute("SELECT details FROM reputation_events WHERE agent = ? ORDER BY at_ns, id", (str(agent),))
    return tuple(msgspec.json.decode(details, type=ReputationEvent) for (details,) in rows)


def append(tx: Tx, agent: UUID, events: Sequence[ReputationEvent], policy: Policy = DEFAULT_POLICY) -> Change:
    """Add events to an agent's record, each with what it did to the score; those known by their id are left out.

    An event's time never lies before the last one's: a clock that went back does not rewrite a record.
    """
    known = events_of(tx, agent)
    before = fold(known, policy=policy)
    ids = {event.id for event in known}
    added: list[ReputationEvent] = []
    last_ns = before.last_at_ns
    for event in events:
        if event.id not in ids:
            last_ns = max(event.at_ns, last_ns + 1)
            added.append(msgspec.structs.replace(event, at_ns=last_ns))
            ids.add(event.id)
    after = fold((*known, *added), policy=policy)
    changes = dict(after.changes)
    for event in added:
        _insert(tx, agent, event, changes.get(event.id, 0), after.score)
    if before.granted is not after.granted:
        tx.change("UPDATE agents SET granted_level = ? WHERE id = ?", (after.granted.word, str(agent)))
    return Change(before, after)


def merge(tx: Tx, agent: UUID, events: Sequence[ReputationEvent], policy: Policy = DEFAULT_POLICY) -> Change:
    """Take over events another store has kept, at their own times."""
    known = events_of(tx, agent)
    ids = {event.id for event in known}
    added = [event for event in events if event.id not in ids]
    whole = sorted((*known, *added), key=lambda event: (event.at_ns, event.id))
    after = fold(whole, policy=policy)
    changes = dict(after.changes)
    for event in added:
        _insert(tx, agent, event, changes.get(event.id, 0), after.score)
    tx.change("UPDATE agents SET granted_level = ? WHERE id = ?", (after.granted.word, str(agent)))
    return Change(fold(known, policy=policy), after)


def _insert(tx: Tx, agent: UUID, event: ReputationEvent, delta: int, score: int) -> None:
    tx.change(
        "INSERT INTO reputation_events (id, agent, kind, delta, score, run, cause, made_by, details, at_ns) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            event.id,
            str(agent),
            event.kind,
            delta,
            score,
            event.run,
            event.cause,
            event.by,
            msgspec.json.encode(event).decode(),
            event.at_ns,
        ),
    )


def _agent(row: Sequence[object]) -> Agent:
    id, name, created_ns = row
    return Agent(id=UUID(str(id)), name=str(name), created_ns=int(str(created_ns)))


class SqlReputation:
    """The store's own tables behind `ReputationStore`, on SQLite and PostgreSQL.

    Args:
        now_ns: The time of a registration.
    """

    def __init__(self, store: Store, now_ns: Callable[[], int], policy: Policy = DEFAULT_POLICY) -> None:
        self._store = store
        self._now_ns = now_ns
        self._policy = policy

    async def get_or_create_agent(self, name: str) -> UUID:
        return (await self._store.write(lambda tx: get_or_create_agent(tx, name, self._now_ns()))).id

    async def append(self, agent: UUID, events: Sequence[ReputationEvent]) -> None:
        await self._store.write(lambda tx: append(tx, agent, events, self._policy))

    async def events(self, agent: UUID) -> tuple[ReputationEvent, ...]:
        return self._store.read(lambda tx: events_of(tx, agent))
