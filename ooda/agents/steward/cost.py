"""What stopping saved: hours not run, times a price per template, as exact amounts.

A stop saved the time from its end to the next start, and no more than the workspace would have gone on by itself:
its own deadline counts as the end of what it would have cost. Prices are data, or come from whoever knows the bill
(`PriceSource`). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Protocol

import msgspec

from ooda.agents.steward.instants import HOUR_NS
from ooda.errors import ConfigError

__all__ = ["PriceSource", "PriceTable", "SavedHours", "SavingsReport", "StopRecord", "report_savings"]

_CENT = Decimal("0.01")


class PriceSource(Protocol):
    """Whoever knows what an hour costs: a table, or a cloud's billing interface."""

    def usd_per_hour(self, template: str) -> Decimal | None:
        """The price of one running workspace of a template; None when nobody knows."""
        ...


class PriceTable:
    """Prices by template name."""

    def __init__(self, prices: Mapping[str, Decimal], default: Decimal | None = None) -> None:
        """`default` is for templates without a price of their own."""
        self._prices = dict(prices)
        self._default = default

    @classmethod
    def parse(cls, given: object) -> PriceTable:
        """From `{"docker": "0.12", "*": "0.05"}`.

        Raises:
            ConfigError: not a mapping of names to amounts in USD per hour.
        """
        if not isinstance(given, dict):
            raise ConfigError(f"prices are a mapping of template names to USD per hour, not {type(given).__name__}")
        prices = {}
        for name, amount in given.items():
            try:
                price = Decimal(str(amount))
                usable = price.is_finite() and 0 <= price <= 100_000
            except ArithmeticError:
                usable = False
            if not usable:
                raise ConfigError(f"the price of template {name!r} is {amount!r}; expected USD per hour such as 0.12")
            prices[str(name)] = price
        return cls({name: price for name, price in prices.items() if name != "*"}, prices.get("*"))

    def usd_per_hour(self, template: str) -> Decimal | None:
        return self._prices.get(template, self._default)


class StopRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One stop of ours."""

    workspace: str
    """`owner/name`."""
    template: str
    stopped_ns: int
    started_ns: int | None = None
    """The next start after it, whoever made it; None: none yet."""
    would_end_ns: int | None = None
    """When it would have stopped without us: its deadline at the time; None: never."""


class SavedHours(msgspec.Struct, frozen=True, kw_only=True):
    """What was saved on one template."""

    template: str
    stops: int
    hours: Decimal
    usd: Decimal | None
    """None where nobody knows the price."""


class SavingsReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was saved altogether."""

    rows: tuple[SavedHours, ...]
    """Most hours first."""
    hours: Decimal
    usd: Decimal
    unpriced: tuple[str, ...]
    """Templates without a price; their hours are not in `usd`."""


def report_savings(now_ns: int, stops: Iterable[StopRecord], prices: PriceSource) -> SavingsReport:
    """Add up what stops saved until now."""
    saved: dict[str, list[int]] = {}
    for stop in stops:
        ends = [end for end in (stop.started_ns, stop.would_end_ns, now_ns) if end is not None]
        saved.setdefault(stop.template, []).append(max(0, min(ends) - stop.stopped_ns))
    rows = []
    for template, spans in saved.items():
        hours = Decimal(sum(spans)) / HOUR_NS
        price = prices.usd_per_hour(template)
        usd = None if price is None else (hours * price).quantize(_CENT)
        rows.append(SavedHours(template=template, stops=len(spans), hours=hours.quantize(_CENT), usd=usd))
    rows.sort(key=lambda row: (-row.hours, row.template))
    return SavingsReport(
        rows=tuple(rows),
        hours=sum((row.hours for row in rows), Decimal(0)),
        usd=sum((row.usd for row in rows if row.usd is not None), Decimal(0)),
        unpriced=tuple(row.template for row in rows if row.usd is None),
    )
