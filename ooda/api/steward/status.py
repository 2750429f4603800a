"""How the deployment, the token and the steward stand, and how one workspace does. Reads only."""

from __future__ import annotations

from collections import Counter

import msgspec

from ooda.agents.steward.autostop_schedule import AutostopLine, schedule
from ooda.agents.steward.fleet import workspace_of
from ooda.agents.steward.instants import ns_of
from ooda.agents.steward.records import StopDecision
from ooda.api.session import Session
from ooda.api.steward.gather import Gatherer
from ooda.api.steward.looks import deployment_of
from ooda.api.steward.metrics import metrics
from ooda.api.steward.tasks import steward_task
from ooda.errors import ConfigError, IntegrationError, UserError, nearest
from ooda.services.coder import CoderClient, kind_of
from ooda.services.coder import Workspace as CoderWorkspace
from ooda.store import Tx
from ooda.store import steward as rows
from ooda.task import StewardTask

__all__ = ["FleetStatus", "WorkspaceStatus", "find_workspace", "fleet_status", "workspace_status"]


class FleetStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment and our care for it."""

    deployment: str
    version: str
    user: str
    """Whose token it is."""
    roles: tuple[str, ...]
    token_ends_ns: int | None
    """None where the token may not look at itself."""
    clock_ahead_s: float
    """Coder's clock before ours, in seconds."""
    workspaces: int
    statuses: dict[str, int]
    holds: tuple[rows.HoldRow, ...]
    timers: tuple[rows.Timer, ...]
    """Of the daemon's jobs."""
    open_builds: int
    """Of ours, whose outcome is not known yet."""
    counters: dict[str, int]


class WorkspaceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One workspace, what is decided about it now, and what we did to it."""

    id: str
    workspace: str
    status: str
    """As Coder says it: running, stopped, starting, failed …"""
    template: str
    build: str
    build_number: int
    transition: str
    initiator: str
    last_used_ns: int
    is_healthy: bool
    said: StopDecision
    schedule: AutostopLine | None
    """What will stop it; None when it does not run."""
    operations: tuple[rows.BuildRow, ...]
    """Builds we asked for, the latest last, ten at most."""


async def fleet_status(session: Session, client: CoderClient) -> FleetStatus:
    """How everything stands. Raises CredentialError, IntegrationError."""
    info, me = await client.build_info(), await client.me()
    listing = await client.fleet(workspace_of)
    fleet = [seen for seen in listing.rows if not seen.is_prebuild]
    now_ns, server_ns = session.clock.now_ns(), client.server_now_ns()

    def read(tx: Tx) -> tuple[list[rows.HoldRow], list[rows.Timer], int]:
        timers = [rows.find_timer(tx, client.url, job) for job in ("quiet_hours", "ttl", "autostop")]
        live = rows.live_holds(tx, client.url, now_ns)
        return live, [timer for timer in timers if timer is not None], len(rows.open_builds(tx, client.url))

    holds, timers, open_builds = session.store.read(read)
    return FleetStatus(
        deployment=client.url,
        version=info.version,
        user=me.username,
        roles=tuple(sorted(me.role_names)),
        token_ends_ns=await _token_end(client),
        clock_ahead_s=round(((server_ns or now_ns) - now_ns) / 1e9, 1),
        workspaces=len(fleet),
        statuses=dict(sorted(Counter(seen.status for seen in fleet).items())),
        holds=tuple(holds),
        timers=tuple(timers),
        open_builds=open_builds,
        counters=metrics(session, client.url),
    )


async def _token_end(client: CoderClient) -> int | None:
    try:
        return ns_of((await client.token_key()).expires_at)
    except IntegrationError as error:
        if kind_of(error) in ("forbidden", "not_found"):
            return None
        raise


async def find_workspace(client: CoderClient, name: str) -> CoderWorkspace:
    """The workspace of an id, or of `owner/name`.

    Raises:
        ConfigError: there is none, or the token may not see it; the nearest name is named.
    """
    if "/" not in name:
        try:
            return await client.workspace(name)
        except IntegrationError as error:
            if kind_of(error) not in ("not_found", "rejected"):
                raise
            raise ConfigError(f"there is no workspace {name!r}; name it by its id or as `owner/name`") from None
    listing = await client.workspaces()
    titles = {f"{seen.owner_name}/{seen.name}": seen for seen in listing.rows}
    found = {title.casefold(): seen for title, seen in titles.items()}.get(name.casefold())
    if found is None:
        near = nearest(name, titles)
        hint = f"did you mean `{near}`?" if near else "`ooda steward running` lists those that run"
        raise ConfigError(f"there is no workspace {name!r}; {hint}")
    return found


async def workspace_status(session: Session, client: CoderClient, name: str) -> WorkspaceStatus:
    """How one workspace stands, and what the policies say of it. Raises as `find_workspace`."""
    found = await find_workspace(client, name)
    loaded = steward_task(session.settings, "quiet_hours", workspaces=[found.id])
    assert isinstance(loaded.task, StewardTask)
    gathered = await Gatherer(client, session.store, session.settings, loaded.task, session.clock).gather()
    if not gathered.seats:
        raise UserError(f"{name} is a prebuilt workspace that nobody owns yet; no policy is for it")
    seat, build = gathered.seats[0], found.latest_build
    templates = {template.id: template for template in await client.templates()}
    ours = session.store.read(lambda tx: rows.builds_since(tx, deployment_of(session), 0))
    return WorkspaceStatus(
        id=found.id,
        workspace=seat.workspace.title,
        status=build.status,
        template=found.template_name,
        build=build.id,
        build_number=build.build_number,
        transition=build.transition,
        initiator=build.initiator_name,
        last_used_ns=ns_of(found.last_used_at),
        is_healthy=found.health.healthy,
        said=seat.said,
        schedule=next(iter(schedule(gathered.now_ns, [seat], templates)), None),
        operations=tuple(row for row in ours if row.workspace == found.id)[-10:],
    )
