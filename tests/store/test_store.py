"""Opening, sharing and leaving the database; what goes wrong says so and keeps what was acknowledged."""

import asyncio
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ooda.errors import ConfigError, IntegrationError, JournalError, OodaError
from ooda.runtime.journal import Row
from ooda.store import Store, Tx, outbox
from ooda.store.schema import latest

Chain = Callable[..., list[Row]]


def enqueue(id: str) -> Callable[[Tx], bool]:
    return lambda tx: outbox.enqueue(tx, id, "mail", "{}", 1)


def ids(store: Store) -> list[str]:
    return [notice.id for notice in store.read(lambda tx: outbox.pending(tx, 10))]


# -- opening


def test_a_new_store_is_private(path: Path) -> None:
    """Folder 0700, files 0600 with the log beside them."""
    with Store.open(path) as store:
        store.write_now(enqueue("n"))
        modes = {item.name: stat.S_IMODE(item.stat().st_mode) for item in path.parent.iterdir()}
        settings = [
            store.read(lambda tx, name=name: tx.execute(f"PRAGMA {name}")[0][0])  # type: ignore[misc]
            for name in ("journal_mode", "foreign_keys")
        ]

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert modes == {"ooda.db": 0o600, "ooda.db-wal": 0o600, "ooda.db-shm": 0o600}
    assert settings == ["wal", 1]


def test_what_was_written_is_there_after_opening_again(path: Path, store_url: str) -> None:
    """For writing and for reading only."""
    with Store.open(path, url=store_url) as store:
        store.write_now(enqueue("n"))
        with Store.open(path, url=store_url, readonly=True) as reader:
            assert ids(reader) == ["n"]
    with Store.open(path, url=store_url) as store:
        assert ids(store) == ["n"]
    with Store.open(path, url=store_url, readonly=True) as reader:
        assert ids(reader) == ["n"]
        with pytest.raises(ConfigError):
            reader.write_now(enqueue("m"))


def test_reading_where_nothing_was_ever_written_makes_nothing(path: Path) -> None:
    """The message says how a database comes to be."""
    with pytest.raises(ConfigError, match="first run"):
        Store.open(path, readonly=True)

    assert not path.parent.exists()


def change(path: Path, sql: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(sql)
    connection.close()


def test_a_newer_database_is_refused_untouched(path: Path) -> None:
    """Whatever a newer program wrote may mean something this one would destroy."""
    Store.open(path).close()
    change(path, "INSERT INTO migrations (number, name) VALUES (9, '0009_later')")
    before = path.read_bytes()

    for readonly in (True, False):
        with pytest.raises(JournalError, match="newer `ooda`") as caught:
            Store.open(path, readonly=readonly)
        assert (caught.value.facts["found"], caught.value.facts["expected"]) == (9, latest("sqlite"))

    assert path.read_bytes() == before


def test_an_older_database_is_not_migrated_by_a_reader(path: Path) -> None:
    """A reader changes nothing, not even the schema."""
    Store.open(path).close()
    change(path, "DELETE FROM migrations")

    with pytest.raises(ConfigError, match="open it once for writing"):
        Store.open(path, readonly=True)


def test_a_database_of_another_program_is_refused_untouched(path: Path) -> None:
    """Its tables are not ours to add to."""
    path.parent.mkdir()
    change(path, "CREATE TABLE photos (id)")
    before = path.read_bytes()

    with pytest.raises(JournalError, match="another program"):
        Store.open(path)

    assert path.read_bytes() == before


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[5:9] = b"\xff\xff\xff\xff"
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize("damage", [flip, cut, lambda path: path.write_text("not a database" * 100)])
def test_a_damaged_file_says_so(path: Path, damage: Callable[[Path], None]) -> None:
    """And what to do; nothing is written over it."""
    with Store.open(path) as store:
        store.write_now(lambda tx: [enqueue(f"n{number}")(tx) for number in range(200)])
    damage(path)
    before = path.read_bytes()

    with pytest.raises(JournalError, match="restore a backup") as caught, Store.open(path) as store:
        ids(store)

    assert caught.value.facts["path"] == str(path)
    assert path.read_bytes() == before


def test_a_log_torn_by_a_power_cut_costs_only_what_was_never_acknowledged(path: Path) -> None:
    """The half-written end of the write-ahead log is ignored."""
    with Store.open(path) as store:
        store.write_now(enqueue("n1"))
        store.write_now(enqueue("n2"))
        copy = path.parent / "copy.db"
        copy.write_bytes(path.read_bytes())
        log = path.with_name("ooda.db-wal").read_bytes()
    (path.parent / "copy.db-wal").write_bytes(log[:-100])

    with Store.open(copy) as store:
        assert ids(store) == ["n1"]


@pytest.mark.parametrize("place", ["file/ooda.db", "folder"])
def test_a_place_that_cannot_be_used_is_named(tmp_path: Path, place: str) -> None:
    """A file where a folder should be, a folder where the file should be."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()

    with pytest.raises(ConfigError) as caught:
        Store.open(tmp_path / place)

    assert str(tmp_path) in str(caught.value)


OPEN = """
import sys
from pathlib import Path
from ooda.errors import OodaError
from ooda.store import Store, outbox
try:
    with Store.open(Path(sys.argv[1])) as store:
        store.write_now(lambda tx: outbox.enqueue(tx, sys.argv[2], "mail", "{}", 1))
except OodaError as error:
    print(type(error).__name__, error)
"""


@contextmanager
def somebody_else() -> Iterator[None]:
    """A user to whom the files of this test do not belong."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become a user who may not write; run the tests as root")
@pytest.mark.parametrize("readonly", [True, False])
@pytest.mark.parametrize("reach", ["folder unreadable", "folder unwritable", "file unreadable", "file unwritable"])
def test_a_place_of_somebody_else_is_named(tmp_path: Path, reach: str, readonly: bool) -> None:
    """Nothing is left behind, and nothing is opened that cannot be."""
    place = tmp_path / "data"
    path = place / "ooda.db"
    if reach.startswith("file"):
        Store.open(path).close()
        path.chmod(0o600 if reach == "file unreadable" else 0o644)
    else:
        place.mkdir()
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    place.chmod(0o700 if reach == "folder unreadable" else 0o755)
    before = sorted(place.iterdir())

    with pytest.raises(ConfigError) as caught, somebody_else(), Store.open(path, readonly=readonly) as store:
        store.write_now(enqueue("n"))

    assert str(place) in str(caught.value)
    assert "XDG_DATA_HOME" in str(caught.value)
    assert sorted(place.iterdir()) == before


def test_many_processes_may_open_a_new_store_at_once(path: Path) -> None:
    """One of them makes it, the others wait; all write."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, path, f"n{number}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(6)
    ]
    said = [child.communicate()[0] for child in children]

    assert said == [""] * 6
    with Store.open(path) as store:
        assert sorted(ids(store)) == [f"n{number}" for number in range(6)]


# -- writing


@contextmanager
def traced(store: Store) -> Iterator[list[str]]:
    statements: list[str] = []
    store.database.connection.set_trace_callback(statements.append)
    yield statements
    store.database.connection.set_trace_callback(None)


async def test_works_of_one_iteration_share_one_commit(file_store: Store) -> None:
    """However many runs write at once, there is one sync to disk."""
    with traced(file_store) as statements:
        results = await asyncio.gather(*(file_store.write(enqueue(f"n{number}")) for number in range(20)))

    assert results == [True] * 20
    assert statements.count("COMMIT") == 1
    assert len(ids(file_store)) == 20


async def test_a_failing_work_fails_alone(store: Store) -> None:
    """Its statements are undone, its caller alone hears of it, the others are kept; with SQL errors too."""

    def spoiled(tx: Tx) -> None:
        enqueue("half")(tx)
        raise JournalError("spoiled")

    def invalid(tx: Tx) -> None:
        enqueue("other half")(tx)
        tx.execute("SELECT nonsense")

    first, second, third, fourth = await asyncio.gather(
        store.write(enqueue("n1")),
        store.write(spoiled),
        store.write(invalid),
        store.write(enqueue("n2")),
        return_exceptions=True,
    )

    assert (first, fourth) == (True, True)
    assert isinstance(second, JournalError)
    assert isinstance(third, IntegrationError)
    assert ids(store) == ["n1", "n2"]


async def test_a_work_alone_in_its_iteration_fails_like_one_of_many(store: Store) -> None:
    """Undone, mapped and raised; the next one is not disturbed."""

    def invalid(tx: Tx) -> None:
        enqueue("half")(tx)
        tx.execute("SELECT nonsense")

    with pytest.raises(IntegrationError, match="nonsense"):
        await store.write(invalid)
    await store.write(enqueue("n"))

    assert ids(store) == ["n"]


async def test_a_writer_cancelled_before_the_commit_wrote_nothing(store: Store) -> None:
    """Its work is left out; the works beside it are not."""
    cancelled = store.write(enqueue("n1"))
    kept = store.write(enqueue("n2"))
    cancelled.cancel()

    assert await kept is True
    assert ids(store) == ["n2"]


async def test_a_full_disk_keeps_nothing_of_the_commit_and_tells_everyone(file_store: Store) -> None:
    """SQLite gives the whole transaction up; a later one, with space again, goes through."""
    pages = file_store.read(lambda tx: tx.execute("PRAGMA page_count")[0][0])
    file_store.read(lambda tx: tx.execute(f"PRAGMA max_page_count = {pages + 2}"))

    def large(tx: Tx) -> bool:
        return outbox.enqueue(tx, "large", "mail", "x" * 100_000, 1)

    said = await asyncio.gather(
        file_store.write(enqueue("n1")),
        file_store.write(large),
        file_store.write(enqueue("n2")),
        return_exceptions=True,
    )
    alone = (await asyncio.gather(file_store.write(large), return_exceptions=True))[0]
    file_store.read(lambda tx: tx.execute("PRAGMA max_page_count = 1000000"))
    await file_store.write(enqueue("n3"))

    assert {type(error) for error in [*said, alone]} == {IntegrationError}
    assert "disk is full" in str(alone)
    assert ids(file_store) == ["n3"]


async def test_closing_carries_out_what_is_queued(path: Path, store_url: str) -> None:
    """Nothing accepted is dropped."""
    store = Store.open(path, url=store_url)
    written = store.write(enqueue("n"))
    store.close()
    store.close()

    assert await written is True
    with Store.open(path, url=store_url) as again:
        assert ids(again) == ["n"]


def test_what_is_written_waits_for_the_disk_and_what_is_noted_waits_for_the_sync(path: Path) -> None:
    """Told by the kernel itself: a write returns after the sync of the log, a note without, and `sync` catches up."""
    if not shutil.which("strace") and not os.environ.get("CI"):
        pytest.skip("needs strace, to see the system calls; as root on Debian: apt-get install -y strace")
    Store.open(path).close()
    script = (
        "import os, sys; from pathlib import Path; from ooda.store import Store\n"
        "store = Store.open(Path(sys.argv[1]))\n"
        """store.write_now(lambda tx: tx.change("INSERT INTO meta (key, value) VALUES ('test0', '1')"))\n"""
        "os.write(1, b'begin')\n"
        """store.note(lambda tx: tx.change("INSERT INTO meta (key, value) VALUES ('test', '1')"))\n"""
        "os.write(1, b'noted')\n"
        "store.sync()\n"
        "os.write(1, b'synced')\n"
        """store.write_now(lambda tx: tx.change("INSERT INTO meta (key, value) VALUES ('test2', '1')"))\n"""
        "os.write(1, b'written')\n"
    )
    trace = path.parent / "trace"
    subprocess.run(
        [
            "strace",
            "-f",
            "-o",
            str(trace),
            "-e",
            "trace=write,fdatasync,fsync",
            sys.executable,
            "-c",
            script,
            str(path),
        ],
        check=True,
        capture_output=True,
    )
    seen = [
        word
        for line in trace.read_text().splitlines()
        for word in re.findall(r"sync\(|begin|noted|synced|written", line)
    ]
    begin, noted, synced, written = (seen.index(mark) for mark in ("begin", "noted", "synced", "written"))
    assert "sync(" not in seen[begin:noted]
    assert "sync(" in seen[noted:synced]
    assert "sync(" in seen[synced:written]


def test_a_store_works_in_one_event_loop_after_another(store: Store) -> None:
    """A loop that ended with something queued does not block the next."""

    async def write(id: str) -> bool:
        return await store.write(enqueue(id))

    async def leave() -> None:
        store.write(enqueue("left"))

    assert asyncio.run(write("n1")) is True
    asyncio.run(leave())
    assert asyncio.run(write("n2")) is True
    assert ids(store) == ["left", "n1", "n2"]


def test_a_transaction_is_not_used_after_its_end_or_inside_another(store: Store) -> None:
    """A statement outside the commit would be part of nothing; one store has one transaction at a time."""
    kept: list[Tx] = []
    store.write_now(kept.append)

    with pytest.raises(RuntimeError, match="has ended"):
        enqueue("late")(kept[0])
    with pytest.raises(RuntimeError, match="under way"):
        store.write_now(lambda tx: store.write_now(enqueue("inner")))

    assert ids(store) == []


def test_a_lock_held_for_too_long_is_told(path: Path, store_url: str) -> None:
    """Another process writes for longer than we wait."""
    with Store.open(path, url=store_url) as store, Store.open(path, url=store_url, busy_timeout_s=0.05) as other:

        def while_locked(tx: Tx) -> OodaError:
            with pytest.raises(IntegrationError, match="locked for too long") as caught:
                other.write_now(enqueue("n"))
            return caught.value

        error = store.write_now(while_locked)

        assert error.facts["retryable"] is True
        assert other.write_now(enqueue("n")) is True


def test_a_read_sees_one_state(path: Path, store_url: str) -> None:
    """What others commit meanwhile is seen by the next read."""
    with Store.open(path, url=store_url) as store, Store.open(path, url=store_url) as other:

        def twice(tx: Tx) -> tuple[int, int]:
            first = len(outbox.pending(tx, 10))
            other.write_now(enqueue("n"))
            return first, len(outbox.pending(tx, 10))

        assert store.read(twice) == (0, 0)
        assert ids(store) == ["n"]
