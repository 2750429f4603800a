"""Small policies shared by the agents: pure functions from a situation to a decision.

A fixed phase is "make this call, keep these facts, go on"; what differs is the call and what its failure means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ooda.events import Body, canonical
from ooda.runtime.decide import Action, Decision, PolicyDecider, Result, Situation

__all__ = ["call_once", "keep", "one_call", "tool_action"]

_TRIES = 3
"""Times a policy makes a call that was interrupted by a restart before it gives up."""


def tool_action(tool: str, **arguments: Any) -> Action:
    """A call of `tool` with JSON-able arguments."""
    return Action(tool, Body(canonical(arguments).decode()))


def one_call(
    action: Callable[[Situation], Action],
    done: Callable[[Situation, Result], Decision],
    failed: Callable[[Situation, Result], Decision] | None = None,
) -> PolicyDecider:
    """A phase of one call.

    Args:
        action: The call, made when the phase begins and again after an interruption.
        done: What a result with status ok or no_data means.
        failed: What any other result means; by default the run stops, refused when the gate said no.
    """
    return PolicyDecider(lambda situation: call_once(situation, action, done, failed))


def call_once(
    situation: Situation,
    action: Callable[[Situation], Action],
    done: Callable[[Situation, Result], Decision],
    failed: Callable[[Situation, Result], Decision] | None = None,
) -> Decision:
    """The decision of a one-call phase in this situation."""
    if not situation.results:
        made = action(situation)
        return Decision(actions=(made,), reason=f"{situation.phase}: {made.tool}")
    result = situation.results[-1]
    if result.status == "interrupted" and situation.attempts < _TRIES:
        return Decision(actions=(action(situation),), reason=f"{result.tool} was interrupted; it is made again")
    if result.status in ("ok", "no_data"):
        return done(situation, result)
    return (failed or _stop)(situation, result)


def _stop(situation: Situation, result: Result) -> Decision:
    said = result.text.text or (result.text.ref.head if result.text.ref else "")
    return Decision(
        stop="refused" if result.status == "refused" and result.why != "arguments" else "failed",
        reason=f"{situation.phase}: {said.strip()}",
    )


def keep(**facts: Any) -> Mapping[str, Any]:
    """Facts to keep, without the empty ones."""
    return {name: value for name, value in facts.items() if value not in (None, "")}
