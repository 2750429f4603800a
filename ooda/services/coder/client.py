"""`CoderClient`: what the steward asks of a Coder deployment, typed.

Reads are repeated when they fail in passing; builds are made once (`builds`); time to live and deadline are set to
absolute values, so that setting them twice is setting them once. Everything is release 2.36; what a licence must
allow is said at the method.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import datetime
from types import TracebackType
from typing import Literal, Self, TypeVar
from urllib.parse import quote

from pydantic import SecretStr

from ooda.clock import Clock, SystemClock
from ooda.errors import IntegrationError
from ooda.services.coder.builds import BuildIntent, BuildOutcome, always, post_build
from ooda.services.coder.failures import failure
from ooda.services.coder.listing import Listing, Page, Row, whole_listing
from ooda.services.coder.pace import Pace
from ooda.services.coder.records import (
    ApiKey,
    AuditEntry,
    AuditPage,
    Build,
    BuildInfo,
    Entitlements,
    QuietHoursSchedule,
    Template,
    User,
    UserPage,
    Workspace,
    WorkspacePage,
)
from ooda.services.coder.wire import Wire, decoded

__all__ = ["CoderClient"]

T = TypeVar("T", bound=Row)

_PAGE_ROWS = 1_000
"""The most Coder gives in one page."""


class CoderClient:
    """One deployment, one token. Use as an async context manager, or `close` it."""

    def __init__(
        self,
        url: str,
        token: SecretStr,
        *,
        clock: Clock | None = None,
        pace: Pace | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        page_rows: int = _PAGE_ROWS,
        ca_file: str | None = None,
    ) -> None:
        """Nothing is asked yet.

        Args:
            url: https, or http to this machine.
            ca_file: certificates to trust instead of the system's.

        Raises:
            ConfigError: the address is none, or not safe for a token.
            CredentialError: there is no token.
        """
        self._wire = Wire(
            url,
            token,
            clock=clock or SystemClock(),
            pace=pace or Pace(),
            sleep=sleep,
            jitter=jitter,
            ca_file=ca_file,
        )
        self._sleep = sleep
        self._page_rows = page_rows
        self._me: User | None = None

    @property
    def url(self) -> str:
        return self._wire.url

    def now_ns(self) -> int:
        """This machine's clock, by which the age of a look is told."""
        return self._wire.now_ns()

    def server_now_ns(self) -> int | None:
        """Coder's clock now; None before its first answer."""
        return self._wire.skew.server_now_ns()

    async def close(self) -> None:
        await self._wire.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- the deployment and the token -------------------------------------------------------------------

    async def build_info(self) -> BuildInfo:
        """Version and id of the deployment."""
        return await self._wire.read("read build info", "/api/v2/buildinfo", BuildInfo)

    async def entitlements(self) -> Entitlements:
        """What its licence allows."""
        return await self._wire.read("read entitlements", "/api/v2/entitlements", Entitlements)

    async def me(self) -> User:
        """The token's user; asked once."""
        if self._me is None:
            self._me = await self.user("me")
        return self._me

    async def token_key(self) -> ApiKey:
        """The token itself, with its end. Its id is the part of the token before the dash."""
        return await self._wire.read(
            "read the token's end", f"/api/v2/users/me/keys/{_part(self._wire.token_id)}", ApiKey
        )

    # -- users ------------------------------------------------------------------------------------------

    async def user(self, user: str) -> User:
        """A user by id, name or `me`."""
        return await self._wire.read("read a user", f"/api/v2/users/{_part(user)}", User)

    async def users(self, query: str = "") -> Listing[User]:
        """All users the token's user may see, with their roles."""

        async def fetch(offset: int, limit: int) -> Page[User]:
            page = await self._wire.read(
                "list users", "/api/v2/users", UserPage, {"q": query, "offset": offset, "limit": limit}
            )
            return Page(page.rows, page.count)

        return await whole_listing(fetch, self._page_rows)

    async def quiet_hours(self, user: str) -> QuietHoursSchedule:
        """A user's own quiet hours. Needs the licence `advanced_template_scheduling`, otherwise it is `forbidden`."""
        return await self._wire.read(
            "read a user's quiet hours", f"/api/v2/users/{_part(user)}/quiet-hours", QuietHoursSchedule
        )

    # -- workspaces and builds --------------------------------------------------------------------------

    async def workspaces(self, query: str = "") -> Listing[Workspace]:
        """All workspaces that match a query of Coder's filter language (`status:running owner:me`)."""
        return await self.fleet(lambda seen: seen, query)

    async def fleet(self, make: Callable[[Workspace], T], query: str = "") -> Listing[T]:
        """The same, each made into something smaller as soon as it is read: large fleets need less memory."""

        async def fetch(offset: int, limit: int) -> Page[T]:
            page = await self._wire.read(
                "list workspaces",
                "/api/v2/workspaces",
                WorkspacePage,
                {"q": query, "offset": offset, "limit": limit},
            )
            return Page(tuple(map(make, page.rows)), page.count)

        return await whole_listing(fetch, self._page_rows)

    async def workspace(self, id: str) -> Workspace:
        """One workspace by id."""
        return await self._wire.read("read a workspace", f"/api/v2/workspaces/{_part(id)}", Workspace)

    async def build(self, id: str) -> Build:
        """One build by id."""
        return await self._wire.read("read a build", f"/api/v2/workspacebuilds/{_part(id)}", Build)

    async def builds(self, workspace: str, limit: int = 25) -> tuple[Build, ...]:
        """The latest builds of a workspace, newest first."""
        return await self._wire.read(
            "list builds", f"/api/v2/workspaces/{_part(workspace)}/builds", tuple[Build, ...], {"limit": limit}
        )

    async def make_build(
        self, intent: BuildIntent, still: Callable[[Workspace], Awaitable[bool]] = always
    ) -> BuildOutcome:
        """Start or stop a workspace, once; see `post_build`."""
        return await post_build(self, intent, self._wire.waits().again, still)

    async def post(self, intent: BuildIntent, looked_ns: int) -> Build:
        """One try of a build's POST. Use `make_build`."""
        body: dict[str, object] = {"transition": intent.transition}
        if intent.transition != "delete":
            # A closed list; our own reason would be answered 400. It stands in our records.
            body["reason"] = "cli"
        if intent.template_version is not None:
            body["template_version_id"] = intent.template_version
        operation = f"{intent.transition} a workspace"
        reply = await self._wire.once(
            operation,
            "POST",
            f"/api/v2/workspaces/{_part(intent.workspace)}/builds",
            body=body,
            rests_on_ns=looked_ns,
        )
        try:
            return decoded(operation, reply, Build)
        except IntegrationError as error:
            # The server took it; what it answered was lost on the way.
            raise failure(operation, "unknown", str(error)) from error

    async def finished_build(self, id: str, *, patience_s: float = 600, every_s: float = 3) -> Build:
        """The build once its job has ended, succeeded or not; as it stands when the patience is at an end."""
        left_s = patience_s
        while True:
            build = await self.build(id)
            if not build.job.is_active or left_s <= 0:
                return build
            await self._sleep(min(every_s, left_s))
            left_s -= every_s

    async def cancel_build(self, id: str, expected: Literal["pending", "running"]) -> bool:
        """Cancel a build that is still pending or running; False when it is neither any more."""
        try:
            await self._wire.repeat(
                "cancel a build",
                "PATCH",
                f"/api/v2/workspacebuilds/{_part(id)}/cancel",
                params={"expect_status": expected},
            )
        except IntegrationError as error:
            if error.facts["status"] in (400, 412):
                return False
            raise
        return True

    # -- time to live -----------------------------------------------------------------------------------

    async def set_ttl(self, workspace: str, ttl_ms: int | None) -> None:
        """Time to live from the next start on; None or 0 switches autostop off."""
        await self._wire.repeat(
            "set a time to live", "PUT", f"/api/v2/workspaces/{_part(workspace)}/ttl", body={"ttl_ms": ttl_ms}
        )

    async def extend(self, workspace: str, deadline: datetime) -> None:
        """Move the running build's deadline; at least half an hour ahead and not beyond its maximum."""
        await self._wire.repeat(
            "extend a deadline",
            "PUT",
            f"/api/v2/workspaces/{_part(workspace)}/extend",
            body={"deadline": deadline},
        )

    # -- templates, audit, notices ----------------------------------------------------------------------

    async def templates(self) -> tuple[Template, ...]:
        """All templates the token's user may see."""
        return await self._wire.read("list templates", "/api/v2/templates", tuple[Template, ...])

    async def audit(self, query: str = "", limit: int = 100) -> tuple[AuditEntry, ...]:
        """The latest entries of Coder's audit log. Needs its licence and the right to read it."""
        page = await self._wire.read(
            "read the audit log", "/api/v2/audit", AuditPage, {"q": query, "limit": limit, "offset": 0}
        )
        return page.rows

    async def notify_self(self, title: str, message: str) -> None:
        """A notice in Coder to the token's own user; Coder has no call that tells somebody else.

        Args:
            title: 1 to 120 characters; longer ones are cut.
            message: 1 to 2,000; the same text within a minute is dropped by Coder.
        """
        body = {"content": {"title": title[:120] or "ooda", "message": message[:2_000] or title[:2_000] or "ooda"}}
        await self._wire.repeat("send a notice", "POST", "/api/v2/notifications/custom", body=body)


def _part(text: str) -> str:
    return quote(text, safe="")
