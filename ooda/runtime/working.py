"""What one `advance` works on: a state that is replaced, commands and conclusions that are collected.

The small moves that everything above is made of: change the state, conclude, wait, set a timer, tell. Lives for one
call; decides nothing.
"""

from __future__ import annotations

import msgspec

from ooda.errors import JournalError
from ooda.events import (
    CallRefused,
    ChildStarted,
    ChildStopped,
    Entry,
    Event,
    Foreign,
    ModelAsked,
    ModelFailed,
    ModelReplied,
    Resumed,
    RunStarted,
    SkillActivated,
    Stopped,
    TimerFired,
    ToolInterrupted,
    ToolStarted,
)
from ooda.runtime.agent import AgentSpec, Phase, Traits
from ooda.runtime.commands import AskHuman, Command, Notify, SetTimer
from ooda.runtime.decide import Notice, Situation
from ooda.runtime.prefix import CONTEXT_KINDS, chain
from ooda.runtime.state import Life, RunState

__all__ = ["NANO", "WALL_CLOCK", "Working", "situation_of"]

NANO = 1_000_000_000
WALL_CLOCK = "wall_clock"
"""Name of the timer that ends a run whose time is up."""

_UNKNOWN = Traits(effect="pure")
"""A tool nobody knows: the gate will refuse it, so it may go with the reads."""
_FOREIGN = Traits(effect="once")
"""External programs (`cli:…`)."""
_CHILD = Traits(effect="keyed")
"""Child runs (`spawn:…`): their id is a hash of parent and call, so starting one again finds the same."""
_ONLY_ALIVE = (
    ModelAsked,
    ModelReplied,
    CallRefused,
    ToolStarted,
    TimerFired,
    SkillActivated,
    ChildStarted,
    ChildStopped,
    Stopped,
)
"""What never follows Stopped. What was open may be closed then, and people may answer; nothing new begins."""


def situation_of(agent: AgentSpec, state: RunState, last_seq: int) -> Situation:
    """What a decider, or the gate, sees in this state; `last_seq` is the last event it is made of."""
    phase = agent.phases[max(0, state.phase)]
    return Situation(
        run=state.run,
        agent=state.agent,
        phase=phase.name,
        round=state.round,
        step=state.spent.steps,
        now_ns=state.last_ns,
        results=state.results,
        facts=state.facts,
        plan=state.plan,
        spent=state.spent,
        limits=state.limits,
        label=state.label,
        upto_seq=last_seq,
        prefix_hash=state.context_hash,
        tools=phase.tools,
        attempts=state.attempts,
        next_id=f"{phase.name}-{last_seq + 1}",
    )


class Working:
    """The state of a run while one event is taken in."""

    def __init__(self, agent: AgentSpec, state: RunState, entry: Entry) -> None:
        self.agent = agent
        self.commands: list[Command] = []
        self.derived: list[Event] = []
        event = entry.event
        if not isinstance(event, RunStarted) and state.life == "created":
            raise JournalError(
                f"Run {state.run} has no RunStarted before {type(event).__name__}; its journal is truncated",
                run=state.run,
                seq=state.next_seq,
            )
        if state.life == "stopped" and isinstance(event, _ONLY_ALIVE):
            raise JournalError(
                f"Run {state.run} stopped ({state.status}) before {type(event).__name__} at event {state.next_seq}; "
                "only Resumed takes it up again",
                run=state.run,
                seq=state.next_seq,
            )
        elapsed = max(0, entry.at_ns - state.last_ns) if state.last_ns else 0
        active = state.life in ("starting", "running") and not _follows_a_gap(event)
        spent = state.spent
        if active and elapsed:
            spent = msgspec.structs.replace(spent, active_ns=spent.active_ns + elapsed)
        self.state = msgspec.structs.replace(
            state,
            next_seq=state.next_seq + 1,
            last_ns=max(entry.at_ns, state.last_ns),
            spent=spent,
            label=state.label.join(entry.label),
            derived=(),
        )
        self._chain(event)

    def end(self) -> tuple[RunState, tuple[Command, ...]]:
        """The state after the event and its conclusions, and what is asked of the runner."""
        if self.derived:
            self._set(derived=tuple(self.derived), next_seq=self.state.next_seq + len(self.derived))
        return self.state, tuple(self.commands)

    def situation(self) -> Situation:
        """What a decider sees now."""
        return situation_of(self.agent, self.state, self.state.next_seq + len(self.derived) - 1)

    @property
    def _phase(self) -> Phase:
        return self.agent.phases[max(0, self.state.phase)]

    @property
    def _life(self) -> Life:
        """How the run lives with the questions it has now; a stopped one stays stopped until it is resumed."""
        if self.state.life == "stopped":
            return "stopped"
        return "waiting" if self.state.waiting else "running"

    @property
    def _is_over(self) -> bool:
        """Whether the run ends or has ended: facts are still folded, nothing is decided any more."""
        return self.state.stopping is not None or self.state.life == "stopped"

    def _traits(self, tool: str) -> Traits:
        if (known := self.agent.traits.get(tool)) is not None:
            return known
        if ":" in tool:
            return _CHILD if tool.startswith("spawn:") else _FOREIGN
        return _UNKNOWN

    def _update_call(self, call: str, **changes: object) -> None:
        if not any(c.call == call for c in self.state.calls) or self.state.has_result(call):
            raise self._contradiction(f"call {call!r} is not open")
        self._set(calls=tuple(msgspec.structs.replace(c, **changes) if c.call == call else c for c in self.state.calls))

    def _notify(self, notice: Notice) -> None:
        number = self.state.next_seq + len(self.derived) + len(self.state.notices)
        command = Notify(f"{self.state.run}-{number}", notice.kind, notice.message, notice.details)
        self._set(notices=(*self.state.notices, command))
        self.commands.append(command)

    def _arm_wall_clock(self) -> None:
        left_ns = self.state.limits.wall_s * NANO - self.state.spent.active_ns
        self.commands.append(SetTimer(WALL_CLOCK, self.state.last_ns + max(0, left_ns)))

    def _arm_approval(self, approval: str, expires_at_ns: int) -> None:
        if not self._is_over:
            self.commands.append(SetTimer(f"approval:{approval}", expires_at_ns))

    def _wait_for(self, ask: AskHuman) -> None:
        self._set(waiting=(*self.state.waiting, ask))
        self._set(life=self._life)
        if not self._is_over:
            self.commands.append(ask)

    def _no_longer_waits_for(self, approval: str) -> None:
        waiting = tuple(ask for ask in self.state.waiting if ask.id != approval)
        self._set(waiting=waiting)
        self._set(life=self._life)

    def _derive(self, event: Event) -> None:
        self.derived.append(event)
        self._chain(event)

    def _chain(self, event: Event | Foreign) -> None:
        if type(event) in CONTEXT_KINDS:
            self._set(context_hash=chain(self.state.context_hash, event))

    def _contradiction(self, what: str) -> JournalError:
        return JournalError(
            f"Run {self.state.run}, event {self.state.next_seq - 1}: {what}",
            run=self.state.run,
            seq=self.state.next_seq - 1,
        )

    def _set(self, **changes: object) -> None:
        self.state = msgspec.structs.replace(self.state, **changes)


def _follows_a_gap(event: Event | Foreign) -> bool:
    """Whether nobody may have been running before this event: it closes what a killed owner left open."""
    return isinstance(event, (Resumed, ToolInterrupted)) or (
        isinstance(event, ModelFailed) and event.error == "interrupted"
    )
