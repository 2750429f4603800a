"""What the steward's decision takes and gives: a workspace and the answer for it. Values only.

A `Workspace` is what a policy needs to know, whoever tells it: `ooda.services.coder` for a live fleet, a JSON line
for `ooda steward decide`. Times are instants (`instants`); None means unset.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["RANKED", "Choice", "StopDecision", "Workspace"]

Choice = Literal["stop", "warn", "keep"]

RANKED = ("max_deadline", "ttl", "quiet_hours")
"""Causes of a stop; of several at once the first names it."""


class Workspace(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One workspace as a policy sees it."""

    id: str = ""
    name: str = ""
    owner: str
    """User name."""
    owner_tz: str | None = None
    """IANA zone from the owner's own schedule."""
    template: str
    """Template name."""
    status: str
    """Coder's word; only `running` can be stopped."""
    started_ns: int | None = None
    """Completion of the latest start build."""
    last_used_ns: int | None = None
    active_connections: int | None = None
    """None where nobody counts them; then last use alone tells activity."""
    ttl_ms: int | None = None
    """Applies to the next start."""
    deadline_ns: int | None = None
    """When Coder itself means to stop it."""
    max_deadline_ns: int | None = None
    """Beyond which no activity keeps it."""
    dormant_ns: int | None = None
    owner_id: str = ""
    organization: str = ""
    template_id: str = ""
    template_version: str = ""
    """Id of the version its latest build has."""
    build_id: str = ""
    """The latest build: a decision rests on it, and is void on another one."""
    build_number: int = 0
    autostart: str = ""
    """Its own start schedule, in cron's words."""
    next_start_ns: int | None = None
    is_healthy: bool = True
    is_outdated: bool = False
    is_prebuild: bool = False
    """Made in advance and owned by nobody yet; no policy is for it."""
    daily_cost: int = 0
    """Credits a day, where the deployment counts them."""

    @property
    def title(self) -> str:
        """`owner/name`."""
        return f"{self.owner}/{self.name}"


class StopDecision(msgspec.Struct, frozen=True, gc=False):
    """What is to be done with a workspace now."""

    decision: Choice
    reason: str
    """Of a stop or a warning its cause, one of `RANKED`; otherwise what keeps the workspace running."""
    next_ns: int | None = None
    """When the decision changes if nothing about the workspace does: for `warn` the stop, for `keep` the opening of
    the warning, for a hold its end; None for never, after a stop, and behind a guard."""
