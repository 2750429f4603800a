"""One connection to one SQLite file: made with safe modes, set up for durability, brought to the newest schema.

Knows pragmas, file modes, transactions and migrations. A database written by a newer program is refused before
anything in it is changed. Must not know what the tables mean.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from ooda.errors import ConfigError, JournalError, OodaError
from ooda.store.database import Work, apart, ended
from ooda.store.failures import from_os, from_sqlite
from ooda.store.log_file import LogFile
from ooda.store.schema import latest, numbered, refuse_newer, refuse_older
from ooda.store.tx import Params

__all__ = ["SqliteDatabase", "SqliteTx", "connect", "make_folder", "sync_folder"]

T = TypeVar("T")

# A WAL that a long reader let grow is cut back to this after the next checkpoint.
_WAL_BYTES = 16 * 1024 * 1024


class SqliteTx:
    """A transaction on a connection; unusable once its work has returned."""

    __slots__ = ("_execute",)

    for_update = ""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._execute = cursor.execute

    def execute(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        return self._execute(sql, params).fetchall()

    def change(self, sql: str, params: Params = ()) -> int:
        return self._execute(sql, params).rowcount

    def end(self) -> None:
        """From here on every use raises: a statement after the commit would not be part of anything."""
        self._execute = ended


class SqliteDatabase:
    """A SQLite file. Works are carried out on the caller's thread: a statement takes microseconds."""

    is_remote = False

    def __init__(
        self,
        path: Path,
        *,
        readonly: bool,
        busy_timeout_s: float,
        fdatasync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        """Open the file; see `connect`, and for `fdatasync` see `LogFile`."""
        self.path = path
        self.connection = connect(path, readonly=readonly, busy_timeout_s=busy_timeout_s)
        self._cursor = self.connection.cursor()
        """One for all statements: each is read to its end before the next, and making one costs as much as a bind."""
        self._is_busy = False
        try:
            self._log = None if readonly else LogFile(path, fdatasync)
        except BaseException:
            self.connection.close()
            raise

    @property
    def place(self) -> str:
        return str(self.path)

    def write(self, work: Work[T], *, is_synced: bool = True) -> T:
        if self._log is not None:
            self._log.require_whole()
        result = self._inside("BEGIN IMMEDIATE", work)
        if is_synced:
            self.sync()
        return result

    def sync(self) -> None:
        # What is committed lies in the log, and whoever moves it from there into the database syncs it first. Done here
        # and not by SQLite (`synchronous = FULL`), since that is the same call at every commit, with no way to leave
        # one out but a pragma that is compiled anew each time (docs/adr/0015).
        if self._log is not None:
            self._log.sync()

    def write_all(self, works: Sequence[Work[Any]]) -> list[Any]:
        if len(works) == 1:
            return [self.write(works[0])]
        return self.write(lambda tx: [apart(work, tx, self._translated) for work in works])

    def read(self, work: Work[T]) -> T:
        return self._inside("BEGIN", work)

    def compact(self) -> None:
        """Write the file anew without its free pages; needs as much space again while it lasts."""
        try:
            self.connection.execute("VACUUM")
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            raise from_sqlite(error, self.path, "compact") from error

    def close(self) -> None:
        self.connection.close()
        if self._log is not None:
            self._log.close()

    def _inside(self, begin: str, work: Work[T]) -> T:
        if self._is_busy:
            raise RuntimeError("a transaction is under way; use the `tx` it was given instead of the store")
        connection = self.connection
        self._is_busy = True
        tx = SqliteTx(self._cursor)
        try:
            self._cursor.execute(begin)
            result = work(tx)
            self._cursor.execute("COMMIT")
            return result
        except sqlite3.Error as error:
            raise from_sqlite(error, self.path, "read" if begin == "BEGIN" else "write") from error
        finally:
            tx.end()
            self._is_busy = False
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _translated(self, error: Exception) -> OodaError | None:
        # A full disk makes SQLite give up the whole transaction: then nobody's work was kept.
        if not self.connection.in_transaction:
            raise error
        return from_sqlite(error, self.path, "write") if isinstance(error, sqlite3.Error) else None


def connect(path: Path, *, readonly: bool, busy_timeout_s: float) -> sqlite3.Connection:
    """A connection to the database at `path`, made and migrated first unless `readonly`.

    Raises:
        ConfigError: the place cannot be written, or there is no database to read.
        JournalError: the file is damaged, is not ours, or was written by a newer version.
        IntegrationError: the disk is full or failing, or another process holds the file locked.
    """
    if readonly:
        _require_file(path)
    else:
        _make_file(path)
    try:
        connection = _opened(path, readonly, busy_timeout_s)
    except sqlite3.Error as error:
        raise from_sqlite(error, path, "open") from error
    try:
        _prepare(connection, path, readonly)
    except sqlite3.Error as error:
        connection.close()
        raise from_sqlite(error, path, "open") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _opened(path: Path, readonly: bool, busy_timeout_s: float) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode={'ro' if readonly else 'rw'}",
        uri=True,
        timeout=busy_timeout_s,
        isolation_level=None,
        cached_statements=512,
    )


def _prepare(connection: sqlite3.Connection, path: Path, readonly: bool) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = NORMAL")  # and `SqliteDatabase.sync` after each commit
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    known = latest("sqlite")
    found = _version(connection, path)
    refuse_newer(found, known, str(path))
    if readonly:
        refuse_older(found, known, str(path))
        return
    has_log = connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    if has_log:
        _harden(connection)
    if found < known or not has_log:
        with _alone_in(path.parent):
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise ConfigError(
                    f"the file system of `{path}` cannot keep a write-ahead log (SQLite stays in mode `{mode}`): it "
                    "has no shared memory between processes; name a place on a local disk with XDG_DATA_HOME",
                    path=str(path),
                )
            _migrate(connection, path, known)


def _harden(connection: sqlite3.Connection) -> None:
    """Move what a process that is gone left in the log into the database, and sync both.

    It may have stopped because a sync failed. Then what can be read in the log is perhaps not on disk, no later sync of
    the log puts it there, and a power cut would take all that was written behind it too.
    """
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    except sqlite3.OperationalError as error:
        # On a full disk it can be opened all the same: `ooda runs gc` needs it to make room.
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_FULL:
            raise


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The number of the last migration applied; 0 for an empty file."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return 0
    if "migrations" not in tables:
        raise JournalError(
            f"`{path}` is a database of another program (it has no table `migrations`); nothing was changed, name "
            "another place with XDG_DATA_HOME",
            path=str(path),
        )
    return int(connection.execute("SELECT COALESCE(MAX(number), 0) FROM migrations").fetchone()[0])


def _migrate(connection: sqlite3.Connection, path: Path, known: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL)"
        )
        # Read again under the lock: another process may have been first.
        found = _version(connection, path)
        refuse_newer(found, known, str(path))
        for number, file in numbered("sqlite"):
            if number > found:
                for statement in _statements(file.read_text(encoding="utf-8")):
                    connection.execute(statement)
                connection.execute("INSERT INTO migrations (number, name) VALUES (?, ?)", (number, file.stem))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    """One statement at a time: `executescript` would commit in between."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _require_file(path: Path) -> None:
    try:
        path.stat()
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no database at `{path}` yet; it is made by the first run, or name its folder with XDG_DATA_HOME",
            path=str(path),
        ) from error
    except OSError as error:
        raise from_os(error, path, "open") from error


def _make_file(path: Path) -> None:
    """An empty file only its owner can read; SQLite gives its -wal and -shm the same mode."""
    make_folder(path.parent)
    try:
        # Only ever opened here when it did not exist: closing a descriptor of a database in use would drop the
        # locks that this process holds on it (POSIX advisory locks).
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        sync_folder(path.parent)
    except FileExistsError:
        if path.is_dir():
            raise ConfigError(f"`{path}` is a folder, expected a database file", path=str(path)) from None
    except OSError as error:
        raise from_os(error, path, "create") from error


def make_folder(folder: Path) -> None:
    """The folder and its missing parents, each readable by its owner only; existing ones keep their mode."""
    try:
        if folder.is_dir():
            return
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)
    except OSError as error:
        raise from_os(error, folder, "create the folder") from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a file survives a power cut only together with its entry."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: turning WAL on fails, without waiting, when two processes do it at once."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
