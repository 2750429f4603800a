"""What becomes of a call that was cut off in the middle, for each effect class, by the real engine and journal.

A tool that raises `Kill` ends its process as SIGKILL would, seen from the journal: intent written, result not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ooda.api.people import answer_approval, waiting_for
from ooda.cli.main import main
from ooda.clock import ManualClock
from ooda.engines.local import Answer
from ooda.errors import RefusedError
from ooda.events import ApprovalAsked, Effect, ToolInterrupted, ToolReturned, ToolStarted
from ooda.governance.call import ProbeAnswer, ToolOutcome
from ooda.governance.operations import Operation
from ooda.models.scripted import say
from ooda.runtime.agent import Phase
from ooda.runtime.commands import AskHuman
from ooda.runtime.decide import Decision, ModelDecider
from ooda.testing.agents import AgentBench
from ooda.tools.declare import ToolDeclaration, tool
from ooda.tools.room import ToolRoom

CALL = say("Act.", ("act", {}))
END = say("The end.")


class Kill(BaseException):
    """The end of the process."""


@dataclass
class World:
    """The outside: what was done to it under which key, and what it answers when it is asked."""

    dies: int = 1
    """So many calls are cut off after their effect."""
    answers: list[ProbeAnswer] = field(default_factory=list)
    """What the probe says, in turn; the last answer stands."""
    keys: list[str] = field(default_factory=list)
    probed: list[str] = field(default_factory=list)

    def tool(self, effect: Effect, operation: Operation = Operation.WRITE_WORKSPACE) -> ToolDeclaration:
        """A tool of this effect class on this world."""

        async def probe(room: ToolRoom, arguments: object, key: str) -> ProbeAnswer:
            self.probed.append(key)
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

        @tool(operation=operation, effect=effect, probe=probe)
        async def act(room: ToolRoom) -> ToolOutcome:
            """Act on the world."""
            self.keys.append(room.call.key)
            if len(self.keys) <= self.dies:
                raise Kill
            return ToolOutcome(text="acted")

        return act


class Yes:
    """A person who approves."""

    def __init__(self) -> None:
        self.asked: list[AskHuman] = []

    async def approve(self, ask: AskHuman) -> Answer:
        self.asked.append(ask)
        return Answer("approve", "ann")

    async def message(self, prompt: str) -> str | None:
        return None


Make = Callable[..., AgentBench]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a bench whose model calls `act` once and then ends."""

    def bench(declared: ToolDeclaration, **options: object) -> AgentBench:
        decider = ModelDecider(silent=lambda situation, reply: Decision(done=True))
        phases = (Phase(name="act", decider=decider, tools=("act",)),)
        return AgentBench(tmp_path, phases, (declared,), **options)  # type: ignore[arg-type]

    return bench


async def killed(bench: AgentBench, *, person: Yes | None = None, run: str = "") -> str:
    """Start or resume a run that dies in its call; gives its id."""
    with pytest.raises(Kill):
        await bench.run([] if run else [CALL], person=person, run=run)
    assert bench.engine is not None
    return bench.engine.state.run


def kinds(bench: AgentBench, kind: type) -> list[object]:
    return [event for event in bench.heard if isinstance(event, kind)]


@pytest.mark.parametrize("effect", ["pure", "keyed"])
async def test_pure_and_keyed_calls_are_done_again_under_the_key_of_the_first_attempt(
    make: Make, effect: Effect
) -> None:
    """However often they are cut off; the model sees one call and one result."""
    world = World(dies=3)
    bench = make(world.tool(effect))

    run = await killed(bench)
    for _ in range(2):
        await killed(bench, run=run)
    ending = await bench.run([END], run=run)

    assert ending.status == "success"
    assert len(world.keys) == 4
    assert len(set(world.keys)) == 1
    assert [event.text.text for event in bench.heard if isinstance(event, ToolReturned)] == ["acted"]
    assert {event.key for event in bench.heard if isinstance(event, ToolStarted)} == set(world.keys)


async def test_a_local_call_is_shown_and_not_repeated(make: Make) -> None:
    """The decider reads that it was interrupted, and decides what to do."""
    world = World()
    bench = make(world.tool("local"))

    run = await killed(bench)
    ending = await bench.run([END], run=run)

    assert (ending.status, len(world.keys)) == ("success", 1)
    (interrupted,) = (event for event in bench.heard if isinstance(event, ToolInterrupted))
    assert interrupted.outcome == "not_repeated"
    assert "look before you go on" in interrupted.text.text


async def test_a_once_call_that_happened_is_taken_as_done(make: Make) -> None:
    """The probe is asked with the call's own key; nothing is repeated."""
    world = World(answers=["happened"])
    bench = make(world.tool("once"))

    run = await killed(bench)
    ending = await bench.run([END], run=run)

    assert (ending.status, len(world.keys), world.probed) == ("success", 1, world.keys)
    (returned,) = (event for event in bench.heard if isinstance(event, ToolReturned))
    assert returned.status == "ok"
    assert "not repeated" in returned.text.text


async def test_a_once_call_that_did_not_happen_is_made(make: Make) -> None:
    """Under the key of the first attempt, and probed again when that one is cut off too."""
    world = World(dies=2, answers=["did_not"])
    bench = make(world.tool("once"))

    run = await killed(bench)
    await killed(bench, run=run)
    ending = await bench.run([END], run=run)

    assert ending.status == "success"
    assert len(world.keys) == 3
    assert len(set(world.keys)) == 1
    assert len(world.probed) == 2


@pytest.mark.parametrize(("answer", "calls"), [("happened", 1), ("did_not", 2)])
async def test_what_nobody_can_tell_waits_for_a_person(make: Make, answer: str, calls: int) -> None:
    """Any number of resumes changes nothing until somebody decides; then the call is done, or made."""
    world = World(answers=["unknown"])
    bench = make(world.tool("once"))

    run = await killed(bench)
    first = await bench.run([], run=run)
    second = await bench.run([], run=run)
    assert (first.status, second.status, len(world.keys)) == ("waiting", "waiting", 1)
    assert f"ooda runs decide {run}" in first.reason

    with bench.session() as session:
        (question,) = waiting_for(session)
        answer_approval(session, question.id, answer, "")  # type: ignore[arg-type]
    ending = await bench.run([END], run=run)

    assert (ending.status, len(world.keys)) == ("success", calls)
    assert len(kinds(bench, ApprovalAsked)) == 1


@pytest.mark.parametrize(("found", "calls"), [("happened", 1), ("did_not", 2)])
async def test_the_outside_is_asked_again_before_a_person_has_to_answer(
    make: Make, found: ProbeAnswer, calls: int
) -> None:
    """A remote that was away and is back knows better; the question is closed."""
    world = World(answers=["unknown", found])
    bench = make(world.tool("once"))

    run = await killed(bench)
    assert (await bench.run([], run=run)).status == "waiting"
    ending = await bench.run([END], run=run)

    assert (ending.status, len(world.keys)) == ("success", calls)
    with bench.session() as session:
        assert waiting_for(session) == []


async def test_a_decision_about_what_happened_never_lapses(make: Make) -> None:
    """Silence is no answer to a question of fact: a year later it is still open, and can be answered."""
    world = World(answers=["unknown"])
    clock = ManualClock(step_ns=1)
    bench = make(world.tool("once"), clock=clock)

    run = await killed(bench)
    await bench.run([], run=run)
    clock.advance(366 * 86_400)
    assert (await bench.run([], run=run)).status == "waiting"
    with bench.session() as session:
        (question,) = waiting_for(session)
        answer_approval(session, question.id, "happened", "")
    ending = await bench.run([END], run=run)

    assert (ending.status, len(world.keys)) == ("success", 1)


async def test_a_run_killed_before_it_could_ask_asks_when_it_is_resumed(make: Make) -> None:
    """The interruption is journaled, the question is not: it is not taken for answered."""
    world = World(answers=["unknown"])
    bench = make(world.tool("once"))
    run = await killed(bench)
    await bench.run([], run=run)
    with bench.session() as session:
        rows = list(session.store.rows(run))
        cut = next(row.seq for row in rows if row.kind == "ApprovalAsked")
        before = rows[cut - 1]

        def shorten(tx: object) -> None:
            tx.change("DELETE FROM events WHERE run = ? AND seq >= ?", (run, cut))  # type: ignore[attr-defined]
            tx.change("DELETE FROM approvals WHERE run = ?", (run,))  # type: ignore[attr-defined]
            tx.change(  # type: ignore[attr-defined]
                "UPDATE runs SET last_seq = ?, last_hash = ? WHERE run = ?", (before.seq, before.hash, run)
            )

        session.store.write_now(shorten)

    ending = await bench.run([], run=run)

    assert (ending.status, len(world.keys)) == ("waiting", 1)
    with bench.session() as session:
        assert len(waiting_for(session)) == 1


async def test_an_approval_covers_every_attempt_at_its_one_effect(make: Make) -> None:
    """A keyed call that is done again is the same effect: the person who allowed it is not asked twice."""
    world = World(dies=2)
    person = Yes()
    bench = make(world.tool("keyed", Operation.NOTIFY))

    run = await killed(bench, person=person)
    await killed(bench, person=person, run=run)
    ending = await bench.run([END], person=person, run=run)

    assert (ending.status, len(person.asked)) == ("success", 1)
    assert len(set(world.keys)) == 1


async def test_an_approval_that_was_used_allows_no_second_call(make: Make) -> None:
    """It is bound to its own call: the same words again are asked about again."""
    world = World(dies=0)
    person = Yes()
    bench = make(world.tool("keyed", Operation.NOTIFY))

    await bench.run([CALL, CALL, END], person=person)

    assert len(person.asked) == 2
    assert len(set(world.keys)) == 2


async def test_a_question_that_was_answered_meanwhile_is_answered_once(make: Make) -> None:
    """Two people at two terminals: the second one is told who was first."""
    world = World(answers=["unknown"])
    bench = make(world.tool("once"))
    run = await killed(bench)
    await bench.run([], run=run)

    with bench.session() as session:
        (question,) = waiting_for(session)
        answer_approval(session, question.id, "happened", "")
        with pytest.raises(RefusedError, match="answered `happened` before"):
            answer_approval(session, question.id, "did_not", "")


async def test_only_a_call_that_waits_can_be_decided_and_only_once(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong run, a wrong call and a second answer are told apart, and change nothing."""
    world = World(answers=["unknown"])
    bench = make(world.tool("once"))
    run = await killed(bench)
    assert (await bench.run([], run=run)).status == "waiting"
    with bench.session() as session:
        (question,) = waiting_for(session)
    call = question.call
    monkeypatch.setenv("HOME", str(tmp_path))

    def decide(of: str, which: str, word: str) -> tuple[int, str]:
        code = main(["runs", "decide", of, which, word])
        told = capsys.readouterr()
        return code, told.out + told.err

    assert main(["approvals", "list"]) == 0
    assert call in capsys.readouterr().out
    assert main(["runs", "list", "--status", "waiting"]) == 0
    assert run in capsys.readouterr().out

    code, told = decide("run-nope", call, "--happened")
    assert (code, "there is no run 'run-nope'" in told) == (2, True)
    code, told = decide(run, "c99", "--happened")
    assert (code, f"calls of this run that do: `{call}`" in told) == (2, True)
    code, told = decide(run, call, "--happened")
    assert (code, f"ooda runs resume {run}" in told) == (0, True)
    code, told = decide(run, call, "--did-not")
    assert (code, "no call of this run does" in told) == (2, True)

    ending = await bench.run([END], run=run)
    assert (ending.status, len(world.keys)) == ("success", 1)
