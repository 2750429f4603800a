"""The interface: paths, what they take, who may call them, what they answer. Below it the world, above it HTTP."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from ooda.testing.fake_coder import cron, filters, render
from ooda.testing.fake_coder.entities import AuditRow, FakeBuild, FakeUser, FakeWorkspace, Problem
from ooda.testing.fake_coder.http import Request
from ooda.testing.fake_coder.world import World

__all__ = ["Answered", "Routes"]

_AUDIT_KEYS: dict[str, Callable[[AuditRow], str]] = {
    "action": lambda row: row.action,
    "resource_type": lambda row: "workspace_build",
    "username": lambda row: row.build.initiator.username,
    "build_reason": lambda row: row.build.reason,
    "resource_id": lambda row: row.build.id,
}

_NOT_FOUND = "Resource not found or you do not have access to this resource"
_REASONS = ("dashboard", "cli", "ssh_connection", "vscode_connection", "jetbrains_connection", "task_manual_pause")
_SCHEDULING = "advanced_template_scheduling"


class Answered(msgspec.Struct, frozen=True):
    """Status and body; a body of bytes is encoded already."""

    status: int
    body: Any = None


Handler = Callable[..., Answered]


class Routes:
    """One world's interface, for one asker at a time."""

    def __init__(self, world: World, *, most_rows: int = 0) -> None:
        """`most_rows` is the largest page (0: any), as releases after 2.36 have it."""
        self._world = world
        self._most_rows = most_rows
        self._table: list[tuple[str, re.Pattern[str], Handler]] = [
            (method, re.compile(path.replace("{}", "([^/]+)")), handler) for method, path, handler in self._all()
        ]

    def _all(self) -> list[tuple[str, str, Handler]]:
        v2 = "/api/v2"
        return [
            ("GET", f"{v2}/buildinfo", self._build_info),
            ("GET", f"{v2}/entitlements", self._entitlements),
            ("GET", f"{v2}/users", self._users),
            ("GET", f"{v2}/users/{{}}", self._user),
            ("GET", f"{v2}/users/{{}}/roles", self._user),
            ("GET", f"{v2}/users/{{}}/quiet-hours", self._quiet_hours),
            ("PUT", f"{v2}/users/{{}}/quiet-hours", self._put_quiet_hours),
            ("GET", f"{v2}/users/{{}}/keys/{{}}", self._key),
            ("GET", f"{v2}/users/{{}}/workspace/{{}}", self._workspace_by_name),
            ("GET", f"{v2}/users/{{}}/workspace/{{}}/builds/{{}}", self._build_by_number),
            ("GET", f"{v2}/workspaces", self._workspaces),
            ("GET", f"{v2}/workspaces/{{}}", self._workspace),
            ("GET", f"{v2}/workspaces/{{}}/builds", self._builds),
            ("POST", f"{v2}/workspaces/{{}}/builds", self._post_build),
            ("PUT", f"{v2}/workspaces/{{}}/ttl", self._put_ttl),
            ("PUT", f"{v2}/workspaces/{{}}/extend", self._put_extend),
            ("PUT", f"{v2}/workspaces/{{}}/dormant", self._put_dormant),
            ("PUT", f"{v2}/workspaces/{{}}/autostart", self._put_autostart),
            ("GET", f"{v2}/workspacebuilds/{{}}", self._build),
            ("PATCH", f"{v2}/workspacebuilds/{{}}/cancel", self._cancel),
            ("GET", f"{v2}/templates", self._templates),
            ("GET", f"{v2}/templates/{{}}", self._template),
            ("PATCH", f"{v2}/templates/{{}}", self._patch_template),
            ("GET", f"{v2}/audit", self._audit),
            ("POST", f"{v2}/notifications/custom", self._notify),
        ]

    def answer(self, request: Request, asker: FakeUser) -> Answered:
        """Carry a request out. Raises Problem for every refusal."""
        allowed = []
        for method, pattern, handler in self._table:
            if (match := pattern.fullmatch(request.path)) is not None:
                if method == request.method:
                    return handler(request, asker, *match.groups())
                allowed.append(method)
        if allowed:
            raise Problem(405, "Method not allowed.")
        raise Problem(404, "Route not found.")

    # -- the deployment ---------------------------------------------------------------------------------

    def _build_info(self, request: Request, asker: FakeUser) -> Answered:
        return Answered(
            200,
            {
                "version": "v2.36.0+fake",
                "external_url": "https://github.com/coder/coder/releases/tag/v2.36.0",
                "dashboard_url": "http://127.0.0.1",
                "deployment_id": self._world.organization_id,
                "agent_api_version": "2.0",
                "provisioner_api_version": "1.0",
                "telemetry": False,
                "upgrade_message": "",
                "workspace_proxy": False,
            },
        )

    def _entitlements(self, request: Request, asker: FakeUser) -> Answered:
        known = {_SCHEDULING, "audit_log"}
        return Answered(
            200,
            {
                "features": {
                    name: {"entitlement": "entitled" if has else "not_entitled", "enabled": has}
                    for name in sorted(known | self._world.licensed)
                    for has in (name in self._world.licensed,)
                },
                "has_license": bool(self._world.licensed),
                "trial": False,
                "require_telemetry": False,
                "errors": [],
                "warnings": [],
                "refreshed_at": self._world.clock.now(),
            },
        )

    # -- users ------------------------------------------------------------------------------------------

    def _users(self, request: Request, asker: FakeUser) -> Answered:
        word = request.query.get("q", "").lower()
        found = [user for user in self._world.users.values() if word in user.username.lower() or word in user.email]
        found.sort(key=lambda user: user.username)
        rows = self._page(request, found)
        return Answered(200, {"users": [render.user(self._world, user) for user in rows], "count": len(found)})

    def _user(self, request: Request, asker: FakeUser, name: str) -> Answered:
        return Answered(200, render.user(self._world, self._find_user(name, asker)))

    def _quiet_hours(self, request: Request, asker: FakeUser, name: str) -> Answered:
        self._licensed(_SCHEDULING)
        return Answered(200, render.quiet_hours(self._world, self._find_user(name, asker)))

    def _put_quiet_hours(self, request: Request, asker: FakeUser, name: str) -> Answered:
        self._licensed(_SCHEDULING)
        user = self._find_user(name, asker)
        schedule = _text(_json(request), "schedule")
        try:
            if schedule:
                cron.parse(schedule)
        except ValueError as error:
            # Not a mistake of the request, says release 2.36.
            raise Problem(500, "An internal server error occurred.", str(error)) from error
        user.schedule = schedule
        return Answered(200, render.quiet_hours(self._world, user))

    def _key(self, request: Request, asker: FakeUser, name: str, id: str) -> Answered:
        user = self._find_user(name, asker)
        for token in self._world.tokens.values():
            if token.id == id and token.user is user:
                return Answered(200, render.api_key(token))
        raise Problem(404, _NOT_FOUND)

    def _find_user(self, name: str, asker: FakeUser) -> FakeUser:
        if name == "me":
            return asker
        for user in self._world.users.values():
            if name in (user.id, user.username):
                if user is asker or asker.sees_all:
                    return user
                break
        raise Problem(404, _NOT_FOUND)

    # -- workspaces -------------------------------------------------------------------------------------

    def _workspaces(self, request: Request, asker: FakeUser) -> Answered:
        matches = filters.matcher(request.query.get("q", ""), asker, "coder")
        found = [
            seen
            for seen in self._world.workspaces.values()
            if not seen.is_deleted and (asker.sees_all or seen.owner is asker) and matches(seen)
        ]
        found.sort(
            key=lambda seen: (
                asker.id not in seen.favorite_of,
                not seen.latest.is_running,
                seen.owner.username.lower(),
                seen.name.lower(),
            )
        )
        rows = [seen for seen in self._page(request, found) if seen.id not in self._world.hidden]
        encoded = b",".join(render.workspace(self._world, seen, asker) for seen in rows)
        return Answered(200, b'{"workspaces":[%b],"count":%d}' % (encoded, len(found)))

    def _workspace(self, request: Request, asker: FakeUser, id: str) -> Answered:
        return Answered(200, render.workspace(self._world, self._find(id, asker), asker))

    def _workspace_by_name(self, request: Request, asker: FakeUser, owner: str, name: str) -> Answered:
        return Answered(200, render.workspace(self._world, self._named(owner, name, asker), asker))

    def _named(self, owner: str, name: str, asker: FakeUser) -> FakeWorkspace:
        user = self._find_user(owner, asker)
        for seen in self._world.workspaces.values():
            if seen.owner is user and seen.name == name and not seen.is_deleted:
                return seen
        raise Problem(404, _NOT_FOUND)

    def _find(self, id: str, asker: FakeUser) -> FakeWorkspace:
        seen = self._world.workspaces.get(id)
        if seen is None or not (asker.sees_all or seen.owner is asker):
            raise Problem(404, _NOT_FOUND)
        if seen.is_deleted:
            raise Problem(410, "The workspace was deleted.")
        return seen

    def _put_ttl(self, request: Request, asker: FakeUser, id: str) -> Answered:
        seen = self._changed(id, asker)
        ttl_ms = _json(request).get("ttl_ms")
        if ttl_ms is not None and (not isinstance(ttl_ms, int) or isinstance(ttl_ms, bool)):
            raise Problem(400, "Request body must be valid JSON.", "ttl_ms is no integer")
        self._world.set_ttl(seen, ttl_ms)
        return Answered(204)

    def _put_extend(self, request: Request, asker: FakeUser, id: str) -> Answered:
        seen = self._changed(id, asker)
        try:
            deadline = datetime.fromisoformat(_text(_json(request), "deadline"))
        except ValueError as error:
            raise Problem(400, "Request body must be valid JSON.", str(error)) from error
        if deadline.tzinfo is None:
            raise Problem(400, "Request body must be valid JSON.", "deadline has no zone")
        self._world.extend(seen, deadline)
        return Answered(200, {"message": "Deadline updated."})

    def _put_dormant(self, request: Request, asker: FakeUser, id: str) -> Answered:
        seen = self._changed(id, asker)
        if not self._world.set_dormant(seen, bool(_json(request).get("dormant"))):
            return Answered(304)
        return Answered(200, render.workspace(self._world, seen, asker))

    def _put_autostart(self, request: Request, asker: FakeUser, id: str) -> Answered:
        seen = self._changed(id, asker)
        schedule = _json(request).get("schedule") or ""
        try:
            if schedule:
                cron.parse(schedule)
        except ValueError as error:
            raise Problem(400, "Invalid autostart schedule.", schedule=str(error)) from error
        seen.autostart = schedule
        seen.rendered = b""
        return Answered(204)

    def _changed(self, id: str, asker: FakeUser) -> FakeWorkspace:
        """A workspace the asker may change."""
        seen = self._find(id, asker)
        if seen.owner is not asker and not asker.builds_all:
            raise Problem(403, "Forbidden.")
        return seen

    # -- builds -----------------------------------------------------------------------------------------

    def _builds(self, request: Request, asker: FakeUser, id: str) -> Answered:
        seen = self._find(id, asker)
        rows = self._page(request, seen.builds[::-1])
        return Answered(200, [render.build(self._world, seen, build) for build in rows])

    def _post_build(self, request: Request, asker: FakeUser, id: str) -> Answered:
        seen = self._find(id, asker)
        body = _json(request)
        wrong = {}
        transition, reason = body.get("transition"), body.get("reason", "initiator")
        if transition not in ("start", "stop", "delete"):
            wrong["transition"] = f"Validation failed for tag 'oneof' with value: {str(transition)!r}"
        if "reason" in body and reason not in _REASONS:
            wrong["reason"] = f"Validation failed for tag 'oneof' with value: {str(reason)!r}"
        if wrong:
            raise Problem(400, "Validation failed.", **wrong)
        assert isinstance(transition, str)
        if seen.owner is not asker and not asker.builds_all:
            raise Problem(403, "Forbidden.", f"You may not {transition} this workspace.")
        if transition == "delete":
            reason = "initiator"
        build = self._world.build(
            seen, transition, asker, reason=reason, version_id=body.get("template_version_id") or None
        )
        return Answered(201, render.build(self._world, seen, build))

    def _build(self, request: Request, asker: FakeUser, id: str) -> Answered:
        seen, build = self._find_build(id, asker)
        return Answered(200, render.build(self._world, seen, build))

    def _build_by_number(self, request: Request, asker: FakeUser, owner: str, name: str, number: str) -> Answered:
        seen = self._named(owner, name, asker)
        if not number.isdecimal():
            raise Problem(400, "Failed to parse build number as integer.")
        if not 1 <= int(number) <= len(seen.builds):
            raise Problem(404, "Workspace build not found.")
        return Answered(200, render.build(self._world, seen, seen.builds[int(number) - 1]))

    def _cancel(self, request: Request, asker: FakeUser, id: str) -> Answered:
        expected = request.query.get("expect_status", "")
        if expected not in ("", "pending", "running"):
            raise Problem(400, "Invalid expect_status.", expect_status="must be 'pending' or 'running'")
        self._find_build(id, asker)
        self._world.cancel(id, expected)
        return Answered(200, {"message": "Job has been marked as canceled..."})

    def _find_build(self, id: str, asker: FakeUser) -> tuple[FakeWorkspace, FakeBuild]:
        found = self._world.builds.get(id)
        if found is None or not (asker.sees_all or found[0].owner is asker):
            raise Problem(404, _NOT_FOUND)
        return found

    # -- templates, audit, notices ----------------------------------------------------------------------

    def _templates(self, request: Request, asker: FakeUser) -> Answered:
        return Answered(200, [render.template(self._world, seen) for seen in self._world.templates.values()])

    def _template(self, request: Request, asker: FakeUser, id: str) -> Answered:
        if id not in self._world.templates:
            raise Problem(404, _NOT_FOUND)
        return Answered(200, render.template(self._world, self._world.templates[id]))

    def _patch_template(self, request: Request, asker: FakeUser, id: str) -> Answered:
        if id not in self._world.templates:
            raise Problem(404, _NOT_FOUND)
        if not asker.builds_all:
            raise Problem(403, "Forbidden.")
        seen, body = self._world.templates[id], _json(request)
        for name in ("default_ttl_ms", "activity_bump_ms"):
            if isinstance(body.get(name), int):
                setattr(seen, name, body[name])
        # Without the licence the rest is taken and forgotten: read back after a change.
        if _SCHEDULING in self._world.licensed:
            if isinstance(body.get("allow_user_autostop"), bool):
                seen.allow_user_autostop = body["allow_user_autostop"]
            if isinstance(requirement := body.get("autostop_requirement"), dict):
                seen.autostop_days = tuple(requirement.get("days_of_week") or ())
        return Answered(200, render.template(self._world, seen))

    def _audit(self, request: Request, asker: FakeUser) -> Answered:
        if not {"owner", "auditor"} & set(asker.roles):
            raise Problem(403, "Forbidden.")
        if not request.query.get("limit", "").isdecimal():
            raise Problem(400, "Query parameters have invalid values.", limit="Query param 'limit' is required")
        rows = self._world.audit[::-1]
        for element in request.query.get("q", "").lower().split():
            key, _, value = element.partition(":")
            if key not in _AUDIT_KEYS:
                raise Problem(400, "Invalid audit search query.", **{key: "is not a valid query param"})
            rows = [row for row in rows if _AUDIT_KEYS[key](row) == value]
        shown = [render.audit_row(self._world, row) for row in self._page(request, rows)]
        return Answered(200, {"audit_logs": shown, "count": len(rows), "count_cap": 2_000})

    def _notify(self, request: Request, asker: FakeUser) -> Answered:
        content = _json(request).get("content")
        if not isinstance(content, dict):
            raise Problem(400, "Invalid request body.", content="is required")
        title, message = _text(content, "title"), _text(content, "message")
        if not 1 <= len(title) <= 120 or not 1 <= len(message) <= 2_000:
            raise Problem(400, "Invalid request body.", content="title takes 1 to 120 characters, message 1 to 2000")
        if (asker, title, message) not in self._world.notices:
            self._world.notices.append((asker, title, message))
        return Answered(204)

    # -- small parts ------------------------------------------------------------------------------------

    def _licensed(self, feature: str) -> None:
        if feature not in self._world.licensed:
            raise Problem(403, f"{feature} is an Enterprise feature. Contact sales!")

    def _page(self, request: Request, found: list[Any]) -> list[Any]:
        numbers = {}
        for name in ("limit", "offset"):
            text = request.query.get(name, "0")
            if not text.isdecimal():
                raise Problem(400, "Query parameters have invalid values.", **{name: f"{text!r} is not a valid number"})
            numbers[name] = int(text)
        if self._most_rows:
            if numbers["limit"] > self._most_rows:
                raise Problem(400, "Query parameters have invalid values.", limit=f"must be at most {self._most_rows}")
            numbers["limit"] = numbers["limit"] or self._most_rows
        rows = found[numbers["offset"] :]
        return rows[: numbers["limit"]] if numbers["limit"] else rows


def _json(request: Request) -> dict[str, Any]:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Problem(415, "Unsupported content type.", "send application/json")
    try:
        return msgspec.json.decode(request.body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Problem(400, "Request body must be valid JSON.", str(error)) from error


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise Problem(400, "Validation failed.", **{name: "Validation failed for tag 'required'"})
    return value
