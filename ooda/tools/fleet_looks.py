"""What the fleet tools work with: looks at one deployment. Made by whoever opens the conversation."""

from __future__ import annotations

from typing import Protocol

__all__ = ["FleetLooks"]


class FleetLooks(Protocol):
    """Looks at one deployment. Each gives text for a reader; none changes anything."""

    def targets(self) -> tuple[str, ...]:
        """What a look touches: the deployment."""
        ...

    async def plan(self, user: str) -> str:
        """What the next pass would do about each running workspace, and why."""
        ...

    async def workspace(self, name: str) -> str:
        """One workspace: how it stands, what is decided about it, what will stop it, what was done to it."""
        ...

    async def ttl(self, user: str) -> str:
        """Times to live: what should have stopped, what stops soon, violations."""
        ...

    async def schedule(self, user: str) -> str:
        """When each workspace is stopped next, by which of its limits, and which limits disagree."""
        ...

    async def operations(self, days: int) -> str:
        """Builds the steward asked for."""
        ...

    async def savings(self, days: int) -> str:
        """What stopping saved."""
        ...

    async def forecast(self, user: str) -> str:
        """Good stop times learnt from past use, with their error."""
        ...
