"""Coder tools: look at a fleet of workspaces, stop and start them, tell their owners.

Which deployment and which workspaces may be touched stands in the typed task; a build acts once, its probe asks the
deployment whether the build is there.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ooda.errors import ToolFailedError
from ooda.governance.call import ProbeAnswer, ToolOutcome
from ooda.governance.operations import Operation
from ooda.tools.coder_desk import CoderDesk, WantedBuild
from ooda.tools.declare import tool
from ooda.tools.room import ToolRoom

__all__ = [
    "coder_begin_builds",
    "coder_due_builds",
    "coder_extend_workspace",
    "coder_follow_builds",
    "coder_notify",
    "coder_start_workspace",
    "coder_stop_workspace",
    "coder_survey",
]

_SURVEY_S = 900.0
_BUILD_S = 600.0
_FOLLOW_S = 1_800.0

_DESK = ("workspace",)
"""Which workspaces may be touched the desk knows: it looks once more, and leaves alone what the task does not name."""

Id = Annotated[str, Field(min_length=1, max_length=100)]


def _desk(room: ToolRoom) -> CoderDesk:
    if room.coder is None:
        raise ToolFailedError("this run has no Coder deployment; set `coder.url` and `coder.token`")
    return room.coder


def _deployment(room: ToolRoom, arguments: Any) -> tuple[str, ...]:
    return room.coder.targets() if room.coder is not None else ()


def _told(room: ToolRoom, arguments: Any) -> tuple[str, ...]:
    """The deployment, and words that no template holds: people act on them, so the task has to state them."""
    return (*_deployment(room, arguments), *((arguments.text,) if arguments.text else ()))


@tool(operation=Operation.READ_WORKSPACE, effect="pure", timeout_s=_SURVEY_S, targets=_deployment)
async def coder_survey(room: ToolRoom) -> ToolOutcome:
    """Read every workspace of the deployment and decide about each: stop, warn or keep, with the reason."""
    return await _desk(room).survey()


@tool(operation=Operation.READ_WORKSPACE, effect="pure", timeout_s=_SURVEY_S, is_poll=True, targets=_deployment)
async def coder_due_builds(
    room: ToolRoom, limit: Annotated[int, Field(ge=1, le=15, description="Most to be shown.")] = 10
) -> ToolOutcome:
    """Show the next builds that are due in this pass and were not tried yet."""
    return await _desk(room).due(limit)


@tool(operation=Operation.READ_WORKSPACE, effect="keyed", timeout_s=30, targets=_deployment)
async def coder_begin_builds(
    room: ToolRoom,
    count: Annotated[int, Field(ge=1, le=100_000, description="Builds this pass is to make.")],
    fleet: Annotated[int, Field(ge=0, description="Workspaces there are.")],
) -> ToolOutcome:
    """Begin to make the builds that are due. More than the pass's share of the fleet needs a person.

    Builds nothing itself: each build still needs its own permission.
    """
    return _desk(room).begin(count)


async def _was_stopped(room: ToolRoom, arguments: Any, key: str) -> ProbeAnswer:
    return await _desk(room).probe(_wanted("stop", **dict(arguments)), key)


async def _was_started(room: ToolRoom, arguments: Any, key: str) -> ProbeAnswer:
    return await _desk(room).probe(_wanted("start", **dict(arguments)), key)


def _wanted(transition: Literal["start", "stop"], **arguments: Any) -> WantedBuild:
    return WantedBuild(transition=transition, **arguments)


@tool(
    operation=Operation.STOP_WORKSPACE,
    effect="once",
    timeout_s=_BUILD_S,
    targets=_deployment,
    probe=_was_stopped,
    judges=_DESK,
)
async def coder_stop_workspace(
    room: ToolRoom,
    workspace: Annotated[Id, Field(description="Id of the workspace.")],
    build: Annotated[Id, Field(description="Id of its latest build, as surveyed.")],
    number: Annotated[int, Field(ge=1, description="Number of that build.")],
    cause: Annotated[str, Field(min_length=1, max_length=200, description="Why it is stopped.")],
) -> ToolOutcome:
    """Stop one workspace, unless it has changed since it was surveyed or is in use again."""
    wanted = _wanted("stop", workspace=workspace, build=build, number=number, cause=cause)
    return await _desk(room).make(wanted, room.call.key)


@tool(
    operation=Operation.START_WORKSPACE,
    effect="once",
    timeout_s=_BUILD_S,
    targets=_deployment,
    probe=_was_started,
    judges=_DESK,
)
async def coder_start_workspace(
    room: ToolRoom,
    workspace: Annotated[Id, Field(description="Id of the workspace.")],
    build: Annotated[Id, Field(description="Id of its latest build, as surveyed.")],
    number: Annotated[int, Field(ge=1, description="Number of that build.")],
    cause: Annotated[str, Field(min_length=1, max_length=200, description="Why it is started.")],
    template_version: Annotated[str, Field(max_length=100, description="Version to start with.")] = "",
    undoes: Annotated[str, Field(max_length=100, description="Key of the stop that is taken back.")] = "",
) -> ToolOutcome:
    """Start one workspace, unless it has changed since it was surveyed."""
    wanted = _wanted(
        "start",
        workspace=workspace,
        build=build,
        number=number,
        cause=cause,
        template_version=template_version,
        undoes=undoes,
    )
    return await _desk(room).make(wanted, room.call.key)


@tool(operation=Operation.START_WORKSPACE, effect="keyed", timeout_s=_BUILD_S, targets=_deployment, judges=_DESK)
async def coder_extend_workspace(
    room: ToolRoom,
    workspace: Annotated[Id, Field(description="Id of the workspace.")],
    build: Annotated[Id, Field(description="Id of its latest build, as surveyed.")],
    number: Annotated[int, Field(ge=1, description="Number of that build.")],
    cause: Annotated[str, Field(min_length=1, max_length=200, description="Why it runs longer.")],
    until: Annotated[str, Field(max_length=40, description="New deadline, RFC 3339; empty: it has none.")],
    ttl_ms: Annotated[int, Field(ge=0, description="New time to live from the next start on; 0 leaves it.")],
) -> ToolOutcome:
    """Let one running workspace run longer, and from its next start on live longer."""
    wanted = WantedBuild(transition="extend", workspace=workspace, build=build, number=number, cause=cause)
    return await _desk(room).extend(wanted, until, ttl_ms)


@tool(operation=Operation.READ_WORKSPACE, effect="pure", timeout_s=_FOLLOW_S, is_poll=True, targets=_deployment)
async def coder_follow_builds(room: ToolRoom) -> ToolOutcome:
    """Wait until the builds of this pass have ended, and say how each ended."""
    return await _desk(room).follow()


@tool(operation=Operation.NOTIFY, effect="keyed", timeout_s=60, targets=_told)
async def coder_notify(
    room: ToolRoom,
    kind: Annotated[
        Literal["warning", "stopped", "message", "admins"],
        Field(description="To owners before or after a stop, to owners of the named workspaces, to administrators."),
    ],
    text: Annotated[str, Field(max_length=2_000, description="What is told, where it is not about stops.")] = "",
) -> ToolOutcome:
    """Tell the owners of workspaces, or the administrators; nobody is told the same twice."""
    return await _desk(room).tell(kind, text)
