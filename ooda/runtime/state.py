"""The state of a run: a fold of its events. Counters, pinned items, open calls; no message list.

Nothing here grows with the length of the run, so the cost of a step does not either. State is never stored: it
is rebuilt from the journal, which makes resume, replay and audit one mechanism.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from ooda.events import EMPTY, Body, Event, Limits
from ooda.labels import Confidentiality, Integrity, Label
from ooda.runtime.commands import AskHuman, Notify, Stop
from ooda.runtime.decide import Result, Spent

__all__ = ["Fingerprint", "Life", "OpenCall", "RunState"]

Life = Literal["created", "starting", "running", "waiting", "stopped"]


class Fingerprint(msgspec.Struct, frozen=True):
    """One call and its result, small enough to compare."""

    call: str
    result: str
    is_error: bool


class OpenCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call of the current batch that has no result yet."""

    call: str
    tool: str
    arguments: Body
    is_offered: bool = True
    """False for a name a model made up: it goes to the gate, which knows no such tool, and starts nothing."""
    commanded: bool = False
    """CallTool was given to the runner."""
    started: bool = False
    """The intent is in the journal."""
    key: str = ""
    """Idempotency key of its first attempt, kept for every later one."""
    waiting: str = ""
    """Approval it waits for."""
    expires_at_ns: int = 0
    """When that approval lapses; 0 for a question without a deadline."""
    approval: str = ""
    """Approval it was given."""


class RunState(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run stands."""

    run: str
    agent: str = ""
    life: Life = "created"
    status: str = ""
    """The Stopped status; empty while alive."""
    reason: str = ""
    next_seq: int = 0
    loop_version: int = 0
    limits: Limits = Limits()
    spent: Spent = Spent()
    label: Label = Label(Integrity.TRUSTED, Confidentiality.PUBLIC)

    phase: int = -1
    """Index into the agent's phases; -1 before the first."""
    round: int = 0
    attempts: int = 0
    facts: Mapping[str, Any] = {}
    plan: Body = EMPTY
    skills: tuple[str, ...] = ()

    last_ns: int = 0
    """Time of the last event."""
    started_ns: int = 0

    ask: str = ""
    """Open model call: commanded, perhaps journaled, not answered."""
    asked: bool = False
    """Its intent is in the journal."""
    calls: tuple[OpenCall, ...] = ()
    """The current batch, in call order, until every one has its result."""
    results: tuple[Result, ...] = ()
    """Results of the current batch while it runs, of the last one afterwards, in call order."""
    waiting: tuple[AskHuman, ...] = ()
    """Questions to a person that are not answered."""
    reads_person: bool = False
    """The next message is read by the decider (it asked for it), not only shown to the model."""
    stopping: Stop | None = None
    notices: tuple[Notify, ...] = ()
    """Notices commanded and not yet journaled."""

    recent: tuple[Fingerprint, ...] = ()
    """The last calls and results, for stuck detection."""
    nudges: int = 0
    silent: int = 0
    """Replies without a call in a row."""
    bad_replies: int = 0
    overflows: int = 0
    compactions: int = 0
    turns: tuple[int, ...] = ()
    """Journal positions of the last model replies, for choosing where a compaction cuts."""
    context_tokens: int = 0
    context_hash: str = ""
    derived: tuple[Event, ...] = ()
    """What the last advance concluded: to be written right after its event, in the same transaction."""

    @property
    def is_alive(self) -> bool:
        return self.life != "stopped"

    @property
    def open_started(self) -> tuple[OpenCall, ...]:
        """Calls whose intent is journaled and whose result is not."""
        return tuple(call for call in self.calls if call.started and not self.has_result(call.call))

    def has_result(self, call: str) -> bool:
        return any(result.call == call for result in self.results)
