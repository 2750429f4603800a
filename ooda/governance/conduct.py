"""What a run's end says about its agent: the reputation events its journal supports. Pure.

A success counts when something outside the model checked it and it changed something outside the sandbox; a failure
when the agent had what it needed; a denial once per operation. What governance, the provider or a person ended says
nothing about the agent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from ooda.events import CallRefused, Event, Foreign, LimitReached, ModelFailed, ToolReturned, ToolStarted
from ooda.governance.budget import window_named
from ooda.governance.reputation import EventKind, ReputationEvent

__all__ = ["DENIALS", "TELLING", "Conduct", "conduct_of", "events_of"]

TELLING: Final = ("CallRefused", "ToolStarted", "ToolReturned", "ModelFailed", "LimitReached")
"""Kinds of journal events that say something about an agent's conduct."""

_FAILURES: Final = frozenset({"failed", "stuck", "step_limit", "timeout"})
DENIALS: Final = frozenset({"permission", "rule"})
"""Refusals that name something the agent may not do. A label's is not among them: hostile text leads to those."""


class Conduct(msgspec.Struct, frozen=True, kw_only=True):
    """How a run went, as far as reputation is concerned."""

    run: str
    task: str
    """`company/project/task`."""
    status: str
    reason: str = ""
    is_checked: bool = False
    """Something outside the model (tests, a health check) passed."""
    has_effect: bool = False
    """Something outside the sandbox was changed, and came back as done."""
    window: str = ""
    """Budget window that was exceeded."""
    denied: tuple[str, ...] = ()
    """Operations that were denied, in the order of their first denial."""
    is_degraded: bool = False
    """Governance could not be reached at some time of it."""


def conduct_of(
    events: Iterable[Event | Foreign],
    *,
    run: str,
    task: str,
    status: str,
    reason: str,
    is_checked: bool,
    is_degraded: bool = False,
) -> Conduct:
    """The conduct of a run from its journal.

    Args:
        events: At least those of the kinds in `TELLING`.
    """
    outside: set[str] = set()
    denied: dict[str, None] = {}
    has_effect = False
    window = ""
    for event in events:
        match event:
            case CallRefused(why=why, operation=operation) if why in DENIALS and operation:
                denied[operation] = None
            case ToolStarted(effect="keyed" | "once", call=call):
                outside.add(call)
            case ToolReturned(status="ok", call=call) if call in outside:
                has_effect = True
            case ModelFailed(error="budget", message=message):
                window = window_named(message) or window
            case LimitReached(limit="cost_nano" | "tokens"):
                window = "life"
    return Conduct(
        run=run,
        task=task,
        status=status,
        reason=reason,
        is_checked=is_checked,
        has_effect=has_effect,
        window=window,
        denied=tuple(denied),
        is_degraded=is_degraded,
    )


def events_of(conduct: Conduct, at_ns: int) -> tuple[ReputationEvent, ...]:
    """The events to append; the same conduct gives the same ids, so that appending them again changes nothing."""
    found = [
        _event(conduct, "permission_denied", at_ns, operation, operation=operation, cause=f"`{operation}` was denied")
        for operation in conduct.denied
    ]
    match conduct.status:
        case "success" | "unverified":
            is_checked = conduct.is_checked and conduct.has_effect and conduct.status == "success"
            found.append(
                _event(
                    conduct,
                    "task_success",
                    at_ns,
                    conduct.status,
                    is_checked=is_checked,
                    is_degraded=conduct.is_degraded,
                )
            )
        case "budget_exceeded":
            found.append(_event(conduct, "budget_exceeded", at_ns, conduct.window, window=conduct.window))
        case status if status in _FAILURES:
            found.append(_event(conduct, "task_failure", at_ns, ""))
    return tuple(found)


def _event(conduct: Conduct, kind: EventKind, at_ns: int, what: str, **more: object) -> ReputationEvent:
    name = hashlib.sha256(f"{conduct.run}|{kind}|{what}".encode()).hexdigest()[:24]
    given = {"cause": conduct.reason[:500]} | more
    return ReputationEvent(id=f"rep-{name}", kind=kind, at_ns=at_ns, run=conduct.run, task=conduct.task, **given)  # type: ignore[arg-type]
