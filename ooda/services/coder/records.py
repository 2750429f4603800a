"""What Coder answers, as far as the steward needs it: values decoded straight from the wire.

Field names are those of the interface (release 2.36). Enumerations are plain texts, because newer releases add
members; unknown fields are skipped without being looked at, which is most of what makes decoding quick. Times are
aware datetimes; Go's zero time (year 1) stands for "unset" in some of them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

__all__ = [
    "Answer",
    "ApiKey",
    "AuditEntry",
    "AuditPage",
    "AutostopRequirement",
    "Build",
    "BuildInfo",
    "Entitlements",
    "Feature",
    "Health",
    "Job",
    "QuietHoursSchedule",
    "Role",
    "Template",
    "Transition",
    "User",
    "UserPage",
    "Validation",
    "Workspace",
    "WorkspacePage",
]

Transition = Literal["start", "stop", "delete"]

_ACTIVE = frozenset({"pending", "running", "canceling"})


class _Read(msgspec.Struct, frozen=True, kw_only=True):
    """Base: fields by name, unknown ones skipped."""


class Job(_Read, frozen=True, kw_only=True):
    """The provisioner's work on a build."""

    status: str
    """pending, running, succeeded, canceling, canceled, failed or unknown."""
    error: str = ""
    error_code: str = ""
    started_at: datetime | None = None
    completed_at: datetime | None = None
    queue_position: int = 0

    @property
    def is_active(self) -> bool:
        """Whether it is still under way, so that another build would be refused."""
        return self.status in _ACTIVE


class Build(_Read, frozen=True, kw_only=True):
    """One build of a workspace."""

    id: str
    build_number: int
    transition: str
    reason: str
    status: str
    """The workspace's status as this build leaves it: running, stopped, starting, failed …"""
    created_at: datetime
    deadline: datetime | None = None
    max_deadline: datetime | None = None
    template_version_id: str
    initiator_id: str
    initiator_name: str
    daily_cost: int = 0
    job: Job


class Health(_Read, frozen=True, kw_only=True):
    """Whether the agents answer; an unhealthy workspace still runs."""

    healthy: bool


class Workspace(_Read, frozen=True, kw_only=True):
    """One workspace."""

    id: str
    name: str
    owner_id: str
    owner_name: str
    organization_name: str
    template_id: str
    template_name: str
    ttl_ms: int | None = None
    autostart_schedule: str = ""
    created_at: datetime
    last_used_at: datetime
    dormant_at: datetime | None = None
    deleting_at: datetime | None = None
    next_start_at: datetime | None = None
    automatic_updates: str
    outdated: bool
    is_prebuild: bool = False
    template_require_active_version: bool = False
    health: Health
    latest_build: Build


class AutostopRequirement(_Read, frozen=True, kw_only=True):
    """Days on which the template has its workspaces stopped at the start of the owner's quiet hours."""

    days_of_week: tuple[str, ...] | None = None
    weeks: int = 0


class Template(_Read, frozen=True, kw_only=True):
    """One template, with what it says about stopping."""

    id: str
    name: str
    organization_name: str
    default_ttl_ms: int = 0
    activity_bump_ms: int = 0
    allow_user_autostop: bool = True
    autostop_requirement: AutostopRequirement = AutostopRequirement()
    failure_ttl_ms: int = 0
    time_til_dormant_ms: int = 0
    time_til_autostop_notify_ms: int = 0
    require_active_version: bool = False
    deprecated: bool = False


class Role(_Read, frozen=True, kw_only=True):
    """A role of a user; with an organization it holds there only."""

    name: str
    organization_id: str = ""


class User(_Read, frozen=True, kw_only=True):
    """One user."""

    id: str
    username: str
    email: str
    name: str = ""
    status: str
    """active, dormant or suspended."""
    last_seen_at: datetime | None = None
    roles: tuple[Role, ...] | None = None

    @property
    def role_names(self) -> frozenset[str]:
        """Names of all roles, whatever organization they hold in."""
        return frozenset(role.name for role in self.roles or ())


class QuietHoursSchedule(_Read, frozen=True, kw_only=True):
    """A user's quiet hours: the start of the hours in which templates may have the workspace stopped."""

    raw_schedule: str
    user_set: bool
    user_can_set: bool
    time: str
    """`HH:MM`."""
    timezone: str
    next: datetime


class Feature(_Read, frozen=True, kw_only=True):
    """One licensed feature."""

    entitlement: str
    """entitled, grace_period or not_entitled."""
    enabled: bool


class Entitlements(_Read, frozen=True, kw_only=True):
    """What the deployment's licence allows."""

    has_license: bool
    features: dict[str, Feature] | None = None

    def has(self, feature: str) -> bool:
        """Whether a feature works now."""
        found = (self.features or {}).get(feature)
        return found is not None and found.enabled and found.entitlement != "not_entitled"


class BuildInfo(_Read, frozen=True, kw_only=True):
    """The deployment itself."""

    version: str
    external_url: str = ""
    deployment_id: str = ""


class ApiKey(_Read, frozen=True, kw_only=True):
    """A session token, without its secret."""

    id: str
    user_id: str
    expires_at: datetime
    lifetime_seconds: int
    token_name: str = ""
    scopes: tuple[str, ...] | None = None


class AuditEntry(_Read, frozen=True, kw_only=True):
    """One line of Coder's own audit log."""

    id: str
    time: datetime
    action: str
    resource_type: str
    resource_id: str
    resource_target: str
    status_code: int
    description: str
    additional_fields: dict[str, object] | None = None
    user: User | None = None


class Validation(_Read, frozen=True, kw_only=True):
    """One mistake in a request."""

    field: str
    detail: str


class Answer(_Read, frozen=True, kw_only=True):
    """The body of an error, and of some successes."""

    message: str
    detail: str = ""
    validations: tuple[Validation, ...] = ()


class WorkspacePage(_Read, frozen=True, kw_only=True):
    """A page of workspaces."""

    workspaces: tuple[Workspace, ...] | None = None
    count: int

    @property
    def rows(self) -> tuple[Workspace, ...]:
        """What the page holds; empty where Coder says null."""
        return self.workspaces or ()


class UserPage(_Read, frozen=True, kw_only=True):
    """A page of users."""

    users: tuple[User, ...] | None = None
    count: int

    @property
    def rows(self) -> tuple[User, ...]:
        """What the page holds; empty where Coder says null."""
        return self.users or ()


class AuditPage(_Read, frozen=True, kw_only=True):
    """A page of the audit log, the newest entries first."""

    audit_logs: tuple[AuditEntry, ...] | None = None
    count: int

    @property
    def rows(self) -> tuple[AuditEntry, ...]:
        """What the page holds; empty where Coder says null."""
        return self.audit_logs or ()
