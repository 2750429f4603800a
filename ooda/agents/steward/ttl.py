"""Time to live: which workspaces should have stopped, which stop soon, and which break the rules about it.

Judged by the running build's deadline, never by creation plus time to live: activity moves the deadline, and a new
time to live counts from the next start on. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from ooda.agents.steward.instants import SECOND_NS, lasting
from ooda.agents.steward.records import Workspace

__all__ = ["TtlEntry", "TtlPolicy", "TtlReport", "TtlViolation", "analyze_ttl", "ttl_text"]

_MS_NS = 1_000_000


class TtlPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of times to live."""

    soon_s: int = 3_600
    """How soon counts as stopping soon."""
    late_s: int = 120
    """Coder acts within a minute; later than this its executor is failing."""
    is_required: bool = False
    """Whether running without a deadline is a violation."""
    longest_s: int | None = None
    """The longest time to live that is allowed."""


class TtlEntry(msgspec.Struct, frozen=True):
    """A workspace and its end."""

    id: str
    workspace: str
    """`owner/name`."""
    stop_ns: int
    """The earlier of deadline and maximum deadline."""
    ttl_ms: int | None
    is_late: bool = False
    """Its end has passed so long ago that Coder should have acted."""


class TtlViolation(msgspec.Struct, frozen=True):
    """One workspace that breaks one rule."""

    id: str
    workspace: str
    kind: Literal["overdue", "no_deadline", "ttl_too_long"]
    detail: str
    since_ns: int
    """When it began: with the same `id`, `kind` and `since_ns` it is the same violation, however often it is seen."""


class TtlReport(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a fleet's times to live at one instant."""

    at_ns: int
    checked: int
    """Running workspaces looked at."""
    should_have_stopped: tuple[TtlEntry, ...]
    """Longest overdue first."""
    stopping_soon: tuple[TtlEntry, ...]
    """Soonest first."""
    violations: tuple[TtlViolation, ...]

    @property
    def is_executor_failing(self) -> bool:
        """Whether deadlines pass unheeded, which is a fault of the deployment and not of its users."""
        return any(entry.is_late for entry in self.should_have_stopped)


def analyze_ttl(
    now_ns: int, workspaces: Iterable[Workspace], policy: TtlPolicy | None = None, *, owner: str = ""
) -> TtlReport:
    """Analyse the times to live of a fleet; `owner` narrows it to one user's workspaces, compared without case."""
    policy = policy or TtlPolicy()
    late: list[TtlEntry] = []
    soon: list[TtlEntry] = []
    violations: list[TtlViolation] = []
    checked = 0
    for seen in workspaces:
        if seen.status != "running" or seen.is_prebuild or (owner and seen.owner.casefold() != owner.casefold()):
            continue
        checked += 1
        entry = _entry(seen, now_ns, policy)
        if entry is not None and seen.dormant_ns is None:
            if entry.stop_ns <= now_ns:
                late.append(entry)
            elif entry.stop_ns <= now_ns + policy.soon_s * SECOND_NS:
                soon.append(entry)
        violations += _violations(seen, entry, now_ns, policy)
    return TtlReport(
        at_ns=now_ns,
        checked=checked,
        should_have_stopped=tuple(sorted(late, key=lambda entry: (entry.stop_ns, entry.workspace))),
        stopping_soon=tuple(sorted(soon, key=lambda entry: (entry.stop_ns, entry.workspace))),
        violations=tuple(violations),
    )


def _entry(seen: Workspace, now_ns: int, policy: TtlPolicy) -> TtlEntry | None:
    ends = [end for end in (seen.deadline_ns, seen.max_deadline_ns) if end is not None]
    if not ends:
        return None
    stop_ns = min(ends)
    return TtlEntry(seen.id, seen.title, stop_ns, seen.ttl_ms, now_ns - stop_ns > policy.late_s * SECOND_NS)


def _violations(seen: Workspace, entry: TtlEntry | None, now_ns: int, policy: TtlPolicy) -> Iterable[TtlViolation]:
    started_ns = seen.started_ns if seen.started_ns is not None else now_ns
    if entry is None:
        if policy.is_required:
            yield TtlViolation(seen.id, seen.title, "no_deadline", "runs without an end", started_ns)
    elif entry.is_late and seen.dormant_ns is None:
        detail = f"should have stopped {lasting(now_ns - entry.stop_ns)} ago"
        yield TtlViolation(seen.id, seen.title, "overdue", detail, entry.stop_ns)
    if policy.longest_s is not None and seen.ttl_ms and seen.ttl_ms > policy.longest_s * 1_000:
        allowed = lasting(policy.longest_s * SECOND_NS)
        detail = f"time to live of {lasting(seen.ttl_ms * _MS_NS)}, {allowed} is allowed"
        yield TtlViolation(seen.id, seen.title, "ttl_too_long", detail, started_ns)


def ttl_text(report: TtlReport) -> str:
    """The report as the requirement prints it."""
    lines = ["TTL Compliance Report", "=====================", "Workspaces that SHOULD HAVE STOPPED:"]
    for entry in report.should_have_stopped:
        ago = lasting(report.at_ns - entry.stop_ns)
        lines.append(f"- {entry.workspace}: Expired {ago} ago (TTL: {_ttl(entry)})")
    lines += [] if report.should_have_stopped else ["- none"]
    lines += ["", "Workspaces STOPPING SOON:"]
    for entry in report.stopping_soon:
        left = lasting(entry.stop_ns - report.at_ns)
        lines.append(f"- {entry.workspace}: Stopping in {left} (TTL: {_ttl(entry)})")
    lines += [] if report.stopping_soon else ["- none"]
    if report.violations:
        lines += ["", "TTL POLICY VIOLATIONS:"]
        lines += [f"- {found.workspace}: {found.kind.replace('_', ' ')}, {found.detail}" for found in report.violations]
    if report.is_executor_failing:
        lines += ["", "Deadlines pass without a stop: Coder's own autostop seems to be failing."]
    return "\n".join(lines) + "\n"


def _ttl(entry: TtlEntry) -> str:
    return lasting(entry.ttl_ms * _MS_NS) if entry.ttl_ms else "not set"
