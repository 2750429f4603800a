"""Meter readings to monthly invoices under graduated tariffs."""

from tariff.invoice import Invoice, Line, invoice
from tariff.periods import Reading, month_bounds, split
from tariff.tiers import Tariff, Tier, charge

__all__ = ["Invoice", "Line", "Reading", "Tariff", "Tier", "charge", "invoice", "month_bounds", "split"]
