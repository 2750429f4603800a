"""Permission levels and the one table that says which level may do which operation.

Levels are an ordered ladder earned by reputation and review; the table is the requirement's, cell by cell:
`sandbox_only` reads, tests and deploys to sandboxes, `staging_access` adds everything outside production,
`prod_low_risk` adds production changes of documentation and user interface, `prod_full_access` adds the rest. What
reaches other people from `sandbox_only` (a push, a stopped workspace, a notice) has to be granted by name in the
typed task. Pure: knows no agent, no score and no storage (`reputation` has those).
"""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum, StrEnum
from typing import Final, Literal

import msgspec

from ooda.errors import ConfigError
from ooda.governance.operations import Answer, Operation
from ooda.governance.settings_file import hint

__all__ = ["Cell", "Environment", "Level", "Permit", "cell", "effective", "level_named", "permit"]

Environment = Literal["preview", "staging", "production"]
"""Where a rollback takes place; it needs the level of a deployment there."""


class Level(IntEnum):
    """What an agent may do now; a higher level may do all that a lower one may."""

    SANDBOX_ONLY = 0
    STAGING_ACCESS = 1
    PROD_LOW_RISK = 2
    PROD_FULL_ACCESS = 3

    @property
    def word(self) -> str:
        """The level as it is written in settings and reports: `sandbox_only`."""
        return self.name.lower()


def level_named(word: str) -> Level:
    """The level a setting names.

    Raises:
        ConfigError: nothing has that name; the message offers the nearest word.
    """
    known = {level.word: level for level in Level}
    if word in known:
        return known[word]
    raise ConfigError(f"there is no permission level {word!r}; {hint(word, known)}", level=word)


class Cell(StrEnum):
    """One cell of the table."""

    ALLOW = "allow"
    GRANT = "grant"
    """Allowed when the typed task grants the operation by name; otherwise a person is asked."""
    LOW_RISK = "low_risk"
    """Allowed when the host classed the change as documentation or user interface; otherwise denied."""
    DENY = "deny"


_A, _G, _L, _D = Cell.ALLOW, Cell.GRANT, Cell.LOW_RISK, Cell.DENY

_TABLE: Final[dict[Operation, tuple[Cell, Cell, Cell, Cell]]] = {
    # One column per level, lowest first. Network reach is granted host by host on every level.
    Operation.READ_WORKSPACE: (_A, _A, _A, _A),
    Operation.WRITE_WORKSPACE: (_A, _A, _A, _A),
    Operation.RUN_IN_SANDBOX: (_A, _A, _A, _A),
    Operation.USE_NETWORK: (_G, _G, _G, _G),
    Operation.PUSH_FEATURE_BRANCH: (_G, _A, _A, _A),
    Operation.PUSH_PROTECTED_BRANCH: (_D, _D, _L, _A),
    Operation.OPEN_PULL_REQUEST: (_G, _A, _A, _A),
    Operation.DEPLOY_PREVIEW: (_A, _A, _A, _A),
    Operation.DEPLOY_STAGING: (_D, _A, _A, _A),
    Operation.DEPLOY_PRODUCTION: (_D, _D, _L, _A),
    Operation.ROLLBACK: (_D, _D, _L, _A),
    Operation.READ_CLUSTER: (_A, _A, _A, _A),
    Operation.STOP_WORKSPACE: (_G, _A, _A, _A),
    Operation.START_WORKSPACE: (_G, _A, _A, _A),
    Operation.NOTIFY: (_G, _A, _A, _A),
    Operation.SPAWN: (_A, _A, _A, _A),
    Operation.CHANGE_GOVERNANCE: (_D, _D, _D, _D),
}

_ROLLBACK_AS: Final[dict[Environment, Operation]] = {
    "preview": Operation.DEPLOY_PREVIEW,
    "staging": Operation.DEPLOY_STAGING,
    "production": Operation.ROLLBACK,
}


class Permit(msgspec.Struct, frozen=True):
    """What the level says to an operation, before rules, hooks, labels and budget are asked."""

    decision: Answer
    reason: str
    """One sentence for the decider, the approval and the audit."""


def cell(operation: Operation, level: Level) -> Cell:
    """The table's cell, for reports and the reference page."""
    return _TABLE[operation][level]


def effective(
    granted: Level,
    eligible: Level,
    task_ceiling: Level | None = None,
    degraded_ceiling: Level | None = None,
) -> Level:
    """The level in force: the lowest of what review granted, the score allows, the task and degraded mode cap."""
    return min(level for level in (granted, eligible, task_ceiling, degraded_ceiling) if level is not None)


def permit(
    operation: Operation,
    level: Level,
    grants: Collection[Operation] = (),
    *,
    is_low_risk: bool = False,
    environment: Environment = "production",
) -> Permit:
    """Judge an operation by the table; a grant never reaches above the level.

    Args:
        grants: Operations the typed task names; a person wrote it.
        is_low_risk: The host, not the model, classed the change as documentation or user interface only.
        environment: Where a rollback takes place; production, the strictest, unless known otherwise.
    """
    judged = _ROLLBACK_AS[environment] if operation is Operation.ROLLBACK else operation
    match _TABLE[judged][level]:
        case Cell.ALLOW:
            return Permit("allow", f"`{operation}` is allowed at level {level.word}")
        case Cell.GRANT if operation in grants:
            return Permit("allow", f"the task grants `{operation}`, which level {level.word} may carry out")
        case Cell.GRANT:
            return Permit(
                "ask",
                f"level {level.word} may `{operation}` only when the task grants it by name; "
                f"add it to `grants` or let a person answer",
            )
        case Cell.LOW_RISK if is_low_risk:
            return Permit("allow", f"`{operation}` of a documentation or interface change is allowed at {level.word}")
        case _:
            return Permit("deny", _why_denied(operation, judged, level))


def _why_denied(operation: Operation, judged: Operation, level: Level) -> str:
    if judged is Operation.CHANGE_GOVERNANCE:
        return "agents cannot change governance; a person does it with the command line"
    needed = next(above for above in Level if _TABLE[judged][above] in (Cell.ALLOW, Cell.GRANT))
    also = " (or a change of documentation or interface only)" if _TABLE[judged][level] is Cell.LOW_RISK else ""
    return f"`{operation}` needs level {needed.word}{also}; this run has {level.word}"
