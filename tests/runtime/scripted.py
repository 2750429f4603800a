"""Runs made of values alone: small agents, and a run that is fed one event at a time.

Nothing here waits, patches or pretends to be the loop: `Run.feed` is `advance` plus a list that keeps the journal.
Every feed also checks what must hold after any event whatever (`Run.check`), so each test of this room tests that too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from ooda.events import (
    EMPTY,
    ApprovalAnswered,
    ApprovalAsked,
    Body,
    CallRefused,
    Entry,
    Event,
    Foreign,
    Limits,
    ModelAsked,
    ModelFailed,
    ModelReplied,
    Resumed,
    RunStarted,
    Stopped,
    TimerFired,
    ToolCall,
    ToolInterrupted,
    ToolReturned,
    ToolStarted,
    Usage,
    UserMessage,
    decode,
    encode,
)
from ooda.labels import TOOL, Label
from ooda.runtime.agent import LOOP_VERSION, AgentSpec, Phase, Traits
from ooda.runtime.commands import AskHuman, CallModel, CallTool, Command, Notify, SetTimer, Stop
from ooda.runtime.context import Prompt, request_digest
from ooda.runtime.decide import Action, Decider, Decision, ModelDecider, PolicyDecider, Situation
from ooda.runtime.loop import Loop
from ooda.runtime.state import RunState

SECOND = 1_000_000_000
START_NS = 1_700_000_000 * SECOND

TRAITS: Mapping[str, Traits] = {
    "read": Traits(effect="pure"),
    "write": Traits(effect="local"),
    "test": Traits(effect="local"),
    "deploy": Traits(effect="keyed"),
    "push": Traits(effect="once"),
    "wait": Traits(effect="pure", is_poll=True),
    "plan": Traits(effect="pure", pins_plan=True),
    "finish": Traits(effect="pure", is_terminal=True),
}
TOOLS = tuple(TRAITS)


# -- agents -----------------------------------------------------------------------------------------------


def finished(situation: Situation) -> Decision | None:
    """The exit of a model's phase: a `finish` that succeeded."""
    if any(result.tool == "finish" and result.is_ok for result in situation.results):
        return Decision(done=True, reason="finish was called")
    return None


def model_phase(name: str = "work", *, brief: str = "", tools: tuple[str, ...] = TOOLS, **traits: Any) -> Phase:
    """A phase decided by a model until it calls `finish`."""
    return Phase(
        name=name, decider=ModelDecider(exit=finished), tools=tools, brief=lambda situation: Body(brief), **traits
    )


def policy_phase(name: str, policy: Callable[[Situation], Decision], **traits: Any) -> Phase:
    return Phase(name=name, decider=PolicyDecider(policy), tools=TOOLS, **traits)


def converse() -> Phase:
    """Chat: a reply without calls is handed to the person, whose message is the next thing the model reads."""
    decider = ModelDecider(silent=lambda situation, reply: Decision(ask="your turn", reason="answered"))
    return Phase(name="converse", decider=decider, tools=TOOLS, is_interactive=True)


def agent(*phases: Phase, **more: Any) -> AgentSpec:
    return AgentSpec(
        name="coding",
        phases=phases or (model_phase(),),
        rules=Body("You are careful."),
        brief=Body("Mend the parser."),
        traits=TRAITS,
        **more,
    )


def decided_by(name: str, decider: Decider) -> AgentSpec:
    return agent(Phase(name=name, decider=decider, tools=TOOLS))


def act(tool: str, **arguments: Any) -> Action:
    return Action(tool, arguments_of(**arguments))


def arguments_of(**arguments: Any) -> Body:
    return Body(json.dumps(arguments, sort_keys=True))


# -- events -----------------------------------------------------------------------------------------------


def call(id: str, tool: str, **arguments: Any) -> ToolCall:
    return ToolCall(id, tool, arguments_of(**arguments))


def replied(
    ask: str,
    calls: Iterable[ToolCall] = (),
    content: str = "",
    *,
    tokens: int = 100,
    cost_nano: int = 1000,
    finish: str = "",
) -> ModelReplied:
    """A reply as a provider gives it: the assistant message encoded once, its parts beside it."""
    calls = tuple(calls)
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if calls:
        message["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.tool, "arguments": c.arguments.text}} for c in calls
        ]
    return ModelReplied(
        ask=ask,
        model="scripted",
        message=Body(json.dumps(message)),
        content=Body(content),
        calls=calls,
        usage=Usage(input_tokens=tokens, output_tokens=0),
        cost_nano=cost_nano,
        finish=finish or ("tool_calls" if calls else "stop"),
    )


# -- the run ----------------------------------------------------------------------------------------------


def schemas(tools: tuple[str, ...]) -> bytes:
    """Encoded definitions of these tools, as short as they can be."""
    return json.dumps([{"name": tool} for tool in tools]).encode()


def text_of(body: Body) -> str:
    """A text, or something in its place when it is kept elsewhere: these tests have no elsewhere."""
    return body.text if body.ref is None else f"text {body.ref.digest}"


class Run:
    """One run: its state, its journal and its prompt, moved by `feed`."""

    def __init__(self, spec: AgentSpec, *, limits: Limits | None = None, run: str = "run-1") -> None:
        self.loop = Loop(spec)
        self.spec = spec
        self.limits = limits or Limits()
        self.state = RunState(run=run)
        self.journal: list[Entry] = []
        self.prompt = Prompt(text_of, plan_tools=frozenset({"plan"}))
        self.commands: tuple[Command, ...] = ()
        """What the last event asked for."""
        self.asked: list[Command] = []
        """Everything ever asked for."""
        self.now_ns = START_NS

    # -- feeding

    def feed(self, event: Event | Foreign, *, after_s: float = 1, label: Label = TOOL) -> tuple[Command, ...]:
        """Give one input event to the core; writes it and its conclusions down, and gives the commands."""
        self.now_ns += int(after_s * SECOND)
        entry = Entry(event, self.now_ns, label)
        before = msgspec.json.encode(self.state)
        state, self.commands = self.loop.advance(self.state, entry)
        assert msgspec.json.encode(self.state) == before, "advance changed the state it was given"
        self.state = state
        self.asked += self.commands
        written = [Entry(derived, self.now_ns, label) for derived in state.derived]
        for row in (entry, *written):
            self.prompt.feed(len(self.journal), row.event)
            self.journal.append(row)
        self.check()
        return self.commands

    def check(self) -> None:
        """What holds after every event."""
        assert self.state.next_seq == len(self.journal), "seq counts input and derived events alike"
        assert self.prompt.context_hash == self.state.context_hash, "the prompt and the state chain the same events"
        running = [c for c in self.state.calls if c.commanded and not self.state.has_result(c.call)]
        writers = [c for c in running if self.spec.traits.get(c.tool, Traits("pure")).effect != "pure"]
        assert not writers or writers[0] is running[-1], "nothing is commanded after a writer that has not ended"
        assert len(writers) <= 1, "one writer at a time"

    def start(self, **more: Any) -> tuple[Command, ...]:
        return self.feed(
            RunStarted(
                agent=self.spec.name,
                task=Body("{}"),
                task_digest="0" * 64,
                rules=self.spec.rules,
                brief=self.spec.brief,
                limits=self.limits,
                loop_version=LOOP_VERSION,
                **more,
            )
        )

    def reply(self, *calls: ToolCall, **more: Any) -> tuple[Command, ...]:
        """The model is asked and answers."""
        self.intend()
        return self.reply_with(calls, **more)

    def reply_with(self, calls: Iterable[ToolCall] = (), **more: Any) -> tuple[Command, ...]:
        """The model answers what it was asked."""
        return self.feed(replied(self.state.ask, calls, **more))

    def intend(self) -> tuple[Command, ...]:
        """The intent of the open model call."""
        return self.feed(
            ModelAsked(
                ask=self.state.ask,
                model="scripted",
                upto_seq=self.state.next_seq - 1,
                prefix_hash=self.state.context_hash,
                digest=request_digest(self.prompt, schemas(self.loop.situation(self.state).tools)),
                messages=len(self.prompt.messages),
                input_bytes=len(self.prompt.buffer),
                reply_tokens=self.limits.reply_tokens,
            ),
            after_s=0,
        )

    def fail(self, error: Any, message: str = "no luck", **more: Any) -> tuple[Command, ...]:
        return self.feed(ModelFailed(ask=self.state.ask, error=error, message=message, **more))

    def begin(self, id: str) -> tuple[Command, ...]:
        """The intent of one call."""
        open_ = next(c for c in self.state.calls if c.call == id)
        return self.feed(
            ToolStarted(
                call=id,
                tool=open_.tool,
                definition="d",
                arguments=open_.arguments.digest,
                operation="read_workspace",
                effect=self.spec.traits.get(open_.tool, Traits("once")).effect,
                key=open_.key or f"key-{id}",
                approval=open_.approval,
            )
        )

    def returns(self, id: str, text: str = "done", *, status: Any = "ok", data: Any = None) -> tuple[Command, ...]:
        """One call ends with a result."""
        if not any(c.call == id and c.started for c in self.state.calls):
            self.begin(id)
        tool = next(c.tool for c in self.state.calls if c.call == id)
        facts = EMPTY if data is None else Body(json.dumps(data))
        return self.feed(ToolReturned(call=id, tool=tool, status=status, text=Body(text), data=facts))

    def refuse(self, id: str, why: Any = "permission", reason: str = "not allowed") -> tuple[Command, ...]:
        tool = next(c.tool for c in self.state.calls if c.call == id)
        return self.feed(CallRefused(call=id, tool=tool, why=why, reason=reason))

    def interrupt(self, id: str, outcome: Any = "not_repeated", text: str = "interrupted") -> tuple[Command, ...]:
        tool = next(c.tool for c in self.state.calls if c.call == id)
        return self.feed(ToolInterrupted(call=id, tool=tool, outcome=outcome, text=Body(text)))

    def ask_approval(self, id: str, approval: str = "apr-1", *, ask: Any = "action", ttl_s: int = 900) -> Any:
        tool = next(c.tool for c in self.state.calls if c.call == id)
        return self.feed(
            ApprovalAsked(
                approval=approval,
                call=id,
                tool=tool,
                ask=ask,
                shown=Body(f"{tool} {id}"),
                expires_at_ns=self.now_ns + (ttl_s + 1) * SECOND,
            )
        )

    def answer(self, answer: Any, approval: str = "apr-1", *, id: str = "", **more: Any) -> tuple[Command, ...]:
        waiting = next((c.call for c in self.state.calls if c.waiting == approval), "")
        return self.feed(ApprovalAnswered(approval=approval, call=id or waiting, answer=answer, by="ada", **more))

    def say(self, text: str) -> tuple[Command, ...]:
        return self.feed(UserMessage(text=Body(text), author="ada"))

    def stop(self, status: Any = "", reason: str = "") -> tuple[Command, ...]:
        """The runner's end: what is open is closed, then Stopped is written."""
        wanted = self.state.stopping or Stop(status, reason)
        for open_ in self.state.calls:
            if not self.state.has_result(open_.call):
                self.interrupt(open_.call)
        return self.feed(Stopped(status=wanted.status, reason=wanted.reason))

    def resume(self, limits: Limits | None = None, *, after_s: float = 1) -> tuple[Command, ...]:
        return self.feed(Resumed(by="ada", limits=limits), after_s=after_s)

    def fire(self, timer: str, *, after_s: float = 1) -> tuple[Command, ...]:
        return self.feed(TimerFired(timer=timer), after_s=after_s)

    # -- reading

    def events(self, kind: type[Any]) -> list[Any]:
        return [entry.event for entry in self.journal if isinstance(entry.event, kind)]

    def wanted(self, kind: type[Any]) -> list[Any]:
        """Commands of one kind among those of the last event."""
        return [command for command in self.commands if isinstance(command, kind)]

    @property
    def tools_called(self) -> list[str]:
        """Ids of the calls that the last event commanded, in order."""
        return [command.call for command in self.wanted(CallTool)]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The request as a provider would read it."""
        return list(json.loads(b"[" + bytes(self.prompt.buffer) + b"]"))

    def written(self) -> list[Entry]:
        """The journal as it comes back from its bytes."""
        return [
            Entry(decode(encode(entry.event), type(entry.event).__name__), entry.at_ns, entry.label)
            for entry in self.journal
        ]


__all__ = [
    "SECOND",
    "START_NS",
    "TOOLS",
    "TRAITS",
    "AskHuman",
    "CallModel",
    "Notify",
    "Run",
    "SetTimer",
    "act",
    "agent",
    "arguments_of",
    "call",
    "converse",
    "decided_by",
    "finished",
    "model_phase",
    "policy_phase",
    "replied",
    "schemas",
    "text_of",
]
