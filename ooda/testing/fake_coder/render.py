"""The fake's entities as the interface shows them: every field that release 2.36 documents."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec

from ooda.testing.fake_coder import cron
from ooda.testing.fake_coder.entities import (
    AuditRow,
    FakeBuild,
    FakeTemplate,
    FakeToken,
    FakeUser,
    FakeWorkspace,
    Problem,
)
from ooda.testing.fake_coder.world import DEFAULT_SCHEDULE, World

__all__ = ["api_key", "audit_row", "build", "encode", "problem", "quiet_hours", "template", "user", "workspace"]

_ZERO = "0001-01-01T00:00:00Z"
_NIL = "00000000-0000-0000-0000-000000000000"
encode = msgspec.json.Encoder().encode


def problem(refused: Problem) -> dict[str, Any]:
    """The body of an error."""
    body: dict[str, Any] = {"message": refused.message}
    if refused.detail:
        body["detail"] = refused.detail
    if refused.validations:
        body["validations"] = [{"field": name, "detail": text} for name, text in refused.validations.items()]
    return body


def user(world: World, seen: FakeUser) -> dict[str, Any]:
    """A user."""
    return {
        "id": seen.id,
        "username": seen.username,
        "name": seen.name,
        "email": seen.email,
        "created_at": seen.created_at,
        "updated_at": seen.created_at,
        "last_seen_at": seen.last_seen_at or _ZERO,
        "status": seen.status,
        "login_type": "password",
        "organization_ids": [world.organization_id],
        "roles": [{"name": role, "display_name": role.replace("-", " ").title()} for role in seen.roles],
        "has_ai_seat": False,
    }


def quiet_hours(world: World, seen: FakeUser) -> dict[str, Any]:
    """A user's quiet hours: one object."""
    schedule = world.schedule_of(seen)
    raw = seen.schedule or DEFAULT_SCHEDULE
    return {
        "raw_schedule": raw,
        "user_set": bool(seen.schedule),
        "user_can_set": True,
        "time": schedule.at.strftime("%H:%M"),
        "timezone": schedule.zone.key,
        "next": schedule.after(world.clock.now()),
    }


def template(world: World, seen: FakeTemplate) -> dict[str, Any]:
    """A template with its policy."""
    owners = {space.owner.id for space in world.workspaces.values() if space.template is seen}
    return {
        "id": seen.id,
        "name": seen.name,
        "display_name": seen.name.title(),
        "description": "",
        "icon": "",
        "organization_id": world.organization_id,
        "organization_name": "coder",
        "organization_display_name": "Coder",
        "organization_icon": "",
        "provisioner": "terraform",
        "active_version_id": seen.active_version_id,
        "active_user_count": len(owners),
        "created_at": seen.created_at,
        "updated_at": seen.created_at,
        "created_by_id": _NIL,
        "created_by_name": "coder",
        "build_time_stats": {"start": {"p50": 20_000, "p95": 60_000}, "stop": {"p50": 10_000, "p95": 30_000}},
        "default_ttl_ms": seen.default_ttl_ms,
        "activity_bump_ms": seen.activity_bump_ms,
        "allow_user_autostart": seen.allow_user_autostart,
        "allow_user_autostop": seen.allow_user_autostop,
        "allow_user_cancel_workspace_jobs": True,
        "autostart_requirement": {"days_of_week": ["monday", "tuesday", "wednesday", "thursday", "friday"]},
        "autostop_requirement": {"days_of_week": list(seen.autostop_days), "weeks": 1},
        "failure_ttl_ms": seen.failure_ttl_ms,
        "time_til_dormant_ms": seen.time_til_dormant_ms,
        "time_til_dormant_autodelete_ms": 0,
        "time_til_autostop_notify_ms": seen.time_til_autostop_notify_ms,
        "require_active_version": seen.require_active_version,
        "deleted": False,
        "deprecated": False,
        "deprecation_message": "",
        "max_port_share_level": "owner",
        "cors_behavior": "simple",
        "disable_module_cache": False,
        "use_classic_parameter_flow": False,
    }


def build(world: World, space: FakeWorkspace, seen: FakeBuild) -> dict[str, Any]:
    """A build with its job and, while it runs, its agent."""
    return {
        "id": seen.id,
        "build_number": seen.number,
        "created_at": seen.created_at,
        "updated_at": seen.completed_at or seen.started_at or seen.created_at,
        "workspace_id": space.id,
        "workspace_name": space.name,
        "workspace_owner_id": space.owner.id,
        "workspace_owner_name": space.owner.username,
        "template_version_id": seen.version_id,
        "template_version_name": "v" + seen.version_id[:6],
        "template_version_preset_id": None,
        "transition": seen.transition,
        "reason": seen.reason,
        "status": seen.status,
        "initiator_id": seen.initiator.id,
        "initiator_name": seen.initiator.username,
        "deadline": seen.deadline,
        "max_deadline": seen.max_deadline,
        "daily_cost": space.daily_cost if seen.transition == "start" else 0,
        "has_ai_task": False,
        "has_external_agent": False,
        "matched_provisioners": {"count": 3, "available": 3, "most_recently_seen": seen.created_at},
        "job": _job(world, space, seen),
        "resources": _resources(space, seen) if seen.is_running else [],
    }


def _job(world: World, space: FakeWorkspace, seen: FakeBuild) -> dict[str, Any]:
    job: dict[str, Any] = {
        "id": seen.job_id,
        "created_at": seen.created_at,
        "status": seen.job_status,
        "type": "workspace_build",
        "file_id": space.template.id,
        "initiator_id": seen.initiator.id,
        "organization_id": world.organization_id,
        "input": {"workspace_build_id": seen.id},
        "metadata": {
            "template_id": space.template.id,
            "template_name": space.template.name,
            "template_display_name": space.template.name.title(),
            "template_icon": "",
            "template_version_name": "v" + seen.version_id[:6],
            "workspace_build_transition": seen.transition,
            "workspace_id": space.id,
            "workspace_name": space.name,
        },
        "queue_position": world.queue_position(seen),
        "queue_size": world.queue_size if seen.is_active else 0,
        "logs_overflowed": False,
        "tags": {"owner": "", "scope": "organization"},
    }
    for name in ("started_at", "completed_at", "canceled_at"):
        if (at := getattr(seen, name)) is not None:
            job[name] = at
    if seen.error:
        job["error"] = seen.error
    return job


def _resources(space: FakeWorkspace, seen: FakeBuild) -> list[dict[str, Any]]:
    at: datetime = seen.completed_at or seen.created_at
    return [
        {
            "id": seen.job_id,
            "created_at": at,
            "job_id": seen.job_id,
            "workspace_transition": seen.transition,
            "type": "docker_container",
            "name": "workspace",
            "hide": False,
            "icon": "",
            "daily_cost": space.daily_cost,
            "agents": [_agent(space, seen, at)],
        }
    ]


def _agent(space: FakeWorkspace, seen: FakeBuild, at: datetime) -> dict[str, Any]:
    return {
        "id": space.agent_id,
        "parent_id": None,
        "created_at": at,
        "updated_at": at,
        "first_connected_at": at,
        "last_connected_at": at,
        "started_at": at,
        "ready_at": at,
        "name": "main",
        "resource_id": seen.job_id,
        "status": "connected" if space.is_healthy else "disconnected",
        "lifecycle_state": "ready",
        "health": {
            "healthy": space.is_healthy,
            **({} if space.is_healthy else {"reason": "agent has lost connection"}),
        },
        "architecture": "amd64",
        "operating_system": "linux",
        "environment_variables": {},
        "directory": "/home/coder",
        "expanded_directory": "/home/coder",
        "version": "v2.36.0",
        "api_version": "2.0",
        "connection_timeout_seconds": 120,
        "troubleshooting_url": "",
        "apps": [],
        "display_apps": ["vscode", "web_terminal", "ssh_helper"],
        "subsystems": [],
        "log_sources": [],
        "scripts": [],
        "logs_length": 0,
        "logs_overflowed": False,
        "startup_script_behavior": "non-blocking",
    }


def workspace(world: World, seen: FakeWorkspace, asker: FakeUser) -> bytes:
    """Encoded; kept until the workspace changes, unless it does so by itself (queues, next starts)."""
    is_plain = not (seen.latest.is_active or seen.favorite_of or seen.autostart)
    if is_plain and seen.rendered:
        return seen.rendered
    latest, made_for = seen.latest, seen.template
    body: dict[str, Any] = {
        "id": seen.id,
        "name": seen.name,
        "created_at": seen.created_at,
        "updated_at": latest.created_at,
        "owner_id": seen.owner.id,
        "owner_name": seen.owner.username,
        "owner_avatar_url": "",
        "organization_id": world.organization_id,
        "organization_name": "coder",
        "template_id": made_for.id,
        "template_name": made_for.name,
        "template_display_name": made_for.name.title(),
        "template_icon": "",
        "template_active_version_id": made_for.active_version_id,
        "template_allow_user_cancel_workspace_jobs": True,
        "template_require_active_version": made_for.require_active_version,
        "template_use_classic_parameter_flow": False,
        "latest_build": build(world, seen, latest),
        "latest_app_status": None,
        "outdated": latest.version_id != made_for.active_version_id,
        "last_used_at": seen.last_used_at,
        "dormant_at": seen.dormant_at,
        "deleting_at": seen.deleting_at,
        "next_start_at": _next_start(world, seen),
        "automatic_updates": seen.automatic_updates,
        "allow_renames": False,
        "favorite": asker.id in seen.favorite_of,
        "is_prebuild": seen.is_prebuild,
        "task_id": None,
        "health": {
            "healthy": seen.is_healthy or not latest.is_running,
            "failing_agents": [] if seen.is_healthy or not latest.is_running else [seen.agent_id],
        },
    }
    if seen.ttl_ms is not None:
        body["ttl_ms"] = seen.ttl_ms
    if seen.autostart:
        body["autostart_schedule"] = seen.autostart
    encoded = encode(body)
    seen.rendered = encoded if is_plain else b""
    return encoded


def _next_start(world: World, seen: FakeWorkspace) -> datetime | None:
    if not seen.autostart or not seen.template.allow_user_autostart:
        return None
    return cron.parse(seen.autostart).after(world.clock.now())


def api_key(token: FakeToken) -> dict[str, Any]:
    """A session token without its secret."""
    made = token.expires_at - timedelta(days=30)
    return {
        "id": token.id,
        "user_id": token.user.id,
        "created_at": made,
        "updated_at": made,
        "last_used": made,
        "expires_at": token.expires_at,
        "lifetime_seconds": 30 * 86_400,
        "login_type": "token",
        "scope": "all",
        "scopes": list(token.scopes),
        "token_name": "steward",
        "allow_list": [{"type": "*", "id": "*"}],
    }


def audit_row(world: World, row: AuditRow) -> dict[str, Any]:
    """One line of the audit log."""
    return {
        "id": row.id,
        "request_id": row.build.job_id,
        "time": row.at,
        "organization_id": world.organization_id,
        "ip": "127.0.0.1",
        "user_agent": "",
        "resource_type": "workspace_build",
        "resource_id": row.build.id,
        "resource_target": row.workspace.name,
        "resource_icon": "",
        "resource_link": f"/@{row.workspace.owner.username}/{row.workspace.name}/builds/{row.build.number}",
        "is_deleted": False,
        "action": row.action,
        "diff": {},
        "status_code": row.status_code,
        "additional_fields": {
            "workspace_name": row.workspace.name,
            "workspace_id": row.workspace.id,
            "workspace_owner": row.workspace.owner.username,
            "build_number": str(row.build.number),
            "build_reason": row.build.reason,
        },
        "description": f"{{user}} {row.action} workspace {{target}}",
        "user": user(world, row.build.initiator),
    }
