"""Reputation kept in a Supabase project, so that all machines of an organisation share it.

Two tables: `agents (id, name, created_at)` and `reputation_events (id, agent, kind, at_ns, event)`. Rows are only
ever inserted, under ids that make a repetition harmless; what they mean for a score is folded here, not there.
Knows those tables; must not know how events come about.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from ooda.errors import IntegrationError
from ooda.governance.reputation import ReputationEvent
from ooda.services.supabase.postgrest import PostgrestClient

__all__ = ["SupabaseReputation"]


class _AgentId(msgspec.Struct, frozen=True):
    id: UUID


class _AgentName(msgspec.Struct, frozen=True):
    name: str


class _EventRow(msgspec.Struct, frozen=True):
    id: str
    agent: UUID
    kind: str
    at_ns: int
    event: ReputationEvent


class _Event(msgspec.Struct, frozen=True):
    event: ReputationEvent


class SupabaseReputation:
    """Implements `ooda.governance.reputation_store.ReputationStore`."""

    def __init__(self, client: PostgrestClient) -> None:
        self._client = client

    async def get_or_create_agent(self, name: str) -> UUID:
        """The id of the agent with this name; the project makes it."""
        found = await self._named(name)
        if found is None:
            await self._client.insert("agents", [_AgentName(name)], on_conflict="name")
            found = await self._named(name)
        if found is None:
            raise IntegrationError(
                f"Supabase took the agent {name!r} and does not show it; its policies must let the service role read "
                "`agents`",
                service="supabase",
                operation="register",
                status=None,
                retryable=False,
            )
        return found

    async def append(self, agent: UUID, events: Sequence[ReputationEvent]) -> None:
        """Keep events; known ones are left as they stand."""
        rows = [_EventRow(event.id, agent, event.kind, event.at_ns, event) for event in events]
        await self._client.insert("reputation_events", rows, on_conflict="id")

    async def events(self, agent: UUID) -> tuple[ReputationEvent, ...]:
        """All events of an agent, the oldest first."""
        rows = await self._client.select("reputation_events", _Event, {"agent": f"eq.{agent}"}, order="at_ns,id")
        return tuple(row.event for row in rows)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.close()

    async def _named(self, name: str) -> UUID | None:
        rows = await self._client.select("agents", _AgentId, {"name": f"eq.{name}"}, order="id")
        return rows[0].id if rows else None
