"""Observe: what each event of the journal changes, and where it leads."""

from __future__ import annotations

from typing import assert_never

import msgspec

from ooda.events import (
    ApprovalAnswered,
    ApprovalAsked,
    Body,
    CallRefused,
    ChildStarted,
    ChildStopped,
    Compacted,
    Decided,
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
    Stopped,
    TimerFired,
    TimerSet,
    ToolInterrupted,
    ToolReturned,
    ToolStarted,
    UserMessage,
)
from ooda.runtime.agent import LOOP_VERSION
from ooda.runtime.commands import AskHuman
from ooda.runtime.decide import Result
from ooda.runtime.deciding import Deciding
from ooda.runtime.prefix import words_of
from ooda.runtime.working import WALL_CLOCK

__all__ = ["Observing"]

_BAD_REPLIES = 3


class Observing(Deciding):
    """One event, from what happened to what is asked for."""

    def fold(self, event: Event | Foreign) -> None:
        """Take one input event in.

        Raises:
            JournalError: it contradicts the state.
        """
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

    # -- the model --------------------------------------------------------------------------------------

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

    def _expect_ask(self, ask: str, what: str) -> None:
        if ask != self.state.ask:
            raise self._contradiction(f"{what} model call {ask!r}, but {self.state.ask or 'none'!r} is open")

    # -- calls ------------------------------------------------------------------------------------------

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

    # -- people and time --------------------------------------------------------------------------------

    def _approval_asked(self, event: ApprovalAsked) -> None:
        ask = AskHuman("approval" if event.ask == "action" else "decision", event.approval, event.shown.text)
        lapses_ns = event.expires_at_ns if event.ask == "action" else 0
        self._update_call(event.call, waiting=event.approval, expires_at_ns=lapses_ns)
        self._wait_for(ask)
        if lapses_ns:
            self._arm_approval(event.approval, lapses_ns)

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
