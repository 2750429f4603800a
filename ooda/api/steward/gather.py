"""Everything one pass of the steward needs to know before it decides, gathered from Coder, settings and store.

Reads only. What cannot be read, but is not needed to decide safely, becomes a problem to be told; what is needed
and missing ends the pass.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from types import EllipsisType
from typing import TypeVar

import msgspec

from ooda.agents.steward.absences import days_off, with_days_off
from ooda.agents.steward.configuration import policy_of
from ooda.agents.steward.fleet import Hold, Seat, holders_of, plan_fleet, workspace_of, zone_of
from ooda.agents.steward.instants import DAY_NS, HOUR_NS, lasting, minute_of, ns_of, utc
from ooda.agents.steward.policy import Policy
from ooda.agents.steward.records import Workspace
from ooda.agents.steward.rules import RuleBook, parse_rules
from ooda.clock import Clock
from ooda.config import Settings
from ooda.errors import ConfigError, IntegrationError, ToolFailedError, nearest
from ooda.services.calendar import calendar_text
from ooda.services.coder import CoderClient, User, kind_of
from ooda.services.coder import Workspace as SeenWorkspace
from ooda.store import Store
from ooda.store import steward as rows
from ooda.task import StewardTask

__all__ = ["Connections", "Gathered", "Gatherer", "few", "holds_of", "json_file"]

T = TypeVar("T")
R = TypeVar("R")

_TOKEN_DAYS = 7
_HOLIDAYS_AHEAD = timedelta(days=60)
_MOST_BYTES = 1 << 20

Connections = Callable[[Iterable[Workspace]], Awaitable[Mapping[str, int]]]
"""An operator's own source of open connections, by workspace id; Coder's interface has none."""


class Gathered(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet and what the policies say of it."""

    now_ns: int
    """The instant that was decided for: Coder's clock where it is known."""
    seats: tuple[Seat, ...]
    """The workspaces of the task."""
    fleet: int
    """Workspaces of the deployment, prebuilt ones not counted."""
    policy: Policy
    users: Mapping[str, User]
    """By user name; empty where nobody had to be looked up."""
    problems: tuple[str, ...]
    """What administrators should know."""
    excluded_by_role: int = 0
    """Running workspaces whose owner is excluded by role."""


class Gatherer:
    """Gathers for one deployment and task, again and again."""

    def __init__(
        self,
        client: CoderClient,
        store: Store,
        settings: Settings,
        task: StewardTask,
        clock: Clock,
        *,
        needs_users: bool = False,
        connections: Connections | None = None,
    ) -> None:
        """`needs_users`: owners will be told, so their addresses are looked up."""
        self._client = client
        self._store = store
        self._settings = settings
        self._task = task
        self._clock = clock
        self._needs_users = needs_users
        self._connections = connections
        self._zones: dict[str, str | None] = {}
        self._unzoned: set[str] = set()
        """Names of owners whose zone there is and cannot be read: nobody knows when their night is."""

    async def gather(self) -> Gathered:
        """Read the fleet and decide about all of it.

        Raises:
            CredentialError: Coder does not take the token.
            IntegrationError: the fleet cannot be read.
            ConfigError: a rule, price or calendar file has a mistake.
        """
        problems: list[str] = []
        steward = self._settings.steward
        listing = await self._client.fleet(workspace_of)
        fleet = [seen for seen in listing.rows if not seen.is_prebuild]
        if listing.missing:
            problems.append(f"Coder counts {listing.missing} workspaces more than it shows this token")
        users = await self._users(steward.policy.excluded_roles, problems)
        excluded = holders_of(steward.policy.excluded_roles, users.values())
        policy = policy_of(self._settings, timezone=self._task.timezone, excluded=excluded)
        wanted = [seen for seen in fleet if self.is_wanted(seen)]
        problems += self._unknown(fleet)
        wanted = await self._with_zones(wanted, policy, problems)
        wanted = await self._with_connections(wanted)
        policy = await self._with_holidays(policy, problems)
        await self._token(problems)
        now_ns, server_ns = self._clock.now_ns(), self._client.server_now_ns()
        seats = plan_fleet(
            now_ns,
            policy,
            wanted,
            rules=_rules(steward.policy.rules_file, policy),
            roles={user.username: user.role_names for user in users.values()},
            holds=self._holds(now_ns),
            server_now_ns=server_ns,
        )
        problems += _policy_problems(seats, now_ns, server_ns)
        return Gathered(
            now_ns=server_ns if server_ns is not None else now_ns,
            seats=tuple(seats),
            fleet=len(fleet),
            policy=policy,
            users=users,
            problems=tuple(problems),
            excluded_by_role=sum(
                seat.workspace.status == "running" and seat.workspace.owner in excluded for seat in seats
            ),
        )

    async def decide_again(self, id: str, seat: Seat | None) -> Seat | None:
        """One workspace as it is now, under the policy it had; None when it is gone."""
        try:
            seen = await self._client.workspace(id)
        except IntegrationError as error:
            if kind_of(error) == "not_found" or error.facts["status"] == 410:
                return None
            raise
        return await self.decide_on(seen, seat)

    async def decide_on(self, seen: SeenWorkspace, seat: Seat | None) -> Seat | None:
        """The same for a record that was read just now; None when it is nobody's yet."""
        found = (await self._with_connections([workspace_of(seen, owner_tz=self._zones.get(seen.owner_id))]))[0]
        policy = seat.policy if seat is not None else policy_of(self._settings, timezone=self._task.timezone)
        now_ns = self._clock.now_ns()
        again = plan_fleet(
            now_ns,
            policy,
            [found],
            holds=self._holds(now_ns),
            server_now_ns=self._client.server_now_ns(),
        )
        return msgspec.structs.replace(again[0], rule=seat.rule if seat is not None else "") if again else None

    def is_wanted(self, seen: Workspace) -> bool:
        """Whether the task is about this workspace."""
        task = self._task
        if task.user and seen.owner.casefold() != task.user.casefold():
            return False
        return not task.workspaces or seen.id in task.workspaces or seen.title in task.workspaces

    def _unknown(self, fleet: list[Workspace]) -> list[str]:
        """A line when the task names workspaces that Coder does not show.

        Raises:
            ToolFailedError: it shows none of them; a mistyped name must not look like a pass that found nothing due.
        """
        names = self._task.workspaces
        known = {name for seen in fleet for name in (seen.id, seen.title)}
        unknown = [name for name in names if name not in known]
        if not unknown:
            return []
        says = f"Coder shows no workspace {', '.join(map(repr, unknown[:10]))} to this token"
        if len(unknown) == len(names):
            near = nearest(unknown[0], known)
            hint = (
                f"did you mean `{near}`?"
                if near
                else "name it `owner/name` or by id; `ooda steward running` lists them"
            )
            raise ToolFailedError(f"{says}; {hint}")
        return [says]

    async def _users(self, roles: Collection[str], problems: list[str]) -> dict[str, User]:
        """Everybody, where roles or addresses are needed. Roles that cannot be read end the pass: they exclude."""
        needs_roles = bool(roles or self._settings.steward.policy.rules_file)
        if not needs_roles and not self._needs_users:
            return {}
        try:
            listing = await self._client.users()
        except IntegrationError as error:
            if needs_roles or kind_of(error) != "forbidden":
                raise
            problems.append("the token may not list users, so owners can be told by user name only")
            return {}
        return {user.username: user for user in listing.rows}

    async def _with_zones(self, fleet: list[Workspace], policy: Policy, problems: list[str]) -> list[Workspace]:
        """Owners' zones, where the policy asks for them and the licence has them; each owner is asked for once."""
        if policy.tz_source != "owner":
            return fleet
        if not (await self._client.entitlements()).has("advanced_template_scheduling"):
            problems.append(f"owners' zones need a licence of Coder's; `{policy.timezone}` counts for everybody")
            return fleet
        names = {seen.owner_id: seen.owner for seen in fleet if seen.status == "running"}
        owners = sorted(names.keys() - self._zones.keys())
        found = await few(owners, self._zone, self._settings.steward.concurrency)
        self._zones |= {owner: zone for owner, zone in zip(owners, found, strict=True) if zone is not ...}
        self._unzoned = {name for owner, name in names.items() if owner not in self._zones}
        if self._unzoned:
            listed = ", ".join(sorted(self._unzoned)[:10])
            problems.append(f"quiet hours of {len(self._unzoned)} owners cannot be read, so they are kept: {listed}")
        return [msgspec.structs.replace(seen, owner_tz=self._zones.get(seen.owner_id)) for seen in fleet]

    async def _zone(self, owner_id: str) -> str | EllipsisType | None:
        """An owner's zone, None where they set none, `...` where Coder does not say."""
        try:
            return zone_of(await self._client.quiet_hours(owner_id))
        except IntegrationError as error:
            if kind_of(error) in ("forbidden", "not_found"):
                return ...
            raise

    def _holds(self, now_ns: int) -> tuple[Hold, ...]:
        """People's holds, and our own on whoever's night nobody knows."""
        until_ns = now_ns + HOUR_NS
        ours = (
            Hold(scope="owner", target=name, until_ns=until_ns, by="ooda", reason="their zone cannot be read")
            for name in sorted(self._unzoned)
        )
        return (*holds_of(self._store, self._client.url, now_ns), *ours)

    async def _with_connections(self, fleet: list[Workspace]) -> list[Workspace]:
        if self._connections is None:
            return fleet
        counts = await self._connections(seen for seen in fleet if seen.status == "running")
        return [
            msgspec.structs.replace(seen, active_connections=counts[seen.id]) if seen.id in counts else seen
            for seen in fleet
        ]

    async def _with_holidays(self, policy: Policy, problems: list[str]) -> Policy:
        today = utc(self._clock.now_ns()).date()
        for source in self._settings.steward.policy.holidays:
            try:
                text = await calendar_text(source)
            except IntegrationError as error:
                problems.append(str(error))
                continue
            # A large calendar takes seconds, in which the pass must keep its lease.
            days = await asyncio.to_thread(days_off, text, today - timedelta(days=2), today + _HOLIDAYS_AHEAD)
            policy = with_days_off(policy, days)
        return policy

    async def _token(self, problems: list[str]) -> None:
        try:
            key = await self._client.token_key()
        except IntegrationError as error:
            if kind_of(error) in ("forbidden", "not_found"):
                return  # a token may not be allowed to look at itself
            raise
        left_ns = ns_of(key.expires_at) - self._clock.now_ns()
        if left_ns < _TOKEN_DAYS * DAY_NS:
            # Whole days: what administrators are told again and again is told once while it stays the same.
            left = f"{left_ns // DAY_NS} days" if left_ns >= DAY_NS else "less than a day"
            problems.append(f"the Coder token ends in {left}, at {minute_of(ns_of(key.expires_at))}; make a new one")


def holds_of(store: Store, deployment: str, now_ns: int) -> tuple[Hold, ...]:
    """The live holds of a deployment."""
    found = store.read(lambda tx: rows.live_holds(tx, deployment, now_ns))
    return tuple(
        Hold(scope=row.scope, target=row.target, until_ns=row.until_ns, by=row.made_by, reason=row.reason)
        for row in found
    )


def _rules(file: str | None, policy: Policy) -> RuleBook:
    return parse_rules(json_file(file, "steward.policy.rules_file"), policy) if file else RuleBook()


def json_file(file: str, setting: str) -> object:
    """A JSON file named by a setting. Raises ConfigError when it cannot be read."""
    path = Path(file).expanduser()
    try:
        with path.open("rb") as opened:
            data = opened.read(_MOST_BYTES)
        return json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"`{setting}` names {file!r}, which cannot be read as JSON: {error}") from error


def _policy_problems(seats: Iterable[Seat], now_ns: int, server_ns: int | None) -> Iterable[str]:
    reasons = {seat.said.reason for seat in seats}
    if "config_error" in reasons:
        yield "the policy has a mistake, so nothing is stopped; `ooda steward quiet-hours --dry-run` names it"
    if "clock_skew" in reasons and server_ns is not None:
        yield f"Coder's clock and ours differ by {lasting(abs(server_ns - now_ns))}, so nothing is stopped"


async def few(items: list[T], work: Callable[[T], Awaitable[R]], at_once: int) -> list[R]:
    """The results for all items, a few at a time, in order; the first failure ends the others."""
    turn = asyncio.Semaphore(at_once)

    async def one(item: T) -> R:
        async with turn:
            return await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in items]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return [task.result() for task in tasks]
