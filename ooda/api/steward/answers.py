"""What a conversation about a fleet is told: looks at one deployment, put into text. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ooda.agents.steward.autostop_schedule import schedule
from ooda.agents.steward.configuration import ttl_policy_of
from ooda.agents.steward.instants import minute_of
from ooda.agents.steward.reports import (
    autostop_document,
    forecast_document,
    plan_document,
    plan_text,
    reason_words,
    savings_document,
)
from ooda.agents.steward.ttl import analyze_ttl, ttl_text
from ooda.api.session import Session
from ooda.api.steward.gather import Gathered, Gatherer
from ooda.api.steward.learnt import saved_by_stopping, stop_forecasts
from ooda.api.steward.looks import operations_since
from ooda.api.steward.open import coder_client
from ooda.api.steward.status import workspace_status
from ooda.api.steward.tasks import Check, steward_task
from ooda.errors import ConfigError, ToolFailedError
from ooda.services.coder import CoderClient
from ooda.store import steward as rows
from ooda.task import StewardTask

__all__ = ["FleetAnswers", "fleet_answers"]

_DAY_S = 86_400
_MOST_OPERATIONS = 200


class FleetAnswers:
    """Looks at the configured deployment on behalf of a conversation."""

    def __init__(self, session: Session, client: CoderClient) -> None:
        self._session = session
        self._client = client

    def targets(self) -> tuple[str, ...]:
        return (self._client.url,)

    async def plan(self, user: str) -> str:
        found = await self._gathered("quiet_hours", user)
        return _with_problems(plan_text(plan_document(found.now_ns, found.seats, is_dry=True)), found)

    async def workspace(self, name: str) -> str:
        try:
            found = await workspace_status(self._session, self._client, name)
        except ConfigError as error:
            raise ToolFailedError(str(error)) from error
        said = found.said
        lines = [
            f"{found.workspace}: {found.status}, template {found.template}, last used {minute_of(found.last_used_ns)}",
            f"decision: {said.decision}, because: {reason_words(said.reason)}",
        ]
        if said.next_ns is not None:
            lines.append(f"that changes at {minute_of(said.next_ns)} if nothing else does")
        if not found.is_healthy:
            lines.append("its agents do not answer")
        if found.schedule is not None:
            lines.append(plan_text(autostop_document(self._session.clock.now_ns(), [found.schedule])))
        lines += [_operation(row) for row in found.operations] or ["the steward never asked for a build of it"]
        return "\n".join(lines)

    async def ttl(self, user: str) -> str:
        found = await self._gathered("ttl", user)
        policy = ttl_policy_of(
            self._session.settings, soon_s=self._session.settings.steward.ttl_monitor.warning_threshold
        )
        return ttl_text(analyze_ttl(found.now_ns, (seat.workspace for seat in found.seats), policy))

    async def schedule(self, user: str) -> str:
        found = await self._gathered("autostop", user)
        templates = {template.id: template for template in await self._client.templates()}
        lines = schedule(found.now_ns, found.seats, templates)
        return _with_problems(plan_text(autostop_document(found.now_ns, lines)), found)

    async def operations(self, days: int) -> str:
        made = operations_since(self._session, days * _DAY_S)
        if not made:
            return f"the steward asked for no build in the last {days} days"
        more = len(made) - _MOST_OPERATIONS
        earlier = [f"{more} earlier ones are left out"] if more > 0 else []
        return "\n".join([*earlier, *map(_operation, made[-_MOST_OPERATIONS:])])

    async def savings(self, days: int) -> str:
        return plan_text(savings_document(await saved_by_stopping(self._session, self._client, days * _DAY_S)))

    async def forecast(self, user: str) -> str:
        return plan_text(forecast_document(stop_forecasts(self._session, user=user)))

    async def _gathered(self, check: Check, user: str) -> Gathered:
        session = self._session
        task = steward_task(session.settings, check, user=user or None).task
        assert isinstance(task, StewardTask)
        return await Gatherer(self._client, session.store, session.settings, task, session.clock).gather()


@asynccontextmanager
async def fleet_answers(session: Session) -> AsyncIterator[FleetAnswers]:
    """What a conversation may look at, on the configured deployment.

    Raises:
        ConfigError, CredentialError: no deployment, or no token for it.
    """
    token = session.settings.coder.token
    session.register_secrets("coder_token", [token.get_secret_value()] if token is not None else [])
    async with coder_client(session.settings) as client:
        yield FleetAnswers(session, client)


def _operation(row: rows.BuildRow) -> str:
    detail = f": {row.detail}" if row.detail else ""
    return f"{minute_of(row.asked_ns)} {row.transition} {row.title} ({row.cause}): {row.state}{detail}"


def _with_problems(text: str, found: Gathered) -> str:
    return "\n".join([text, *(f"problem: {problem}" for problem in found.problems)])
