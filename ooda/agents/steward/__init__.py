"""The workspace steward: when the workspaces of a Coder fleet are stopped, decided by pure code."""

from ooda.agents.steward.decision import Planner, decide
from ooda.agents.steward.lines import decide_lines
from ooda.agents.steward.policy import AllDay, Policy
from ooda.agents.steward.records import StopDecision, Workspace

__all__ = ["AllDay", "Planner", "Policy", "StopDecision", "Workspace", "decide", "decide_lines"]
