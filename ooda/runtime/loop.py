"""The loop: `advance(state, entry) -> (state, commands)`. Pure; knows no agent, tool, clock, file or socket.

One call observes an event, orients (folds it, judges limits, stuck-ness and compaction), lets the decider of the
phase decide, and says which commands act on that. What the core concludes on the way (a phase entered, a decision,
a limit) stands in `state.derived`, to be journaled right after the event in the same transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import assert_never, get_args

import msgspec

from ooda.errors import JournalError
from ooda.events import (
    RUNTIME,
    ApprovalAnswered,
    ApprovalAsked,
    Body,
    CallRefused,
    ChildStarted,
    ChildStopped,
    Compacted,
    Decided,
    Entry,
    Event,
    Foreign,
    LimitReached,
    ModelAsked,
    ModelFailed,
    ModelReplied,
    Notified,
    Observed,
    Patched,
    PhaseEntered,
    Resumed,
    RunStarted,
    SkillActivated,
    Status,
    Stopped,
    TimerFired,
    TimerSet,
    ToolInterrupted,
    ToolReturned,
    ToolStarted,
    UserMessage,
    encode,
    is_derived,
)
from ooda.runtime.agent import LOOP_VERSION, AgentSpec, Phase, Traits
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
from ooda.runtime.compaction import cut_point, wants_compaction
from ooda.runtime.decide import Action, Decision, Notice, Result, Situation
from ooda.runtime.state import Fingerprint, Life, OpenCall, RunState
from ooda.runtime.stuck import KEPT, fingerprint, judge

__all__ = ["CONTEXT_KINDS", "Loop", "chain", "words_of"]

CONTEXT_KINDS = (
    RunStarted,
    UserMessage,
    Observed,
    PhaseEntered,
    ModelReplied,
    ApprovalAnswered,
    CallRefused,
    ToolReturned,
    ToolInterrupted,
    Compacted,
    SkillActivated,
    ChildStopped,
)
"""Events the prompt is made of; `RunState.context_hash` chains exactly these."""

WALL_CLOCK = "wall_clock"
_SILENT_REPLIES = 3
_BAD_REPLIES = 3
_KEPT_TURNS = (6, 3, 1)
"""Model turns kept verbatim by a compaction; each overflow in a row keeps fewer, and there is no fourth try."""
_PHASES_AT_ONCE = 100
"""Phases entered without a call in between: more than any agent has, fewer than the stack holds."""
_NANO = 1_000_000_000


def chain(previous: str, event: Event | Foreign) -> str:
    """The context hash after one more event: the same wherever the prompt is rendered.

    A derived brief is inline in the core and may be a reference in the journal, so it counts by its digest.
    """
    if isinstance(event, PhaseEntered):
        event = _by_digest(event)
    return hashlib.sha256(previous.encode() + encode(event)).hexdigest()


def words_of(answered: ApprovalAnswered) -> str:
    """What the decider reads when a person's answer is the result of a call; empty when it is not."""
    match answered.answer:
        case "reject":
            return f"A person ({answered.by}) refused this call" + (f": {answered.note}" if answered.note else ".")
        case "happened":
            return f"A person ({answered.by}) confirmed that this call had its effect before the interruption."
        case _:
            return ""


class Loop:
    """The pure step function of one agent."""

    def __init__(self, agent: AgentSpec) -> None:
        self.agent = agent

    def advance(self, state: RunState, entry: Entry) -> tuple[RunState, tuple[Command, ...]]:
        """Fold one input event and say what to do next.

        Raises:
            JournalError: the event contradicts the state (an answer to a call that is not open, an event
                before RunStarted or after Stopped): the journal is damaged or not this run's.
        """
        turn = _Turn(self.agent, state, entry)
        turn.fold(entry.event)
        return turn.end()

    def situation(self, state: RunState) -> Situation:
        """What a decider, or the gate, sees in this state."""
        return _situation(self.agent, state, state.next_seq - 1)

    def fold(self, run: str, entries: Iterable[Entry]) -> tuple[RunState, tuple[Command, ...]]:
        """State and outstanding commands after a journal; derived events are recomputed and compared.

        Raises:
            JournalError: a derived event in the journal is not what this loop concludes.
        """
        last: tuple[RunState, tuple[Command, ...]] = RunState(run=run), ()
        for reached in self.states(run, entries):
            last = reached
        return last

    def states(self, run: str, entries: Iterable[Entry]) -> Iterator[tuple[RunState, tuple[Command, ...]]]:
        """Every state of a journal, one per input event, in order."""
        state = RunState(run=run)
        expected: list[Event] = []
        seq = -1
        for seq, entry in enumerate(entries):
            if not is_derived(entry.event):
                if expected:
                    raise _unexpected(run, seq, expected[0], entry.event)
                state, commands = self.advance(state, entry)
                expected = list(state.derived)
                yield state, commands
            elif not expected or not _same(expected[0], entry.event):
                raise _unexpected(run, seq, expected[0] if expected else None, entry.event)
            else:
                expected.pop(0)
        if expected:
            raise _unexpected(run, seq + 1, expected[0], None)


def _same(derived: Event, written: Event | Foreign) -> bool:
    """Derived events compare by content; a long body is inline on one side and a reference on the other."""
    if isinstance(derived, PhaseEntered) and isinstance(written, PhaseEntered):
        derived, written = _by_digest(derived), _by_digest(written)
    return encode(derived) == encode(written)  # bytes: facts may hold tuples, which come back as lists


def _by_digest(event: PhaseEntered) -> PhaseEntered:
    return msgspec.structs.replace(event, brief=Body(event.brief.digest))


def _unexpected(run: str, seq: int, expected: Event | None, found: Event | Foreign | None) -> JournalError:
    wanted, got = (encode(event).decode()[:300] if event else "nothing" for event in (expected, found))
    return JournalError(
        f"Run {run} diverges at event {seq}: this loop (version {LOOP_VERSION}) concludes {wanted}, "
        f"the journal holds {got}. Use the version that wrote it, or fork the run before this event.",
        run=run,
        seq=seq,
        expected=wanted,
        found=got,
    )


def _situation(agent: AgentSpec, state: RunState, last_seq: int) -> Situation:
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


def _follows_a_gap(event: Event | Foreign) -> bool:
    """Whether nobody may have been running before this event: it closes what a killed owner left open."""
    return isinstance(event, Resumed | ToolInterrupted) or (
        isinstance(event, ModelFailed) and event.error == "interrupted"
    )


class _Turn:
    """The working state of one `advance`; lives for one call."""

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
        if self.derived:
            self._set(derived=tuple(self.derived), next_seq=self.state.next_seq + len(self.derived))
        return self.state, tuple(self.commands)

    # -- observe: fold one event ------------------------------------------------------------------------

    def fold(self, event: Event | Foreign) -> None:
        match event:
            case RunStarted():
                self._run_started(event)
            case ModelReplied():
                self._model_replied(event)
            case ModelFailed():
                self._model_failed(event)
            case ModelAsked():
                self._expect_ask(event.ask, "an intent for")
                self._set(asked=True)
            case ToolStarted():
                self._update_call(event.call, started=True, key=event.key)
            case ToolReturned():
                self._tool_returned(event)
            case CallRefused():
                self._close_call(
                    Result(
                        call=event.call,
                        tool=event.tool,
                        status="refused",
                        text=Body(event.reason),
                        why=event.why,
                    )
                )
            case ToolInterrupted():
                self._tool_interrupted(event)
            case ApprovalAsked():
                self._approval_asked(event)
            case ApprovalAnswered():
                self._approval_answered(event)
            case UserMessage():
                self._user_message(event)
            case TimerFired():
                self._timer_fired(event)
            case SkillActivated():
                self._set(skills=tuple(dict.fromkeys((*self.state.skills, event.name))))
            case ChildStopped():
                self._child_stopped(event)
            case Notified():
                self._set(notices=tuple(n for n in self.state.notices if n.notice != event.notice))
            case Stopped():
                self._set(life="stopped", status=event.status, reason=event.reason, stopping=None)
            case Resumed():
                self._resumed(event)
            case ChildStarted():
                self._update_call(event.call, started=True)
            case Observed() | TimerSet() | Patched() | Foreign():
                pass
            case PhaseEntered() | Decided() | Compacted() | LimitReached():
                raise self._contradiction(f"{type(event).__name__} is concluded by the core, never given to it")
            case _:
                assert_never(event)

    def _run_started(self, event: RunStarted) -> None:
        if self.state.life != "created":
            raise self._contradiction("the run was started twice")
        if event.loop_version > LOOP_VERSION:
            raise self._contradiction(
                f"it was started by loop version {event.loop_version}, this is version {LOOP_VERSION}; "
                "upgrade ooda to continue it"
            )
        self._set(
            agent=event.agent,
            life="running",
            loop_version=event.loop_version,
            limits=event.limits,
            started_ns=self.state.last_ns,
        )
        self._arm_wall_clock()
        self._enter(0)

    def _model_replied(self, event: ModelReplied) -> None:
        self._expect_ask(event.ask, "a reply to")
        spent = self.state.spent
        self._set(
            ask="",
            asked=False,
            overflows=0,
            bad_replies=0,
            turns=(*self.state.turns[-11:], self.state.next_seq - 1),
            context_tokens=event.usage.total_tokens,
            spent=msgspec.structs.replace(
                spent,
                model_calls=spent.model_calls + 1,
                tokens=spent.tokens + event.usage.total_tokens,
                cost_nano=spent.cost_nano + event.cost_nano,
            ),
        )
        if event.finish in ("refusal", "content_filter") and not event.calls:
            said = event.content.text[:200] or event.finish
            self._stop("failed", f"The model declined to answer ({event.finish}): {said}")
            return
        if not event.calls and event.content.is_empty:
            self._nudge_silent(
                "Your reply was empty. Call one of the tools, or `finish` when the task is done."
                if event.finish != "length"
                else f"Your reply was cut at {self.state.limits.reply_tokens} tokens before it said anything. "
                "Think less, and call one tool."
            )
            return
        self._apply(self._phase.decider.read(self.situation(), event), of_model=True)

    def _model_failed(self, event: ModelFailed) -> None:
        self._expect_ask(event.ask, "a failure of")
        spent = self.state.spent
        self._set(
            ask="",
            asked=False,
            spent=msgspec.structs.replace(
                spent, tokens=spent.tokens + event.tokens, cost_nano=spent.cost_nano + event.cost_nano
            ),
        )
        if self._is_over:
            return
        match event.error:
            case "interrupted":
                pass
            case "cancelled":
                if self._phase.is_interactive:
                    self._wait_for(AskHuman("message"))
                else:
                    self._stop("cancelled", event.message)
            case "overflow":
                self._overflowed(event)
            case "output":
                if self.state.bad_replies + 1 >= _BAD_REPLIES:
                    self._stop("failed", f"{_BAD_REPLIES} unusable replies in a row. The last one: {event.message}")
                else:
                    self._set(bad_replies=self.state.bad_replies + 1)
                    self._decide()
            case "unavailable" | "credential":
                self._stop("model_unavailable", event.message)
            case "budget":
                self._stop("budget_exceeded", event.message)
            case "refused":
                self._stop("refused", event.message)
            case _:
                assert_never(event.error)

    def _overflowed(self, event: ModelFailed) -> None:
        tries = _KEPT_TURNS[self.state.overflows :]
        cuts = (
            (tried, cut_point(self.state.turns, kept)) for tried, kept in enumerate(tries, self.state.overflows + 1)
        )
        tried, cut = next(((tried, cut) for tried, cut in cuts if cut is not None), (0, None))
        if cut is None:
            self._stop(
                "failed",
                f"The prompt does not fit the model's window even after compaction ({event.message}). "
                "Use a model with a larger window or a smaller task.",
            )
            return
        self._set(overflows=tried)
        self._compact(cut, "the model's window overflowed")
        self._decide()

    def _tool_returned(self, event: ToolReturned) -> None:
        if event.status == "ok" and self._traits(event.tool).pins_plan and not event.data.is_empty:
            self._set(plan=event.data)
        self._close_call(
            Result(call=event.call, tool=event.tool, status=event.status, text=event.text, data=event.data)
        )

    def _tool_interrupted(self, event: ToolInterrupted) -> None:
        match event.outcome:
            case "not_repeated":
                self._close_call(Result(call=event.call, tool=event.tool, status="interrupted", text=event.text))
            case "did_not":
                self._update_call(event.call, started=False, commanded=False)
                self._issue()
            case "unknown":
                self._update_call(event.call, commanded=True)
            case _:
                assert_never(event.outcome)

    def _child_stopped(self, event: ChildStopped) -> None:
        spent = self.state.spent
        self._set(
            spent=msgspec.structs.replace(
                spent, tokens=spent.tokens + event.tokens, cost_nano=spent.cost_nano + event.cost_nano
            )
        )
        status = "ok" if event.status == "success" else "error"
        self._close_call(Result(call=event.call, tool="spawn", status=status, text=event.text))

    def _approval_asked(self, event: ApprovalAsked) -> None:
        ask = AskHuman("approval" if event.ask == "action" else "decision", event.approval, event.shown.text)
        lapses_ns = event.expires_at_ns if event.ask == "action" else 0
        self._update_call(event.call, waiting=event.approval, expires_at_ns=lapses_ns)
        self._wait_for(ask)
        if lapses_ns:
            self._arm_approval(event.approval, lapses_ns)
        self._issue()

    def _approval_answered(self, event: ApprovalAnswered) -> None:
        call = next((c for c in self.state.calls if c.waiting == event.approval and c.call == event.call), None)
        if call is None:
            raise self._contradiction(f"an answer to approval {event.approval!r}, which nothing waits for")
        self._no_longer_waits_for(event.approval)
        self._update_call(event.call, waiting="")
        match event.answer:
            case "approve" | "modify":
                edited = call.arguments if event.arguments is None else event.arguments
                self._update_call(event.call, arguments=edited, approval=event.approval, commanded=False)
                self._issue()
            case "reject":
                self._close_call(
                    Result(
                        call=event.call,
                        tool=call.tool,
                        status="refused",
                        text=Body(words_of(event)),
                        why="approval",
                    )
                )
            case "stop":
                self._stop(
                    "cancelled",
                    f"{event.by} stopped the run when asked about `{call.tool}`. {event.note}".strip(),
                )
            case "expired":
                self._stop("refused", f"Nobody answered the approval for `{call.tool}` in time; silence is a no.")
            case "happened":
                self._close_call(Result(call=event.call, tool=call.tool, status="ok", text=Body(words_of(event))))
            case "did_not":
                self._update_call(event.call, started=False, commanded=False)
                self._issue()
            case _:
                assert_never(event.answer)

    def _user_message(self, event: UserMessage) -> None:
        asked = any(ask.ask == "message" for ask in self.state.waiting)
        if not asked:
            return
        reads = self.state.reads_person
        self._set(
            waiting=tuple(ask for ask in self.state.waiting if ask.ask != "message"),
            reads_person=False,
            silent=0,
        )
        self._set(life=self._life)
        if self._is_over:
            return  # said to a run that ends or has ended: read when it is resumed
        if reads:
            self._apply(self._phase.decider.read(self.situation(), event))
        else:
            self._decide()

    def _timer_fired(self, event: TimerFired) -> None:
        if self._is_over:
            return
        if event.timer == WALL_CLOCK:
            if not self._reached_limit():
                self._arm_wall_clock()
            return
        kind, _, approval = event.timer.partition(":")
        if kind == "approval" and any(ask.id == approval for ask in self.state.waiting):
            self._no_longer_waits_for(approval)
            self._stop("refused", "Nobody answered the approval in time; silence is a no.")

    def _resumed(self, event: Resumed) -> None:
        if self.state.status == "success":
            raise self._contradiction("the run succeeded, there is nothing to resume; start a new run of the task")
        was_stopped = self.state.life == "stopped"
        stopping = self.state.stopping
        self._set(
            life="waiting" if self.state.waiting else "running",
            status="",
            reason="",
            limits=event.limits or self.state.limits,
            nudges=0,
            silent=0,
            bad_replies=0,
            overflows=0,
            recent=(),
            ask="",
            asked=False,
            calls=tuple(self._taken_up(call) for call in self.state.calls),
        )
        self.commands.extend(self.state.notices)
        if stopping is not None:  # killed between the decision to stop and its record: nothing is decided twice
            self.commands.append(stopping)
            return
        self._arm_wall_clock()
        self.commands.extend(self.state.waiting)
        for call in self.state.calls:
            if call.waiting and call.expires_at_ns:
                self._arm_approval(call.waiting, call.expires_at_ns)
        if self.state.phase < 0:
            self._enter(0)
        elif self.state.calls:
            self._issue()
        else:
            if was_stopped and self.state.attempts == 0:  # see `_apply`
                self._set(results=())
            self._decide()

    def _taken_up(self, call: OpenCall) -> OpenCall:
        """An open call as it stands when its run is resumed.

        What a person is asked about keeps waiting. An effect that was begun and is not recognised outside when
        repeated is not commanded again: its owner says by ToolInterrupted what became of it.
        """
        if call.waiting and any(ask.id == call.waiting for ask in self.state.waiting):
            return call
        is_held = call.started and self._traits(call.tool).effect in ("local", "once")
        return msgspec.structs.replace(call, waiting="", commanded=is_held)

    # -- orient -----------------------------------------------------------------------------------------

    def situation(self) -> Situation:
        return _situation(self.agent, self.state, self.state.next_seq + len(self.derived) - 1)

    def _reached_limit(self) -> bool:
        spent, limits = self.state.spent, self.state.limits
        active_s = spent.active_ns // _NANO
        status: Status
        reached: LimitReached
        if active_s >= limits.wall_s:
            reached, status = LimitReached(limit="wall_s", value=active_s, cap=limits.wall_s), "timeout"
        elif spent.steps >= limits.steps:
            reached, status = LimitReached(limit="steps", value=spent.steps, cap=limits.steps), "step_limit"
        elif spent.tokens >= limits.tokens:
            reached, status = (
                LimitReached(limit="tokens", value=spent.tokens, cap=limits.tokens),
                "budget_exceeded",
            )
        elif spent.cost_nano >= limits.cost_nano and spent.cost_nano > 0:
            reached, status = (
                LimitReached(limit="cost_nano", value=spent.cost_nano, cap=limits.cost_nano),
                "budget_exceeded",
            )
        else:
            return False
        self._derive(reached)
        self._stop(status, f"The run reached its limit `{reached.limit}`: {reached.value} of {reached.cap}.")
        return True

    def _compact(self, cut: int, reason: str) -> None:
        self._derive(Compacted(keep_from_seq=cut, reason=reason))
        self._set(
            compactions=self.state.compactions + 1,
            context_tokens=0,
            turns=tuple(seq for seq in self.state.turns if seq >= cut),
        )

    def _nudge(self, text: str) -> None:
        self._derive(Observed(source=RUNTIME, text=Body(text)))

    # -- decide -----------------------------------------------------------------------------------------

    @property
    def _phase(self) -> Phase:
        return self.agent.phases[max(0, self.state.phase)]

    def _enter(self, index: int) -> None:
        if sum(isinstance(event, PhaseEntered) for event in self.derived) >= _PHASES_AT_ONCE:
            self._derive(LimitReached(limit="stuck", value=_PHASES_AT_ONCE, cap=_PHASES_AT_ONCE))
            self._stop(
                "stuck", f"{_PHASES_AT_ONCE} phases in a row ended without a call; the last is `{self._phase.name}`."
            )
            return
        phase = self.agent.phases[index]
        round_ = self.state.round + 1 if phase.is_round else self.state.round
        if round_ > self.state.limits.rounds:
            self._derive(LimitReached(limit="rounds", value=self.state.round, cap=self.state.limits.rounds))
            self._stop("step_limit", f"The run used all {self.state.limits.rounds} implement-validate rounds.")
            return
        spent = msgspec.structs.replace(self.state.spent, rounds=round_)
        self._set(phase=index, round=round_, attempts=0, results=(), silent=0, spent=spent)
        situation = self.situation()
        self._derive(PhaseEntered(phase=phase.name, round=round_, brief=phase.brief(situation), tools=phase.tools))
        if (notice := phase.entered(situation)) is not None:
            self._notify(notice)
        self._decide()

    def _decide(self) -> None:
        state = self.state
        if self._is_over or state.life != "running":
            return
        answer = self._phase.decider.ask(self.situation())
        if isinstance(answer, Decision) and answer.concludes:  # limits end what would go on, not what is done
            self._apply(answer)
            return
        if self._reached_limit():
            return
        if wants_compaction(state) and (cut := cut_point(state.turns, _KEPT_TURNS[0])) is not None:
            self._compact(cut, f"the prompt reached {state.context_tokens} tokens")
            answer = self._phase.decider.ask(self.situation())
        if isinstance(answer, Decision):
            self._apply(answer)
        else:
            self._command(answer)

    def _command(self, command: Command) -> None:
        """A command that a decider asks for."""
        match command:
            case CallModel():
                self._set(ask=command.ask, asked=False)
                self.commands.append(command)
            case AskHuman():
                self._set(reads_person=True)
                self._wait_for(command)
            case RunCli():
                self._start_batch(
                    (OpenCall(call=command.call, tool=f"cli:{command.profile}", arguments=command.prompt),)
                )
            case CallTool() | SetTimer() | Notify() | Spawn() | Stop():
                raise TypeError(f"a decider asks by CallModel, AskHuman or RunCli, not by {type(command).__name__}")
            case _:
                assert_never(command)

    def _apply(self, decision: Decision, *, of_model: bool = False) -> None:
        state = self.state
        step = state.spent.steps
        if decision.actions or of_model:
            step += 1
            self._set(spent=msgspec.structs.replace(state.spent, steps=step))
        if decision.facts:
            self._set(facts={**state.facts, **decision.facts})
        calls = self._numbered(decision.actions, step, of_model)
        self._derive(
            Decided(
                phase=self._phase.name,
                step=step,
                reason=decision.reason,
                actions=tuple(f"{call.call} {call.tool}" for call in calls),
                done=decision.done,
                goto=decision.goto,
                facts=dict(decision.facts),
            )
        )
        if self._is_over:  # the run is ending: the calls stay open, to be closed or taken up again
            self._set(calls=calls, results=())
            return
        for notice in decision.notices:
            self._notify(notice)
        if decision.stop is not None:
            self._stop(decision.stop, decision.reason)
            # What ended this stretch must not end the next one: resumed, the decider is asked afresh. Any other end
            # keeps its results, so that no effect is made again for want of the answer to the first.
            self._set(attempts=0)
        elif decision.goto:
            self._enter(self.agent.index(decision.goto))
        elif decision.done:
            self._finish_phase()
        elif calls:
            self._set(silent=0)
            self._start_batch(calls)
        elif decision.ask:
            self._wait_for(AskHuman("message", prompt=decision.ask))
        else:
            self._nudge_silent(
                "Your reply holds no tool call, so nothing was done. Call one of the tools, "
                "or `finish` when the task is done."
            )

    def _numbered(self, actions: tuple[Action, ...], step: int, of_model: bool) -> tuple[OpenCall, ...]:
        phase = self._phase
        calls = tuple(
            OpenCall(
                call=action.id or f"{phase.name}-{step}-{i}",
                tool=action.tool,
                arguments=action.arguments,
                is_offered=not of_model or action.tool in phase.tools,
            )
            for i, action in enumerate(actions)
        )
        if len({call.call for call in calls}) < len(calls):
            raise self._contradiction(f"an id is used twice among the calls {', '.join(call.call for call in calls)}")
        return calls

    def _finish_phase(self) -> None:
        following = self.state.phase + 1
        if following < len(self.agent.phases):
            self._enter(following)
            return
        status, reason = self.agent.success(self.situation())
        self._stop(_STATUSES[status], reason)

    def _nudge_silent(self, text: str) -> None:
        if self._is_over:
            return
        if self.state.silent + 1 >= _SILENT_REPLIES:
            self._derive(LimitReached(limit="stuck", value=self.state.silent + 1, cap=_SILENT_REPLIES))
            self._stop("stuck", f"{_SILENT_REPLIES} replies in a row held no tool call.")
            return
        self._set(silent=self.state.silent + 1)
        self._nudge(text)
        self._decide()

    def _stop(self, status: Status, reason: str) -> None:
        if self._is_over:
            return
        for notice in self.agent.stopped(self.situation(), status, reason):
            self._notify(notice)
        stop = Stop(status, reason)
        self._set(stopping=stop)
        self.commands.append(stop)

    # -- act --------------------------------------------------------------------------------------------

    def _start_batch(self, calls: tuple[OpenCall, ...]) -> None:
        self._set(calls=calls, results=())
        self._issue()

    def _issue(self) -> None:
        """Command what may run now: leading reads together, a writer alone and in its turn."""
        state = self.state
        if self._is_over:
            return
        calls = list(state.calls)
        running = False
        for i, call in enumerate(calls):
            if state.has_result(call.call):
                continue
            reads = self._traits(call.tool).effect == "pure"
            if not call.commanded:
                if running and not reads:
                    break
                calls[i] = msgspec.structs.replace(call, commanded=True)
                self.commands.append(self._call_command(call))
            running = True
            if not reads:
                break
        self._set(calls=tuple(calls))

    def _call_command(self, call: OpenCall) -> Command:
        kind, _, name = call.tool.partition(":") if call.is_offered else ("", "", "")
        if name and kind == "cli":
            left_s = self.state.limits.wall_s - self.state.spent.active_ns // _NANO
            return RunCli(call=call.call, profile=name, prompt=call.arguments, deadline_s=max(1, left_s))
        if name and kind == "spawn":
            return Spawn(call=call.call, agent=name, task=call.arguments)
        return CallTool(call.call, call.tool, call.arguments, call.approval)

    def _close_call(self, result: Result) -> None:
        state = self.state
        call = next((c for c in state.calls if c.call == result.call), None)
        if call is None or state.has_result(result.call):
            raise self._contradiction(f"an answer to call {result.call!r}, which is not open")
        if call.waiting:  # closed over the question: nobody needs to answer it any more
            self._no_longer_waits_for(call.waiting)
        known = {r.call: r for r in state.results}
        known[result.call] = result
        results = tuple(known[c.call] for c in state.calls if c.call in known)
        spent = msgspec.structs.replace(state.spent, tool_calls=state.spent.tool_calls + 1)
        self._set(results=results, spent=spent)
        if len(results) < len(state.calls):
            self._issue()
            return
        marks = (
            self._fingerprint(call, known[call.call]) for call in state.calls if not self._traits(call.tool).is_poll
        )
        recent = (*state.recent, *marks)[-KEPT:]
        self._set(calls=(), recent=recent, attempts=state.attempts + 1)
        if self._is_over:
            return
        if (notice := self._phase.stepped(self.situation())) is not None:
            self._notify(notice)
        if stuck := judge(recent):
            if state.nudges >= 1:
                self._derive(LimitReached(limit="stuck", value=len(recent), cap=KEPT))
                self._stop("stuck", f"The run is stuck: {stuck}, also after being told so.")
                return
            self._set(nudges=state.nudges + 1, recent=())
            self._nudge(f"You are repeating yourself: {stuck}. Look at what it says, and try something else.")
        self._decide()

    @staticmethod
    def _fingerprint(call: OpenCall, result: Result) -> Fingerprint:
        return fingerprint(
            call.tool,
            call.arguments.text or call.arguments.digest,
            result.text.text or result.text.digest,
            not result.is_ok,
        )

    def _notify(self, notice: Notice) -> None:
        number = self.state.next_seq + len(self.derived) + len(self.state.notices)
        command = Notify(f"{self.state.run}-{number}", notice.kind, notice.message, notice.details)
        self._set(notices=(*self.state.notices, command))
        self.commands.append(command)

    def _arm_wall_clock(self) -> None:
        left_ns = self.state.limits.wall_s * _NANO - self.state.spent.active_ns
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

    # -- small parts ------------------------------------------------------------------------------------

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

    def _derive(self, event: Event) -> None:
        self.derived.append(event)
        self._chain(event)

    def _chain(self, event: Event | Foreign) -> None:
        if isinstance(event, CONTEXT_KINDS):
            self._set(context_hash=chain(self.state.context_hash, event))

    def _expect_ask(self, ask: str, what: str) -> None:
        if ask != self.state.ask:
            raise self._contradiction(f"{what} model call {ask!r}, but {self.state.ask or 'none'!r} is open")

    def _contradiction(self, what: str) -> JournalError:
        return JournalError(
            f"Run {self.state.run}, event {self.state.next_seq - 1}: {what}",
            run=self.state.run,
            seq=self.state.next_seq - 1,
        )

    def _set(self, **changes: object) -> None:
        self.state = msgspec.structs.replace(self.state, **changes)


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
_STATUSES: dict[str, Status] = {status: status for status in get_args(Status)}
