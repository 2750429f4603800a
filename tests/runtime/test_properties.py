"""Rules that hold whatever happens to a run: any replies, failures, people, timers, kills and stops, in any order."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ooda.events import Body, Foreign, Limits, Observed, Resumed, SkillActivated, Stopped, UserMessage, is_derived
from ooda.runtime.commands import AskHuman, CallModel, CallTool, Notify, RunCli, Spawn, Stop
from ooda.runtime.decide import Decision, Notice, Situation
from ooda.runtime.state import OpenCall
from tests.runtime.conversation import assert_valid
from tests.runtime.scripted import SECOND, TRAITS, Run, act, agent, call, converse, model_phase, policy_phase
from tests.runtime.world import revived

STATE_BYTES = 30_000
"""Far above what any state here needs, far below what it would be if it grew with the steps."""


def look(situation: Situation) -> Decision:
    """A policy that reads twice at once, then writes, then goes on."""
    if situation.attempts == 0:
        return Decision(actions=(act("read"), act("read")), facts={"looked": situation.step})
    if situation.attempts == 1:
        return Decision(actions=(act("write"),), notices=(Notice("progress", "writing"),))
    return Decision(done=True)


def judge(situation: Situation) -> Decision:
    """A policy that tests, and sends the work back while it fails."""
    if not situation.results:
        return Decision(actions=(act("test", round=situation.round),))
    if situation.results[0].is_ok:
        return Decision(done=True, facts={"passed": True})
    if situation.results[0].status == "refused":
        return Decision(stop="refused", reason="no tests allowed")
    return Decision(goto="work", facts={"failed": situation.round})


def worker():
    return agent(
        policy_phase("look", look),
        model_phase("work", brief="Work.", is_round=True, entered=lambda s: Notice("progress", "working")),
        policy_phase("judge", judge),
        stopped=lambda s, status, reason: (Notice("end", status),),
    )


WORDS = st.sampled_from(["", "hm", "Let me think about it."])
TOOL_NAMES = st.sampled_from([*TRAITS, "no_such_tool", "cli:claude", "spawn:triage"])
SECONDS = st.sampled_from([0, 1, 5, 1000, -5])


class AnyRun(RuleBasedStateMachine):
    """The rules are everything that may happen next; the invariants are what may never."""

    run: Run

    @initialize(
        spec=st.sampled_from([worker, lambda: agent(converse())]),
        limits=st.sampled_from(
            [
                Limits(),
                Limits(steps=4),
                Limits(rounds=1),
                Limits(wall_s=3000),
                Limits(tokens=500),
                Limits(cost_nano=2500),
                Limits(context_tokens=400),
            ]
        ),
    )
    def begin(self, spec: Any, limits: Limits) -> None:
        self.run = Run(spec(), limits=limits)
        self.ids = 0
        self.stops = 0
        self._heard(self.run.start())

    def _heard(self, commands: tuple[Any, ...]) -> None:
        """What holds for the commands of every event."""
        state = self.run.state
        stops = [command for command in commands if isinstance(command, Stop)]
        self.stops += len(stops)
        assert self.stops <= 1, "Stop is asked for once in each stretch"
        if stops:
            assert commands[-1] is stops[0], "nothing is asked for after Stop"
        asked = [command for command in commands if isinstance(command, CallModel)]
        assert len(asked) <= 1
        if asked:
            assert (asked[0].prefix_hash, asked[0].ask) == (self.run.prompt.context_hash, state.ask)
            assert asked[0].upto_seq == len(self.run.journal) - 1
            assert not state.calls
            assert_valid(self.run.messages)
        begun = {c.call for c in state.calls if c.started and TRAITS.get(c.tool) and TRAITS[c.tool].effect == "once"}
        again = {c.call for c in commands if isinstance(c, CallTool | RunCli | Spawn)} & begun
        assert not again, "an effect that may have happened is never commanded again"

    def _fresh(self) -> str:
        self.ids += 1
        return f"c{self.ids}"

    def _running(self) -> list[OpenCall]:
        state = self.run.state
        return [c for c in state.calls if c.commanded and not c.waiting and not state.has_result(c.call)]

    def _waiting(self) -> list[OpenCall]:
        asked = {ask.id for ask in self.run.state.waiting if ask.id}
        return [c for c in self.run.state.calls if c.waiting in asked]

    @property
    def _alive(self) -> bool:
        return self.run.state.is_alive

    # -- the model

    @precondition(lambda self: self._alive and self.run.state.ask)
    @rule(tools=st.lists(TOOL_NAMES, max_size=4), words=WORDS, finish=st.sampled_from(["", "length", "refusal"]))
    def reply(self, tools: list[str], words: str, finish: str) -> None:
        calls = [call(self._fresh(), tool, path=tool) for tool in tools]
        self._heard(self.run.reply(*calls, content=words, finish=finish))

    @precondition(lambda self: self._alive and self.run.state.ask)
    @rule(error=st.sampled_from(["unavailable", "overflow", "output", "credential", "budget", "refused", "cancelled"]))
    def model_fails(self, error: str) -> None:
        self._heard(self.run.fail(error, tokens=3, cost_nano=1))

    # -- the tools

    @precondition(lambda self: self._alive and self._running())
    @rule(data=st.data(), status=st.sampled_from(["ok", "ok", "ok", "error", "timeout", "no_data"]))
    def returns(self, data: st.DataObject, status: str) -> None:
        done = data.draw(st.sampled_from(self._running()))
        text = data.draw(st.sampled_from(["same", "1 failed", f"text {self.ids}"]))
        self._heard(self.run.returns(done.call, text, status=status, data={"n": 1} if status == "ok" else None))

    @precondition(lambda self: self._alive and self._running())
    @rule(data=st.data())
    def begins(self, data: st.DataObject) -> None:
        self._heard(self.run.begin(data.draw(st.sampled_from(self._running())).call))

    @precondition(lambda self: self._alive and [c for c in self._running() if not c.started])
    @rule(data=st.data(), why=st.sampled_from(["permission", "arguments"]))
    def refused(self, data: st.DataObject, why: str) -> None:
        refused = data.draw(st.sampled_from([c for c in self._running() if not c.started]))
        self._heard(self.run.refuse(refused.call, why))

    @precondition(lambda self: self.run.state.open_started)
    @rule(data=st.data(), outcome=st.sampled_from(["not_repeated", "did_not"]))
    def interrupted(self, data: st.DataObject, outcome: str) -> None:
        self._heard(self.run.interrupt(data.draw(st.sampled_from(self.run.state.open_started)).call, outcome))

    # -- people and time

    @precondition(lambda self: self._alive and self._running())
    @rule(data=st.data())
    def approval_asked(self, data: st.DataObject) -> None:
        asked = data.draw(st.sampled_from(self._running()))
        self._heard(
            self.run.ask_approval(asked.call, f"apr-{self._fresh()}", ask="decision" if asked.started else "action")
        )

    @precondition(lambda self: self._waiting())
    @rule(data=st.data())
    def answered(self, data: st.DataObject) -> None:
        waiting = data.draw(st.sampled_from(self._waiting()))
        asked = next(ask for ask in self.run.state.waiting if ask.id == waiting.waiting)
        decisions = ["happened", "did_not"]
        answers = ["approve", "modify", "reject", "stop", "expired"] if asked.ask == "approval" else decisions
        answer = data.draw(st.sampled_from(answers))
        edit = Body('{"path": "edited"}') if answer == "modify" else None
        self._heard(self.run.answer(answer, waiting.waiting, arguments=edit))

    @rule(text=st.sampled_from(["go on", "stop that"]))
    def said(self, text: str) -> None:
        self._heard(self.run.say(text))

    @precondition(lambda self: self._alive)
    @rule(after_s=SECONDS)
    def time_passes(self, after_s: int) -> None:
        self._heard(self.run.fire("wall_clock", after_s=after_s))

    @precondition(lambda self: self._alive and self._waiting())
    @rule()
    def approval_lapses(self) -> None:
        self._heard(self.run.fire(f"approval:{self._waiting()[0].waiting}"))

    @rule(source=st.sampled_from(["inbox", "work tree"]))
    def observed(self, source: str) -> None:
        self._heard(self.run.feed(Observed(source=source, text=Body("news"))))

    @precondition(lambda self: self._alive)
    @rule(name=st.sampled_from(["pytest", "git"]))
    def skill(self, name: str) -> None:
        self._heard(self.run.feed(SkillActivated(name=name, digest="d", body=Body(name))))

    @rule()
    def foreign(self) -> None:
        self._heard(self.run.feed(Foreign("Applauded", b'{"kind":"Applauded"}')))

    # -- ends

    @precondition(lambda self: self._alive and self.run.state.stopping)
    @rule()
    def stopped(self) -> None:
        self.run.stop()
        self.stops = 0

    @precondition(lambda self: self._alive and not self.run.state.stopping)
    @rule()
    def cancelled(self) -> None:
        self.run.feed(Stopped(status="cancelled", reason="Ctrl-C"))

    @precondition(lambda self: self.run.state.status != "success")
    @rule(limits=st.sampled_from([None, Limits()]))
    def resumed(self, limits: Limits | None) -> None:
        """Also the end of an owner that was killed: what it held is gone, the journal is not."""
        if self.run.state.is_alive:
            self.run = revived(self.run)
            self.stops = 0
        if self.run.state.asked:
            self.run.fail("interrupted")
        self._heard(self.run.resume(limits))

    # -- what never happens

    @invariant()
    def state_stays_small(self) -> None:
        assert len(msgspec.json.encode(self.run.state)) < STATE_BYTES

    @invariant()
    def a_living_run_has_something_to_wait_for(self) -> None:
        """Nobody hangs: a run that is not stopped has an open call, question, model call or end."""
        state = self.run.state
        if state.life in ("running", "waiting") and not state.stopping:
            open_ = [c for c in state.calls if not state.has_result(c.call)]
            assert state.ask or open_ or state.waiting, f"{state.life}, and nothing is to come"
            if open_ and not state.waiting:
                assert any(c.commanded for c in open_)

    @invariant()
    def the_conversation_is_valid(self) -> None:
        assert_valid(self.run.messages, open_calls=True)

    def teardown(self) -> None:
        if hasattr(self, "run"):
            run = self.run
            assert run.loop.fold(run.state.run, run.written()) == (run.state, run.commands)


AnyRun.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestAnyRun = AnyRun.TestCase


class AnyLongRun(AnyRun):
    """The same for longer."""


AnyLongRun.TestCase.settings = settings(max_examples=2500, stateful_step_count=80, deadline=None)
TestAnyLongRun = pytest.mark.soak(AnyLongRun.TestCase)


# -- a thousand steps -------------------------------------------------------------------------------------


def sizes(steps: int, every: int) -> tuple[Run, list[int]]:
    """A long run of reads, writes, refusals, plans and messages; the size of its state every so many steps."""
    run = Run(agent(model_phase("work", tools=tuple(TRAITS))), limits=Limits(steps=10**6, context_tokens=4000))
    run.start()
    measured = []
    for step in range(steps):
        ids = [f"{kind}{step:05}" for kind in "abc"]
        run.reply(
            call(ids[0], "read", path=f"{step:05}"),
            call(ids[1], "plan", step=f"{step:05}"),
            call(ids[2], "write", path=f"{step:05}"),
            tokens=1000 + step * 37 % 3000,
        )
        run.returns(ids[1], f"plan {step:05}", data=[{"step": f"{step:05}"}])
        run.returns(ids[0], f"text {step:05}")
        if step % 7 == 0:
            run.feed(SkillActivated(name="pytest", digest="d", body=Body("Run pytest.")))
            run.feed(UserMessage(text=Body("go on")))
        if step % 2:
            run.refuse(ids[2], "permission", f"no {step:05}")
        else:
            run.returns(ids[2], f"wrote {step:05}")
        if step % every == every - 1:
            measured.append(len(msgspec.json.encode(run.state)))
    return run, measured


def test_the_state_of_a_run_does_not_grow_with_its_steps() -> None:
    """After a thousand steps it is as large as after a hundred, but for a digit in its counters."""
    run, measured = sizes(1000, 100)
    assert run.state.spent.steps == 1000
    assert max(measured) - min(measured) < 200
    assert run.state.compactions > 100


@pytest.mark.parametrize("kind", [Notify, AskHuman, CallTool])
def test_every_command_kind_is_reached_by_the_random_runs(kind: type[Any]) -> None:
    """A guard for the rules above: a run of them that meets no question or notice would prove little."""
    run = Run(worker())
    run.start()
    run.returns("look-1-0")
    run.returns("look-1-1")
    run.ask_approval("look-2-0")
    assert any(isinstance(command, kind) for command in run.asked)


def test_seq_counts_exactly_what_is_written() -> None:
    """Input and derived events alike; the next row's seq is known before it is written."""
    run, _ = sizes(20, 5)
    inputs = sum(not is_derived(entry.event) for entry in run.journal)
    assert run.state.next_seq == len(run.journal) > inputs
    assert run.now_ns > SECOND
    assert not run.events(Resumed)
