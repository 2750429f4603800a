"""Graduated prices: each tier covers the units up to its limit, the last one all the rest."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Optional, Sequence, Tuple


@dataclass(frozen=True)
class Tier:
    """Units up to `upto` (of the month, not of the call) cost `rate` each; None is without limit."""

    upto: Optional[Decimal]
    rate: Decimal


@dataclass(frozen=True)
class Tariff:
    """A named list of tiers, in rising order, the last one without limit."""

    name: str
    tiers: Tuple[Tier, ...]

    def __post_init__(self) -> None:
        limits = [tier.upto for tier in self.tiers[:-1]]
        if not self.tiers or self.tiers[-1].upto is not None:
            raise ValueError("the last tier of a tariff must be without limit")
        if any(limit is None for limit in limits) or limits != sorted(limits):
            raise ValueError("the limits of a tariff must rise")


def charge(quantity: Decimal, tiers: Sequence[Tier]) -> Decimal:
    """The exact price of `quantity` units, not rounded."""
    if quantity < 0:
        raise ValueError(f"cannot charge a negative quantity: {quantity}")
    total = Decimal(0)
    below = Decimal(0)
    for tier in tiers:
        if tier.upto is None:
            in_tier = quantity - below
        else:
            in_tier = min(quantity, tier.upto) - below
        if in_tier <= 0:
            break
        total += in_tier * tier.rate
        below += in_tier
    return total
