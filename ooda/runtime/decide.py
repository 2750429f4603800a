"""Deciders and what they see and say. Pure: a decider turns a situation into a decision and touches nothing.

Four kinds behind one protocol: a policy answers at once, a language model, an external program or a person are
asked by a command and read from the answering event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from ooda.events import (
    EMPTY,
    ApprovalAnswered,
    Body,
    Event,
    Limits,
    ModelReplied,
    Status,
    ToolCall,
    ToolReturned,
    UserMessage,
)
from ooda.labels import Label
from ooda.runtime.commands import AskHuman, CallModel, Command, RunCli

__all__ = [
    "Action",
    "CliDecider",
    "Decider",
    "Decision",
    "ModelDecider",
    "Notice",
    "PersonDecider",
    "PolicyDecider",
    "Result",
    "Situation",
    "Spent",
]


class Spent(msgspec.Struct, frozen=True):
    """What the run has used so far."""

    steps: int = 0
    rounds: int = 0
    model_calls: int = 0
    tool_calls: int = 0
    tokens: int = 0
    cost_nano: int = 0
    active_ns: int = 0
    """Time in which the run was neither stopped nor waiting for a person."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One call of the last batch and how it ended, in the order of the calls."""

    call: str
    tool: str
    status: str
    """ok, error, timeout, no_data, refused or interrupted."""
    text: Body = EMPTY
    data: Body = EMPTY
    why: str = ""
    """For a refusal, the gate's category."""

    @property
    def is_ok(self) -> bool:
        return self.status == "ok"

    def facts(self) -> dict[str, Any]:
        """The structured part, `{}` when there is none. Data of policies stays small, so it is always inline."""
        value = msgspec.json.decode(self.data.text) if self.data.text else {}
        return value if isinstance(value, dict) else {"value": value}


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What a decider sees: the orientation of the run, never its message list."""

    run: str
    agent: str
    phase: str
    round: int
    step: int
    now_ns: int
    results: tuple[Result, ...]
    facts: Mapping[str, Any]
    plan: Body
    spent: Spent
    limits: Limits
    label: Label
    """Join of the labels of everything the run has seen."""
    upto_seq: int
    prefix_hash: str
    tools: tuple[str, ...] = ()
    """Tools of the phase, in the order shown to the model."""
    attempts: int = 0
    """Batches tried in this phase so far; policies use it to bound their retries."""
    next_id: str = ""
    """A fresh id for a command that needs one (`CallModel.ask`, `RunCli.call`)."""


class Action(msgspec.Struct, frozen=True):
    """One intended call. `id` is empty for policies; the core numbers those."""

    tool: str
    arguments: Body
    id: str = ""


class Notice(msgspec.Struct, frozen=True):
    """Something people following the run should hear."""

    kind: str
    message: str
    details: dict[str, Any] = {}


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do next. At most one of: actions, a finished phase, a jump, a stop, a question to a person."""

    reason: str = ""
    actions: tuple[Action, ...] = ()
    done: bool = False
    """The goal of the phase is met; go to the next one, or `goto`."""
    goto: str = ""
    stop: Status | None = None
    ask: str = ""
    """A question to the person at the other end; the run waits for their message."""
    facts: Mapping[str, Any] = {}
    """Facts to keep, JSON-able and small; merged over the known ones."""
    notices: tuple[Notice, ...] = ()

    @property
    def concludes(self) -> bool:
        """Whether it ends the phase or the run, so that no limit stands in its way."""
        return self.done or bool(self.goto) or self.stop is not None


class Decider(Protocol):
    """Both methods are pure."""

    def ask(self, situation: Situation) -> Decision | Command:
        """What to do in this situation, or the command whose answer will tell."""
        ...

    def read(self, situation: Situation, answer: Event) -> Decision:
        """The answering event as a decision."""
        ...


class PolicyDecider:
    """Pure code decides."""

    def __init__(self, policy: Callable[[Situation], Decision]) -> None:
        self._policy = policy

    def ask(self, situation: Situation) -> Decision:
        return self._policy(situation)

    def read(self, situation: Situation, answer: Event) -> Decision:
        return self._policy(situation)


class ModelDecider:
    """A language model decides by calling tools.

    Args:
        exit: Whether the last batch of results ends the phase, and with what; None goes on.
        silent: What a reply without calls means. The default nudges the model; chat hands it to the person.
    """

    def __init__(
        self,
        exit: Callable[[Situation], Decision | None] | None = None,
        silent: Callable[[Situation, ModelReplied], Decision] | None = None,
    ) -> None:
        self._exit = exit
        self._silent = silent

    def ask(self, situation: Situation) -> Decision | Command:
        if self._exit is not None and situation.results and (ended := self._exit(situation)) is not None:
            return ended
        return CallModel(
            ask=situation.next_id,
            upto_seq=situation.upto_seq,
            prefix_hash=situation.prefix_hash,
            tools=situation.tools,
            reply_tokens=situation.limits.reply_tokens,
        )

    def read(self, situation: Situation, answer: Event) -> Decision:
        if not isinstance(answer, ModelReplied):
            return Decision(reason="nothing to read")
        if answer.calls:
            return Decision(actions=tuple(_action(call) for call in answer.calls))
        if self._silent is not None:
            return self._silent(situation, answer)
        return Decision(reason="the reply holds no tool call")


class PersonDecider:
    """A person decides: each message is read as a decision by `parse` (for example one tool call a line)."""

    def __init__(self, prompt: Callable[[Situation], str], parse: Callable[[Situation, str], Decision]) -> None:
        self._prompt = prompt
        self._parse = parse

    def ask(self, situation: Situation) -> Command:
        return AskHuman("message", prompt=self._prompt(situation))

    def read(self, situation: Situation, answer: Event) -> Decision:
        match answer:
            case UserMessage(text=text):
                return self._parse(situation, text.text)
            case ApprovalAnswered(answer="stop"):
                return Decision(stop="cancelled", reason="a person stopped the run")
            case _:
                return Decision(reason="waiting for a message")


class CliDecider:
    """An external agent program works on the phase as a black box under our deadline and budget."""

    def __init__(
        self,
        profile: str,
        prompt: Callable[[Situation], Body],
        read: Callable[[Situation, ToolReturned], Decision],
    ) -> None:
        self._profile = profile
        self._prompt = prompt
        self._read = read

    def ask(self, situation: Situation) -> Decision | Command:
        if situation.results:
            last = situation.results[-1]
            return self._read(
                situation,
                ToolReturned(
                    call=last.call,
                    tool=last.tool,
                    status="ok" if last.is_ok else "error",
                    text=last.text,
                    data=last.data,
                ),
            )
        left_s = max(1, situation.limits.wall_s - situation.spent.active_ns // 1_000_000_000)
        return RunCli(call=situation.next_id, profile=self._profile, prompt=self._prompt(situation), deadline_s=left_s)

    def read(self, situation: Situation, answer: Event) -> Decision:
        return Decision(reason="nothing to read")


def _action(call: ToolCall) -> Action:
    return Action(tool=call.tool, arguments=call.arguments, id=call.id)
