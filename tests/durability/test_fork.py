"""A fork begins as the other run did and goes on by itself; the other run is not touched."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ooda.api.fork import cut_before, fork_run
from ooda.api.runs import entries_of, replay_run
from ooda.errors import ConfigError
from ooda.events import ModelAsked, RunStarted
from ooda.models.scripted import ScriptedModel, say
from ooda.runtime.journal import verify
from ooda.testing.runs import RunBench

pytestmark = pytest.mark.bubblewrap

PLAN = say("Plan.", ("update_plan", {"steps": [{"description": "Add instead of subtract"}]}))
MEND = say("Mend.", ("edit_file", {"path": "sums.py", "old": "a - b", "new": "a + b"}))
NOTE = say("Note.", ("write_file", {"path": "notes/first.txt", "content": "first\n"}))
OTHER = say("Another note.", ("write_file", {"path": "notes/other.txt", "content": "other\n"}))
LOOK = say("Look.", ("read_file", {"path": "sums.py"}))
FINISH = say("Done.", ("finish", {"summary": "add() adds now."}))


def fingerprint(folder: Path) -> dict[str, Any]:
    """Every file below a folder with its content, mode and time."""
    found = {}
    for place, _, files in os.walk(folder):
        for name in files:
            path = Path(place) / name
            facts = path.lstat()
            content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
            found[str(path)] = (hashlib.sha256(content).hexdigest(), facts.st_mode, facts.st_mtime_ns)
    return found


async def test_a_fork_goes_on_from_the_step_with_the_workspace_of_then(bench: RunBench) -> None:
    """Step 5 is done anew: what steps 1 to 4 did is there, what 5 did is not, and both runs end pushed."""
    first = await bench.run(bench.task(), [PLAN, MEND, NOTE, FINISH])
    old = first.state.run
    with bench.session() as session:
        before = fingerprint(session.places.run(old).folder)
        journal = list(session.store.rows(old))
        made = await fork_run(session, old, 5)
        workspace = session.places.run(made.run).workspace

        assert "a + b" in (workspace / "sums.py").read_text()
        assert not (workspace / "notes").exists()
        assert (workspace / ".git").is_dir()
        rows = list(session.store.rows(made.run))
        verify(rows)
        assert (len(rows), len(made.branch) > 0) == (made.events, True)
        started = entries_of(session, made.run)[0].event
        assert isinstance(started, RunStarted)
        assert started.forked == f"{old}@{made.events - 1}:{journal[made.events - 1].hash}"

    second = await bench.resume(made.run, [OTHER, FINISH])

    assert (second.status, second.state.facts["branch"]) == ("success", made.branch)
    assert set(bench.branches()) == {"main", first.state.facts["branch"], made.branch}
    assert bench.git("show", "--name-only", "--format=", made.branch).split() == ["notes/other.txt", "sums.py"]
    with bench.session() as session:
        assert list(session.store.rows(old)) == journal
        assert fingerprint(session.places.run(old).folder) == before
        assert replay_run(session, made.run).divergence is None
        assert replay_run(session, old).divergence is None


async def test_a_run_can_be_forked_at_every_step(bench: RunBench) -> None:
    """From the clone to the push: each fork ends in success, with the tree of the run it came from."""
    first = await bench.run(bench.task(), [PLAN, MEND, NOTE, FINISH])
    tree = bench.git("rev-parse", f"{first.state.facts['branch']}^{{tree}}")

    for step in (1, 3, 7, 9):
        replies = [PLAN, MEND, NOTE, FINISH][max(0, step - 3) :]
        with bench.session() as session:
            made = await fork_run(session, first.state.run, step)
        model = ScriptedModel(replies)
        second = await bench.resume(made.run, model)

        assert (step, second.status, len(model.requests)) == (step, "success", len(replies))
        branch = second.state.facts["branch"]
        assert bench.git("rev-list", "--count", f"main..{branch}").strip() == "1"
        assert bench.git("rev-parse", f"{branch}^{{tree}}") == tree
        assert branch != first.state.facts["branch"]


async def test_a_fork_outlives_the_run_it_came_from(bench: RunBench) -> None:
    """Objects are shared by link: removing one folder takes nothing from the other."""
    first = await bench.run(bench.task(), [PLAN, MEND, NOTE, FINISH])
    with bench.session() as session:
        made = await fork_run(session, first.state.run, 5)
        shutil.rmtree(session.places.run(first.state.run).folder)

    second = await bench.resume(made.run, [OTHER, FINISH])

    assert second.status == "success"


async def test_without_a_later_snapshot_the_workspace_is_taken_as_it_is(bench: RunBench) -> None:
    """Nothing was written after that step, so the workspace is what it was."""
    first = await bench.run(bench.task(), [PLAN, NOTE, LOOK])
    assert first.status == "failed"
    with bench.session() as session:
        made = await fork_run(session, first.state.run, 5)
        workspace = session.places.run(made.run).workspace

        assert "workspace as it is" in made.workspace
        assert (workspace / "notes" / "first.txt").read_text() == "first\n"


async def test_a_step_that_is_none_names_those_there_are(bench: RunBench) -> None:
    """A typing slip leaves nothing behind."""
    first = await bench.run(bench.task(), [PLAN, MEND, FINISH])
    with bench.session() as session:
        with pytest.raises(ConfigError, match="its steps are 1 to 8"):
            await fork_run(session, first.state.run, 9)
        assert [place.name for place in session.places.runs.iterdir()] == [first.state.run]


async def test_the_cut_is_before_the_model_is_asked(bench: RunBench) -> None:
    """The request of the step is made anew: nothing of it is in the copy, and nothing of the one before is missing."""
    first = await bench.run(bench.task(), [PLAN, MEND, FINISH])
    with bench.session() as session:
        entries = entries_of(session, first.state.run)

    asked = [seq for seq, entry in enumerate(entries) if isinstance(entry.event, ModelAsked)]
    assert [cut_before(entries, step) for step in (3, 4, 5)] == asked
