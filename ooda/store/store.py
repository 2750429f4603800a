"""The store of this process: one database whose transactions are shared between its runs.

Works handed to `write` during one iteration of the event loop share one transaction and one sync to disk (group
commit); each still fails alone. They are carried out on the loop's own thread: a statement takes microseconds,
a hop to another thread and back takes longer. What the tables mean is known by the rooms that hold the SQL.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from ooda.runtime.journal import FIRST_SEQ, Row
from ooda.store import journal
from ooda.store.blobs import BlobStore
from ooda.store.failures import from_sqlite
from ooda.store.sqlite import SqliteTx, connect
from ooda.store.tx import Tx

if TYPE_CHECKING:
    import asyncio

__all__ = ["Store"]

T = TypeVar("T")

_BUSY_TIMEOUT_S = 10.0


class Store:
    """The database of runs, money, approvals and audit, and the blobs beside it.

    Belongs to one thread and one process; any number of processes may have the same file open.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, blobs: BlobStore) -> None:
        """Use `Store.open`."""
        self.path = path
        self.blobs = blobs
        self._connection = connection
        self._is_busy = False
        self._queue: list[tuple[Callable[[Tx], Any], asyncio.Future[Any]]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        readonly: bool = False,
        blobs: Path | None = None,
        busy_timeout_s: float = _BUSY_TIMEOUT_S,
    ) -> Store:
        """Open the database at `path`, making and migrating it first unless `readonly`.

        Args:
            path: the database file; its folder is made with mode 0700, the file with 0600.
            readonly: change nothing, not even the schema version.
            blobs: folder of the large texts; `blobs` beside the database when not given.
            busy_timeout_s: how long to wait for another process that is writing.

        Raises:
            ConfigError: the place cannot be written, or there is no database to read.
            JournalError: the file is damaged, is not ours, or was written by a newer version.
            IntegrationError: the disk is full or failing, or another process holds the file locked.
        """
        connection = connect(path, readonly=readonly, busy_timeout_s=busy_timeout_s)
        store = cls(connection, path, BlobStore(blobs or path.parent / "blobs"))
        if not readonly:
            store.blobs.sweep()
        return store

    def write(self, work: Callable[[Tx], T]) -> asyncio.Future[T]:
        """Carry `work` out in the next transaction; the result is there once it is on disk.

        An exception in `work` undoes what it did, and only that, and is raised to its caller. A caller cancelled
        before the transaction began wrote nothing; one cancelled after may have written all: a work is never
        half done, and an append may be repeated.
        """
        import asyncio

        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.append((work, future))
        if self._loop is not loop:
            self._loop = loop
            loop.call_soon(self._flush)
        return future

    def write_now(self, work: Callable[[Tx], T]) -> T:
        """The same without an event loop: carried out, and on disk, when this returns."""
        return self._inside("BEGIN IMMEDIATE", work)

    def note(self, work: Callable[[Tx], T]) -> T:
        """The same without the wait for the disk: kept when this process is killed, perhaps not when the power goes.

        For what a later synced transaction repeats or supersedes, and nothing else.
        """
        self._connection.execute("PRAGMA synchronous = NORMAL")
        try:
            return self.write_now(work)
        finally:
            self._connection.execute("PRAGMA synchronous = FULL")

    def read(self, work: Callable[[Tx], T]) -> T:
        """What `work` finds in one consistent state of the database. Statements that write are not for it."""
        return self._inside("BEGIN", work)

    def append(self, tx: Tx, rows: Sequence[Row], fence: int, *, status: str | None = None) -> None:
        """Add consecutive rows to a run's journal inside a work's transaction; see `ooda.store.journal.append`."""
        journal.append(tx, rows, fence, load=self.blobs.get, status=status)

    def rows(self, run: str, from_seq: int = FIRST_SEQ) -> Iterator[Row]:
        """The run's rows in order, read a page at a time; none when the run is unknown. Not verified here."""
        page: list[Row] = []
        while len(page) in (0, journal.PAGE):
            start = page[-1].seq + 1 if page else from_seq
            page = self.read(lambda tx, start=start: journal.page(tx, run, start))  # type: ignore[misc]
            if not page:
                return
            yield from page

    def close(self) -> None:
        """Carry out what is still queued and let go of the file. Closing twice does nothing."""
        if self._queue:
            self._flush()
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _flush(self) -> None:
        batch, self._queue, self._loop = self._queue, [], None
        batch = [(work, future) for work, future in batch if not future.cancelled()]
        if not batch:
            return
        try:
            outcomes = self._transact([work for work, _ in batch])
        except Exception as error:  # noqa: BLE001 - handed to every caller: none of their works was kept
            outcomes = [_Failure(error)] * len(batch)
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, _Failure):
                future.set_exception(outcome.error)
            else:
                future.set_result(outcome)

    def _transact(self, works: list[Callable[[Tx], Any]]) -> list[Any]:
        """The result, or the _Failure, of each work; all are on disk. Raises when the transaction as a whole failed."""
        if len(works) == 1:
            return [self._inside("BEGIN IMMEDIATE", works[0])]
        return self._inside("BEGIN IMMEDIATE", lambda tx: [self._apart(work, tx) for work in works])

    def _inside(self, begin: str, work: Callable[[Tx], T]) -> T:
        if self._is_busy:
            raise RuntimeError("a transaction is under way; use the `tx` it was given instead of the store")
        connection = self._connection
        self._is_busy = True
        tx = SqliteTx(connection)
        try:
            connection.execute(begin)
            result = work(tx)
            connection.execute("COMMIT")
            return result
        except sqlite3.Error as error:
            raise from_sqlite(error, self.path, "read" if begin == "BEGIN" else "write") from error
        finally:
            tx.end()
            self._is_busy = False
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _apart(self, work: Callable[[Tx], Any], tx: Tx) -> Any:
        """The result of one work of several, or its _Failure; a failed one leaves no trace."""
        connection = self._connection
        connection.execute("SAVEPOINT work")
        try:
            result = work(tx)
        except Exception as error:
            # A full disk makes SQLite give up the whole transaction: then nobody's work was kept.
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO work")
            connection.execute("RELEASE work")
            if isinstance(error, sqlite3.Error):
                return _Failure(from_sqlite(error, self.path, "write"))
            return _Failure(error)
        connection.execute("RELEASE work")
        return result


class _Failure:
    """An exception on its way to the caller whose work raised it."""

    def __init__(self, error: Exception) -> None:
        self.error = error
