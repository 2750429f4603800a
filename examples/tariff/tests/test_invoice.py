"""Invoices of a month."""

import unittest
from datetime import datetime, timezone
from decimal import Decimal

from tariff import Reading, Tariff, Tier, invoice

HOME = Tariff("home", (Tier(Decimal(100), Decimal("0.10")), Tier(Decimal(300), Decimal("0.20")), Tier(None, Decimal("0.50"))))
FLAT = Tariff("flat", (Tier(None, Decimal("0.333")),))


def at(month, day, hour=0):
    return datetime(2026, month, day, hour, tzinfo=timezone.utc)


class InvoiceTest(unittest.TestCase):
    def test_one_reading(self):
        made = invoice([Reading(at(3, 1), at(3, 11), Decimal(350))], HOME, 2026, 3)
        self.assertEqual(made.total, Decimal("75.00"))

    def test_usage_outside_the_month_is_left_out(self):
        made = invoice([Reading(at(2, 1), at(2, 11), Decimal(350))], HOME, 2026, 3)
        self.assertEqual((made.lines, made.total), ((), Decimal(0)))

    def test_tiers_run_over_the_whole_month(self):
        weekly = [Reading(at(3, 1 + 7 * week), at(3, 8 + 7 * week), Decimal(90)) for week in range(4)]
        made = invoice(weekly, HOME, 2026, 3)
        self.assertEqual(made.total, Decimal("80.00"))
        self.assertEqual([line.amount for line in made.lines], [Decimal("9.00"), Decimal("17.00"), Decimal("18.00"), Decimal("36.00")])

    def test_tiers_start_anew_each_month(self):
        across = [Reading(at(3, 1), at(3, 31), Decimal(290)), Reading(at(3, 31), at(4, 2), Decimal(40))]
        self.assertEqual(invoice(across, HOME, 2026, 3).total, Decimal("55.00"))
        self.assertEqual(invoice(across, HOME, 2026, 4).total, Decimal("2.00"))

    def test_the_order_of_readings_does_not_matter_to_a_line(self):
        late, early = Reading(at(3, 20), at(3, 27), Decimal(90)), Reading(at(3, 1), at(3, 8), Decimal(90))
        made = invoice([late, early], HOME, 2026, 3)
        self.assertEqual([line.start for line in made.lines], [at(3, 1), at(3, 20)])
        self.assertEqual([line.amount for line in made.lines], [Decimal("9.00"), Decimal("17.00")])

    def test_only_the_total_is_rounded(self):
        made = invoice([Reading(at(3, day), at(3, day + 1), Decimal(1)) for day in (1, 2, 3)], FLAT, 2026, 3)
        self.assertEqual([line.amount for line in made.lines], [Decimal("0.333")] * 3)
        self.assertEqual(made.total, Decimal("1.00"))
