"""The chat agent: one phase, `converse`, with a person at the other end."""

from ooda.agents.chat.agent import CHAT_TOOLS, chat_agent, fleet_chat_agent

__all__ = ["CHAT_TOOLS", "chat_agent", "fleet_chat_agent"]
