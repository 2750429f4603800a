"""The tool that does nothing, so that a step costs what the framework costs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ooda.governance.call import ToolOutcome
from ooda.governance.operations import Operation
from ooda.tools.declare import tool
from ooda.tools.room import ToolRoom


@tool(operation=Operation.READ_WORKSPACE, effect="pure")
async def act(room: ToolRoom, command: Annotated[str, Field(description="What to do.")]) -> ToolOutcome:
    """do it"""
    return ToolOutcome(text="ok")
