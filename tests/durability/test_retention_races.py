"""`runs gc` beside others: a run that goes on meanwhile, a second gc, a kill in the middle of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ooda.api import retention
from ooda.api.retention import Keep, collect
from ooda.api.session import Session
from ooda.governance import audit
from ooda.runtime.journal import verify
from tests.durability.lab import until
from tests.durability.test_retention import DAY_S, Archive, blobs_in, known

OLD = Keep(age_s=5 * DAY_S, failure_age_s=5 * DAY_S)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


def removals(session: Session) -> list[str]:
    rows = session.store.read(lambda tx: tx.execute("SELECT run FROM audit WHERE action = 'remove'"))
    return [str(row[0]) for row in rows]


def before_removal(monkeypatch: pytest.MonkeyPatch, work: Any) -> None:
    """Do `work(run)` once, between the choice of what goes and the first removal."""
    remove, done = retention._remove, []  # the seam between the two is what is tried

    def later(session: Session, summary: Any) -> Any:
        if not done:
            done.append(summary)
            work(summary.run)
        return remove(session, summary)

    monkeypatch.setattr(retention, "_remove", later)


async def test_a_run_that_went_on_after_it_was_chosen_stays(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody resumed it meanwhile, and it ended again: it is not the old run any more."""
    first, second = await archive.run(), await archive.run()
    archive.clock.advance(30 * DAY_S)
    with archive.session() as session, archive.session() as other:

        def goes_on(run: str) -> None:
            now_ns = archive.clock.now_ns()
            other.store.write_now(
                lambda tx: tx.change(
                    "UPDATE runs SET updated_ns = ?, last_seq = last_seq + 1 WHERE run = ?", (now_ns, run)
                )
            )

        before_removal(monkeypatch, goes_on)
        done = collect(session, OLD)

        assert done.kept == {first: "it went on meanwhile"}
        assert (done.runs, known(session), removals(session)) == ((second,), {first}, [second])
        assert session.places.run(first).folder.exists()


async def test_a_run_that_another_gc_removed_is_not_removed_twice(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one counts only what it removed itself, and the audit has each removal once."""
    first, second = await archive.run(), await archive.run()
    archive.clock.advance(30 * DAY_S)
    with archive.session() as session, archive.session() as other:
        inner: list[Any] = []
        before_removal(monkeypatch, lambda _: inner.append(collect(other, OLD)))
        done = collect(session, OLD)

        assert (inner[0].runs, done.runs, done.kept) == ((first, second), (), {})
        assert sorted(removals(session)) == sorted([first, second])
        assert session.store.read(lambda tx: tx.execute("SELECT COUNT(*) FROM leases")) == [(0,)]
        assert audit.verify(session.store).is_clean


async def test_a_folder_that_vanishes_while_it_is_removed_is_removed(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that sweep one folder meet file by file."""
    run = await archive.run()
    with archive.session() as session:
        workspace = session.places.run(run).workspace
        (workspace / "deep" / "er").mkdir(parents=True)
        for place in (workspace, workspace / "deep", workspace / "deep" / "er"):
            for number in range(3):
                (place / f"{number}.txt").write_text("x")
        archive.clock.advance(30 * DAY_S)
        unlink = os.unlink

        def twice(path: Any, **words: Any) -> None:
            unlink(path, **words)
            unlink(path, **words)

        monkeypatch.setattr(os, "unlink", twice)
        assert collect(session, OLD).runs == (run,)
        monkeypatch.undo()

        assert not session.places.run(run).folder.exists()


def start_gc(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "ooda", "runs", "gc", "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2]), "HOME": str(folder)},
    )


def kill_gc(folder: Path, session: Session, wanted: int) -> None:
    """Start one and kill it as soon as so many runs were removed in all."""
    process = start_gc(folder)
    until(lambda: len(removals(session)) >= wanted or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


def texts_of(session: Session) -> dict[str, frozenset[str]]:
    """The blobs each run names."""
    return {run: retention._measured(session, run)[1] for run in known(session)}


def assert_whole(session: Session, every: dict[str, frozenset[str]]) -> None:
    """A run is there with all it names, or its rows are gone; the audit has as many removals as were made."""
    there = known(session)
    for run in there:
        verify(list(session.store.rows(run)))
        assert all(session.store.blobs.get(digest) for digest in every[run])
        assert session.places.run(run).folder.exists()
    for table in ("events", "leases", "approvals"):
        rows_of = session.store.read(lambda tx, table=table: tx.execute(f"SELECT DISTINCT run FROM {table}"))  # type: ignore[misc]
        assert {row[0] for row in rows_of} <= there
    assert sorted(removals(session)) == sorted(set(every) - there)
    assert audit.verify(session.store).is_clean


async def test_a_gc_killed_in_the_middle_removed_whole_runs(archive: Archive, tmp_path: Path) -> None:
    """What it left of a folder the next one takes."""
    for _ in range(6):
        await archive.run()  # long ago by every real clock
    with archive.session() as session:
        every = texts_of(session)
        assert all(every.values())
        for run in every:
            for number in range(300):
                place = session.places.run(run).workspace / f"{number}.txt"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text("x")
        archive.age(session)
        for wanted in (1, 3):
            kill_gc(tmp_path, session, wanted)
            assert_whole(session, every)
        archive.age(session)
        last = start_gc(tmp_path)
        said = last.communicate(timeout=60)[0]

        assert last.returncode == 0, said
        assert_whole(session, every)
        assert known(session) == set()
        assert list(session.places.runs.iterdir()) == []
        assert blobs_in(session) == 0


async def test_two_gcs_at_once_remove_everything_once(archive: Archive, tmp_path: Path) -> None:
    """Two processes; both end well."""
    for _ in range(6):
        await archive.run()
    with archive.session() as session:
        every = texts_of(session)
        archive.age(session)
        both = [start_gc(tmp_path) for _ in range(2)]
        said = [process.communicate(timeout=60)[0] for process in both]

        assert [process.returncode for process in both] == [0, 0], said
        assert_whole(session, every)
        assert known(session) == set()
        assert list(session.places.runs.iterdir()) == []
