"""What lives in the fake: users, templates, workspaces and their builds. Mutable on purpose; one world owns them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

__all__ = ["AuditRow", "FakeBuild", "FakeTemplate", "FakeToken", "FakeUser", "FakeWorkspace", "Problem"]


class Problem(Exception):
    """A refusal, as the interface answers it."""

    def __init__(self, status: int, message: str, detail: str = "", /, **validations: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.detail = detail
        self.validations = validations


@dataclass
class FakeUser:
    """One user."""

    id: str
    username: str
    email: str
    name: str
    created_at: datetime
    roles: tuple[str, ...] = ()
    status: str = "active"
    timezone: str = "UTC"
    schedule: str = ""
    """Own quiet hours, `CRON_TZ=Europe/Berlin 0 20 * * *`; empty: the deployment's."""
    last_seen_at: datetime | None = None

    @property
    def sees_all(self) -> bool:
        """Whether other people's workspaces are shown to this user."""
        return bool({"owner", "auditor", "template-admin"} & set(self.roles))

    @property
    def builds_all(self) -> bool:
        """Whether this user may start and stop other people's workspaces."""
        return "owner" in self.roles


@dataclass(frozen=True)
class FakeToken:
    """A session token, `<id>-<secret>`."""

    id: str
    secret: str
    user: FakeUser
    expires_at: datetime
    scopes: tuple[str, ...]

    @property
    def text(self) -> str:
        return f"{self.id}-{self.secret}"


@dataclass
class FakeTemplate:
    """One template and its scheduling policy."""

    id: str
    name: str
    created_at: datetime
    active_version_id: str
    default_ttl_ms: int = 0
    activity_bump_ms: int = 3_600_000
    allow_user_autostop: bool = True
    allow_user_autostart: bool = True
    autostop_days: tuple[str, ...] = ()
    """Full names in lower case; workspaces then stop at the start of their owner's quiet hours."""
    failure_ttl_ms: int = 0
    time_til_dormant_ms: int = 0
    time_til_autostop_notify_ms: int = 0
    require_active_version: bool = False
    importing: set[str] = field(default_factory=set)
    """Versions whose import has not ended: builds of them are answered 406."""


@dataclass
class FakeBuild:
    """One build with its job."""

    id: str
    number: int
    transition: str
    reason: str
    initiator: FakeUser
    version_id: str
    created_at: datetime
    job_id: str
    job_status: str = "pending"
    started_at: datetime | None = None
    completed_at: datetime | None = None
    canceled_at: datetime | None = None
    error: str = ""
    deadline: datetime | None = None
    max_deadline: datetime | None = None
    fails: bool = False
    """The job will end in failure."""

    @property
    def is_active(self) -> bool:
        return self.job_status in ("pending", "running", "canceling")

    @property
    def status(self) -> str:
        """The workspace's status as this build leaves it."""
        if self.job_status == "running":
            return {"start": "starting", "stop": "stopping", "delete": "deleting"}[self.transition]
        if self.job_status == "succeeded":
            return {"start": "running", "stop": "stopped", "delete": "deleted"}[self.transition]
        return self.job_status

    @property
    def is_running(self) -> bool:
        """Whether the workspace runs: a start that succeeded."""
        return self.transition == "start" and self.job_status == "succeeded"


@dataclass
class FakeWorkspace:
    """One workspace."""

    id: str
    name: str
    owner: FakeUser
    template: FakeTemplate
    created_at: datetime
    last_used_at: datetime
    ttl_ms: int | None = None
    autostart: str = ""
    dormant_at: datetime | None = None
    deleting_at: datetime | None = None
    automatic_updates: str = "never"
    is_prebuild: bool = False
    is_healthy: bool = True
    favorite_of: set[str] = field(default_factory=set)
    builds: list[FakeBuild] = field(default_factory=list)
    """Oldest first, never empty."""
    agent_id: str = ""
    daily_cost: int = 0
    rendered: bytes = b""
    """Kept answer; emptied by every change."""

    @property
    def latest(self) -> FakeBuild:
        return self.builds[-1]

    @property
    def is_deleted(self) -> bool:
        return self.latest.status == "deleted"


@dataclass
class AuditRow:
    """One line of the audit log."""

    id: str
    at: datetime
    action: str
    workspace: FakeWorkspace
    build: FakeBuild
    status_code: int
