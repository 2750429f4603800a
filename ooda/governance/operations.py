"""The closed list of operations: everything an agent can want from the world, each with its risk.

Permissions, rules, sinks, grants and the audit all speak of operations, never of tool names: a tool declares the
one operation it performs. The list is closed on purpose. A tool that fits none of these is a reason to talk, not
to add a member in passing. Knows words only; what a level may do is in `levels`, what untrusted text may steer is
in `sinks`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, StrEnum
from typing import Final, Literal

from ooda.errors import ConfigError
from ooda.governance.settings_file import hint

__all__ = ["Answer", "Operation", "Risk", "operation_named", "strictest"]

Answer = Literal["allow", "ask", "deny"]
"""What each judge of a call says; `ask` means that a person has to answer first."""

_STRICTNESS: Final[dict[Answer, int]] = {"allow": 0, "ask": 1, "deny": 2}


def strictest(answers: Iterable[Answer]) -> Answer:
    """The most restrictive answer: deny > ask > allow; of none, allow."""
    return max(answers, key=_STRICTNESS.__getitem__, default="allow")


class Risk(IntEnum):
    """How much harm one wrong call does."""

    LOW = 0
    """Reads, or changes that end with the sandbox."""
    MEDIUM = 1
    """Visible outside, and easily taken back."""
    HIGH = 2
    """Hits people or production, or is hard to take back."""


class Operation(StrEnum):
    """One kind of action; its value is the word used in task specs, rules, journals and reports."""

    READ_WORKSPACE = "read_workspace"
    WRITE_WORKSPACE = "write_workspace"
    RUN_IN_SANDBOX = "run_in_sandbox"
    USE_NETWORK = "use_network"
    PUSH_FEATURE_BRANCH = "push_feature_branch"
    PUSH_PROTECTED_BRANCH = "push_protected_branch"
    OPEN_PULL_REQUEST = "open_pull_request"
    DEPLOY_PREVIEW = "deploy_preview"
    DEPLOY_STAGING = "deploy_staging"
    DEPLOY_PRODUCTION = "deploy_production"
    ROLLBACK = "rollback"
    READ_CLUSTER = "read_cluster"
    STOP_WORKSPACE = "stop_workspace"
    START_WORKSPACE = "start_workspace"
    NOTIFY = "notify"
    SPAWN = "spawn"
    CHANGE_GOVERNANCE = "change_governance"

    @property
    def risk(self) -> Risk:
        return _FACTS[self][0]

    @property
    def description(self) -> str:
        """One line for help texts, approvals and reports."""
        return _FACTS[self][1]


_FACTS: Final[dict[Operation, tuple[Risk, str]]] = {
    Operation.READ_WORKSPACE: (Risk.LOW, "Read, list and search files of the workspace."),
    Operation.WRITE_WORKSPACE: (Risk.LOW, "Create, change and delete files of the workspace."),
    Operation.RUN_IN_SANDBOX: (Risk.LOW, "Run a command inside the sandbox."),
    Operation.USE_NETWORK: (Risk.MEDIUM, "Reach a named host from the sandbox."),
    Operation.PUSH_FEATURE_BRANCH: (Risk.MEDIUM, "Push a feature branch to the task's remote."),
    Operation.PUSH_PROTECTED_BRANCH: (Risk.HIGH, "Push to a branch the repository protects."),
    Operation.OPEN_PULL_REQUEST: (Risk.MEDIUM, "Open or update a pull request."),
    Operation.DEPLOY_PREVIEW: (Risk.MEDIUM, "Deploy to a sandbox or preview environment."),
    Operation.DEPLOY_STAGING: (Risk.MEDIUM, "Deploy to staging."),
    Operation.DEPLOY_PRODUCTION: (Risk.HIGH, "Deploy to production."),
    Operation.ROLLBACK: (Risk.HIGH, "Put an earlier deployment back in place."),
    Operation.READ_CLUSTER: (Risk.LOW, "Read objects, events and logs of a Kubernetes cluster."),
    Operation.STOP_WORKSPACE: (Risk.HIGH, "Stop a person's Coder workspace."),
    Operation.START_WORKSPACE: (Risk.MEDIUM, "Start a Coder workspace."),
    Operation.NOTIFY: (Risk.MEDIUM, "Send a notification over a configured channel."),
    Operation.SPAWN: (Risk.LOW, "Start a sub-agent inside this run's level and budget."),
    Operation.CHANGE_GOVERNANCE: (
        Risk.HIGH,
        "Change budgets, levels, rules, reputation or approvals; for people only.",
    ),
}

_ALIASES: Final[dict[str, Operation]] = {
    # The words of the ops agent's log lines.
    "deploy_sandbox": Operation.DEPLOY_PREVIEW,
    "deploy_prod": Operation.DEPLOY_PRODUCTION,
}


def operation_named(word: str) -> Operation:
    """The operation a task spec, rule or log line names; `deploy_sandbox` and `deploy_prod` are understood.

    Raises:
        ConfigError: nothing has that name; the message offers the nearest word.
    """
    known = {member.value: member for member in Operation} | _ALIASES
    if word in known:
        return known[word]
    raise ConfigError(f"there is no operation {word!r}; {hint(word, known)}", operation=word)
