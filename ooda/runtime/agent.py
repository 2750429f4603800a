"""An agent: data plus small pure functions. Nothing here knows an agent by name.

`AgentSpec` is built from a task by a function of `ooda.agents`; the loop only sees phases, deciders and traits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from ooda.events import EMPTY, Body, Effect
from ooda.runtime.decide import Decider, Notice, Situation

__all__ = ["LOOP_VERSION", "AgentSpec", "Phase", "Traits"]

LOOP_VERSION = 1
"""A run is pinned to the loop it started with; changed behaviour enters behind a Patched event."""


class Traits(msgspec.Struct, frozen=True):
    """What the loop needs to know of a tool."""

    effect: Effect
    is_poll: bool = False
    is_terminal: bool = False
    pins_plan: bool = False
    """Its structured result is the plan: kept in the state and pinned through compaction."""


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of an agent's work.

    Attributes:
        brief: What the decider is told on entering; a message to the model when a model decides.
        entered: The notice people get on entering, if any.
        stepped: The notice people get after each batch of calls, if any.
        is_round: Entering this phase starts a new implement-validate round (counted against the limit).
    """

    name: str
    decider: Decider
    tools: tuple[str, ...] = ()
    brief: Callable[[Situation], Body] = lambda situation: EMPTY
    entered: Callable[[Situation], Notice | None] = lambda situation: None
    stepped: Callable[[Situation], Notice | None] = lambda situation: None
    is_round: bool = False
    is_interactive: bool = False
    """An interrupted model call waits for the person's next message instead of ending the run."""


class AgentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the loop needs to know of an agent on one task."""

    name: str
    phases: tuple[Phase, ...]
    rules: Body
    """The system prompt, pinned."""
    brief: Body
    """The task as the model reads it, pinned."""
    traits: Mapping[str, Traits]
    """Every tool of every phase."""
    success: Callable[[Situation], tuple[str, str]] = lambda situation: ("success", "all phases are done")
    """Status and reason once the last phase is done: judged from facts, never from the model's claim."""
    stopped: Callable[[Situation, str, str], tuple[Notice, ...]] = lambda situation, status, reason: ()
    """Notices when the run stops with a status and a reason."""

    def index(self, phase: str) -> int:
        """Position of a phase; KeyError for a name the agent does not have."""
        for position, candidate in enumerate(self.phases):
            if candidate.name == phase:
                return position
        raise KeyError(phase)
