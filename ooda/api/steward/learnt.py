"""What the steward's record teaches: good stop times from past use, and what stopping saved.

Reads the record, and of Coder only when the stopped workspaces were started again. Decides and changes nothing.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ooda.agents.steward.cost import PriceTable, SavingsReport, StopRecord, report_savings
from ooda.agents.steward.instants import DAY_NS, ns_of
from ooda.agents.steward.usage import StopForecast, forecast_stop
from ooda.api.session import Session
from ooda.api.steward.looks import deployment_of, operations_since
from ooda.errors import ConfigError, IntegrationError
from ooda.services.coder import CoderClient
from ooda.store import steward as rows

__all__ = ["prices_of", "saved_by_stopping", "stop_forecasts"]

_DAYS_BACK = 56
_BUILDS_LOOKED_AT = 100
_LOOKS_AT_ONCE = 4


def stop_forecasts(session: Session, *, user: str = "") -> list[tuple[str, StopForecast]]:
    """Suggested stop times by owner, each with its error on past days, in the zone of the quiet hours.

    Raises:
        ConfigError: no deployment is configured, or the zone is unknown.
    """
    name = session.settings.steward.quiet_hours.timezone
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigError(
            f"`steward.quiet_hours.timezone` is {name!r}; expected a time zone such as `Europe/Vienna`", found=name
        ) from error
    now_ns = session.clock.now_ns()
    deployment = deployment_of(session)
    uses = session.store.read(lambda tx: rows.uses_of(tx, deployment, now_ns - _DAYS_BACK * DAY_NS))
    return [
        (owner, forecast)
        for owner, used_ns in sorted(uses.items())
        if not user or owner.casefold() == user.casefold()
        for forecast in forecast_stop(now_ns, used_ns, zone)
    ]


def prices_of(session: Session) -> PriceTable:
    """USD per hour by template, from `steward.prices_file`; none where no file is named.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    name = session.settings.steward.prices_file
    if name is None:
        return PriceTable({})
    try:
        return PriceTable.parse(json.loads(Path(name).expanduser().read_text()))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"`steward.prices_file` `{name}` cannot be read: {error}; expected JSON such as "
            '{"docker": "0.12", "*": "0.05"}'
        ) from error


async def saved_by_stopping(session: Session, client: CoderClient, back_s: int) -> SavingsReport:
    """What the steward's own stops of the last `back_s` seconds saved until now.

    A stop counts until the workspace's next start, whoever made it. Of a workspace that is gone nobody can tell how
    long it would have gone on: nothing is claimed for it.
    """
    stops = [row for row in operations_since(session, back_s) if row.transition == "stop" and row.state == "done"]
    gate = asyncio.Semaphore(_LOOKS_AT_ONCE)

    async def starts_of(workspace: str) -> dict[int, int] | None:
        """When each start was made, by build number; None when the workspace is gone."""
        async with gate:
            try:
                builds = await client.builds(workspace, _BUILDS_LOOKED_AT)
            except IntegrationError as error:
                if error.facts.get("status") == 404:
                    return None
                raise
        return {build.build_number: ns_of(build.created_at) for build in builds if build.transition == "start"}

    names = sorted({row.workspace for row in stops})
    found = dict(zip(names, await asyncio.gather(*map(starts_of, names)), strict=True))
    return report_savings(
        session.clock.now_ns(), [_record(row, found[row.workspace]) for row in stops], prices_of(session)
    )


def _record(row: rows.BuildRow, starts: dict[int, int] | None) -> StopRecord:
    stopped_ns = row.ended_ns or row.asked_ns
    later = [at_ns for number, at_ns in (starts or {}).items() if number > row.after_number + 1]
    return StopRecord(
        workspace=row.title,
        template=row.template,
        stopped_ns=stopped_ns,
        started_ns=stopped_ns if starts is None else min(later, default=None),
        would_end_ns=row.would_end_ns,
    )
