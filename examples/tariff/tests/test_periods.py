"""Readings cut at month boundaries."""

import unittest
from datetime import datetime, timezone
from decimal import Decimal

from tariff import Reading, month_bounds, split


def at(month, day, hour=0):
    return datetime(2026, month, day, hour, tzinfo=timezone.utc)


class SplitTest(unittest.TestCase):
    def test_december_ends_with_the_year(self):
        self.assertEqual(month_bounds(2026, 12)[1], datetime(2027, 1, 1, tzinfo=timezone.utc))

    def test_a_reading_inside_is_not_cut(self):
        reading = Reading(at(3, 2), at(3, 9), Decimal(70))
        self.assertEqual(split(reading, [at(3, 1), at(4, 1)]), [reading])

    def test_usage_is_spread_evenly(self):
        parts = split(Reading(at(3, 31), at(4, 2), Decimal(48)), [at(3, 1), at(4, 1)])
        self.assertEqual([part.quantity for part in parts], [Decimal(24), Decimal(24)])

    def test_parts_add_up_exactly(self):
        parts = split(Reading(at(3, 30), at(4, 6), Decimal(10)), [at(4, 1)])
        self.assertEqual(sum(part.quantity for part in parts), Decimal(10))
