"""What may happen while governance cannot be reached: three policies, judged here and nowhere else. Pure.

    fail_closed     reads only; the default
    sandbox_only    what every agent may do inside the sandbox, under a small budget of its own, for at most an hour
    unconstrained   everything; two settings, and never where a production credential is

The last is the behaviour the ops agent was asked to have, word for word; the first is why nobody has it by accident.
Knows words and times; must not know what is down, or how that was found out.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from ooda.events import Effect
from ooda.governance.levels import Cell, Level, cell
from ooda.governance.operations import Operation

__all__ = ["BANNER", "LOG", "LONGEST_NS", "DegradedPolicy", "Outage", "call_refusal", "model_refusal"]

DegradedPolicy = Literal["fail_closed", "sandbox_only", "unconstrained"]

LOG: Final = "⚠️ Could not register with Governance (degraded mode)"
"""What is said when an agent could not be registered; operators' alarms look for this line."""
BANNER: Final = "⚠️ DEGRADED MODE, UNCONSTRAINED: governance cannot be reached and nothing is checked"
LONGEST_NS: Final = 60 * 60 * 10**9


class Outage(msgspec.Struct, frozen=True):
    """Since when governance cannot be reached, and what of it."""

    since_ns: int
    why: str


def call_refusal(
    policy: DegradedPolicy, outage: Outage | None, operation: Operation, effect: Effect, now_ns: int
) -> str:
    """Why a call may not be carried out now; empty when it may. A call that only reads always may."""
    if outage is None or effect == "pure" or policy == "unconstrained":
        return ""
    if late := _late(policy, outage, now_ns):
        return late
    if policy == "sandbox_only" and cell(operation, Level.SANDBOX_ONLY) is Cell.ALLOW:
        return ""
    allowed = "only reads go on" if policy == "fail_closed" else f"`{operation}` reaches beyond the sandbox"
    return f"governance cannot be reached ({outage.why}), and with `governance.degraded` at `{policy}` {allowed}"


def model_refusal(policy: DegradedPolicy, outage: Outage, now_ns: int) -> str:
    """Why no model may be asked now; empty when one may."""
    if policy == "fail_closed":
        return f"governance cannot be reached ({outage.why}), and `governance.degraded` is `fail_closed`"
    return _late(policy, outage, now_ns)


def _late(policy: DegradedPolicy, outage: Outage, now_ns: int) -> str:
    if policy != "sandbox_only" or 0 <= now_ns - outage.since_ns <= LONGEST_NS:
        return ""
    minutes = LONGEST_NS // (60 * 10**9)
    return (
        f"governance has been out of reach ({outage.why}) for more than {minutes} minutes; nothing goes on without it"
    )
