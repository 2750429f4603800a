"""Who is told what: kinds of notices to places, places to receivers. Pure.

A *route* is a line: a kind, in which `*` stands for anything, and places. The first line that fits decides. Whom the
owner of workspaces is, the steward has read from Coder; no notice of a run chooses its receiver.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from ooda.notify.address import mail_address
from ooda.notify.compose import Told

__all__ = ["BUILT_IN", "Receiver", "Routed", "Router"]

BUILT_IN: Final = (
    "workflow_completed webhook slack teams admins",
    "workflow_failed webhook slack teams admins",
    "workspace_* owner",
    "steward_trouble admins slack teams webhook",
    "budget_alert admins slack teams webhook",
    "permission_denied admins slack teams webhook",
    "reputation_alert admins slack teams webhook",
    "alert_* admins slack teams webhook",
    "* none",
)
"""Routes after those of the settings. Steps of a run are told to nobody: the journal and telemetry have them."""

_OWNERS = "steward.owner"
"""The outbox's channel whose notices name their own receiver; only the steward's own code writes to it."""


class Receiver(msgspec.Struct, frozen=True):
    """A channel and, for mail, an address."""

    channel: str
    recipient: str = ""


class Routed(msgspec.Struct, frozen=True):
    """Whom a notice goes to."""

    receivers: tuple[Receiver, ...]
    missing: str = ""
    """Why somebody who should be told is not; empty when nobody is missed."""


class Router:
    """Turns kinds into receivers."""

    def __init__(
        self, routes: Sequence[str], channels: Sequence[str], admins: Sequence[str], *, mails_owners: bool = True
    ) -> None:
        """
        Args:
            routes: those of the settings, before the built-in ones.
            channels: names of the channels that are configured.
            admins: mail addresses.
            mails_owners: whether an owner is told by mail; else over the first of Slack and Teams there is.
        """
        self._routes = [_route(line) for line in (*routes, *BUILT_IN)]
        self._channels = frozenset(channels)
        self._admins = tuple(dict.fromkeys(admins))
        self._mails_owners = mails_owners

    def places(self, kind: str) -> tuple[str, ...]:
        """The places of a kind; none when nobody is told."""
        return next((places for matches, places in self._routes if matches.fullmatch(kind)), ())

    def receivers(self, channel: str, notice: Told) -> Routed:
        """Whom a notice goes to over the channels there are, each receiver once.

        Args:
            channel: of the outbox row: what the notice is about.
        """
        found: dict[Receiver, None] = {}
        missing = ""
        for place in self.places(notice.notification_type):
            match place:
                case "owner" if channel == _OWNERS:
                    owner = self._owner(notice)
                    if owner is None:
                        who = notice.to.username or "the owner"
                        missing = f"there is no way to tell {who}: no mail address or mail channel, no Slack, no Teams"
                    else:
                        found[owner] = None
                case "owner":
                    continue  # a run's notice has no owner but its administrators
                case "admins":
                    if "mail" in self._channels:
                        found.update(dict.fromkeys(Receiver("mail", address) for address in self._admins))
                case _ if place in self._channels:
                    found[Receiver(place)] = None
        return Routed(tuple(found), missing)

    def _owner(self, notice: Told) -> Receiver | None:
        address = mail_address(notice.to.email)
        if address is not None and self._mails_owners and "mail" in self._channels:
            return Receiver("mail", address)
        return next((Receiver(name) for name in ("slack", "teams") if name in self._channels), None)


def _route(line: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    kind, *places = line.split()
    pattern = ".*".join(map(re.escape, kind.split("*")))
    return re.compile(pattern), tuple(place for place in places if place != "none")
