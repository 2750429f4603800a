"""The local engine: carries the loop's commands out through the gate and feeds the answers back.

One `LocalEngine` owns one run: its lease, its recorder and its open effects. It holds no policy: what to do next is
the loop's, whether it may be done is the gate's. Every wait has an owner; a cancelled engine closes what is open.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal, Protocol, assert_never

import msgspec

from ooda.errors import OodaError, RefusedError
from ooda.events import (
    RUNTIME,
    ApprovalAnswered,
    Body,
    ChildStopped,
    Compacted,
    Notified,
    Resumed,
    RunStarted,
    Stopped,
    TimerFired,
    TimerSet,
    ToolInterrupted,
    ToolReturned,
    UserMessage,
)
from ooda.governance.call import ProposedCall
from ooda.governance.gate import Gate
from ooda.governance.recorder import Intent, Recorded, Recorder
from ooda.ids import child_run_id
from ooda.labels import TOOL, TRUSTED, UNTRUSTED, Label
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
from ooda.store import Tx

__all__ = ["Answer", "Ending", "LocalEngine", "Person", "PutBack", "UndoesCall", "World"]

Start = Callable[[], Coroutine[Any, Any, Intent | None]]
_NANO = 1_000_000_000
_LOOK = "It may have done all, part or none of its work: look before you go on."
_GRACE_S = 8.0
"""How long open effects get to end after an interrupt; a graceful stop takes at most ten seconds."""


class Answer(msgspec.Struct, frozen=True):
    """What a person answers when asked about a call."""

    answer: Literal["approve", "modify", "reject", "stop", "happened", "did_not"]
    by: str
    note: str = ""
    arguments: str | None = None


class Person(Protocol):
    """The person at the other end. Without one, questions wait and the engine comes back."""

    async def approve(self, ask: AskHuman) -> Answer: ...

    async def message(self, prompt: str) -> str | None:
        """The next message; None when the person leaves (the run keeps waiting and can be resumed)."""
        ...


class World(Protocol):
    """What the engine needs beside the gate: the model, notices and children of this run."""

    def ask_model(self, tx: Tx, command: CallModel) -> Intent:
        """Render the request and pass the door with it; gives the intent to record."""
        ...

    def abandon(self, tx: Tx, ask: str, kind: Literal["interrupted", "cancelled"], message: str) -> Intent:
        """Close a model call that was cut off: charged when it had been sent, released when not."""
        ...

    def enqueue(self, tx: Tx, notified: Notified) -> None:
        """What is written with a notice in its transaction: outbox and activities."""
        ...

    async def spawn(self, command: Spawn) -> Intent:
        """Run a child to its end; gives its ChildStopped to record."""
        ...


class PutBack(msgspec.Struct, frozen=True):
    """What became of an interrupted call that changes nothing but the workspace."""

    has_begun: bool
    """False when nothing is left of it, since it was cut off before it began or has been undone: it is made again."""
    text: str
    """For the decider."""


UndoesCall = Callable[[OpenCall], Awaitable[PutBack]]
"""Puts the workspace back to what it was before a call, or says what differs since."""


class Ending(msgspec.Struct, frozen=True):
    """Why the engine came back: a Stopped status, or `waiting` for somebody who is not there."""

    state: RunState
    status: str
    reason: str


class LocalEngine:
    """Runs one run until it stops or waits for somebody who is not there.

    Args:
        undo: How the work of an interrupted call is put back; without it the decider is told to look.
        undoes_at_once: Whether an interrupt undoes too, so that a resume makes the call again (a recorded model).
    """

    def __init__(
        self,
        recorder: Recorder,
        gate: Gate,
        world: World,
        *,
        owner: str,
        person: Person | None = None,
        undo: UndoesCall | None = None,
        undoes_at_once: bool = False,
    ) -> None:
        self._recorder = recorder
        self._gate = gate
        self._world = world
        self._owner = owner
        self._person = person
        self._undo = undo
        self._undoes_at_once = undoes_at_once
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._inbox: deque[TimerFired | UserMessage] = deque()
        self._woken = asyncio.Event()
        self._hearing = asyncio.Lock()
        self._interrupted = ""
        self._lost: OodaError | None = None
        self._left = False
        self._is_interrupting = False

    @property
    def state(self) -> RunState:
        return self._recorder.state

    # -- from outside -----------------------------------------------------------------------------------

    async def start(self, event: RunStarted, label: Label = TRUSTED) -> Ending:
        """Begin a new run with its first event, and carry it to its end. Raises LeaseLostError as `resume` does.

        Args:
            label: Of the task's text. A person wrote it, unless a run did: then what that run has seen speaks in it.
        """
        return await self._drive(Intent(event, label))

    async def resume(self, event: Resumed) -> Ending:
        """Take the run up where its journal ends: settle what was open, then go on.

        Raises:
            LeaseLostError: another owner took the run over meanwhile (`lose`).
        """
        return await self._drive(Intent(event), self._reconcile())

    def say(self, text: str, author: str) -> None:
        """Put a person's message into the run's inbox."""
        self._inbox.append(UserMessage(text=Body(text), author=author))
        self._woken.set()

    def interrupt(self, reason: str) -> None:
        """Stop gracefully: nothing new starts, what is open is ended and closed in the journal."""
        self._interrupted = reason
        self._woken.set()

    def lose(self, error: OodaError) -> None:
        """The run is another owner's: end what runs at once, write nothing more; the engine raises `error`."""
        self._lost = self._lost or error
        for task in self._tasks:
            task.cancel()
        self._woken.set()

    async def interrupt_turn(self, reason: str) -> None:
        """End what is running and wait for the person's next message; the session goes on (chat)."""
        self._is_interrupting = True
        try:
            await self._end_tasks()
            await self._close_calls(reason)
            # The turn ends here: what was asked for and not begun is not done, and of what cannot be repeated the
            # person, or the outside, is asked whether it happened.
            for call in self.state.calls:
                if self.state.has_result(call.call) or call.waiting:
                    continue
                if call.started:
                    await self._probe(call)
                else:
                    await self._interrupted_call(call, "not_repeated", f"`{call.tool}` was not begun ({reason}).")
            if self.state.ask:
                self._spawn(self._carry(await self._abandon("cancelled", reason)))
        finally:
            self._is_interrupting = False
            self._woken.set()

    # -- the drive --------------------------------------------------------------------------------------

    async def _drive(self, first: Intent, before: Coroutine[Any, Any, None] | None = None) -> Ending:
        has_begun = False
        try:
            if before is not None:
                self._spawn(before)
                while self._tasks and not self._is_ending:
                    await self._one_more()
            if not self._is_ending:
                has_begun = True
                self._spawn(self._carry(await self._recorder.record(first, self._follow)))
            while self.state.is_alive and not self._is_ending:
                if self._inbox and isinstance(arrived := self._inbox[0], UserMessage):
                    self._inbox.popleft()
                    self._spawn(self._heard(arrived))
                elif self._inbox:
                    intent = Intent(self._inbox.popleft())
                    self._spawn(self._carry(await self._recorder.record(intent, self._follow)))
                elif self._tasks or self._is_interrupting:
                    await self._one_more()
                elif self._left or self._person is None or not self.state.waiting:
                    return Ending(self.state, "waiting", _waits_for(self.state))
                else:
                    await self._woken.wait()
                    self._woken.clear()
            while self._tasks and not self._is_ending:
                await self._one_more()  # a remote store may still be committing the end that state shows
            if self._lost is not None:
                raise self._lost
            if not has_begun:
                return Ending(self.state, "cancelled", self._interrupted)
            if self.state.is_alive:
                await self._end_tasks()
                if self._undoes_at_once:
                    await self._put_all_back()
                await self._close_calls(self._interrupted)
                if self.state.ask:
                    await self._abandon("interrupted", self._interrupted)
                decided = self.state.stopping  # the core may have ended the run just before the interrupt
                ended = (
                    Stopped(status=decided.status, reason=decided.reason)
                    if decided is not None
                    else Stopped(status="cancelled", reason=self._interrupted)
                )
                await self._recorder.record(Intent(ended))
            return Ending(self.state, self.state.status, self.state.reason)
        except OodaError:
            self._recorder.check_fence()  # whoever took the run over ended what ran here: that is the cause to name
            raise
        finally:
            for timer in self._timers.values():
                timer.cancel()
            await self._end_tasks()

    @property
    def _is_ending(self) -> bool:
        return bool(self._interrupted) or self._lost is not None

    async def _one_more(self) -> None:
        """Wait until something that runs has ended, or somebody outside wants something."""
        if not any(task.done() for task in self._tasks):
            await self._woken.wait()
        self._woken.clear()
        if self._lost is not None:
            return
        for task in [task for task in self._tasks if task.done()]:
            self._tasks.discard(task)
            task.result()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        task.add_done_callback(lambda _: self._woken.set())
        self._tasks.add(task)

    async def _carry(self, recorded: Recorded) -> None:
        """Begin what was recorded, and go on from effect to effect as long as one leads to the next."""
        while True:
            for event in recorded.told:
                await self._tell(event)
            starts = [*recorded.starts, *(self._work(command) for command in recorded.commands)]
            for start in starts[1:]:
                self._spawn(self._effect(start))
            if not starts or (intent := await starts[0]()) is None:
                return
            recorded = await self._recorder.record(intent, self._follow)

    async def _tell(self, event: Compacted | Notified) -> None:
        """Tell the operator's hooks; whatever they answer, it stands."""
        match event:
            case Compacted():
                await self._gate.asked("PreCompact", {"trigger": event.reason, "keep_from_seq": event.keep_from_seq})
            case Notified():
                facts = {"notification_type": event.kind_, "message": event.message, "details": event.details}
                await self._gate.asked("Notification", facts)
            case _:
                assert_never(event)

    async def _effect(self, start: Start) -> None:
        if (intent := await start()) is not None:
            await self._carry(await self._recorder.record(intent, self._follow))

    def _follow(self, tx: Tx, command: Command) -> Intent | None:
        """The intent of a command, for the transaction of the event that asked for it."""
        match command:
            case CallModel():
                return self._world.ask_model(tx, command)
            case CallTool() | RunCli():
                proposed, situation = self._proposed(command), self._recorder.loop.situation(self.state)
                if self._gate.wants_consult(proposed, situation):
                    return None  # what is outside is looked at and asked outside of the transaction
                return self._gate.intent(tx, proposed, situation)
            case Notify():
                notified = Notified(
                    notice=command.notice, kind_=command.kind, message=command.message, details=command.details
                )
                return Intent(notified, TOOL, also=lambda tx: self._world.enqueue(tx, notified))
            case SetTimer():
                armed = TimerSet(timer=command.timer, at_ns=command.at_ns)
                return Intent(armed, TOOL, start=lambda: self._arm(command))
            case AskHuman() | Spawn() | Stop():
                return None
            case _:
                assert_never(command)

    def _work(self, command: Command) -> Start:
        """What a command without an intent of its own sets going."""
        match command:
            case AskHuman():
                return lambda: self._ask_person(command)
            case Spawn():
                return lambda: self._spawned(command)
            case Stop():
                return lambda: self._stop(command)
            case CallTool() | RunCli():
                return lambda: self._consulted(command)
            case CallModel() | Notify() | SetTimer():
                raise TypeError(f"{type(command).__name__} has an intent, it is not carried out without one")
            case _:
                assert_never(command)

    # -- commands ---------------------------------------------------------------------------------------

    async def _consulted(self, command: CallTool | RunCli) -> None:
        """Look and ask outside about a call, then decide it as any other, and carry out what comes of that."""
        situation = self._recorder.loop.situation
        proposed = self._proposed(command)
        await self._gate.consult(proposed, situation(self.state))
        await self._carry(
            await self._recorder.record_with(
                lambda tx: self._gate.intent(tx, proposed, situation(self.state)), self._follow
            )
        )

    def _proposed(self, command: CallTool | RunCli) -> ProposedCall:
        if isinstance(command, CallTool):
            text = self._recorder.text_of(command.arguments)
            return ProposedCall(call=command.call, tool=command.tool, arguments=text, approval=command.approval)
        given = {"prompt": self._recorder.text_of(command.prompt), "deadline_s": command.deadline_s}
        return ProposedCall(
            call=command.call, tool=f"cli:{command.profile}", arguments=msgspec.json.encode(given).decode()
        )

    async def _ask_person(self, ask: AskHuman) -> Intent | None:
        if self._person is None:
            return None
        if ask.ask == "message":
            text = await self._message(self._person, ask.prompt)
            if text is None:
                self._left = True
                return None
            return Intent(UserMessage(text=Body(text), author=self._owner))
        call = next(c for c in self.state.calls if c.waiting == ask.id)
        answer = await self._person.approve(ask)
        answered = ApprovalAnswered(
            approval=ask.id,
            call=call.call,
            answer=answer.answer,
            by=answer.by,
            note=answer.note,
            arguments=Body(answer.arguments) if answer.arguments is not None else None,
        )
        # Answered elsewhere, or expired, while the person was typing: what stands in the store counts.
        return self._gate.answer_in_store(call) or self._gate.answer(answered)

    async def _message(self, person: Person, prompt: str) -> str | None:
        """A person's next message that no hook refuses; None when they leave."""
        while (text := await person.message(prompt)) is not None:
            said = await self._gate.asked("UserPromptSubmit", {"prompt": text})
            if said.decision == "allow":
                break
            prompt = f"hook `{said.hook}` does not take this message: {said.reason}"
        return text

    async def _heard(self, message: UserMessage) -> None:
        """Record a message from outside, unless a hook refuses it; in the order in which they came."""
        async with self._hearing:
            said = await self._gate.asked("UserPromptSubmit", {"prompt": message.text.text})
            if said.decision != "allow":
                return
            recorded = await self._recorder.record(Intent(message), self._follow)
        await self._carry(recorded)

    async def _spawned(self, command: Spawn) -> Intent:
        """The end of a child. Its words are another model's: untrusted, whatever its launcher says of them."""
        child = child_run_id(self.state.run, command.call)
        facts = {"agent_id": child, "agent_type": command.agent, "tool_use_id": command.call}
        task = self._recorder.text_of(command.task)
        said = await self._gate.asked("SubagentStart", {**facts, "task": task})
        if said.decision != "allow":
            why = Body(f"hook `{said.hook}` does not let this agent begin: {said.reason}")
            return Intent(ChildStopped(call=command.call, run=child, status="refused", text=why), TOOL)
        ended = await self._world.spawn(command)
        if isinstance(ended.event, ChildStopped):
            await self._gate.asked("SubagentStop", {**facts, "status": ended.event.status})
        return msgspec.structs.replace(ended, label=ended.label.join(UNTRUSTED))

    async def _arm(self, command: SetTimer) -> None:
        if command.timer in self._timers:
            self._timers[command.timer].cancel()
        delay_s = max(0.0, (command.at_ns - self._recorder.clock.now_ns()) / _NANO)
        self._timers[command.timer] = asyncio.get_running_loop().call_later(delay_s, self._fire, command.timer)

    def _fire(self, timer: str) -> None:
        self._inbox.append(TimerFired(timer=timer))
        self._woken.set()

    async def _stop(self, command: Stop) -> Intent:
        await self._cancel([task for task in self._tasks if task is not asyncio.current_task()])
        await self._close_calls(command.reason)
        return Intent(Stopped(status=command.status, reason=command.reason))

    # -- closing and taking up --------------------------------------------------------------------------

    async def _end_tasks(self) -> None:
        await self._cancel(list(self._tasks))

    async def _cancel(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            self._tasks.discard(task)
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_GRACE_S)
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _close_calls(self, reason: str) -> None:
        """Close every call whose intent is journaled and whose result is not."""
        for call in self.state.open_started:
            if call.waiting:
                continue
            again = self._gate.effect_of(call.tool) in ("keyed", "once")
            await self._interrupted_call(
                call,
                "unknown" if again else "not_repeated",
                f"`{call.tool}` was interrupted ({reason}). It was ended, and it is not repeated.",
            )

    async def _reconcile(self) -> None:
        """Settle what a killed or stopped owner left open, by effect class, before the run goes on."""
        if self.state.asked:
            await self._abandon("interrupted", "the run was interrupted during this call")
        for call in self.state.open_started:
            if call.waiting:
                if not await self._take_answer(call):
                    await self._probe_again(call)
                continue
            if call.tool.startswith("spawn:"):
                continue  # the child's id is made of ours, so starting it again finds it
            match self._gate.effect_of(call.tool):
                case "pure" | "keyed":
                    continue  # done again, a keyed one under the key of its first attempt
                case "local":
                    await self._put_back(call)
                case "once":
                    await self._probe(call)
        for call in self.state.calls:
            if call.waiting and not call.started:
                await self._take_answer(call)

    async def _put_all_back(self) -> None:
        for call in self.state.open_started:
            if not call.waiting and self._gate.effect_of(call.tool) == "local":
                await self._put_back(call)

    async def _put_back(self, call: OpenCall) -> None:
        """Close a call that changes nothing but the workspace; one that had not begun is made again."""
        done = await self._undo(call) if self._undo is not None else PutBack(True, _LOOK)
        if done.has_begun:
            text = f"`{call.tool}` was interrupted by a restart of this run, and it is not repeated. {done.text}"
            await self._interrupted_call(call, "not_repeated", text)
        else:
            await self._interrupted_call(call, "did_not", f"`{call.tool}`: {done.text}")

    async def _probe(self, call: OpenCall) -> None:
        proposed = self._proposed(CallTool(call.call, call.tool, call.arguments))
        match await self._gate.probe(proposed, call.key):
            case "happened":
                text = f"`{call.tool}` had its effect before the restart; it was not repeated."
                happened = ToolReturned(call=call.call, tool=call.tool, status="ok", text=Body(text))
                await self._recorder.record(Intent(happened, TOOL))
            case "did_not":
                await self._interrupted_call(call, "did_not", f"`{call.tool}` did not happen before the restart.")
            case "unknown":
                await self._interrupted_call(call, "unknown", f"Nobody can tell whether `{call.tool}` happened.")
                shown = (
                    f"`{call.tool}` was interrupted, and it cannot be found out whether it had its effect.\n"
                    f"Look, then answer: ooda runs decide {self.state.run} {call.call} --happened | --did-not"
                )
                await self._recorder.record(self._gate.ask_decision(proposed, shown))

    async def _probe_again(self, call: OpenCall) -> None:
        """What nobody could tell before may show now (the remote answers again): then nobody needs to be asked."""
        answer = await self._gate.probe(self._proposed(CallTool(call.call, call.tool, call.arguments)), call.key)
        if answer == "unknown":
            return
        found = ApprovalAnswered(approval=call.waiting, call=call.call, answer=answer, by=RUNTIME)
        try:
            await self._recorder.record(self._gate.answer(found))
        except RefusedError:  # a person answered while the outside was asked
            await self._take_answer(call)

    async def _interrupted_call(
        self, call: OpenCall, outcome: Literal["not_repeated", "did_not", "unknown"], text: str
    ) -> None:
        closed = ToolInterrupted(call=call.call, tool=call.tool, outcome=outcome, text=Body(text))
        await self._recorder.record(Intent(closed, TOOL))

    async def _take_answer(self, call: OpenCall) -> bool:
        """Bring an answer that was given outside this process (or an expiry) into the journal; False while it waits."""
        if (answered := self._gate.answer_in_store(call)) is None:
            return False
        await self._recorder.record(answered)
        return True

    async def _abandon(self, kind: Literal["interrupted", "cancelled"], reason: str) -> Recorded:
        """Close the open model call and its reservation, in one transaction."""
        return await self._recorder.record_with(
            lambda tx: self._world.abandon(tx, self.state.ask, kind, reason), self._follow
        )


def _waits_for(state: RunState) -> str:
    if not state.waiting:
        return "nothing is left to do"
    ask = state.waiting[0]
    if ask.ask == "message":
        return f"It waits for a message: ooda runs resume {state.run}"
    if ask.ask == "decision":
        return ask.prompt
    return f"It waits for approval {ask.id}: ooda approvals answer {ask.id} --approve | --reject"
