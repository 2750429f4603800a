"""The local engine: carries the loop's commands out through the gate and feeds the answers back.

One `LocalEngine` owns one run: its lease, its recorder and its open effects. It holds no policy: what to do next is
the loop's, whether it may be done is the gate's. Every wait has an owner; a cancelled engine closes what is open.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, assert_never

import msgspec

from ooda.errors import (
    BudgetExceededError,
    ContextOverflowError,
    CredentialError,
    DivergenceError,
    ModelOutputError,
    ModelUnavailableError,
    RefusedError,
    UserError,
)
from ooda.events import (
    ApprovalAnswered,
    Body,
    ModelFailed,
    Notified,
    Resumed,
    RunStarted,
    Status,
    Stopped,
    TimerFired,
    TimerSet,
    ToolInterrupted,
    ToolReturned,
    UserMessage,
)
from ooda.governance.call import Allowed, NeedsApproval, ProposedCall, Refused
from ooda.governance.gate import Gate
from ooda.governance.recorder import Recorder
from ooda.ids import effect_key
from ooda.runtime.commands import (
    AskHuman,
    CallModel,
    CallTool,
    Command,
    Notify,
    RunCli,
    SetTimer,
    Spawn,
    Stop,
)
from ooda.runtime.state import OpenCall, RunState

__all__ = ["Answer", "Ending", "LocalEngine", "Person", "World"]

Commands = tuple[Command, ...]


class Answer(msgspec.Struct, frozen=True):
    """What a person answers when asked about a call."""

    answer: Literal["approve", "modify", "reject", "stop", "happened", "did_not"]
    by: str
    note: str = ""
    arguments: str | None = None


class Person(Protocol):
    """The person at the other end. Without one, questions wait and the process ends with exit code 75."""

    async def approve(self, ask: AskHuman) -> Answer: ...

    async def message(self, prompt: str) -> str | None:
        """The next message; None when the person leaves (the run keeps waiting and can be resumed)."""
        ...


class World(Protocol):
    """What the engine needs beside the gate: the model, notices and children of this run."""

    async def ask_model(self, command: CallModel, gate: Gate) -> Commands:
        """Render the request, pass the gate, send it; gives the commands that answer the recorded reply."""
        ...

    def notify(self, event: Notified) -> Callable[..., None]:
        """What to write with the notice in its transaction (outbox, activities)."""
        ...

    async def spawn(self, command: Spawn) -> Commands: ...


class Ending(msgspec.Struct, frozen=True):
    """Why the engine came back."""

    state: RunState
    status: Status | Literal["waiting"]
    reason: str


class LocalEngine:
    """Runs one run until it stops or waits for somebody who is not there."""

    def __init__(self, recorder: Recorder, gate: Gate, world: World, *, owner: str, person: Person | None = None) -> None:
        self._recorder = recorder
        self._gate = gate
        self._world = world
        self._owner = owner
        self._person = person
        self._tasks: dict[asyncio.Task[Commands], Command] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._inbox: deque[TimerFired | UserMessage] = deque()
        self._woken = asyncio.Event()
        self._interrupted = ""

    @property
    def state(self) -> RunState:
        return self._recorder.state

    # -- from outside -----------------------------------------------------------------------------------

    async def start(self, event: RunStarted) -> Ending:
        """Begin a new run with its first event, and carry it to its end."""
        return await self._drive(await self._recorder.record(event))

    async def resume(self, event: Resumed) -> Ending:
        """Take the run up where its journal ends: settle what was open, then go on."""
        await self._reconcile()
        return await self._drive(await self._recorder.record(event))

    def say(self, text: str, author: str) -> None:
        """Put a person's message into the run's inbox."""
        self._inbox.append(UserMessage(text=Body(text), author=author))
        self._woken.set()

    def interrupt(self, reason: str) -> None:
        """Stop gracefully: nothing new starts, what is open is ended and closed in the journal."""
        self._interrupted = reason
        self._woken.set()

    # -- the drive --------------------------------------------------------------------------------------

    async def _drive(self, commands: Commands) -> Ending:
        waker = asyncio.ensure_future(self._woken.wait())
        try:
            self._carry_out(commands)
            while self.state.is_alive and not self._interrupted:
                if self._inbox:
                    self._carry_out(await self._recorder.record(self._inbox.popleft()))
                    continue
                if not self._tasks:
                    return self._ending("waiting", self._waits_for())
                done, _ = await asyncio.wait((*self._tasks, waker), return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if task is waker:
                        self._woken.clear()
                        waker = asyncio.ensure_future(self._woken.wait())
                    else:
                        self._tasks.pop(task)  # type: ignore[arg-type]  # `wait` mixes the waker's type in
                        self._carry_out(task.result())  # type: ignore[arg-type]
            if self.state.is_alive:
                await self._close_open()
                await self._recorder.record(Stopped(status="cancelled", reason=self._interrupted))
            return self._ending(self.state.status, self.state.reason)
        finally:
            waker.cancel()
            for timer in self._timers.values():
                timer.cancel()
            await self._end_tasks()

    def _carry_out(self, commands: Commands) -> None:
        for command in commands:
            if (work := self._work(command)) is not None:
                self._tasks[asyncio.ensure_future(work)] = command

    def _work(self, command: Command) -> Awaitable[Commands] | None:
        match command:
            case CallModel():
                return self._call_model(command)
            case CallTool():
                return self._call_tool(ProposedCall(
                    call=command.call,
                    tool=command.tool,
                    arguments=self._recorder.text_of(command.arguments),
                    approval=command.approval,
                ))
            case RunCli():
                arguments = {"prompt": self._recorder.text_of(command.prompt), "deadline_s": command.deadline_s}
                return self._call_tool(ProposedCall(
                    call=command.call,
                    tool=f"cli:{command.profile}",
                    arguments=msgspec.json.encode(arguments).decode(),
                ))
            case AskHuman():
                return None if self._person is None else self._ask_person(command, self._person)
            case SetTimer():
                return self._set_timer(command)
            case Notify():
                return self._notify(command)
            case Spawn():
                return self._world.spawn(command)
            case Stop():
                return self._stop(command)
            case _:
                assert_never(command)
