"""Orient and decide: limits, stuck-ness and compaction first, then the decider of the phase, then what it chose."""

from __future__ import annotations

from typing import assert_never, get_args

import msgspec

from ooda.events import RUNTIME, Body, Compacted, Decided, LimitReached, ModelFailed, Observed, PhaseEntered, Status
from ooda.runtime.acting import Acting
from ooda.runtime.commands import AskHuman, CallModel, CallTool, Command, Notify, RunCli, SetTimer, Spawn, Stop
from ooda.runtime.compaction import cut_point, wants_compaction
from ooda.runtime.decide import Action, Decision, Result
from ooda.runtime.state import Fingerprint, OpenCall
from ooda.runtime.stuck import KEPT, fingerprint, judge
from ooda.runtime.working import NANO

__all__ = ["Deciding"]

_SILENT_REPLIES = 3
_KEPT_TURNS = (6, 3, 1)
"""Model turns kept verbatim by a compaction; each overflow in a row keeps fewer, and there is no fourth try."""
_PHASES_AT_ONCE = 100
"""Phases entered without a call in between: more than any agent has, fewer than the stack holds."""
_STATUSES: dict[str, Status] = {status: status for status in get_args(Status)}


class Deciding(Acting):
    """The moves from what is known to what is done next."""

    # -- orient -----------------------------------------------------------------------------------------

    def _reached_limit(self) -> bool:
        spent, limits = self.state.spent, self.state.limits
        active_s = spent.active_ns // NANO
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

    def _nudge(self, text: str) -> None:
        self._derive(Observed(source=RUNTIME, text=Body(text)))

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

    # -- decide -----------------------------------------------------------------------------------------

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

    def _stop(self, status: Status, reason: str) -> None:
        if self._is_over:
            return
        for notice in self.agent.stopped(self.situation(), status, reason):
            self._notify(notice)
        stop = Stop(status, reason)
        self._set(stopping=stop)
        self.commands.append(stop)

    def _close_call(self, result: Result) -> None:
        """Take a result in; after the last one of its batch, look whether the run is stuck, and decide."""
        batch = self._record_result(result)
        if not batch:
            return
        marks = (
            _mark(call, result)
            for call, result in zip(batch, self.state.results, strict=True)
            if not self._traits(call.tool).is_poll
        )
        recent = (*self.state.recent, *marks)[-KEPT:]
        self._set(recent=recent)
        if self._is_over:
            return
        if (notice := self._phase.stepped(self.situation())) is not None:
            self._notify(notice)
        if stuck := judge(recent):
            if self.state.nudges >= 1:
                self._derive(LimitReached(limit="stuck", value=len(recent), cap=KEPT))
                self._stop("stuck", f"The run is stuck: {stuck}, also after being told so.")
                return
            self._set(nudges=self.state.nudges + 1, recent=())
            self._nudge(f"You are repeating yourself: {stuck}. Look at what it says, and try something else.")
        self._decide()


def _mark(call: OpenCall, result: Result) -> Fingerprint:
    return fingerprint(
        call.tool,
        call.arguments.text or call.arguments.digest,
        result.text.text or result.text.digest,
        not result.is_ok,
    )
