"""Prices of a quantity under a graduated tariff."""

import unittest
from decimal import Decimal

from tariff import Tariff, Tier, charge

HOME = Tariff("home", (Tier(Decimal(100), Decimal("0.10")), Tier(Decimal(300), Decimal("0.20")), Tier(None, Decimal("0.50"))))


class ChargeTest(unittest.TestCase):
    def test_the_first_units_cost_the_first_rate(self):
        self.assertEqual(charge(Decimal(40), HOME.tiers), Decimal("4.00"))

    def test_a_quantity_runs_through_the_tiers(self):
        self.assertEqual(charge(Decimal(350), HOME.tiers), Decimal("75.00"))

    def test_exactly_a_limit_stays_in_its_tier(self):
        self.assertEqual(charge(Decimal(300), HOME.tiers), Decimal("50.00"))

    def test_nothing_costs_nothing(self):
        self.assertEqual(charge(Decimal(0), HOME.tiers), Decimal(0))

    def test_a_negative_quantity_is_refused(self):
        with self.assertRaises(ValueError):
            charge(Decimal(-1), HOME.tiers)


class TariffTest(unittest.TestCase):
    def test_the_last_tier_is_without_limit(self):
        with self.assertRaises(ValueError):
            Tariff("broken", (Tier(Decimal(100), Decimal("0.10")),))

    def test_limits_rise(self):
        with self.assertRaises(ValueError):
            Tariff("broken", (Tier(Decimal(300), Decimal(1)), Tier(Decimal(100), Decimal(1)), Tier(None, Decimal(1))))
