"""Preparing what a task's commands need around them: setup commands, run once and kept by lock files."""

from __future__ import annotations

from ooda.errors import ToolFailedError
from ooda.governance.call import ToolOutcome
from ooda.governance.operations import Operation
from ooda.labels import TOOL
from ooda.tools.declare import tool
from ooda.tools.room import ToolRoom

__all__ = ["prepare_environment"]


@tool(operation=Operation.RUN_IN_SANDBOX, effect="local", timeout_s=7_200)
async def prepare_environment(room: ToolRoom) -> ToolOutcome:
    """Run the task's setup commands under its network allow-list and show what they make to every later command."""
    if room.prepare is None:
        raise ToolFailedError("this run has no setup commands; name them under `environment.setup` in the task")
    key, reused = await room.prepare()
    how = "was there already" if reused else "is ready"
    return ToolOutcome(text=f"The environment {how} ({key[:12]}).", data={"key": key, "reused": reused}, label=TOOL)
