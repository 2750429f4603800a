"""Looks at a deployment and at the steward's own records, without a pass: nothing here decides or changes anything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from ooda.agents.steward.instants import SECOND_NS
from ooda.api.session import Session
from ooda.api.steward.open import coder_client
from ooda.errors import ConfigError
from ooda.services.coder import CoderClient, checked_url
from ooda.store import steward as rows

__all__ = ["deployment_of", "look_at", "operations_since", "ttl_history"]

T = TypeVar("T")


async def look_at(session: Session, look: Callable[[CoderClient], Awaitable[T]]) -> T:
    """What a look at the configured deployment gives.

    Raises:
        ConfigError, CredentialError: no deployment, no token, or one that is not taken.
        IntegrationError: Coder does not answer, or refuses.
    """
    async with coder_client(session.settings) as client:
        return await look(client)


def deployment_of(session: Session) -> str:
    """The address the steward's records are kept under.

    Raises:
        ConfigError: none is configured.
    """
    if session.settings.coder.url is None:
        raise ConfigError("there is no Coder deployment; set `CODER_URL` (or `coder.url`) to its address")
    return checked_url(session.settings.coder.url)


def ttl_history(session: Session, back_s: int, *, user: str = "") -> list[rows.Violation]:
    """Violations of the rules about times to live that were seen lately, the newest first."""
    from_ns = session.clock.now_ns() - back_s * SECOND_NS
    found = session.store.read(lambda tx: rows.violations(tx, deployment_of(session), from_ns))
    return [row for row in found if not user or row.title.casefold().startswith(user.casefold() + "/")]


def operations_since(session: Session, back_s: int) -> list[rows.BuildRow]:
    """Builds the steward asked for lately, the oldest first."""
    from_ns = session.clock.now_ns() - back_s * SECOND_NS
    return session.store.read(lambda tx: rows.builds_since(tx, deployment_of(session), from_ns))
