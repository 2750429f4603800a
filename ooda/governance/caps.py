"""The caps of the settings as rules of the ledger: for the installation, and for companies, projects, agents, tasks.

Every rule that matches a call holds; a narrower one can only tighten. A task's and a run's own limits are no settings
and come with the run (`ooda.api.scopes`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final, cast

from ooda.amounts import usd_to_nano
from ooda.governance.budget import CapRule, Caps, ScopeKind
from ooda.governance.windows import Span

if TYPE_CHECKING:
    from ooda.config.settings import BudgetSettings

__all__ = ["caps_of"]

_EACH: Final[tuple[ScopeKind, ...]] = ("company", "project", "agent")
_SPANS: Final[tuple[Span, ...]] = ("hour", "day")


def caps_of(budget: BudgetSettings) -> Caps:
    """All caps of these settings."""
    rules = [
        CapRule(scope="global", span="hour", cost_nano=budget.nano("hour"), tokens=budget.hour_tokens),
        CapRule(scope="global", span="day", cost_nano=budget.nano("day"), tokens=budget.day_tokens),
        CapRule(scope="global", span="life", cost_nano=budget.nano("total")),
    ]
    for scope in _EACH:
        for span in _SPANS:
            usd: Decimal | None = getattr(budget, f"{scope}_{span}_usd")
            if usd is not None:
                rules.append(CapRule(scope=scope, span=span, cost_nano=usd_to_nano(usd)))
    rules += [_rule(text) for text in budget.caps]
    return Caps(tuple(rules), day_zone=budget.day_zone)


def _rule(text: str) -> CapRule:
    """`project:acme/shop day 2.50 USD`; the settings have checked its form."""
    whom, span, amount, unit = text.split()
    scope, _, name = whom.partition(":")
    is_money = unit.upper() == "USD"
    return CapRule(
        scope=cast("ScopeKind", scope),
        id=name or "*",
        span=cast("Span", span),
        cost_nano=usd_to_nano(Decimal(amount)) if is_money else None,
        tokens=None if is_money else int(amount),
    )
