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

__all__ = ["CHAT_TOOLS", "chat_agent"]

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


def chat_agent(
    message: str, instructions: str, folder: str, steps_per_turn: int, traits: Mapping[str, Traits]
) -> AgentSpec:
    """The agent for one session that begins with `message`."""
    converse = Phase(
        name="converse",
        decider=ModelDecider(exit=lambda situation: _hand_back(situation, steps_per_turn), silent=_answered),
        tools=CHAT_TOOLS,
        is_interactive=True,
    )
    said = f"\nFrom the operator:\n{instructions}" if instructions else ""
    return AgentSpec(
        name="chat",
        phases=(converse,),
        rules=Body(render("chat_rules", folder=folder, instructions=said)),
        brief=Body(message),
        traits=traits,
    )


def _answered(situation: Situation, reply: ModelReplied) -> Decision:
    return Decision(ask="your turn", reason="the agent answered")


def _hand_back(situation: Situation, steps_per_turn: int) -> Decision | None:
    if situation.attempts < steps_per_turn:
        return None
    return Decision(
        ask=f"This turn has used its {steps_per_turn} steps. Say `go on`, or something else.",
        reason="the turn used its steps",
    )
