"""The coding agent: from a task to a validated, pushed branch."""

from ooda.agents.coding.agent import coding_agent
from ooda.agents.coding.report import CodingAgentResult, coding_result

__all__ = ["CodingAgentResult", "coding_agent", "coding_result"]
