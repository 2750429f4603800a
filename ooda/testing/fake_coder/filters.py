"""Coder's filter language for workspaces: `status:running owner:me last_used_before:"2026-11-20T00:00:00Z"`.

Elements are separated by spaces, quotes keep them together, each holds one colon at most and the whole query is
lower-cased. A word without a colon is a name or `owner/name`. An unknown key or a bad value is a mistake of the
request, all mistakes at once.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ooda.testing.fake_coder.entities import FakeUser, FakeWorkspace, Problem

__all__ = ["STATUSES", "matcher"]

STATUSES = frozenset(
    {
        *("pending", "running", "starting", "stopping", "stopped", "failed", "canceling", "canceled"),
        *("deleting", "deleted", "started"),
    }
)
_INERT = frozenset({"has-ai-task", "has_external_agent", "shared", "shared_with_user", "shared_with_group", "param"})
"""Keys the fake takes and has nothing to tell about."""
_AGENT = frozenset({"connected", "connecting", "disconnected", "timeout"})

Match = Callable[[FakeWorkspace], bool]


def matcher(query: str, asker: FakeUser, organization: str) -> Match:
    """What a query matches.

    Raises:
        Problem: 400 with one validation for each mistake.
    """
    matches: list[Match] = []
    mistakes: dict[str, str] = {}
    for element in _elements(query.lower(), mistakes):
        key, colon, value = element.partition(":")
        if not colon:
            matches.append(_named(key))
        elif ":" in value and not _is_time(value):
            mistakes["q"] = f"Query element {element!r} can only contain 1 ':'"
        elif not key or not value:
            mistakes["q"] = f"Query element {element!r} cannot start or end with ':'"
        else:
            try:
                matches.append(_keyed(key, value, asker, organization))
            except ValueError as error:
                mistakes[key] = str(error)
    if mistakes:
        raise Problem(400, "Invalid workspace search query.", **mistakes)
    return lambda workspace: all(match(workspace) for match in matches)


def _elements(query: str, mistakes: dict[str, str]) -> list[str]:
    elements, word, is_quoted = [], "", False
    for letter in query:
        if letter == '"':
            is_quoted = not is_quoted
        elif letter == " " and not is_quoted:
            elements.append(word)
            word = ""
        else:
            word += letter
    if is_quoted:
        mistakes["q"] = "a quote is not closed"
    return [element for element in (*elements, word) if element]


def _named(word: str) -> Match:
    owner, slash, name = word.rpartition("/")
    return lambda workspace: name in workspace.name.lower() and (not slash or workspace.owner.username.lower() == owner)


def _keyed(key: str, value: str, asker: FakeUser, organization: str) -> Match:
    match key:
        case "id":
            return lambda workspace: workspace.id == value
        case "owner":
            name = asker.username.lower() if value == "me" else value
            return lambda workspace: workspace.owner.username.lower() == name
        case "template":
            return lambda workspace: workspace.template.name.lower() == value
        case "name":
            return lambda workspace: value in workspace.name.lower()
        case "organization":
            return lambda workspace: value == organization
        case "status":
            return _with_status(value)
        case "dormant":
            # `dormant:false` does not leave the dormant ones out.
            only_dormant = _bool(key, value)
            return lambda workspace: not only_dormant or workspace.dormant_at is not None
        case "outdated":
            outdated = _bool(key, value)
            return lambda workspace: _is_outdated(workspace) == outdated
        case "healthy":
            healthy = _bool(key, value)
            return lambda workspace: workspace.is_healthy == healthy
        case "last_used_after":
            after = _time(key, value)
            return lambda workspace: workspace.last_used_at > after
        case "last_used_before":
            before = _time(key, value)
            return lambda workspace: workspace.last_used_at < before
        case "has-agent":
            if value not in _AGENT:
                raise ValueError(f"{value!r} is not a valid agent status")
            return lambda workspace: workspace.latest.is_running and value == "connected"
        case _ if key in _INERT:
            return lambda workspace: value == "false"
        case _:
            raise ValueError(f"{key!r} is not a valid query param")


def _with_status(value: str) -> Match:
    if value not in STATUSES:
        raise ValueError(f"{value!r} is not a valid workspace status")
    if value == "started":
        return lambda workspace: workspace.latest.transition == "start" and not workspace.latest.is_active
    return lambda workspace: workspace.latest.status == value


def _is_outdated(workspace: FakeWorkspace) -> bool:
    return workspace.latest.version_id != workspace.template.active_version_id


def _bool(key: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError(f"{value!r} is not a valid value of {key!r}, expected true or false")
    return value == "true"


def _is_time(value: str) -> bool:
    try:
        datetime.fromisoformat(value.upper())
    except ValueError:
        return False
    return True


def _time(key: str, value: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value.upper())
    except ValueError:
        raise ValueError(f"{value!r} is not a valid RFC 3339 time for {key!r}") from None
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} has no zone; {key!r} takes RFC 3339 times")
    return moment
