"""Steward tasks as they are typed by commands, functions and timers: the grants are what the caller allows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from ooda.config import Settings
from ooda.task import LoadedTask, parse_task

__all__ = ["Check", "needed_grant", "steward_task"]

Check = Literal["quiet_hours", "ttl", "autostop", "stop", "rollback", "start_all", "extend", "notify"]

_GRANTS: dict[str, tuple[str, ...]] = {
    "rollback": ("start_workspace", "notify"),
    "start_all": ("start_workspace", "notify"),
    "extend": ("start_workspace",),
    "notify": ("notify",),
}
_STOPPING = ("stop_workspace", "notify")


def needed_grant(check: Check) -> str:
    """The operation that a pass which acts cannot do without; unless it is granted, a person is asked."""
    return _GRANTS.get(check, _STOPPING)[0]


def steward_task(
    settings: Settings,
    check: Check,
    *,
    execute: bool = False,
    tells_owners: bool = True,
    timezone: str | None = None,
    user: str | None = None,
    threshold_s: int | None = None,
    workspaces: Iterable[str] = (),
    reason: str | None = None,
    message: str | None = None,
    batch_size: int | None = None,
) -> LoadedTask:
    """A pass as a task.

    Args:
        execute: act, instead of reporting what would be done. `steward.dry_run` in the settings overrules it.
        tells_owners: whether people are told, before a stop and after it.
    """
    acts = execute and not settings.steward.dry_run
    grants = _GRANTS.get(check, _STOPPING) if acts else ()
    return parse_task(
        {
            "kind": "steward",
            "check": check,
            "dry_run": not acts,
            "grants": [word for word in grants if tells_owners or word != "notify"],
            "threshold": threshold_s if threshold_s is not None else settings.steward.ttl_monitor.warning_threshold,
            "workspaces": list(workspaces),
            "batch_size": batch_size if batch_size is not None else settings.steward.autostop.batch_size,
            "deployment": str(settings.coder.url).rstrip("/") if settings.coder.url is not None else None,
            "timezone": timezone,
            "user": user,
            "reason": reason,
            "message": message,
        },
        f"steward {check}",
    )
