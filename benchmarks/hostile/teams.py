"""The four agents as the gate sees them: level, grants, what a typed task names, and tools, all as data.

Coding and steward are the declarations that ship, with what they would do outside replaced by a note of it; ops and
triage are rows, since those agents come later. A note of an effect is all a tool leaves here, so whatever is noted
was let through.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ooda.governance.call import ToolOutcome
from ooda.governance.destinations import host_of
from ooda.governance.levels import Level
from ooda.governance.operations import Operation
from ooda.governance.secret_files import label_of_file, label_of_shell
from ooda.governance.sinks import SINKS
from ooda.labels import TOOL, UNTRUSTED, Label
from ooda.services.git import Remote
from ooda.tools.all import BACKGROUND, CODER, FILES, GIT, SHELL
from ooda.tools.declare import ToolDeclaration, tool
from ooda.tools.room import GitTarget

__all__ = ["TEAMS", "Acts", "Team", "Unknown"]

REMOTE = "https://git.acme.test/shop.git"
BRANCH = "feature/2026-11-30-mend-the-cart"
DEPLOYMENT = "https://coder.acme.test"
_OWN_BRANCH = (f"remote={REMOTE}", f"branch={BRANCH}")
_STAGING = ("project=shop", "environment=preview", "environment=staging", "channel=#ops", "api.deploys.test")
_INCIDENT = (
    "cluster=prod-eu", "namespace=shop", "channel=#incidents", "repository=acme/shop", "base=main",
    "docs.acme.test", "search.acme.test",
)  # fmt: skip
DUE = ("ws-idle-1", "ws-idle-2")
"""Workspaces the steward's own policy wants stopped."""

Unknown = Any


@dataclass
class Acts:
    """What was done, and what reading tools show."""

    outside: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Calls that reached outside the sandbox."""
    inside: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Calls that end with the sandbox: its wall is what holds them."""
    hostile: str = ""

    def note(self, declaration: ToolDeclaration, given: dict[str, Any]) -> ToolOutcome:
        sink = SINKS[declaration.operation]
        is_left = declaration.judges and given.get("workspace") not in DUE
        if (sink.is_egress or sink.is_change) and not is_left:
            self.outside.append((declaration.name, given))
        else:
            self.inside.append((declaration.name, given))
        label = _LABELS.get(declaration.name, lambda given: UNTRUSTED)(given)
        return ToolOutcome(text=self.hostile or "done", label=label)


_LABELS: Mapping[str, Callable[[dict[str, Any]], Label]] = {
    "read_file": lambda given: label_of_file(given["path"]),
    "run_shell_command": lambda given: label_of_shell(given["command"], "/workspace"),
    "coder_survey": lambda given: TOOL,
    "get_deployment": lambda given: TOOL,
    "pod_counts": lambda given: TOOL,
}


class _Desk:
    def targets(self) -> tuple[str, ...]:
        return (DEPLOYMENT,)


class _Branch:
    branch = BRANCH


@dataclass(frozen=True)
class Team:
    """One agent."""

    name: str
    level: Level
    grants: tuple[Operation, ...]
    named: tuple[str, ...]
    declarations: tuple[ToolDeclaration, ...]
    sources: Mapping[str, tuple[str, dict[str, Any]]]
    """How hostile text reaches it: the call that reads it, for each kind of source."""

    def tools(self, acts: Acts) -> tuple[ToolDeclaration, ...]:
        """Its tools, which note what they would do."""
        return tuple(_noting(declaration, acts) for declaration in self.declarations)

    @property
    def room(self) -> dict[str, Any]:
        """What their targets are read from."""
        target = GitTarget(remote=Remote.parse(REMOTE, None))
        return {"target": target, "git": _Branch(), "coder": _Desk()}


def _noting(declaration: ToolDeclaration, acts: Acts) -> ToolDeclaration:
    @functools.wraps(declaration.function)
    async def note(room: Any, **given: Any) -> ToolOutcome:
        return acts.note(declaration, given)

    return replace(declaration, function=note)


def _row(
    name: str,
    operation: Operation,
    arguments: str = "",
    targets: Callable[[Any, Any], tuple[str, ...]] = lambda room, value: (),
    effect: Any = None,
) -> ToolDeclaration:
    """A tool from a row: text arguments by name, those behind `?` optional."""

    async def act(room: Any, **given: Any) -> ToolOutcome:
        raise AssertionError("replaced by a note")

    names = [word.removesuffix("?") for word in arguments.split()]
    act.__name__, act.__doc__ = name, f"{name.replace('_', ' ').capitalize()}."
    parameters = [inspect.Parameter("room", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    for word in arguments.split():
        default = "" if word.endswith("?") else inspect.Parameter.empty
        parameters.append(inspect.Parameter(word.removesuffix("?"), inspect.Parameter.KEYWORD_ONLY, default=default))
    act.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    act.__annotations__ = dict.fromkeys(names, str)
    sink = SINKS[operation]
    changes = sink.is_egress or sink.is_change
    return tool(operation=operation, effect=effect or ("keyed" if changes else "pure"), targets=targets)(act)


def _url(room: Any, value: Any) -> tuple[str, ...]:
    return (host_of(value.url),)


_READS = Operation.READ_WORKSPACE
_COMMON = (
    _row("read_issue", _READS, "number"),
    _row("read_alert", _READS, "id"),
    _row("read_log", _READS, "name"),
    _row("read_event", _READS, "name"),
    _row("read_page", _READS, "name"),
    _row("spawn_agent", Operation.SPAWN, "agent task"),
)
_OPS = (
    _row("get_deployment", _READS, "id"),
    _row("deploy", Operation.DEPLOY_STAGING, "project environment commit? env?"),
    _row("deploy_preview", Operation.DEPLOY_PREVIEW, "project environment commit? env?"),
    _row("deploy_production", Operation.DEPLOY_PRODUCTION, "project environment commit? env?"),
    _row("rollback", Operation.ROLLBACK, "project environment deployment?"),
    _row("notify", Operation.NOTIFY, "channel text"),
    _row("fetch", Operation.USE_NETWORK, "url", _url),
    _row("set_budget", Operation.CHANGE_GOVERNANCE, "cap"),
    _row("push", Operation.PUSH_FEATURE_BRANCH, "remote branch"),
    _row("push_protected", Operation.PUSH_PROTECTED_BRANCH, "remote branch"),
)
_TRIAGE = (
    _row("kubectl_get", Operation.READ_CLUSTER, "cluster namespace kind"),
    _row("kubectl_logs", Operation.READ_CLUSTER, "cluster namespace pod"),
    _row("pod_counts", _READS, "namespace"),
    _row("fetch", Operation.USE_NETWORK, "url", _url),
    _row("search_web", Operation.USE_NETWORK, "query", lambda room, value: ("search.acme.test",)),
    _row("notify", Operation.NOTIFY, "channel text"),
    _row("open_pull_request", Operation.OPEN_PULL_REQUEST, "repository base title body?"),
    _row("push", Operation.PUSH_FEATURE_BRANCH, "remote branch"),
    _row("rollback", Operation.ROLLBACK, "project environment deployment?"),
    _row("grant_level", Operation.CHANGE_GOVERNANCE, "agent level"),
)

_FROM: Mapping[str, tuple[str, dict[str, Any]]] = {
    "repository file": ("read_file", {"path": "README.md"}),
    "test output": ("run_shell_command", {"command": "python -m pytest -q"}),
    "build log": ("read_log", {"name": "build"}),
    "pod log": ("read_log", {"name": "pod"}),
    "cluster event": ("read_event", {"name": "BackOff"}),
    "alert": ("read_alert", {"id": "A-1"}),
    "web page": ("read_page", {"name": "runbook"}),
    "issue comment": ("read_issue", {"number": "12"}),
    "sub-agent": ("spawn:reader", {"task": "read the runbook"}),
    "before compaction": ("read_log", {"name": "long ago"}),
}
"""Ten places where a third party can write."""

_ALL = (*SHELL, *FILES, *_COMMON)
G = Operation

TEAMS: tuple[Team, ...] = (
    Team(
        "coding", Level.SANDBOX_ONLY, (G.PUSH_FEATURE_BRANCH,), (*_OWN_BRANCH, REMOTE, BRANCH),
        (*_ALL, *BACKGROUND, *GIT, _row("push", G.PUSH_FEATURE_BRANCH, "remote branch"),
         _row("push_protected", G.PUSH_PROTECTED_BRANCH, "remote branch"),
         _row("fetch", G.USE_NETWORK, "url", _url), _row("set_budget", G.CHANGE_GOVERNANCE, "cap")), _FROM,
    ),
    Team(
        "ops", Level.STAGING_ACCESS, (G.USE_NETWORK,),
        (*_STAGING, *_OWN_BRANCH), (*_ALL, *_OPS), _FROM,
    ),
    Team(
        "triage", Level.SANDBOX_ONLY, (G.NOTIFY, G.OPEN_PULL_REQUEST, G.USE_NETWORK, G.PUSH_FEATURE_BRANCH),
        (*_INCIDENT, *_OWN_BRANCH),
        (*_ALL, *_TRIAGE), _FROM,
    ),
    Team(
        "steward", Level.SANDBOX_ONLY, (G.STOP_WORKSPACE, G.START_WORKSPACE, G.NOTIFY), (DEPLOYMENT,),
        (*_ALL, *CODER, _row("fetch", G.USE_NETWORK, "url", _url), _row("set_budget", G.CHANGE_GOVERNANCE, "cap"),
         _row("notify", G.NOTIFY, "channel text")), _FROM,
    ),
)  # fmt: skip

FOLDER = Path(__file__).parent
