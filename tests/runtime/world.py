"""A small world and an owner that carries a run through it, and can be killed after any write to the journal.

The world is what survives a kill: files, a remote, a deployment. The owner is what does not: it takes commands in an
order of its own choosing, writes the intent before each effect and the result after it, and when it is killed, all
it held is gone but the journal.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Literal

from ooda.events import Body, Notified, Stopped, TimerSet, ToolCall, ToolReturned, ToolStarted
from ooda.runtime.agent import AgentSpec
from ooda.runtime.commands import AskHuman, CallModel, CallTool, Command, Notify, SetTimer, Stop
from ooda.runtime.decide import Decision, Notice, Situation
from ooda.runtime.state import OpenCall
from tests.runtime.scripted import TRAITS, Run, act, agent, call, model_phase, policy_phase

GOALS = (
    (("read", "a"), ("read", "b")),
    (("write", "x"), ("read", "c"), ("write", "y")),
    (("deploy", "preview"),),
    (("finish", "now"),),
)
"""What the scripted model wants done, batch by batch."""


Death = Literal["landed", "lost", "stopped"]


class Killed(Exception):
    """The owner died."""


# -- the agent --------------------------------------------------------------------------------------------


def checked(tool: str, fact: str):
    """A policy of one call, made again when it was interrupted, whose answer becomes a fact."""

    def policy(situation: Situation) -> Decision:
        if not situation.results or situation.results[0].status == "interrupted":
            return Decision(actions=(act(tool, path=fact),))
        return Decision(done=True, facts={fact: situation.results[0].is_ok}, notices=(Notice("fact", fact),))

    return policy


def coder() -> AgentSpec:
    return agent(
        policy_phase("clone", checked("read", "base"), entered=lambda s: Notice("progress", "cloning")),
        model_phase("implement", brief="Do what the task says.", is_round=True),
        policy_phase("validate", checked("test", "passed")),
        policy_phase("push", checked("push", "pushed")),
        success=lambda s: ("success", "pushed") if s.facts["pushed"] else ("unverified", "not pushed"),
    )


def wishes(messages: list[dict]) -> tuple[ToolCall, ...]:
    """The scripted model: a pure function of the request, so an interrupted call to it can be made again."""
    asked = {}
    turns = 0
    for message in messages:
        turns += message["role"] == "assistant"
        for wanted in message.get("tool_calls", ()):
            asked[wanted["id"]] = (wanted["function"]["name"], wanted["function"]["arguments"])
    done = {asked[m["tool_call_id"]] for m in messages if m["role"] == "tool" and m["content"].startswith("ok")}
    for batch in GOALS:
        calls = [call(f"m{turns}-{i}", tool, path=path) for i, (tool, path) in enumerate(batch)]
        open_ = tuple(c for c in calls if (c.tool, c.arguments.text) not in done)
        if open_:
            return open_
    raise AssertionError("the model is asked after it finished")


# -- the world --------------------------------------------------------------------------------------------


class World:
    """Everything outside: what was really done, how often, under which key."""

    def __init__(self) -> None:
        self.effects: Counter[tuple[str, str]] = Counter()
        """`(call, key)` of each local or once effect that landed."""
        self.keys: set[str] = set()
        """Idempotency keys the outside has seen."""

    def act(self, tool: str, id: str, key: str, arguments: Body) -> str:
        if TRAITS[tool].effect in ("local", "once"):
            self.effects[id, key] += 1
        if TRAITS[tool].effect in ("keyed", "once"):
            self.keys.add(key)
        return f"ok: {tool} {arguments.text}"


class Owner:
    """Carries one run until it stops, or until it wrote `lives` inputs; then it dies as `death` says.

    Args:
        death: `landed` and `lost` are kills, told apart by whether an effect whose intent was the last write still
            happens. `stopped` is Ctrl-C: what is open is closed and the end is written before the owner goes.
    """

    def __init__(self, world: World, run: Run, *, seed: int = 0, lives: int = 10**6, death: Death = "landed") -> None:
        self.world = world
        self.run = run
        self.lives = lives
        self.death = death
        self._random = random.Random(seed)
        self._open: list[Command | ToolReturned] = []

    def drive(self) -> None:
        """Start the run, or take it up where its journal ends, and go on to its end. Raises Killed."""
        try:
            self._carry()
        except Killed:
            if self.death == "stopped" and self.run.state.life in ("running", "waiting"):
                self._close()
            raise

    def _carry(self) -> None:
        if not self.run.journal:
            self._open += self._write(self.run.start)
        else:
            self._settle()
            self._open += self._write(self.run.resume)
        while self._open:
            self._take(self._open.pop(self._random.randrange(len(self._open))))

    def _write(self, feed, *given) -> tuple[Command, ...]:
        if self.lives == 0:
            raise Killed
        self.lives -= 1
        commands = feed(*given)
        return tuple(commands)

    def _take(self, command: Command | ToolReturned) -> None:
        match command:
            case CallModel():
                self._write(self.run.intend)
                self._open += self._write(lambda: self.run.reply_with(wishes(self.run.messages)))
            case CallTool():
                self._begin(command)
            case ToolReturned():
                self._open += self._write(self.run.feed, command)
            case Notify():
                self._write(self._put_out, command)
            case SetTimer():
                self._write(self.run.feed, TimerSet(timer=command.timer, at_ns=command.at_ns))
            case Stop() if self._open:
                self._open.append(command)  # notices go out first
            case Stop():
                self._write(self.run.stop)
            case AskHuman():
                call = next(c for c in self.run.state.calls if c.waiting == command.id)
                answer = "happened" if call.key in self.world.keys else "did_not"
                self._open += self._write(lambda: self.run.answer(answer, command.id))

    def _put_out(self, notice: Notify) -> tuple[Command, ...]:
        return self.run.feed(Notified(notice=notice.notice, kind_=notice.kind, message=notice.message))

    def _begin(self, command: CallTool) -> None:
        self._write(self.run.begin, command.call)
        started = next(c for c in self.run.state.calls if c.call == command.call)
        if self.lives == 0 and self.death == "lost":
            raise Killed
        text = self.world.act(command.tool, command.call, started.key, command.arguments)
        self._open.append(ToolReturned(call=command.call, tool=command.tool, status="ok", text=Body(text)))

    def _close(self) -> None:
        """A graceful end: begun effects are closed as far as anybody can tell, then Stopped is written.

        An end that the core had decided on already stands, with its notices.
        """
        for open_ in self.run.state.open_started:
            if not open_.waiting:
                again = TRAITS[open_.tool].effect in ("keyed", "once")
                self.run.interrupt(open_.call, "unknown" if again else "not_repeated")
        if self.run.state.ask:
            self.run.fail("interrupted")
        for notice in self.run.state.notices:
            self._put_out(notice)
        end = self.run.state.stopping or Stop("cancelled", "Ctrl-C")
        self.run.feed(Stopped(status=end.status, reason=end.reason))

    def _settle(self) -> None:
        """What a killed owner left open, by effect class."""
        if self.run.state.asked:
            self._write(lambda: self.run.fail("interrupted"))
        for open_ in self.run.state.open_started:
            effect = TRAITS[open_.tool].effect
            if effect == "local":
                self._write(self.run.interrupt, open_.call, "not_repeated")
            elif effect == "once" and not open_.waiting:
                self._probe(open_)

    def _probe(self, open_: OpenCall) -> None:
        """Is it on the remote? Now and then the remote does not say."""
        happened = open_.key in self.world.keys
        if self._random.random() < 0.3:
            self._write(self.run.interrupt, open_.call, "unknown")
            self._write(lambda: self.run.ask_approval(open_.call, f"apr-{self.run.state.next_seq}", ask="decision"))
        elif happened:
            text = f"ok: {open_.tool} {open_.arguments.text}"
            self._write(self.run.feed, ToolReturned(call=open_.call, tool=open_.tool, status="ok", text=Body(text)))
        else:
            self._write(self.run.interrupt, open_.call, "did_not")


def revived(run: Run) -> Run:
    """The same run in another process: nothing but the bytes of its journal."""
    again = Run(run.spec, limits=run.limits, run=run.state.run)
    again.now_ns = run.now_ns + 3600 * 10**9
    again.journal = run.written()
    again.state, _ = again.loop.fold(run.state.run, again.journal)
    for seq, entry in enumerate(again.journal):
        again.prompt.feed(seq, entry.event)
    assert again.state == run.state
    return again


FACTS = {"base": True, "passed": True, "pushed": True}


def carried(*deaths: tuple[int, Death], seed: int = 0) -> tuple[Run, World]:
    """The run at its end, after owners that each died after so many writes."""
    world, run = World(), Run(coder())
    for turn, (lives, death) in enumerate(deaths):
        if run.state.status == "success":
            break
        try:
            Owner(world, run, seed=seed + turn, lives=lives, death=death).drive()
        except Killed:
            run = revived(run)
    if run.state.status != "success":
        Owner(world, run, seed=seed + len(deaths)).drive()
    return run, world


def assert_same_end(run: Run, world: World) -> None:
    """What holds however often the run was killed or stopped: one end, the same facts, nothing done twice."""
    assert run.events(Stopped)[-1].status == "success"
    assert run.state.facts == FACTS
    assert max(world.effects.values()) == 1, "no local or once effect was repeated"
    started = [e for e in run.events(ToolStarted) if e.effect == "once"]
    assert len({e.key for e in started}) == 1, "one push, however many attempts at it"
    assert sum(1 for _, key in world.effects if key == started[0].key) == 1
    once = [call for call, _ in world.effects]
    assert len(once) == len(set(once))
    answers = [e.call for e in run.events(ToolReturned)]
    assert len(answers) == len(set(answers)), "one answer to each call"
    noticed = [e.notice for e in run.events(Notified)]
    assert len(noticed) == len(set(noticed)) == 4, "each notice is recorded once"
    assert run.loop.fold(run.state.run, run.written()) == (run.state, run.commands)


__all__ = ["Death", "Killed", "Owner", "World", "assert_same_end", "carried", "coder", "revived"]
