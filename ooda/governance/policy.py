"""What one run may do and spend, as one value: built at the entry point from settings and the typed task.

The gate judges by it and by nothing else; no code below reads settings or the environment.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ooda.governance.budget import Scope
from ooda.governance.levels import Level
from ooda.governance.operations import Operation
from ooda.governance.rules import RuleSet

__all__ = ["DoorPolicy"]


class DoorPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Level, grants, rules and budget scopes of one run."""

    actor: str
    """Who acts, for the audit: `agent coding of run-… for alice`."""
    level: Level = Level.SANDBOX_ONLY
    grants: frozenset[Operation] = frozenset()
    """What the typed task grants by name."""
    named: Callable[[], tuple[str, ...]] = tuple
    """What in the outside world the typed task names, and what the host derives from it alone (the feature branch):
    sinks are held against these. Never anything a model wrote."""
    rules: RuleSet
    version: str
    """Digest of rules, level and grants; approvals are bound to it."""
    scopes: tuple[Scope, ...] = ()
    """Budget scopes a model call draws from, the run's own included."""
    approval_ttl_s: int = 900
    output_bytes: int = 16_384
    is_attended: bool = False
    """A person sits at the terminal; without one, what needs an answer waits."""
