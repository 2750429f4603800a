"""Commands: the only things that leave the core.

A runner carries each one out through the world and answers with events. A command is a request, not a record:
nothing here is journaled; the events that answer it are.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ooda.events import Body, Status

__all__ = [
    "AskHuman",
    "CallModel",
    "CallTool",
    "Command",
    "Notify",
    "RunCli",
    "SetTimer",
    "Spawn",
    "Stop",
]


class CallModel(msgspec.Struct, frozen=True, tag=True):
    """Ask the language model. Answered by ModelAsked and then ModelReplied or ModelFailed.

    The transcript does not travel: `(upto_seq, prefix_hash)` names the journal prefix it is rendered from.
    """

    ask: str
    upto_seq: int
    prefix_hash: str
    tools: tuple[str, ...]
    reply_tokens: int


class CallTool(msgspec.Struct, frozen=True, tag=True):
    """Take one call to the gate. Answered by CallRefused, ApprovalAsked, or ToolStarted and ToolReturned."""

    call: str
    tool: str
    arguments: Body
    approval: str = ""


class RunCli(msgspec.Struct, frozen=True, tag=True):
    """Run an external agent program as a black box. Answered like a tool call of the tool `cli:<profile>`."""

    call: str
    profile: str
    prompt: Body
    deadline_s: int


class AskHuman(msgspec.Struct, frozen=True, tag=True):
    """A person is needed: an approval, a decision about an unknown outcome, or the next message."""

    ask: Literal["approval", "decision", "message"]
    id: str = ""
    """The approval's id; empty for a message."""
    prompt: str = ""


class SetTimer(msgspec.Struct, frozen=True, tag=True):
    """Answered by TimerSet now and TimerFired when it is due. The same name again replaces the timer."""

    timer: str
    at_ns: int


class Notify(msgspec.Struct, frozen=True, tag=True):
    """Put a notice into the outbox. Answered by Notified."""

    notice: str
    kind: str
    message: str
    details: dict[str, Any] = {}


class Spawn(msgspec.Struct, frozen=True, tag=True):
    """Start a child run under this run's budget. Answered by ChildStarted and, at its end, ChildStopped."""

    call: str
    agent: str
    task: Body


class Stop(msgspec.Struct, frozen=True, tag=True):
    """End the run. Answered by Stopped, after everything open was closed."""

    status: Status
    reason: str


Command = CallModel | CallTool | RunCli | AskHuman | SetTimer | Notify | Spawn | Stop
