"""What passes between routes, texts and channels: letters, parcels, receipts, and what a channel is.

A *letter* is a message before it has the form of a channel; a *parcel* is the bytes of one attempt; a *receipt* is
what became of it. Values only.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal, Protocol

import msgspec

from ooda.governance.grant import Grant

__all__ = ["Channel", "Entry", "Letter", "Parcel", "Receipt", "Severity", "binding"]

Severity = Literal["info", "warning", "error"]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One notice as its readers get it: redacted, not yet escaped."""

    id: str
    kind: str
    text: str
    at_ns: int
    facts: tuple[tuple[str, str], ...] = ()
    """Names and values, such as the run and the project."""
    lines: tuple[str, ...] = ()
    """Further lines: one for each workspace, for instance."""
    data: dict[str, Any] = {}
    """The notice as data, for receivers that are programs."""


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A message to one receiver."""

    id: str
    kind: str
    title: str
    severity: Severity
    entries: tuple[Entry, ...]
    place: str = ""
    """Where it is meant to be read, when its channel has to say that itself."""
    is_repeated: bool = False
    """It may have arrived before, and the receiver does not know ids."""


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt: what is sent to whom."""

    id: str
    """Of the message; the same for every attempt."""
    recipient: str
    body: bytes
    at_ns: int
    """When this attempt was begun."""
    deadline_s: float
    """Seconds it may take."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an attempt."""

    outcome: Literal["sent", "failed", "unknown"]
    """`unknown`: all of it may have left, and there was no answer."""
    detail: str = ""
    status: int = 0
    """What the receiver answered; 0 without an answer."""
    is_final: bool = False
    """Another attempt at this message would fail too."""
    is_gone: bool = False
    """The receiver wants nothing more at this address."""
    retry_after_s: float | None = None


def binding(recipient: str, body: bytes) -> str:
    """What a grant is bound to: recipient and content of a parcel."""
    return hashlib.sha256(recipient.encode() + b"\0" + body).hexdigest()


class Channel(Protocol):
    """A way to one receiver, or to mail addresses."""

    @property
    def name(self) -> str:
        """The word used in routes, messages and grants: mail, slack, teams, webhook."""
        ...

    @property
    def endpoint(self) -> str:
        """Digest of where it leads and how it shows who it is; no secret can be read from it."""
        ...

    @property
    def host(self) -> str:
        """Whom it talks to, for people."""
        ...

    @property
    def knows_ids(self) -> bool:
        """Whether its receivers are told a message's id and can tell a repetition by it."""
        ...

    @property
    def gathers(self) -> bool:
        """Whether several notices may go as one message: people like that, programs do not."""
        ...

    @property
    def per_second(self) -> float:
        """Messages a second that its server takes in the long run."""
        ...

    @property
    def lanes(self) -> int:
        """Messages sent at once."""
        ...

    def render(self, letter: Letter, recipient: str) -> bytes:
        """The letter in the form of this channel, escaped; the same letter gives the same bytes."""
        ...

    async def send(self, parcel: Parcel, grant: Grant) -> Receipt:
        """Spend the grant and send. Raises nothing but RefusedError: what goes wrong is a receipt."""
        ...
