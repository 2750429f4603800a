"""When a workspace will stop next, by whom and why: every stop that is coming, not only the one that is due.

Coder itself acts on deadlines, within a minute; the steward acts on quiet hours, and on deadlines that Coder let pass.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ooda.agents.steward.decision import Planner
from ooda.agents.steward.instants import MINUTE_NS
from ooda.agents.steward.records import RANKED, Workspace

__all__ = ["PlannedStop", "coming_stops", "quiet_stop_ns"]


class PlannedStop(msgspec.Struct, frozen=True):
    """One stop that is coming if nothing about the workspace changes."""

    at_ns: int
    cause: str
    """One of `RANKED`."""
    by: Literal["coder", "steward"]


def coming_stops(planner: Planner, now_ns: int, seen: Workspace) -> tuple[PlannedStop, ...]:
    """Every stop that is coming, the earliest first, ties by rank; none for a workspace that does not run.

    A stop that is due counts as now: a deadline that has passed is about to be acted on.
    """
    if seen.status != "running":
        return ()
    found = []
    if seen.dormant_ns is None:
        # Coder does not stop dormant workspaces by themselves, and neither do we.
        for cause, at_ns in (("max_deadline", seen.max_deadline_ns), ("ttl", seen.deadline_ns)):
            if at_ns is not None:
                found.append(PlannedStop(max(at_ns, now_ns), cause, "coder"))
        quiet_ns = quiet_stop_ns(planner, now_ns, seen)
        if quiet_ns is not None:
            found.append(PlannedStop(quiet_ns, "quiet_hours", "steward"))
    return tuple(sorted(found, key=lambda stop: (stop.at_ns, RANKED.index(stop.cause))))


def quiet_stop_ns(planner: Planner, now_ns: int, seen: Workspace) -> int | None:
    """When quiet hours stop a running workspace, whatever its deadlines say; now when it is due, None for never."""
    undated = msgspec.structs.replace(seen, deadline_ns=None, max_deadline_ns=None)
    said = planner.plan(now_ns, (undated,))[0]
    if said.decision == "stop":
        return now_ns
    if said.next_ns is None:
        return None
    if said.reason == "held_by_override":
        return quiet_stop_ns(planner, said.next_ns, seen)
    if said.decision == "warn":
        return said.next_ns
    return said.next_ns + round(planner.policy.warn_minutes * MINUTE_NS)
