"""Going back in the workspace, and two runs beside each other."""

from __future__ import annotations

import asyncio

import pytest

from ooda.api.differences import compare_runs
from ooda.api.fork import fork_run
from ooda.api.rewind import rewinding
from ooda.cli.main import main
from ooda.errors import ConfigError, LeaseLostError
from ooda.events import Observed
from ooda.models.scripted import ScriptedModel, say
from ooda.services.git import Change
from ooda.store import leases
from ooda.testing.runs import RunBench

pytestmark = pytest.mark.bubblewrap

PLAN = say("Plan.", ("update_plan", {"steps": [{"description": "Add instead of subtract"}]}))
MEND = say("Mend.", ("edit_file", {"path": "sums.py", "old": "a - b", "new": "a + b"}))
NOTE = say("Note.", ("write_file", {"path": "note.txt", "content": "first\n"}))
OTHER = say("Note.", ("write_file", {"path": "note.txt", "content": "other\n"}))
FINISH = say("Done.", ("finish", {"summary": "add() adds now."}))


async def test_a_preview_changes_nothing_and_names_every_path(bench: RunBench) -> None:
    """What would be written back and what would be removed."""
    run = (await bench.run(bench.task(), [PLAN, MEND, NOTE])).state.run
    with bench.session() as session:
        async with rewinding(session, run, 4) as prepared:
            planned = await prepared.preview()
        workspace = session.places.run(run).workspace

        assert (planned.written, planned.removed) == (("sums.py",), ("note.txt",))
        assert (workspace / "note.txt").exists()


async def test_what_is_put_back_is_told_to_the_model(bench: RunBench) -> None:
    """The run goes on from its journal, and knows that a person undid its work."""
    run = (await bench.run(bench.task(), [PLAN, MEND, NOTE])).state.run
    with bench.session() as session:
        async with rewinding(session, run, 5) as prepared:
            done = await prepared.put_back()
        workspace = session.places.run(run).workspace
        assert (done.written, done.removed) == ((), ("note.txt",))
        assert "a + b" in (workspace / "sums.py").read_text()
        assert not (workspace / "note.txt").exists()

    model = ScriptedModel([FINISH])
    ending = await bench.resume(run, model)

    assert ending.status == "success"
    assert b"put the workspace back to what it was before step 5" in bytes(model.requests[0].messages)
    assert bench.git("show", "--name-only", "--format=", ending.state.facts["branch"]).split() == ["sums.py"]


async def test_what_was_put_back_can_be_fetched_again(bench: RunBench) -> None:
    """The state before is kept as a commit of the run's repository."""
    run = (await bench.run(bench.task(), [PLAN, MEND, NOTE])).state.run
    with bench.session() as session:
        async with rewinding(session, run, 4) as prepared:
            done = await prepared.put_back()
        kept = bench._git(session.places.run(run).git, "show", f"{done.rescue}:note.txt")

    assert kept == "first\n"


async def test_a_run_that_is_carried_on_is_not_touched(bench: RunBench) -> None:
    """Its owner keeps it; the message says who that is."""
    run = (await bench.run(bench.task(), [PLAN, MEND])).state.run
    with bench.session() as session:
        now_ns = session.clock.now_ns()
        session.store.write_now(lambda tx: leases.take(tx, run, "elsewhere", 60, now_ns))
        with pytest.raises(LeaseLostError, match="being carried on by elsewhere"):
            async with rewinding(session, run, 4):
                pass


async def test_a_step_after_which_nothing_was_written_has_nothing_to_put_back(bench: RunBench) -> None:
    """The sentence says so instead of doing nothing."""
    run = (await bench.run(bench.task(), [PLAN, MEND, say("Look.", ("read_file", {"path": "sums.py"}))])).state.run
    with bench.session() as session, pytest.raises(ConfigError, match="changed nothing from step 5 on"):
        async with rewinding(session, run, 5):
            pass


async def test_two_runs_are_drawn_beside_each_other(
    bench: RunBench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where they part, what each did then, and what that made of the workspace."""
    left = (await bench.run(bench.task(), [PLAN, MEND, NOTE, FINISH])).state.run
    with bench.session() as session:
        right = (await fork_run(session, left, 5)).run
    await bench.resume(right, [OTHER, FINISH])

    with bench.session() as session:
        found = await compare_runs(session, left, right)
    assert found.workspace is not None
    assert found.workspace.changes == (Change("note.txt", "M", 1, 1),)
    parted = [pair for pair in found.lines if not pair.is_same]
    assert any('"first' in pair.left and '"other' in pair.right for pair in parted)
    assert found.shared_events > 20

    for name, value in bench.environ.items():
        monkeypatch.setenv(name, value)
    assert await asyncio.to_thread(main, ["runs", "diff", left, right, "--color", "never", "--width", "120"]) == 0
    drawn = capsys.readouterr().out
    assert f"{left}" in drawn
    assert "-first" in drawn
    assert "+other" in drawn
    assert f"The first {found.shared_events} events are the same." in drawn
    assert max(len(line) for line in drawn.splitlines()) <= 120


async def test_a_run_is_not_compared_with_itself(bench: RunBench) -> None:
    """Nor with one that does not exist."""
    run = (await bench.run(bench.task(), [PLAN])).state.run
    with bench.session() as session:
        with pytest.raises(ConfigError, match="compared with itself"):
            await compare_runs(session, run, run)
        with pytest.raises(ConfigError, match="did you mean"):
            await compare_runs(session, run, run[:-1])


async def test_rewind_asks_before_it_does_anything(
    bench: RunBench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal it wants `--yes`; `--preview` shows and ends."""
    run = (await bench.run(bench.task(), [PLAN, MEND, NOTE])).state.run
    for name, value in bench.environ.items():
        monkeypatch.setenv(name, value)
    workspace = bench.live.kind.workspace

    assert await asyncio.to_thread(main, ["runs", "rewind", run, "--to", "4"]) == 2
    assert await asyncio.to_thread(main, ["runs", "rewind", run, "--to", "4", "--preview"]) == 0
    assert "  - note.txt" in capsys.readouterr().out
    assert (workspace / "note.txt").exists()
    assert await asyncio.to_thread(main, ["runs", "rewind", run, "--to", "4", "--yes"]) == 0
    assert not (workspace / "note.txt").exists()
    with bench.session() as session:
        last = [row.kind for row in session.store.rows(run)][-1]
    assert last == Observed.__name__


async def test_what_goes_on_after_a_success_is_a_fork(
    bench: RunBench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that succeeded has nothing to resume, so that is not what is advised; the fork begins where it says."""
    ending = await bench.run(bench.task(), [PLAN, MEND, NOTE, FINISH])
    run = ending.state.run
    assert ending.status == "success"
    for name, value in bench.environ.items():
        monkeypatch.setenv(name, value)

    assert await asyncio.to_thread(main, ["runs", "rewind", run, "--to", "5", "--yes"]) == 0
    advice = capsys.readouterr().out.splitlines()[-1]
    assert advice.endswith(f": ooda runs fork {run} --at 5")
    assert await asyncio.to_thread(main, advice.partition(": ooda ")[2].split()) == 0
    assert f" of {run}, up to step 5" in capsys.readouterr().out
