"""Starting and stopping a workspace without ever doing it twice.

Coder takes a second stop of a stopped workspace as a new build, so a request whose answer was lost must not simply
be sent again. Before every POST the workspace is read: it must still stand on the build the decision was made on,
whoever decided is asked once more, and the look must be fresh when the POST leaves. After a lost answer the same look
tells whether the build was made, by its number, transition and initiator. As long as nobody knows, the failure that
is raised is the one that says so, whatever went wrong later.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

import msgspec

from ooda.errors import IntegrationError
from ooda.services.coder.failures import kind_of
from ooda.services.coder.records import Build, Transition, Workspace

__all__ = ["BuildIntent", "BuildOutcome", "always", "happened", "post_build"]


class BuildIntent(msgspec.Struct, frozen=True, kw_only=True):
    """One build to be made, and what it rests on."""

    workspace: str
    """Id."""
    transition: Transition
    after: str
    """Id of the latest build when the decision was made; on any other the intent is void."""
    after_number: int
    by: str
    """Id of the token's user."""
    template_version: str | None = None
    """Start with this version rather than with the template's active one."""

    def is_met_by(self, build: Build) -> bool:
        """Whether this build is the one the intent asked for."""
        return (
            build.build_number == self.after_number + 1
            and build.transition == self.transition
            and build.initiator_id == self.by
        )


class BuildOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an intent."""

    status: Literal["made", "already", "moved", "busy", "unwanted"]
    """made: by this call; already: the workspace is or will be where it should; moved: somebody built meanwhile;
    busy: a build is under way; unwanted: whoever decided changed their mind at the last look."""
    workspace: Workspace
    """As read last."""
    build: Build | None = None
    """Ours, when it was made (by this call, or by an earlier one whose answer was lost)."""


class Calls(Protocol):
    """What is needed of the client."""

    async def workspace(self, id: str) -> Workspace: ...

    async def builds(self, workspace: str) -> tuple[Build, ...]:
        """The latest, newest first."""
        ...

    async def post(self, intent: BuildIntent, looked_ns: int) -> Build:
        """One try; `never_sent` when the look it rests on, begun at `looked_ns`, has become too old."""
        ...

    def now_ns(self) -> int: ...


async def always(seen: Workspace) -> bool:
    """Whoever decided stands by it."""
    return True


async def post_build(
    calls: Calls,
    intent: BuildIntent,
    again: Callable[[float | None], Awaitable[bool]],
    still: Callable[[Workspace], Awaitable[bool]] = always,
) -> BuildOutcome:
    """Make the build an intent asks for, once.

    Args:
        again: waits before a further try; False when there is none.
        still: whether the build is still wanted of the workspace as it was just read. Asked before every POST: the
            waits between tries are long enough for its owner to come back.

    Raises:
        IntegrationError: refused (forbidden, not_found, not_ready, rejected), or the tries are used up; then
            `kind` tells whether one of them may have happened, and `happened` settles it later.
    """
    lost: IntegrationError | None = None
    while True:
        looked_ns = calls.now_ns()
        seen, standing = await _looked(calls, intent, lost)
        if standing is not None:
            return standing
        if not await still(seen):
            return BuildOutcome(status="unwanted", workspace=seen)
        try:
            return BuildOutcome(status="made", workspace=seen, build=await calls.post(intent, looked_ns))
        except IntegrationError as error:
            kind = kind_of(error)
            if kind == "conflict":
                seen, standing = await _looked(calls, intent, lost)
                return standing or BuildOutcome(status="busy", workspace=seen)
            if kind in ("unknown", "protocol"):
                lost = error
            elif kind not in ("never_sent", "busy"):
                raise
            if not await again(error.facts["retry_after_s"]):  # type: ignore[arg-type]
                # After the last try: the build all the same, if it is there.
                seen, standing = await _looked(calls, intent, lost)
                if standing is None:
                    raise lost or error from error
                return standing


async def _looked(
    calls: Calls, intent: BuildIntent, lost: IntegrationError | None
) -> tuple[Workspace, BuildOutcome | None]:
    """The workspace now and what it says of the intent.

    Args:
        lost: a POST of this intent whose answer was lost. A look that fails then must not hide that it may have
            happened, and a build on top of ours must not hide ours.
    """
    try:
        seen = await calls.workspace(intent.workspace)
        standing = _standing(seen, intent)
        if lost is None or standing is None or standing.status != "moved":
            return seen, standing
        builds = await calls.builds(intent.workspace)
    except IntegrationError as error:
        raise lost or error from error
    ours = next((build for build in builds if intent.is_met_by(build)), None)
    if ours is not None:
        return seen, BuildOutcome(status="made", workspace=seen, build=ours)
    if happened(builds, intent) is None:
        raise lost
    return seen, standing


def _standing(seen: Workspace, intent: BuildIntent) -> BuildOutcome | None:
    """What a look at the workspace says of an intent; None when it is still to be carried out."""
    latest = seen.latest_build
    if latest.id != intent.after:
        if intent.is_met_by(latest):
            return BuildOutcome(status="made", workspace=seen, build=latest)
        return BuildOutcome(status="moved", workspace=seen)
    if latest.job.is_active:
        return BuildOutcome(status="busy", workspace=seen)
    if latest.transition == intent.transition and latest.job.status == "succeeded":
        return BuildOutcome(status="already", workspace=seen)
    return None


def happened(builds: tuple[Build, ...], intent: BuildIntent) -> bool | None:
    """Whether an intent was carried out, from the builds of its workspace; None when they do not reach back far enough.

    Args:
        builds: newest first.
    """
    if not builds or builds[-1].build_number > intent.after_number + 1:
        return None
    return any(intent.is_met_by(build) for build in builds)
