"""Readings and months: usage is spread evenly over a reading's time and cut at month boundaries."""

from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from typing import List, Tuple


@dataclass(frozen=True)
class Reading:
    """`quantity` units were used from `start` to `end` (aware, `end` excluded)."""

    start: datetime
    end: datetime
    quantity: Decimal

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("a reading needs times with a zone")
        if self.end <= self.start:
            raise ValueError("a reading ends after it starts")


def month_bounds(year: int, month: int) -> Tuple[datetime, datetime]:
    """The first instant of a month and of the next one, in UTC."""
    start = datetime(year, month, 1, tzinfo=timezone.utc)
    end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=timezone.utc)
    return start, end


def split(reading: Reading, boundaries: List[datetime]) -> List[Reading]:
    """The reading cut at every boundary inside it; the quantities of the parts add up to the whole exactly."""
    cuts = [moment for moment in sorted(boundaries) if reading.start < moment < reading.end]
    edges = [reading.start, *cuts, reading.end]
    whole = Decimal(str((reading.end - reading.start).total_seconds()))
    parts = []
    left = reading.quantity
    for start, end in zip(edges, edges[1:]):
        if end == reading.end:
            share = left
        else:
            share = reading.quantity * Decimal(str((end - start).total_seconds())) / whole
            left -= share
        parts.append(Reading(start, end, share))
    return parts
