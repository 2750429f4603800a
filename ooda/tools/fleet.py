"""Tools of a conversation about a fleet of workspaces: they look, and nothing else.

What they say is worked out by the steward's policies, the same that decide in a pass. Stopping is no tool here: a
pass does that, through its own approvals.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ooda.errors import ToolFailedError
from ooda.governance.call import ToolOutcome
from ooda.governance.operations import Operation
from ooda.tools.declare import tool
from ooda.tools.fleet_looks import FleetLooks
from ooda.tools.room import ToolRoom

__all__ = [
    "fleet_forecast",
    "fleet_operations",
    "fleet_plan",
    "fleet_savings",
    "fleet_schedule",
    "fleet_ttl",
    "fleet_workspace",
]

_LOOK_S = 300.0
User = Annotated[str, Field(max_length=100, description="Only workspaces of this user; empty for all.")]
Days = Annotated[int, Field(ge=1, le=366, description="How far back.")]


def _looks(room: ToolRoom) -> FleetLooks:
    if room.fleet is None:
        raise ToolFailedError("this conversation is not about a fleet; begin one with `ooda chat --agent steward`")
    return room.fleet


def _deployment(room: ToolRoom, arguments: Any) -> tuple[str, ...]:
    return room.fleet.targets() if room.fleet is not None else ()


@tool(operation=Operation.READ_WORKSPACE, effect="pure", timeout_s=_LOOK_S, targets=_deployment)
async def fleet_plan(room: ToolRoom, user: User = "") -> ToolOutcome:
    """Show what the policies say now of each running workspace: stop, warn or keep, why, and when that changes."""
    return ToolOutcome(text=await _looks(room).plan(user))


@tool(operation=Operation.READ_WORKSPACE, effect="pure", timeout_s=_LOOK_S, targets=_deployment)
async def fleet_workspace(
    room: ToolRoom,
    workspace: Annotated[str, Field(min_length=1, max_length=200, description="`owner/name`, or its id.")],
) -> ToolOutcome:
    """Show one workspace: how it stands, what is decided about it and why, what will stop it, what was done to it."""
    return ToolOutcome(text=await _looks(room).workspace(workspace))


@tool(operation=Operation.READ_WORKSPACE, effect="pure", timeout_s=_LOOK_S, targets=_deployment)
async def fleet_ttl(room: ToolRoom, user: User = "") -> ToolOutcome:
    """Show which workspaces should have stopped, stop soon, or break a rule about times to live."""
    return ToolOutcome(text=await _looks(room).ttl(user))


@tool(operation=Operation.READ_WORKSPACE, effect="pure", timeout_s=_LOOK_S, targets=_deployment)
async def fleet_schedule(room: ToolRoom, user: User = "") -> ToolOutcome:
    """Show when each workspace is stopped next, by which limit, and which limits disagree."""
    return ToolOutcome(text=await _looks(room).schedule(user))


@tool(operation=Operation.READ_WORKSPACE, effect="pure", timeout_s=_LOOK_S, targets=_deployment)
async def fleet_operations(room: ToolRoom, days: Days = 7) -> ToolOutcome:
    """Show the builds the steward asked for lately: which workspace, when, why, and what came of it."""
    return ToolOutcome(text=await _looks(room).operations(days))


@tool(operation=Operation.READ_WORKSPACE, effect="pure", timeout_s=_LOOK_S, targets=_deployment)
async def fleet_savings(room: ToolRoom, days: Days = 30) -> ToolOutcome:
    """Show what the steward's stops saved: hours, and money where prices are configured."""
    return ToolOutcome(text=await _looks(room).savings(days))


@tool(operation=Operation.READ_WORKSPACE, effect="pure", timeout_s=_LOOK_S, targets=_deployment)
async def fleet_forecast(room: ToolRoom, user: User = "") -> ToolOutcome:
    """Show good stop times learnt from past use, with how far off they would have been."""
    return ToolOutcome(text=await _looks(room).forecast(user))
