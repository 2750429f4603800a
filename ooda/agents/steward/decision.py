"""The steward's decision: (now, policy, workspace) to stop, warn or keep, with the reason and the next change.

Pure and exact. A stop is due at an instant; before that instant nothing is stopped, and a quiet stop is due inside
its window or not at all, so that a late pass never acts outside one. A `Planner` keeps what one policy has in common
for all workspaces (windows per zone, excluded owners), which makes a fleet of 100,000 a matter of milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ooda.agents.steward.instants import MINUTE_NS, NEVER_NS, SECOND_NS, ns_of
from ooda.agents.steward.policy import Policy, problem_of, zone_named
from ooda.agents.steward.quiet_calendar import QuietCalendar, Window
from ooda.agents.steward.records import StopDecision, Workspace

__all__ = ["Planner", "decide"]

_CONFIG_ERROR = StopDecision("keep", "config_error")
_CLOCK_SKEW = StopDecision("keep", "clock_skew")
_DORMANT = StopDecision("keep", "dormant")
_NOT_RUNNING = StopDecision("keep", "not_running")
_STOP_MAX_DEADLINE = StopDecision("stop", "max_deadline")
_STOP_TTL = StopDecision("stop", "ttl")
_STOP_QUIET = StopDecision("stop", "quiet_hours")


def decide(now_ns: int, policy: Policy, workspace: Workspace, server_now_ns: int | None = None) -> StopDecision:
    """The decision for one workspace.

    Args:
        now_ns: our clock.
        server_now_ns: Coder's clock where it is known; it then counts, unless the two differ too much.
    """
    return Planner(policy).plan(now_ns, (workspace,), server_now_ns)[0]


class Planner:
    """Decides by one policy, as often as asked."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.problem = problem_of(policy)
        """What is wrong with the policy; then every workspace is kept. Zones are judged for each workspace."""
        self._calendars: dict[str, QuietCalendar] = {}

    def plan(
        self, now_ns: int, workspaces: Iterable[Workspace], server_now_ns: int | None = None
    ) -> list[StopDecision]:
        """The decisions for a fleet, in its order. Arguments as those of `decide`."""
        if self.problem:
            return [_CONFIG_ERROR for _ in workspaces]
        if server_now_ns is not None:
            if abs(server_now_ns - now_ns) > self.policy.max_clock_skew_s * SECOND_NS:
                return [_CLOCK_SKEW if self.calendar(seen.owner_tz) else _CONFIG_ERROR for seen in workspaces]
            now_ns = server_now_ns
        return _planned(self, now_ns, workspaces)

    def calendar(self, owner_tz: str | None) -> QuietCalendar | None:
        """The calendar an owner's workspaces are judged by; None when nobody knows its zone."""
        name = self.policy.timezone
        if self.policy.tz_source == "owner" and owner_tz is not None and zone_named(owner_tz) is not None:
            name = owner_tz
        if name not in self._calendars:
            zone = zone_named(name)
            if zone is None:
                return None
            self._calendars[name] = QuietCalendar(self.policy, zone)
        return self._calendars[name]


class _Ahead:
    """The windows of one zone that end after now."""

    __slots__ = ("_calendar", "_known", "_now", "_windows", "end", "is_inside", "start")

    def __init__(self, calendar: QuietCalendar | None, now: int) -> None:
        """`calendar` is None where there are no windows."""
        windows = calendar.ahead(now) if calendar is not None else iter(())
        self._calendar, self._now, self._windows = calendar, now, windows
        self._known: list[Window] = []
        first = next(windows, Window(NEVER_NS, NEVER_NS))
        self.start, self.end = first.start_ns, first.end_ns
        self.is_inside = self.start <= now

    def later(self, started: int, grace: int, idle_until: int) -> int:
        """When a stop is due that does not fit into the first window; NEVER_NS when none fits."""
        due = _first_due(self._after_first(), started, grace, idle_until)
        earliest = max(started, idle_until)
        if due == NEVER_NS and earliest > self._now and self._calendar is not None:
            # By the server's clock it was started or used later than now: windows are looked for from then on.
            due = _first_due(self._calendar.ahead(earliest), started, grace, idle_until)
        return due

    def _after_first(self) -> Iterator[Window]:
        yield from self._known
        for window in self._windows:
            self._known.append(window)
            yield window


def _first_due(windows: Iterable[Window], started: int, grace: int, idle_until: int) -> int:
    for window in windows:
        due = max(max(window.start_ns, started) + grace, idle_until)
        if due < window.end_ns:
            return due
    return NEVER_NS


def _planned(planner: Planner, now: int, workspaces: Iterable[Workspace]) -> list[StopDecision]:
    """The decisions at one instant. Everything that is the same for all workspaces is worked out before the loop.

    The loop is written flat because its body runs for every workspace of every pass: calls would double its cost.
    """
    policy = planner.policy
    is_on, respects = policy.enabled, policy.respect_activity
    grace, idle = _ns(policy.grace_minutes), _ns(policy.idle_minutes)
    warn, overdue = _ns(policy.warn_minutes), _ns(policy.overdue_grace_minutes)
    users, templates = {name.casefold() for name in policy.excluded_users}, frozenset(policy.excluded_templates)
    excluded: dict[str, bool] = {}
    hold = ns_of(policy.hold_until) if policy.hold_until is not None else now
    held = StopDecision("keep", "held_by_override", hold) if hold > now else None
    zones: dict[str | None, _Ahead | None] = {}
    by_owner = policy.tz_source == "owner"
    ahead = None if by_owner else _ahead(planner, None, now)
    decisions: list[StopDecision] = []
    say = decisions.append

    for workspace in workspaces:
        if by_owner:
            try:
                ahead = zones[workspace.owner_tz]
            except KeyError:
                ahead = zones[workspace.owner_tz] = _ahead(planner, workspace.owner_tz, now)
        if ahead is None:
            say(_CONFIG_ERROR)
            continue
        if workspace.dormant_ns is not None:
            say(_DORMANT)
            continue
        if workspace.status != "running":
            say(_NOT_RUNNING)
            continue
        if held is not None:
            say(held)
            continue
        soonest = NEVER_NS
        cause = ""
        max_deadline = workspace.max_deadline_ns
        if max_deadline is not None:
            due = max_deadline + overdue
            if due <= now:
                say(_STOP_MAX_DEADLINE)
                continue
            if due < soonest:
                soonest = due
                cause = "max_deadline"
        connections = workspace.active_connections
        connected = connections is not None and connections > 0 and respects
        deadline = workspace.deadline_ns
        if deadline is not None and not connected:
            due = deadline + overdue
            if due <= now:
                say(_STOP_TTL)
                continue
            if due < soonest:
                soonest = due
                cause = "ttl"
        try:
            is_excluded = excluded[workspace.owner]
        except KeyError:
            is_excluded = excluded[workspace.owner] = workspace.owner.casefold() in users
        is_exempt = is_excluded or workspace.template in templates
        idle_until = grace_until = 0
        if is_on and not connected and not is_exempt:
            started = workspace.started_ns
            grace_until = ahead.start if started is None or started < ahead.start else started
            grace_until += grace
            due = grace_until
            last_used = workspace.last_used_ns
            if respects and last_used is not None:
                idle_until = last_used + idle
                if idle_until > due:
                    due = idle_until
            if due >= ahead.end:
                due = ahead.later(started or 0, grace, idle_until)
            if due <= now:
                say(_STOP_QUIET)
                continue
            if due < soonest:
                soonest = due
                cause = "quiet_hours"
        opens = soonest - warn
        if opens <= now:
            say(StopDecision("warn", cause, soonest))
            continue
        if connected and (ahead.is_inside or (deadline is not None and deadline <= now)):
            reason = "active_connection"
        elif not is_on:
            reason = "no_ttl" if deadline is None and max_deadline is None else "within_ttl"
        elif is_exempt:
            reason = "excluded_user" if is_excluded else "excluded_template"
        elif ahead.is_inside:
            reason = "recently_used" if idle_until > grace_until else "in_grace"
        else:
            reason = "outside_quiet_hours"
        say(StopDecision("keep", reason, opens if soonest < NEVER_NS else None))
    return decisions


def _ahead(planner: Planner, owner_tz: str | None, now: int) -> _Ahead | None:
    calendar = planner.calendar(owner_tz)
    if calendar is None:
        return None
    return _Ahead(calendar if planner.policy.enabled else None, now)


def _ns(minutes: float) -> int:
    return round(minutes * MINUTE_NS)
