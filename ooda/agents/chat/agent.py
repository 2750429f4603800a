"""The chat agent: many turns with a person on the same loop and journal. Data and pure functions.

A reply without calls hands over to the person; so does a turn that has used its steps. The session's first message
is its task, pinned through compaction like any other.
"""

from __future__ import annotations

from collections.abc import Mapping

from ooda.events import Body, ModelReplied
from ooda.prompts import render
from ooda.runtime.agent import AgentSpec, Phase, Traits
from ooda.runtime.decide import Decision, ModelDecider, Situation

__all__ = ["CHAT_TOOLS", "FLEET_TOOLS", "chat_agent", "fleet_chat_agent"]

CHAT_TOOLS = (
    "list_directory",
    "read_file",
    "search_files",
    "write_file",
    "edit_file",
    "run_shell_command",
    "poll_process",
    "stop_process",
    "read_output",
    "update_plan",
)

FLEET_TOOLS = (
    "fleet_plan",
    "fleet_workspace",
    "fleet_ttl",
    "fleet_schedule",
    "fleet_operations",
    "fleet_savings",
    "fleet_forecast",
    "read_output",
    "update_plan",
)


def chat_agent(
    message: str, instructions: str, folder: str, steps_per_turn: int, traits: Mapping[str, Traits]
) -> AgentSpec:
    """The agent for one session in a folder that begins with `message`."""
    rules = render("chat_rules", folder=folder, instructions=_from_the_operator(instructions))
    return _conversation("chat", rules, CHAT_TOOLS, message, steps_per_turn, traits)


def fleet_chat_agent(message: str, instructions: str, steps_per_turn: int, traits: Mapping[str, Traits]) -> AgentSpec:
    """The agent for one session about the steward's fleet: it looks and explains."""
    rules = render("fleet_rules", instructions=_from_the_operator(instructions))
    return _conversation("chat", rules, FLEET_TOOLS, message, steps_per_turn, traits)


def _from_the_operator(instructions: str) -> str:
    return f"\nFrom the operator:\n{instructions}" if instructions else ""


def _conversation(
    name: str, rules: str, tools: tuple[str, ...], message: str, steps_per_turn: int, traits: Mapping[str, Traits]
) -> AgentSpec:
    converse = Phase(
        name="converse",
        decider=ModelDecider(exit=lambda situation: _hand_back(situation, steps_per_turn), silent=_answered),
        tools=tools,
        is_interactive=True,
    )
    return AgentSpec(name=name, phases=(converse,), rules=Body(rules), brief=Body(message), traits=traits)


def _answered(situation: Situation, reply: ModelReplied) -> Decision:
    return Decision(ask="your turn", reason="the agent answered")


def _hand_back(situation: Situation, steps_per_turn: int) -> Decision | None:
    if situation.attempts < steps_per_turn:
        return None
    return Decision(
        ask=f"This turn has used its {steps_per_turn} steps. Say `go on`, or something else.",
        reason="the turn used its steps",
    )
