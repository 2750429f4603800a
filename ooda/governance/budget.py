"""What budgets are made of: scopes, caps, requests, reservations, settlements and alerts. Values only.

Money is whole nano-USD, everything else whole tokens. How they are kept is `ledger.py`; which windows there are is
`windows.py`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from ooda.errors import BudgetExceededError
from ooda.governance.windows import Span

__all__ = [
    "LARGEST",
    "Abandoned",
    "Alert",
    "BudgetRow",
    "Cap",
    "CapRule",
    "Caps",
    "Exceeded",
    "Measure",
    "Reservation",
    "ReserveRequest",
    "Scope",
    "ScopeKind",
    "Settlement",
    "State",
    "window_named",
]

LARGEST = 2**53 - 1
"""The largest amount or cap: 9.0 million USD in nano-USD, exact in Redis and JSON too, where numbers are doubles."""

ScopeKind = Literal["global", "company", "project", "agent", "task", "run", "degraded"]
State = Literal["held", "sent", "settled", "released", "expired"]
Measure = Literal["cost_nano", "tokens"]


class Cap(msgspec.Struct, frozen=True):
    """The most that may be spent; None is no cap."""

    cost_nano: int | None = None
    tokens: int | None = None


class Scope(msgspec.Struct, frozen=True):
    """Somebody's purse: the whole installation, a company, a project, an agent, a task, a run and its children, or what
    may be spent in a day while governance cannot be reached."""

    kind: ScopeKind
    id: str = ""
    """Empty for `global`."""
    cap: Cap = Cap()
    """A cap of this scope's own, for its lifetime (a task's limits, a run's limits)."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}" if self.id else self.kind


class CapRule(msgspec.Struct, frozen=True, kw_only=True):
    """One cap from the settings."""

    scope: ScopeKind
    id: str = "*"
    """Which one; `*` is each of them on its own."""
    span: Span
    """hour and day of UTC, or life: everything ever spent by this scope."""
    cost_nano: int | None = None
    tokens: int | None = None


class Caps(msgspec.Struct, frozen=True):
    """All caps of the settings. Every rule that matches holds: a narrower one can only tighten."""

    rules: tuple[CapRule, ...] = ()
    day_zone: str = "UTC"
    """Time zone in which a day begins; hours are absolute."""


class ReserveRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a call may cost at worst, and who pays."""

    key: str
    """Of the call, the same for every attempt at it; reserving twice under one key reserves once."""
    scopes: tuple[Scope, ...]
    """Everyone who pays: of a sub-agent's run all its ancestors too."""
    cost_nano: int
    tokens: int
    now_ns: int
    expires_ns: int
    """From when on a hold that nobody settled is closed by `expire`."""
    run: str = ""
    price: str = ""
    """The price row used, as JSON; kept with the reservation."""
    is_sent: bool = False
    """The effect follows this transaction at once: if nobody ever settles, the hold is charged, not released."""


class Alert(msgspec.Struct, frozen=True):
    """A fact for the caller to record and tell: a window passed 80 or 95 per cent, or the clock went back."""

    kind: Literal["budget", "clock_regression"]
    scope: str = ""
    window: str = ""
    percent: int = 0
    measure: Measure | Literal[""] = ""
    used: int = 0
    limit: int = 0
    message: str = ""


class Exceeded(msgspec.Struct, frozen=True):
    """The reservation was refused and left no trace: it would have passed this cap."""

    scope: str
    window: str
    measure: Measure
    limit: int
    used: int
    """Spent and reserved by others."""
    asked: int

    def __str__(self) -> str:
        unit = "nano-USD" if self.measure == "cost_nano" else "tokens"
        return (
            f"the budget of {self.scope} in window {self.window} allows {self.limit} {unit}: {self.used} are spent or "
            f"reserved and this call may take {self.asked}. Raise the cap in the settings or wait for the next "
            "window; `ooda budget show` lists all"
        )

    def error(self) -> BudgetExceededError:
        """The same as an error, for callers that cannot go on."""
        facts = msgspec.structs.asdict(self)
        return BudgetExceededError(str(self), **facts)


def window_named(message: str) -> str:
    """The window an `Exceeded` names in its text; empty for another text."""
    _, found, rest = message.partition(" in window ")
    return rest.partition(" ")[0] if found and message.startswith("the budget of ") else ""


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """An amount held back for one call."""

    key: str
    run: str
    state: State
    cost_nano: int
    tokens: int
    windows: tuple[str, ...]
    """Keys of the windows it was taken from, where its settlement lands too."""
    expires_ns: int
    alerts: tuple[Alert, ...] = ()


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What a call finally took."""

    key: str
    state: State
    cost_nano: int
    """All charges of this key together."""
    tokens: int
    is_new: bool
    """False when it had been settled before: nothing changed now."""
    over_nano: int = 0
    """Charged beyond the reservation, by a provider that billed more than its price list says."""
    alerts: tuple[Alert, ...] = ()


class Abandoned(NamedTuple):
    """What the open calls of an interrupted run cost: sent ones at their hold, the rest nothing."""

    keys: str
    """Their keys with commas between; empty when nothing was open."""
    cost_nano: int
    tokens: int
    alerts: tuple[Alert, ...] = ()
    """Thresholds passed by charging them, for the caller to tell."""


class BudgetRow(msgspec.Struct, frozen=True, kw_only=True):
    """One window of one scope, as `ooda budget show` lists it."""

    scope: str
    span: str
    """hour:2026-11-21T08, day:2026-11-21 or life."""
    cap_cost: int | None
    cap_tokens: int | None
    spent_cost: int
    spent_tokens: int
    reserved_cost: int
    reserved_tokens: int
