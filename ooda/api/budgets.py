"""Whose money a run spends, what its models cost, and the budget it shares with other machines.

A run draws from its own scope and from those of all its ancestors, from its task, agent, project and company, and
from the whole installation. Knows settings, journals and the ledger's values; must not know how models are asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from ooda.api.session import Session
from ooda.engines.world import Topic
from ooda.errors import ConfigError, IntegrationError, RefusedError
from ooda.events import Limits, Resumed, RunStarted, decode
from ooda.governance.budget import Cap, Scope
from ooda.governance.grant import Grant
from ooda.governance.prices import FREE, PriceRow
from ooda.governance.redis_ledger import RedisBudget
from ooda.models.fallback import FallbackModel
from ooda.models.replay import ReplayModel
from ooda.models.request import ModelAccess
from ooda.store import Tx, runs

__all__ = ["fallback_prices", "no_door_yet", "price_of", "run_scopes", "shared_budget"]

_GENERATIONS = 32
"""Children of children end somewhere; a journal that says otherwise is damaged."""


def run_scopes(session: Session, agent: str, topic: Topic, run: str, limits: Limits, parent: str) -> tuple[Scope, ...]:
    """Everyone who pays for this run's calls, each with the cap that stands for it.

    Args:
        parent: The run that started this one; of an earlier run its record tells. Empty when a person started it.
    """
    ancestors = session.store.read(lambda tx: _ancestors(tx, parent or _parent(tx, run)))
    project = f"{topic.company_id}/{topic.project_id}"
    root = ancestors[-1].cap if ancestors else _cap(limits)
    return (
        Scope("global"),
        Scope("company", topic.company_id),
        Scope("project", project),
        Scope("agent", agent),
        Scope("task", f"{project}/{topic.task_id}", root),
        Scope("run", run, _cap(limits)),
        *ancestors,
    )


def _ancestors(tx: Tx, parent: str) -> tuple[Scope, ...]:
    """The scopes of a run and of all above it, the nearest first."""
    found: list[Scope] = []
    while parent and len(found) < _GENERATIONS:
        found.append(Scope("run", parent, _cap(_limits(tx, parent))))
        parent = _parent(tx, parent)
    return tuple(found)


def _parent(tx: Tx, run: str) -> str:
    summary = runs.find(tx, run)
    return summary.parent if summary is not None else ""


def _limits(tx: Tx, run: str) -> Limits:
    """The ceilings a run has now: those it began with, or was resumed with last."""
    limits = Limits()
    for kind, body in tx.execute(
        "SELECT kind, body FROM events WHERE run = ? AND kind IN ('RunStarted', 'Resumed') ORDER BY seq", (run,)
    ):
        event = decode(bytes(body), kind)
        if isinstance(event, RunStarted) or (isinstance(event, Resumed) and event.limits is not None):
            limits = event.limits or limits
    return limits


def _cap(limits: Limits) -> Cap:
    return Cap(limits.cost_nano, limits.tokens)


def price_of(session: Session, access: ModelAccess, base_url: str) -> PriceRow:
    """The model's price; a replay costs nothing, nor does a model on this machine that no price file names.

    Raises:
        ConfigError: nobody knows the price, and money is capped; the message holds the line to add.
    """
    if isinstance(access, ReplayModel):
        return FREE
    is_local = bool(getattr(access, "is_loopback", False))
    row = session.prices.find(access.name, "http://127.0.0.1" if is_local else base_url)
    if row is None:
        raise ConfigError(
            f"model {access.name!r} has no known price, and money is capped, so it is not asked. Add its price to a "
            f"file and name that in `budget.price_file`:\n{session.prices.example_line(access.name)}"
        )
    return row


def fallback_prices(session: Session, access: ModelAccess) -> Mapping[str, PriceRow]:
    """The prices of the models that are asked when the first is unavailable, by name.

    Raises:
        ConfigError: as `price_of`; said before the run begins, not when the first model has failed.
    """
    if not isinstance(access, FallbackModel):
        return {}
    return {member.name: price_of(session, member, "") for member in access.members[1:]}


async def no_door_yet(grant: Grant, model: str) -> Grant:
    """Stands in for the door's `regrant` until a run has one."""
    raise RefusedError(f"model {model!r} cannot be asked before the run has a door; this is a mistake of the program")


@asynccontextmanager
async def shared_budget(session: Session) -> AsyncIterator[RedisBudget | None]:
    """The budget that several stores share, brought into step with this store's ledger; None where there is none.

    A server that is down now may be back at the first call, which asks it again and is refused otherwise.
    """
    settings = session.settings.governance
    if settings.redis_url is None:
        yield None
        return
    url = settings.redis_url.get_secret_value()
    budget = RedisBudget(url, session.store, session.ledger, session.clock, prefix=settings.redis_prefix)
    try:
        with contextlib.suppress(IntegrationError):
            await budget.reconcile()
        yield budget
    finally:
        with contextlib.suppress(IntegrationError):
            await budget.reconcile()  # what stays open there is closed when a run opens it again
        await budget.close()
