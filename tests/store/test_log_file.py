"""The log is synced by us: the right file, from the first commit on, and a sync that failed is never taken for done."""

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ooda.errors import IntegrationError
from ooda.store import Store, Tx, outbox
from ooda.store.blobs import BlobStore
from ooda.store.sqlite import SqliteDatabase


def enqueue(id: str) -> Callable[[Tx], bool]:
    return lambda tx: outbox.enqueue(tx, id, "mail", "{}", 1)


def ids(store: Store) -> list[str]:
    return [notice.id for notice in store.read(lambda tx: outbox.pending(tx, 10))]


def test_a_database_that_is_a_link_is_written_where_it_points(tmp_path: Path) -> None:
    """SQLite follows the link and puts the log beside the target; that one is synced."""
    Store.open(tmp_path / "real" / "kept.db").close()
    link = tmp_path / "ooda.db"
    link.symlink_to(tmp_path / "real" / "kept.db")

    with Store.open(link) as store:
        store.write_now(enqueue("n"))
        assert ids(store) == ["n"]


def test_a_database_named_relatively_is_still_written_after_a_change_of_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was opened stays what is synced."""
    monkeypatch.chdir(tmp_path)
    with Store.open(Path("ooda.db")) as store:
        monkeypatch.chdir("/")
        store.write_now(enqueue("n"))
        assert ids(store) == ["n"]


def test_the_log_is_open_before_the_first_commit(path: Path) -> None:
    """The kernel tells a failed write only to descriptors open then: one opened at the first sync may be late."""
    with Store.open(path):
        opened = [os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if os.path.lexists(entry)]
    assert opened.count(f"{path}-wal") == 2, "SQLite's own and ours"


def test_after_a_failed_sync_nothing_more_is_written(path: Path) -> None:
    """The next sync would succeed and prove nothing: the lost pages count as written. Reading goes on."""
    calls = 0

    def fails_once(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.EIO, "Input/output error")
        os.fdatasync(descriptor)

    Store.open(path).close()
    database = SqliteDatabase(path, readonly=False, busy_timeout_s=1, fdatasync=fails_once)
    with Store(database, BlobStore(path.parent / "blobs")) as store:
        store.write_now(enqueue("a"))
        for attempt in (
            lambda: store.write_now(enqueue("b")),
            lambda: store.write_now(enqueue("c")),
            lambda: store.note(enqueue("d")),
            store.sync,
        ):
            with pytest.raises(IntegrationError, match="may be lost in a power cut") as told:
                attempt()
            assert not told.value.retryable
        assert ids(store) == ["a", "b"]
        assert calls == 2


def test_a_real_failing_sync_is_told_and_never_taken_for_done(path: Path) -> None:
    """With the kernel's own answer: one EIO, and no later write of that process is acknowledged."""
    if not shutil.which("strace") and not os.environ.get("CI"):
        pytest.skip("needs strace, to make a system call fail; as root on Debian: apt-get install -y strace")
    Store.open(path).close()
    script = (
        "import sys; from pathlib import Path\n"
        "from ooda.errors import OodaError; from ooda.store import Store, outbox\n"
        "store = Store.open(Path(sys.argv[1]))\n"
        "for number in range(7):\n"
        "    try:\n"
        "        store.write_now(lambda tx: outbox.enqueue(tx, f'n{number}', 'mail', '{}', 1))\n"
        "        print('kept')\n"
        "    except OodaError:\n"
        "        print('lost')\n"
    )
    inject = "inject=fdatasync:error=EIO:when=4"
    done = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", "-e", inject, sys.executable, "-c", script, str(path)],
        check=True,
        capture_output=True,
        text=True,
    )
    said = done.stdout.split()
    assert said[0] == "kept" and said[-2:] == ["lost", "lost"]
    assert said == sorted(said), "nothing is kept after the first that was lost"


@pytest.mark.parametrize("moved", ["ooda.db", "ooda.db-wal"])
def test_a_database_removed_while_in_use_is_no_place_for_what_follows(path: Path, moved: str) -> None:
    """What would be written into files nobody can open again is not acknowledged."""
    with Store.open(path) as store:
        store.write_now(enqueue("a"))
        (path.parent / moved).rename(path.parent / "elsewhere")
        with pytest.raises(IntegrationError, match="removed or replaced while it was in use"):
            store.write_now(enqueue("b"))
        with pytest.raises(IntegrationError, match="removed or replaced while it was in use"):
            store.write_now(enqueue("c"))
        (path.parent / "elsewhere").rename(path.parent / moved)
    with Store.open(path) as again:
        assert ids(again)[0] == "a"


def test_what_a_gone_process_left_in_the_log_is_made_durable_at_the_next_opening(path: Path) -> None:
    """It may have stopped because the log could not be synced, and what is written behind a hole is lost with it."""
    script = (
        "import os, sys; from pathlib import Path; from ooda.store import Store\n"
        "store = Store.open(Path(sys.argv[1]))\n"
        """store.write_now(lambda tx: tx.change("INSERT INTO meta (key, value) VALUES ('left', '1')"))\n"""
        "os._exit(1)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    with Store.open(path):
        copy = path.parent / "without-log.db"
        copy.write_bytes(path.read_bytes())
    with closing(sqlite3.connect(copy)) as alone:
        assert alone.execute("SELECT count(*) FROM meta WHERE key = 'left'").fetchone() == (1,)
