"""The fleet looked over: what is wrong with each workspace, who was last seen when, and who built what. Reads only."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ooda.agents.steward.fleet import workspace_of
from ooda.agents.steward.instants import DAY_NS, MINUTE_NS, lasting, set_ns
from ooda.agents.steward.records import Workspace
from ooda.api.steward.filters import WorkspaceFilter
from ooda.errors import IntegrationError
from ooda.services.coder import AuditEntry, CoderClient, kind_of

__all__ = ["AuditedWorkspace", "FleetAudit", "LastSeen", "audit_fleet", "findings_of", "last_seen"]

_UNUSED_NS = 30 * DAY_NS
_LATE_NS = 2 * MINUTE_NS


class AuditedWorkspace(msgspec.Struct, frozen=True, kw_only=True):
    """One workspace and what is wrong with it."""

    workspace: Workspace
    findings: tuple[str, ...]


class FleetAudit(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet as it was looked over."""

    at_ns: int
    workspaces: tuple[AuditedWorkspace, ...]
    """In the server's order, prebuilt ones left out."""
    entries: tuple[AuditEntry, ...]
    """Coder's own latest audit entries about workspaces; empty where it does not show them."""
    note: str = ""
    """Why there are no entries."""


class LastSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One user, when they were last seen, and what of theirs runs."""

    user: str
    status: str
    roles: tuple[str, ...]
    seen_ns: int | None
    """Last seen in Coder; None: never."""
    used_ns: int | None
    """Last use of any of their workspaces."""
    running: tuple[str, ...]
    workspaces: int


async def audit_fleet(client: CoderClient, now_ns: int, wanted: WorkspaceFilter) -> FleetAudit:
    """Look over the workspaces that pass a filter, running or not."""
    listing = await client.fleet(workspace_of)
    entries: tuple[AuditEntry, ...] = ()
    note = ""
    try:
        entries = await client.audit("resource_type:workspace_build")
    except IntegrationError as error:
        if kind_of(error) not in ("forbidden", "not_found", "rejected"):
            raise
        note = f"Coder's own audit log is not shown: {error}"
    return FleetAudit(
        at_ns=now_ns,
        workspaces=tuple(
            AuditedWorkspace(workspace=seen, findings=tuple(findings_of(seen, now_ns)))
            for seen in listing.rows
            if not seen.is_prebuild and wanted.fits(seen, now_ns)
        ),
        entries=entries,
        note=note,
    )


def findings_of(seen: Workspace, now_ns: int) -> Iterable[str]:
    """What is wrong with a workspace, a phrase each."""
    ends = [end for end in (seen.deadline_ns, seen.max_deadline_ns) if end is not None]
    if seen.status == "running":
        if not ends:
            yield "runs without an end"
        elif min(ends) + _LATE_NS < now_ns:
            yield f"should have stopped {lasting(now_ns - min(ends))} ago"
        if seen.dormant_ns is not None:
            yield "is dormant and runs"
        if not seen.is_healthy:
            yield "its agents do not answer"
    if seen.status in ("failed", "canceled"):
        yield f"its last build {'failed' if seen.status == 'failed' else 'was canceled'}"
    if seen.last_used_ns is not None and now_ns - seen.last_used_ns > _UNUSED_NS:
        yield f"not used for {lasting(now_ns - seen.last_used_ns)}"
    if seen.is_outdated:
        yield "outdated"


async def last_seen(client: CoderClient, *, user: str = "") -> tuple[LastSeen, ...]:
    """Every user, those seen longest ago first."""
    people = [
        found for found in (await client.users()).rows if not user or found.username.casefold() == user.casefold()
    ]
    fleet: dict[str, list[Workspace]] = {}
    for seen in (await client.fleet(workspace_of)).rows:
        fleet.setdefault(seen.owner_id, []).append(seen)
    found = []
    for person in people:
        own = fleet.get(person.id, [])
        found.append(
            LastSeen(
                user=person.username,
                status=person.status,
                roles=tuple(sorted(person.role_names)),
                seen_ns=set_ns(person.last_seen_at),
                used_ns=max((seen.last_used_ns for seen in own if seen.last_used_ns is not None), default=None),
                running=tuple(seen.title for seen in own if seen.status == "running"),
                workspaces=len(own),
            )
        )
    return tuple(sorted(found, key=lambda one: (one.seen_ns or 0, one.user)))
