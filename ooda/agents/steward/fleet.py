"""The fleet as policies see it, made from what Coder answers. Pure: somebody else has asked.

Who is excluded by role becomes excluded by name here, so that the decision itself knows names only; holds become
policies with an end. Prebuilt workspaces are in no fleet: nobody's policy is for them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

import msgspec

from ooda.agents.steward.decision import Planner
from ooda.agents.steward.instants import set_ns, utc
from ooda.agents.steward.policy import Policy
from ooda.agents.steward.records import StopDecision, Workspace
from ooda.agents.steward.rules import RuleBook
from ooda.services.coder import QuietHoursSchedule, User
from ooda.services.coder import Workspace as CoderWorkspace

__all__ = ["Hold", "Seat", "holders_of", "plan_fleet", "workspace_of", "zone_of"]


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """An emergency override: nothing of its scope is stopped before its end."""

    scope: Literal["workspace", "owner", "fleet"]
    target: str = ""
    """A workspace's id or `owner/name`, an owner's user name; empty for the fleet."""
    until_ns: int
    by: str = ""
    reason: str = ""

    def covers(self, seen: Workspace) -> bool:
        """Whether a workspace is in its scope; names are compared without case."""
        match self.scope:
            case "fleet":
                return True
            case "owner":
                return seen.owner.casefold() == self.target.casefold()
            case "workspace":
                return self.target == seen.id or self.target.casefold() == seen.title.casefold()


class Seat(msgspec.Struct, frozen=True):
    """A workspace, the policy it is under, and what that says now."""

    workspace: Workspace
    said: StopDecision
    policy: Policy
    rule: str = ""
    """Name of the rule that chose the policy; empty for the fleet's own."""


def workspace_of(
    seen: CoderWorkspace, *, owner_tz: str | None = None, active_connections: int | None = None
) -> Workspace:
    """A workspace of Coder as a policy sees it."""
    build = seen.latest_build
    is_started = build.transition == "start" and build.job.status == "succeeded"
    return Workspace(
        id=seen.id,
        name=seen.name,
        owner=seen.owner_name,
        owner_tz=owner_tz,
        template=seen.template_name,
        status=build.status,
        started_ns=set_ns(build.job.completed_at) if is_started else None,
        last_used_ns=set_ns(seen.last_used_at),
        active_connections=active_connections,
        ttl_ms=seen.ttl_ms,
        deadline_ns=set_ns(build.deadline),
        max_deadline_ns=set_ns(build.max_deadline),
        dormant_ns=set_ns(seen.dormant_at),
        owner_id=seen.owner_id,
        organization=seen.organization_name,
        template_id=seen.template_id,
        template_version=build.template_version_id,
        build_id=build.id,
        build_number=build.build_number,
        autostart=seen.autostart_schedule,
        next_start_ns=set_ns(seen.next_start_at),
        is_healthy=seen.health.healthy,
        is_outdated=seen.outdated,
        is_prebuild=seen.is_prebuild,
        daily_cost=build.daily_cost,
    )


def zone_of(schedule: QuietHoursSchedule) -> str | None:
    """The owner's zone, from quiet hours they set themselves; the deployment's default says nothing about a person."""
    return schedule.timezone if schedule.user_set else None


def holders_of(roles: Collection[str], users: Iterable[User]) -> tuple[str, ...]:
    """User names of everybody who has one of these roles; role names are compared without case."""
    wanted = {role.casefold() for role in roles}
    return tuple(user.username for user in users if wanted & {role.casefold() for role in user.role_names})


def plan_fleet(
    now_ns: int,
    policy: Policy,
    workspaces: Iterable[Workspace],
    *,
    rules: RuleBook | None = None,
    roles: Mapping[str, frozenset[str]] | None = None,
    holds: tuple[Hold, ...] = (),
    server_now_ns: int | None = None,
) -> list[Seat]:
    """The decision for every workspace of a fleet, in its order, prebuilt ones left out.

    Args:
        rules: the first that fits a workspace changes the policy it is under.
        roles: role names by user name, where they are known; rules may ask for them.
        holds: of several that cover a workspace the one that ends last counts.
    """
    live = [hold for hold in holds if hold.until_ns > now_ns]
    kept = [seen for seen in workspaces if not seen.is_prebuild]
    if not live and (rules is None or not rules.rules):
        said = Planner(policy).plan(now_ns, kept, server_now_ns)
        return [Seat(seen, decision, policy) for seen, decision in zip(kept, said, strict=True)]
    book, names = rules or RuleBook(), roles or {}
    groups: dict[tuple[str, int], list[int]] = {}
    for at, seen in enumerate(kept):
        rule = book.picked(seen, names.get(seen.owner, frozenset()))
        until_ns = max((hold.until_ns for hold in live if hold.covers(seen)), default=0)
        groups.setdefault((rule.name if rule else "", until_ns), []).append(at)
    policies = {"": policy, **{rule.name: rule.applied_to(policy) for rule in book.rules}}
    seats: list[Seat | None] = [None] * len(kept)
    for (name, until_ns), places in groups.items():
        own = _held(policies[name], until_ns)
        decisions = Planner(own).plan(now_ns, [kept[at] for at in places], server_now_ns)
        for at, decision in zip(places, decisions, strict=True):
            seats[at] = Seat(kept[at], decision, own, name)
    return [seat for seat in seats if seat is not None]


def _held(policy: Policy, until_ns: int) -> Policy:
    if not until_ns:
        return policy
    ends = [end for end in (policy.hold_until, utc(until_ns)) if end is not None]
    return msgspec.structs.replace(policy, hold_until=max(ends))
