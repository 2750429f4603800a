"""Taking stops back: which of ours may be started again, and with what.

Only a workspace whose latest build is still the stop we made is started, with the template version it had: whoever
has acted since, its owner or somebody else, is not overruled. Starting again what was started is impossible: then
the latest build is the start.
"""

from __future__ import annotations

import msgspec

from ooda.agents.steward.fleet import workspace_of
from ooda.agents.steward.instants import minute_of
from ooda.agents.steward.records import Workspace
from ooda.api.steward.gather import few
from ooda.errors import IntegrationError
from ooda.services.coder import CoderClient, kind_of
from ooda.store import Store, Tx
from ooda.store import steward as rows
from ooda.task import StewardTask
from ooda.tools.coder_desk import WantedBuild

__all__ = ["Undo", "undo_plan"]

_NANO = 1_000_000_000


class Undo(msgspec.Struct, frozen=True, kw_only=True):
    """One stop of ours and what is to become of it."""

    row: rows.BuildRow
    workspace: Workspace | None
    """As it is now; None when it is gone."""
    why_not: str = ""
    """Why it is not started; empty when it is."""

    @property
    def wanted(self) -> WantedBuild:
        """The start that takes the stop back."""
        assert self.workspace is not None
        return WantedBuild(
            workspace=self.row.workspace,
            transition="start",
            build=self.workspace.build_id,
            number=self.workspace.build_number,
            cause=f"takes back the stop of {minute_of(self.row.asked_ns)}",
            template_version=self.row.template_version,
            undoes=self.row.key,
        )


async def undo_plan(
    client: CoderClient, store: Store, task: StewardTask, now_ns: int, at_once: int
) -> tuple[Undo, ...]:
    """What taking stops back would do: those of the last run that stopped any (`rollback`), or all within the task's
    threshold (`start_all`); the latest stop of a workspace counts.
    """

    def stops(tx: Tx) -> list[rows.BuildRow]:
        if task.check == "rollback":
            found = rows.of_run(tx, rows.last_stopping_run(tx, client.url))
        else:
            found = rows.builds_since(tx, client.url, now_ns - task.threshold * _NANO)
        return [row for row in found if row.transition == "stop" and row.state in ("made", "done", "failed")]

    latest = {row.workspace: row for row in store.read(stops)}
    mine = [row for row in latest.values() if not task.workspaces or {row.title, row.workspace} & set(task.workspaces)]
    if task.user:
        mine = [row for row in mine if row.owner.casefold() == task.user.casefold()]

    async def look(row: rows.BuildRow) -> Undo:
        try:
            seen = await client.workspace(row.workspace)
        except IntegrationError as error:
            if kind_of(error) != "not_found" and error.facts["status"] != 410:
                raise
            return Undo(row=row, workspace=None, why_not="it is gone")
        now = workspace_of(seen)
        return Undo(row=row, workspace=now, why_not=_why_not(row, now, seen.latest_build.job.is_active))

    return tuple(await few(mine, look, at_once))


def _why_not(row: rows.BuildRow, now: Workspace, is_active: bool) -> str:
    if now.build_id != row.build:
        return "somebody has started or stopped it since"
    if is_active:
        return "our stop is still under way"
    if now.dormant_ns is not None:
        return "it is dormant"
    return ""
