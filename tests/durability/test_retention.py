"""What `runs gc` removes and what it never touches."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ooda.api.cassette import load_cassette
from ooda.api.retention import Keep, collect, sizes_of
from ooda.api.session import Session
from ooda.cli.main import main
from ooda.clock import ManualClock
from ooda.events import Limits
from ooda.governance import audit
from ooda.governance.call import ToolOutcome
from ooda.governance.operations import Operation
from ooda.models.scripted import Script, say
from ooda.runtime.agent import Phase
from ooda.runtime.decide import Decision, ModelDecider
from ooda.store import leases, process_owner
from ooda.testing.agents import AgentBench
from ooda.tools.declare import tool
from ooda.tools.room import ToolRoom

DAY_S = 86_400
CALL = say("Tell.", ("tell", {}))
END = say("The end.")


@tool(operation=Operation.READ_WORKSPACE, effect="pure")
async def tell(room: ToolRoom) -> ToolOutcome:
    """Tell a long story of this run."""
    return ToolOutcome(text=f"{room.run} and what happened then. " * 400)


class Archive:
    """Runs of known ages: each `run` is a day after the one before."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(step_ns=1)
        decider = ModelDecider(silent=lambda situation, reply: Decision(done=True))
        phases = (Phase(name="act", decider=decider, tools=("tell",)),)
        self.bench = AgentBench(folder, phases, (tell,), clock=self.clock, limits=Limits())

    async def run(self, *replies: Script, status: str = "success") -> str:
        ending = await self.bench.run(replies or [CALL, END])
        assert ending.status == status
        self.clock.advance(DAY_S)
        return ending.state.run

    def session(self) -> Session:
        return self.bench.session()

    def age(self, session: Session) -> None:
        """As if every file had been there for hours."""
        old = time.time() - 7_200
        for top in (session.places.data, session.places.state):
            for place, folders, files in os.walk(top):
                for name in (*folders, *files):
                    os.utime(Path(place) / name, (old, old))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


def known(session: Session) -> set[str]:
    return {row[0] for row in session.store.read(lambda tx: tx.execute("SELECT run FROM runs"))}


def blobs_in(session: Session) -> int:
    return sum(1 for path in session.places.blobs.rglob("*") if path.is_file())


async def test_old_runs_go_and_failures_stay_longer(archive: Archive) -> None:
    """Rows, folder, lease and blobs; what others name stays, and so does what was spent."""
    old = await archive.run()
    failed = await archive.run(say(""), say(""), say(""), status="stuck")
    archive.clock.advance(8 * DAY_S)
    new = await archive.run()
    with archive.session() as session:
        archive.age(session)
        charges = session.store.read(lambda tx: tx.execute("SELECT COUNT(*) FROM charges"))
        done = collect(session, Keep(age_s=5 * DAY_S, failure_age_s=20 * DAY_S))

        assert (done.runs, known(session)) == ((old,), {failed, new})
        assert not session.places.run(old).folder.exists()
        assert session.places.run(new).folder.exists()
        assert (done.blobs, blobs_in(session)) == (1, 1)
        assert done.freed_bytes > done.blob_bytes > 4096
        assert session.store.read(lambda tx: tx.execute("SELECT COUNT(*) FROM events WHERE run = ?", (old,))) == [(0,)]
        assert session.store.read(lambda tx: leases.find(tx, old)) is None
        assert session.store.read(lambda tx: tx.execute("SELECT COUNT(*) FROM charges")) == charges
        assert audit.verify(session.store).is_clean
        removed = session.store.read(lambda tx: tx.execute("SELECT run FROM audit WHERE action = 'remove'"))
        assert removed == [(old,)]


async def test_a_dry_run_says_the_same_and_removes_nothing(archive: Archive) -> None:
    """Word for word what the real one then does."""
    for _ in range(3):
        await archive.run()
    with archive.session() as session:
        archive.age(session)
        keep = Keep(age_s=2 * DAY_S)
        dry = collect(session, keep, is_dry=True)
        assert (len(known(session)), blobs_in(session)) == (3, 3)

        assert collect(session, keep) == dry
        assert len(dry.runs) == 2
        assert collect(session, keep).runs == ()


async def test_number_and_size_remove_the_oldest_success_first(archive: Archive) -> None:
    """A failure goes only when no success is left to go."""
    failed = await archive.run(say(""), say(""), say(""), status="stuck")
    names = [await archive.run() for _ in range(3)]
    with archive.session() as session:
        archive.age(session)
        each = sizes_of(session, names[0])
        room = sum(
            s.journal_bytes + s.folder_bytes + s.blob_bytes for s in (sizes_of(session, n) for n in (failed, *names))
        )

        assert collect(session, Keep(total_bytes=room), is_dry=True).runs == ()
        assert collect(session, Keep(total_bytes=room - 1), is_dry=True).runs == (names[0],)
        assert collect(session, Keep(count=2), is_dry=True).runs == (names[0], names[1])
        assert collect(session, Keep(count=0), is_dry=True).runs == (*names, failed)
        assert each.blobs == 1
        assert each.events > 5


async def test_what_is_carried_or_waits_for_a_person_is_never_removed(archive: Archive) -> None:
    """However old; the report says why it stays."""
    carried = await archive.run()
    waiting = await archive.run()
    with archive.session() as session:
        archive.clock.advance(400 * DAY_S)
        now_ns = archive.clock.now_ns()
        owner = process_owner("test")
        session.store.write_now(lambda tx: leases.take(tx, carried, owner, 60, now_ns))
        session.store.write_now(lambda tx: tx.change("UPDATE runs SET status = 'waiting' WHERE run = ?", (waiting,)))

        done = collect(session, Keep(age_s=0, failure_age_s=0))

        assert known(session) == {carried, waiting}
        assert done.kept == {carried: "a process carries it on", waiting: "it waits for a person"}


async def test_a_cassette_is_written_before_a_run_goes(archive: Archive, tmp_path: Path) -> None:
    """And a run that cannot be exported stays."""
    first, second = await archive.run(), await archive.run()
    with archive.session() as session:
        broken = next(path for path in session.places.blobs.rglob("*") if path.is_file() and second in path.read_text())
        broken.unlink()
        archive.clock.advance(60 * DAY_S)

        done = collect(session, Keep(), export_to=tmp_path / "cassettes")

        assert (done.runs, known(session)) == ((first,), {second})
        assert "is missing" in done.kept[second]
        cassette = load_cassette(Path(done.exported[0]))
        assert (cassette.run, [path.suffix for path in (tmp_path / "cassettes").iterdir()]) == (first, [".jsonl"])


async def test_folders_and_leases_of_runs_that_never_began_go_after_an_hour(archive: Archive) -> None:
    """A process killed before its first event leaves them behind; one that is just beginning keeps them."""
    await archive.run()
    with archive.session() as session:
        for name in ("run-young", "run-old"):
            (session.places.run(name).folder / "workspace").mkdir(parents=True)
            session.store.write_now(lambda tx, name=name: leases.take(tx, name, "gone", 0, 0))  # type: ignore[misc]
        old = time.time() - 7_200
        os.utime(session.places.run("run-old").folder, (old, old))

        assert collect(session, Keep()).folders == 1

        assert session.places.run("run-young").folder.exists()
        assert not session.places.run("run-old").folder.exists()
        assert session.store.read(lambda tx: leases.find(tx, "run-old")) is None


async def test_a_workspace_that_took_its_own_permissions_away_goes_too(archive: Archive) -> None:
    """What an agent made unreadable is removed all the same."""
    run = await archive.run()
    with archive.session() as session:
        shut = session.places.run(run).workspace / "shut"
        shut.mkdir(parents=True)
        (shut / "file").write_text("x")
        shut.chmod(0)
        archive.clock.advance(60 * DAY_S)
        collect(session, Keep())

        assert not session.places.run(run).folder.exists()


async def test_a_text_that_was_just_put_is_not_taken_for_left_over(archive: Archive) -> None:
    """It is named in a moment: also when an equal text lay there for months, named by nobody any more."""
    await archive.run()
    with archive.session() as session:
        session.store.blobs.put("x" * 5000)
        archive.age(session)
        again = session.store.blobs.put("x" * 5000)

        assert collect(session, Keep()).blobs == 0
        assert session.store.blobs.get(again.digest) == "x" * 5000


async def test_the_command_shows_what_it_removed(
    archive: Archive, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Sizes in `runs show`, names in `runs gc`, a sentence for a wrong age."""
    run = await archive.run()  # long ago by every real clock
    monkeypatch.setenv("HOME", str(tmp_path))

    assert main(["runs", "gc", "--keep", "soon"]) == 2
    assert "30d or 12h" in capsys.readouterr().err
    assert main(["runs", "gc", "--max-runs", "-1"]) == 2
    assert "`--max-runs -1`: a number of runs to keep, 0 or more" in capsys.readouterr().err
    assert main(["runs", "gc", "--dry-run"]) == 0
    assert f"  {run}\n1 runs" in capsys.readouterr().out
    assert main(["runs", "gc", "--keep", "ever", "--keep-failures", "ever"]) == 0
    assert "0 runs" in capsys.readouterr().out
    assert main(["runs", "gc"]) == 0
    assert main(["runs", "list"]) == 0
    assert "No runs yet" in capsys.readouterr().out
