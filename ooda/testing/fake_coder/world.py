"""The fake deployment itself: builds that take time, deadlines, Coder's own autostop, audit. No HTTP here.

Time is virtual: whatever was due between two looks happens at its own instant, in order, when the world is next
looked at (`settle`). The rules are those of release 2.36: one build at a time, a second stop of a stopped workspace
is accepted, a deadline is set when a start succeeds, and the executor passes once a minute.
"""

from __future__ import annotations

import heapq
import uuid
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from random import Random

from ooda.testing.fake_coder import cron
from ooda.testing.fake_coder.clock import FleetClock
from ooda.testing.fake_coder.entities import (
    AuditRow,
    FakeBuild,
    FakeTemplate,
    FakeToken,
    FakeUser,
    FakeWorkspace,
    Problem,
)

__all__ = ["DEFAULT_SCHEDULE", "World"]

DEFAULT_SCHEDULE = "CRON_TZ=UTC 0 2 * * *"
_MINUTE = timedelta(minutes=1)
_MS = timedelta(milliseconds=1)
_LEEWAY = timedelta(hours=2)
"""A workspace started this shortly before its owner's quiet hours is spared by the template's requirement."""
_MOST_TTL_MS = 30 * 24 * 3_600_000


class World:
    """Users, templates, workspaces and time."""

    def __init__(
        self,
        clock: FleetClock,
        rng: Random,
        *,
        workers: int = 20,
        pick_up_s: float = 1,
        build_s: tuple[float, float] = (20, 10),
        licensed: tuple[str, ...] = ("advanced_template_scheduling", "audit_log"),
    ) -> None:
        """`build_s` are the seconds of a start and of a stop; `workers` the provisioners."""
        self.clock = clock
        self.users: dict[str, FakeUser] = {}
        self.templates: dict[str, FakeTemplate] = {}
        self.workspaces: dict[str, FakeWorkspace] = {}
        self.builds: dict[str, tuple[FakeWorkspace, FakeBuild]] = {}
        self.tokens: dict[str, FakeToken] = {}
        """By their text."""
        self.audit: list[AuditRow] = []
        self.notices: list[tuple[FakeUser, str, str]] = []
        self.licensed = set(licensed)
        self.executor_runs = True
        """False: Coder's own autostop fails, and deadlines pass unheeded."""
        self.removed: set[str] = set()
        """Template versions that were deleted."""
        self.hidden: set[str] = set()
        """Ids that are counted in a listing and dropped from its rows."""
        self.organization_id = self._uuid_from(rng)
        self._rng = rng
        self._workers = workers
        self._pick_up = timedelta(seconds=pick_up_s)
        self._build_time = {"start": timedelta(seconds=build_s[0])}
        self._stop_time = timedelta(seconds=build_s[1])
        self._events: list[tuple[datetime, int, Callable[[datetime], None]]] = []
        self._numbers = count()
        self._waiting: deque[tuple[FakeWorkspace, FakeBuild]] = deque()
        self._running = 0
        self._now = clock.now()
        self._at(self._next_minute(self._now), self._execute)

    # -- making -----------------------------------------------------------------------------------------

    def uuid(self) -> str:
        """A fresh id, the same in every world of the same seed."""
        return self._uuid_from(self._rng)

    def add_user(
        self, username: str, *, roles: tuple[str, ...] = (), timezone: str = "UTC", schedule: str = ""
    ) -> FakeUser:
        """A new active user."""
        user = FakeUser(
            id=self.uuid(),
            username=username,
            email=f"{username}@example.com",
            name=username.replace("-", " ").replace(".", " ").title(),
            created_at=self._now - timedelta(days=200),
            roles=roles,
            timezone=timezone,
            schedule=schedule,
            last_seen_at=self._now,
        )
        self.users[user.id] = user
        return user

    def add_token(self, user: FakeUser, *, days: float = 30, scopes: tuple[str, ...] = ("all",)) -> FakeToken:
        """A session token of a user."""
        id, secret = (self.uuid().replace("-", "") for _ in range(2))
        token = FakeToken(id[:10], secret[:22], user, self._now + timedelta(days=days), scopes)
        self.tokens[token.text] = token
        return token

    def add_template(self, name: str, **policy: object) -> FakeTemplate:
        """A new template with one version that is ready."""
        template = FakeTemplate(self.uuid(), name, self._now - timedelta(days=300), self.uuid(), **policy)  # type: ignore[arg-type]
        self.templates[template.id] = template
        return template

    def publish(self, template: FakeTemplate, *, is_importing: bool = False) -> str:
        """A new active version of a template, ready or still being imported; gives its id."""
        template.active_version_id = version = self.uuid()
        if is_importing:
            template.importing.add(version)
        for workspace in self.workspaces.values():
            if workspace.template is template:
                workspace.rendered = b""
        return version

    def remove_version(self, version: str) -> None:
        """Delete a version of a template: nothing can be built with it any more."""
        self.removed.add(version)

    def add_workspace(
        self,
        owner: FakeUser,
        template: FakeTemplate,
        name: str,
        *,
        is_running: bool = True,
        started_at: datetime | None = None,
        last_used_at: datetime | None = None,
        ttl_ms: int | None = None,
        autostart: str = "",
        is_prebuild: bool = False,
    ) -> FakeWorkspace:
        """A workspace as it stands after its last start (and stop), without the builds' time passing."""
        started = started_at or self._now - timedelta(hours=4)
        workspace = FakeWorkspace(
            id=self.uuid(),
            name=name,
            owner=owner,
            template=template,
            created_at=started - timedelta(days=30),
            last_used_at=last_used_at or started,
            ttl_ms=ttl_ms,
            autostart=autostart,
            is_prebuild=is_prebuild,
            agent_id=self.uuid(),
            daily_cost=self._rng.randrange(0, 40),
        )
        self.workspaces[workspace.id] = workspace
        build = self._new_build(workspace, "start", "initiator", owner, template.active_version_id, started)
        self._close(workspace, build, started, "succeeded")
        if not is_running:
            stopped = max(started, workspace.last_used_at)
            build = self._new_build(workspace, "stop", "initiator", owner, template.active_version_id, stopped)
            self._close(workspace, build, stopped, "succeeded")
        return workspace

    # -- time -------------------------------------------------------------------------------------------

    def settle(self) -> datetime:
        """Let everything happen that was due until now; gives now."""
        now = self.clock.now()
        while self._events and self._events[0][0] <= now:
            at, _, event = heapq.heappop(self._events)
            self._now = max(self._now, at)
            event(at)
        self._now = max(self._now, now)
        return self._now

    def _at(self, moment: datetime, event: Callable[[datetime], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._numbers), event))

    @staticmethod
    def _next_minute(moment: datetime) -> datetime:
        return moment.replace(second=0, microsecond=0) + _MINUTE

    # -- builds -----------------------------------------------------------------------------------------

    def build(
        self,
        workspace: FakeWorkspace,
        transition: str,
        initiator: FakeUser,
        *,
        reason: str = "initiator",
        version_id: str | None = None,
        fails: bool = False,
    ) -> FakeBuild:
        """Queue a build.

        Raises:
            Problem: 409 while another is active or after deletion, 406 while the version is imported.
        """
        if workspace.is_deleted:
            raise Problem(409, "The workspace has been deleted.")
        if workspace.latest.is_active:
            raise Problem(409, "A workspace build is already active.")
        template = workspace.template
        version = version_id or workspace.latest.version_id
        if transition == "start" and (template.require_active_version or workspace.automatic_updates == "always"):
            version = template.active_version_id
        if version in self.removed:
            raise Problem(400, "Template version does not exist.")
        if version in template.importing:
            raise Problem(406, "The template version is still being imported.")
        build = self._new_build(workspace, transition, reason, initiator, version, self._now)
        build.fails = fails
        self._at(self._now + self._pick_up, lambda at: self._pick(workspace, build, at))
        return build

    def cancel(self, build_id: str, expected: str = "") -> None:
        """Cancel a build: at once while it waits, at the provisioner's leisure while it runs."""
        workspace, build = self.builds[build_id]
        if expected and build.job_status != expected:
            raise Problem(412, f"The build is {build.job_status}, not {expected}.")
        if build.completed_at is not None:
            raise Problem(400, "The job has already ended.")
        if build.job_status == "canceling":
            raise Problem(400, "The job is already being canceled.")
        build.canceled_at = self._now
        if build.job_status == "pending":
            self._close(workspace, build, self._now, "canceled")
        else:
            build.job_status = "canceling"
            self._at(self._now + self._pick_up, lambda at: self._end(workspace, build, at))
        workspace.rendered = b""

    def queue_position(self, build: FakeBuild) -> int:
        """Place among the builds that wait for a provisioner, from 1; 0 when it does not wait."""
        for place, (_, waiting) in enumerate(self._waiting, start=1):
            if waiting is build:
                return place
        return 0

    @property
    def queue_size(self) -> int:
        return len(self._waiting)

    def _new_build(
        self,
        workspace: FakeWorkspace,
        transition: str,
        reason: str,
        initiator: FakeUser,
        version_id: str,
        at: datetime,
    ) -> FakeBuild:
        number = len(workspace.builds) + 1
        build = FakeBuild(self.uuid(), number, transition, reason, initiator, version_id, at, self.uuid())
        workspace.builds.append(build)
        self.builds[build.id] = (workspace, build)
        workspace.rendered = b""
        return build

    def _pick(self, workspace: FakeWorkspace, build: FakeBuild, at: datetime) -> None:
        if build.job_status != "pending":
            return
        if self._running >= self._workers:
            self._waiting.append((workspace, build))
            return
        self._running += 1
        build.job_status = "running"
        build.started_at = at
        workspace.rendered = b""
        took = self._build_time.get(build.transition, self._stop_time)
        self._at(at + took, lambda end: self._end(workspace, build, end))

    def _end(self, workspace: FakeWorkspace, build: FakeBuild, at: datetime) -> None:
        if build.completed_at is not None:
            return
        self._running -= 1
        outcome = "canceled" if build.job_status == "canceling" else "failed" if build.fails else "succeeded"
        self._close(workspace, build, at, outcome)
        while self._waiting:
            waiting_workspace, waiting = self._waiting.popleft()
            if waiting.job_status == "pending":
                self._pick(waiting_workspace, waiting, at)
                break

    def _close(self, workspace: FakeWorkspace, build: FakeBuild, at: datetime, outcome: str) -> None:
        build.started_at = build.started_at or at
        build.completed_at = at
        build.job_status = outcome
        workspace.rendered = b""
        if outcome == "failed":
            build.error = "terraform apply: exit status 1"
        if outcome == "succeeded" and build.transition == "start":
            build.max_deadline = self._max_deadline(workspace, at)
            ttl_ms = self.effective_ttl_ms(workspace)
            build.deadline = at + ttl_ms * _MS if ttl_ms else build.max_deadline
            if build.max_deadline is not None and build.deadline is not None:
                build.deadline = min(build.deadline, build.max_deadline)
        if "audit_log" in self.licensed and build.transition in ("start", "stop") and outcome != "canceled":
            code = 200 if outcome == "succeeded" else 500
            self.audit.append(AuditRow(self.uuid(), at, build.transition, workspace, build, code))

    # -- what Coder does by itself ----------------------------------------------------------------------

    def effective_ttl_ms(self, workspace: FakeWorkspace) -> int:
        """Time to live of the next start; 0 for none."""
        template = workspace.template
        if not template.allow_user_autostop and "advanced_template_scheduling" in self.licensed:
            return template.default_ttl_ms
        return workspace.ttl_ms or 0

    def schedule_of(self, user: FakeUser) -> cron.DailyTime:
        """The user's quiet hours, or the deployment's."""
        return cron.parse(user.schedule or DEFAULT_SCHEDULE)

    def _max_deadline(self, workspace: FakeWorkspace, started: datetime) -> datetime | None:
        days = workspace.template.autostop_days
        if not days or "advanced_template_scheduling" not in self.licensed:
            return None
        schedule = self.schedule_of(workspace.owner)
        at = schedule.after(started + _LEEWAY)
        while at.astimezone(schedule.zone).strftime("%A").lower() not in days:
            at = schedule.after(at)
        return at

    def use(self, workspace: FakeWorkspace) -> None:
        """Somebody works in it: last use is now, and the deadline is bumped as the template says."""
        workspace.last_used_at = self._now
        workspace.rendered = b""
        build, bump_ms = workspace.latest, workspace.template.activity_bump_ms
        if build.is_running and build.deadline is not None and bump_ms:
            bumped = max(build.deadline, self._now + bump_ms * _MS)
            build.deadline = min(bumped, build.max_deadline) if build.max_deadline is not None else bumped

    def _execute(self, at: datetime) -> None:
        """One pass of the executor."""
        self._at(at + _MINUTE, self._execute)
        if not self.executor_runs:
            return
        for workspace in self.workspaces.values():
            build = workspace.latest
            if build.is_active:
                continue
            if build.is_running and self._must_stop(workspace, build, at):
                self.build(workspace, "stop", build.initiator, reason="autostop")
            elif build.status == "stopped" and self._must_start(workspace, build, at):
                self.build(workspace, "start", workspace.owner, reason="autostart")

    def _must_stop(self, workspace: FakeWorkspace, build: FakeBuild, at: datetime) -> bool:
        if workspace.dormant_at is not None:
            return False
        return workspace.owner.status == "suspended" or (build.deadline is not None and build.deadline < at)

    def _must_start(self, workspace: FakeWorkspace, build: FakeBuild, at: datetime) -> bool:
        if not workspace.autostart or workspace.dormant_at is not None or workspace.owner.status == "suspended":
            return False
        if not workspace.template.allow_user_autostart:
            return False
        return cron.parse(workspace.autostart).after(at - _MINUTE) <= at

    # -- what people set --------------------------------------------------------------------------------

    def set_ttl(self, workspace: FakeWorkspace, ttl_ms: int | None) -> None:
        """Time to live from the next start on."""
        if workspace.is_prebuild:
            raise Problem(409, "The TTL of a prebuilt workspace cannot be changed.")
        if not workspace.template.allow_user_autostop and "advanced_template_scheduling" in self.licensed:
            raise Problem(400, "Custom autostop TTL is not allowed for workspaces of this template.")
        if ttl_ms:
            ttl_ms -= ttl_ms % 60_000
            if not 60_000 <= ttl_ms <= _MOST_TTL_MS:
                raise Problem(400, "Invalid workspace TTL.", ttl_ms="ttl must be between 1 minute and 30 days")
        else:
            build = workspace.latest
            if build.is_running:
                build.deadline = build.max_deadline
        workspace.ttl_ms = ttl_ms or None
        workspace.rendered = b""

    def extend(self, workspace: FakeWorkspace, deadline: datetime) -> None:
        """Move the running build's deadline."""
        build = workspace.latest
        if workspace.is_prebuild:
            raise Problem(409, "A prebuilt workspace cannot be extended.")
        if build.transition != "start":
            raise Problem(409, "The workspace must be started.")
        if build.is_active or build.completed_at is None:
            raise Problem(409, "The workspace is still building.")
        if build.deadline is None:
            raise Problem(409, "The workspace shutdown is manual.")
        if deadline < self._now + timedelta(minutes=29):
            raise Problem(400, "Cannot extend workspace.", deadline="must be at least 30 minutes in the future")
        if build.max_deadline is not None and deadline > build.max_deadline:
            raise Problem(400, "Cannot extend workspace.", deadline="must not be after the maximum deadline")
        build.deadline = deadline
        workspace.rendered = b""

    def set_dormant(self, workspace: FakeWorkspace, is_dormant: bool) -> bool:
        """Set the mark and nothing else; False when it was so already."""
        if workspace.is_prebuild:
            raise Problem(409, "A prebuilt workspace cannot be made dormant.")
        if (workspace.dormant_at is not None) == is_dormant:
            return False
        workspace.dormant_at = self._now if is_dormant else None
        if not is_dormant:
            workspace.last_used_at = self._now
        workspace.rendered = b""
        return True

    @staticmethod
    def _uuid_from(rng: Random) -> str:
        return str(uuid.UUID(int=rng.getrandbits(128), version=4))
