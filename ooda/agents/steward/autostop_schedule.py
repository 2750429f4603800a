"""Autostop: which workspaces will be stopped, when and by what, and where policies contradict each other.

Quiet hours, time to live, maximum deadline and the template's own policy all stop workspaces; the earliest wins.
What follows from their meeting is said in words, for each workspace. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from ooda.agents.steward.decision import Planner
from ooda.agents.steward.fleet import Seat
from ooda.agents.steward.instants import HOUR_NS, SECOND_NS, lasting, minute_of
from ooda.agents.steward.policy import Policy
from ooda.agents.steward.records import Workspace
from ooda.agents.steward.stops import PlannedStop, coming_stops
from ooda.services.coder import Template

__all__ = ["AutostopLine", "Conflict", "autostop_text", "schedule"]

_MS_NS = 1_000_000
_WORDS = {"quiet_hours": "quiet hours", "ttl": "time to live", "max_deadline": "maximum deadline"}


class Conflict(msgspec.Struct, frozen=True):
    """Two policies that meet in one workspace, and what comes of it."""

    kind: str
    says: str


class AutostopLine(msgspec.Struct, frozen=True, kw_only=True):
    """One workspace that will be stopped, or may be."""

    workspace: Workspace
    policy: str
    """What ends it, in words: time to live, template's time to live, template's days, quiet hours."""
    stops: tuple[PlannedStop, ...]
    """The earliest first."""
    conflicts: tuple[Conflict, ...]

    @property
    def first(self) -> PlannedStop | None:
        """The stop that will happen."""
        return self.stops[0] if self.stops else None


def schedule(
    now_ns: int, seats: Iterable[Seat], templates: Mapping[str, Template] | None = None
) -> tuple[AutostopLine, ...]:
    """Every running workspace with what will stop it, the soonest first, those without an end last.

    Args:
        templates: by id, where they are known.
    """
    planners: dict[Policy, Planner] = {}
    lines = []
    for seat in seats:
        if seat.workspace.status != "running":
            continue
        planner = planners.setdefault(seat.policy, Planner(seat.policy))
        template = (templates or {}).get(seat.workspace.template_id)
        stops = coming_stops(planner, now_ns, seat.workspace)
        lines.append(
            AutostopLine(
                workspace=seat.workspace,
                policy=_policy_words(seat.workspace, template, stops),
                stops=stops,
                conflicts=tuple(_conflicts(now_ns, seat, template, stops)),
            )
        )
    return tuple(
        sorted(lines, key=lambda line: (line.first is None, line.first and line.first.at_ns, line.workspace.title))
    )


def _policy_words(seen: Workspace, template: Template | None, stops: tuple[PlannedStop, ...]) -> str:
    words = []
    if template is not None and not template.allow_user_autostop and template.default_ttl_ms:
        words.append(f"template's time to live {lasting(template.default_ttl_ms * _MS_NS)}")
    elif seen.ttl_ms:
        words.append(f"time to live {lasting(seen.ttl_ms * _MS_NS)}")
    if template is not None and template.autostop_requirement.days_of_week:
        words.append("template stops on " + ", ".join(template.autostop_requirement.days_of_week))
    if any(stop.cause == "quiet_hours" for stop in stops):
        words.append("quiet hours")
    return "; ".join(words) or "none"


def _conflicts(
    now_ns: int, seat: Seat, template: Template | None, stops: tuple[PlannedStop, ...]
) -> Iterable[Conflict]:
    seen, at = seat.workspace, {stop.cause: stop.at_ns for stop in stops}
    quiet, deadline, limit = at.get("quiet_hours"), at.get("ttl"), at.get("max_deadline")
    if quiet is not None and deadline is not None and quiet < deadline:
        yield Conflict(
            "quiet_before_ttl",
            f"quiet hours stop it {lasting(deadline - quiet)} before its time to live ends; the earlier one wins",
        )
    if quiet is not None and deadline is not None and deadline < quiet:
        yield Conflict(
            "ttl_before_quiet",
            f"its time to live ends {lasting(quiet - deadline)} before quiet hours would stop it; the earlier one wins",
        )
    if limit is not None and deadline is not None and limit <= deadline:
        yield Conflict("capped", "activity cannot move its deadline any further: the maximum deadline holds")
    if seat.said.reason in ("excluded_user", "excluded_template") and (deadline is not None or limit is not None):
        what = "its owner" if seat.said.reason == "excluded_user" else "its template"
        yield Conflict("excluded_from_quiet_only", f"{what} is excluded from quiet hours, but its deadline still holds")
    yield from _of_holds(seat, deadline, limit)
    yield from _of_the_template(seen, template)
    if quiet is not None and seen.next_start_ns is not None and quiet < seen.next_start_ns < quiet + 12 * HOUR_NS:
        yield Conflict(
            "autostart_after_stop",
            f"autostart starts it {lasting(seen.next_start_ns - quiet)} later, at {minute_of(seen.next_start_ns)}",
        )
    if not stops and seen.dormant_ns is None and seat.said.reason != "held_by_override":
        yield Conflict("no_end", "nothing will ever stop it")
    if seen.dormant_ns is not None:
        yield Conflict("dormant", "it is marked dormant and runs: neither Coder nor the steward stops it by itself")


def _of_holds(seat: Seat, deadline: int | None, limit: int | None) -> Iterable[Conflict]:
    if seat.said.reason != "held_by_override" or seat.said.next_ns is None:
        return
    ends = [end for end in (deadline, limit) if end is not None and end < seat.said.next_ns]
    if ends:
        yield Conflict(
            "hold_is_ours_only",
            f"the steward holds it until {minute_of(seat.said.next_ns)}, but Coder itself stops it at "
            f"{minute_of(min(ends))}; extend its deadline (`ooda steward bump-ttl`)",
        )


def _of_the_template(seen: Workspace, template: Template | None) -> Iterable[Conflict]:
    if template is None:
        return
    if not template.allow_user_autostop and seen.ttl_ms and seen.ttl_ms != template.default_ttl_ms:
        yield Conflict("ttl_overruled", "its own time to live counts for nothing: the template sets one for all")
    if seen.ttl_ms and seen.deadline_ns is not None and seen.started_ns is not None:
        lasted = seen.deadline_ns - seen.started_ns
        if lasted < seen.ttl_ms * _MS_NS - 60 * SECOND_NS and seen.deadline_ns != seen.max_deadline_ns:
            yield Conflict(
                "ttl_from_next_start", "its time to live was changed since it started, and counts from the next start"
            )


def autostop_text(now_ns: int, lines: Iterable[AutostopLine]) -> str:
    """The schedule for a terminal: one workspace a paragraph."""
    text = ["AutoStop Schedule", "================="]
    lines = tuple(lines)
    for line in lines:
        if line.first is None:
            text.append(f"- {line.workspace.title}: no stop is coming ({line.policy})")
        else:
            stop = line.first
            in_words = f"in {lasting(stop.at_ns - now_ns)}" if stop.at_ns > now_ns else "now"
            text.append(
                f"- {line.workspace.title}: {minute_of(stop.at_ns)} ({in_words}) by {_WORDS[stop.cause]}, {stop.by}"
            )
        text += [f"    then {minute_of(stop.at_ns)} by {_WORDS[stop.cause]}, {stop.by}" for stop in line.stops[1:]]
        text += [f"    {conflict.says}" for conflict in line.conflicts]
    return "\n".join(text if lines else [*text, "- no workspace is running"]) + "\n"
