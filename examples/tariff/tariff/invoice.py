"""Invoices: one line a reading (or part of one) in the month, and the total."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Iterable, Tuple

from tariff.money import to_cents
from tariff.periods import Reading, month_bounds, split
from tariff.tiers import Tariff, charge


@dataclass(frozen=True)
class Line:
    """What one stretch of usage costs, exact."""

    start: datetime
    end: datetime
    quantity: Decimal
    amount: Decimal


@dataclass(frozen=True)
class Invoice:
    """One month of one customer; only `total` is rounded to cents."""

    tariff: str
    year: int
    month: int
    lines: Tuple[Line, ...]
    total: Decimal


def invoice(readings: Iterable[Reading], tariff: Tariff, year: int, month: int) -> Invoice:
    """The invoice of one month; usage outside the month is left out."""
    start, end = month_bounds(year, month)
    lines = []
    total = Decimal(0)
    for reading in readings:
        for part in split(reading, [start, end]):
            if start <= part.start and part.end <= end:
                amount = to_cents(charge(part.quantity, tariff.tiers))
                lines.append(Line(part.start, part.end, part.quantity, amount))
                total += amount
    return Invoice(tariff.name, year, month, tuple(lines), total)
