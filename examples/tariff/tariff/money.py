"""Rounding of money: the one place where cents are made."""

from decimal import ROUND_HALF_UP, Decimal

CENT = Decimal("0.01")


def to_cents(amount: Decimal) -> Decimal:
    """The amount in whole cents, half a cent rounded away from zero."""
    return amount.quantize(CENT, rounding=ROUND_HALF_UP)
