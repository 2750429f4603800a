"""What the Coder tools work with: one deployment, one pass over its fleet.

The tools declare; a desk does. It is made by whoever starts the run, who knows the policies that decide: this room
knows neither them nor the client. Everything here is per run.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from ooda.governance.call import ProbeAnswer, ToolOutcome

__all__ = ["CoderDesk", "WantedBuild"]


class WantedBuild(msgspec.Struct, frozen=True, kw_only=True):
    """One build somebody wants made, and the build it rests on."""

    workspace: str
    """Id."""
    transition: Literal["start", "stop", "extend"]
    """`extend` makes no build: it moves deadline and time to live of the one that runs."""
    build: str
    """Id of the latest build when it was decided; on another one the wish is void."""
    number: int
    cause: str
    until: str = ""
    """For `extend`: the new deadline; empty where there is none."""
    ttl_ms: int = 0
    """For `extend`: the new time to live; 0 leaves it."""
    template_version: str = ""
    undoes: str = ""


class CoderDesk(Protocol):
    """One pass over one deployment."""

    def targets(self) -> tuple[str, ...]:
        """What a call touches: the deployment. Workspaces the task is not about are left alone by the desk."""
        ...

    async def survey(self) -> ToolOutcome:
        """Read the fleet and decide about all of it."""
        ...

    async def due(self, limit: int) -> ToolOutcome:
        """The next builds this pass wants made and has not tried."""
        ...

    def begin(self, count: int) -> ToolOutcome:
        """Let this pass make up to `count` builds."""
        ...

    async def make(self, wanted: WantedBuild, key: str) -> ToolOutcome:
        """Look once more, and make one build."""
        ...

    async def probe(self, wanted: WantedBuild, key: str) -> ProbeAnswer:
        """Whether a build that was asked for under this key exists."""
        ...

    async def follow(self) -> ToolOutcome:
        """Wait until the builds of this pass have ended, and say how."""
        ...

    async def extend(self, wanted: WantedBuild, until: str, ttl_ms: int) -> ToolOutcome:
        """Let one workspace run until an instant (RFC 3339), and live `ttl_ms` from its next start on."""
        ...

    async def tell(self, kind: Literal["warning", "stopped", "message", "admins"], text: str) -> ToolOutcome:
        """Put notices into the outbox: to owners, grouped, at most once; or to administrators."""
        ...
