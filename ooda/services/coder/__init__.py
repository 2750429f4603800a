"""Coder over its HTTP interface: typed, repeated only where that is safe, and never stopping anything twice."""

from ooda.services.coder.address import checked_url, is_loopback
from ooda.services.coder.builds import BuildIntent, BuildOutcome, happened
from ooda.services.coder.client import CoderClient
from ooda.services.coder.failures import Kind, kind_of
from ooda.services.coder.listing import Listing
from ooda.services.coder.pace import Pace
from ooda.services.coder.records import (
    ApiKey,
    AuditEntry,
    Build,
    BuildInfo,
    Entitlements,
    QuietHoursSchedule,
    Template,
    Transition,
    User,
    Workspace,
)

__all__ = [
    "ApiKey",
    "AuditEntry",
    "Build",
    "BuildInfo",
    "BuildIntent",
    "BuildOutcome",
    "CoderClient",
    "Entitlements",
    "Kind",
    "Listing",
    "Pace",
    "QuietHoursSchedule",
    "Template",
    "Transition",
    "User",
    "Workspace",
    "checked_url",
    "happened",
    "is_loopback",
    "kind_of",
]
