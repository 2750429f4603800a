"""The store of this process: one database whose transactions are shared between its runs.

Works handed to `write` during one iteration of the event loop share one transaction and one sync to disk (group
commit); each still fails alone. On a file they are carried out on the loop's own thread: a statement takes
microseconds, a hop to another thread and back takes longer. A remote database has a thread of its own (`worker`).
What the tables mean is known by the rooms that hold the SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from ooda.runtime.journal import FIRST_SEQ, Row
from ooda.store import journal
from ooda.store.blobs import BlobStore
from ooda.store.database import Database, Failure
from ooda.store.postgres import PostgresDatabase
from ooda.store.sqlite import SqliteDatabase
from ooda.store.tx import Tx
from ooda.store.worker import Worker

if TYPE_CHECKING:
    import asyncio

__all__ = ["Store"]

T = TypeVar("T")

_BUSY_TIMEOUT_S = 10.0


class Store:
    """The database of runs, money, approvals and audit, and the blobs beside it.

    Belongs to one thread and one process; any number of processes may have the same database open.
    """

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        """Use `Store.open`."""
        self.database = database
        self.blobs = blobs
        self._queue: list[tuple[Callable[[Tx], Any], asyncio.Future[Any]]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker = Worker(database) if database.is_remote else None

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        url: str = "",
        readonly: bool = False,
        blobs: Path | None = None,
        busy_timeout_s: float = _BUSY_TIMEOUT_S,
    ) -> Store:
        """Open the database, making and migrating it first unless `readonly`.

        Args:
            path: the database file; its folder is made with mode 0700, the file with 0600.
            url: a PostgreSQL database to use instead of the file; the blobs stay where they are.
            readonly: change nothing, not even the schema version.
            blobs: folder of the large texts; `blobs` beside the database file when not given.
            busy_timeout_s: how long to wait for another process that is writing.

        Raises:
            ConfigError: the place cannot be written, or there is no database to read.
            CredentialError: the server rejects user or password.
            JournalError: the database is damaged, is not ours, or was written by a newer version.
            IntegrationError: the disk is full or failing, the server cannot be reached, or another process holds
                the database locked.
        """
        database: Database
        if url:
            database = PostgresDatabase(url, readonly=readonly, busy_timeout_s=busy_timeout_s)
        else:
            database = SqliteDatabase(path, readonly=readonly, busy_timeout_s=busy_timeout_s)
        store = cls(database, BlobStore(blobs or path.parent / "blobs"))
        if not readonly:
            store.blobs.sweep()
        return store

    @property
    def is_remote(self) -> bool:
        """Whether a transaction waits for a network."""
        return self.database.is_remote

    @property
    def place(self) -> str:
        """Where the database is, for people."""
        return self.database.place

    def write(self, work: Callable[[Tx], T]) -> asyncio.Future[T]:
        """Carry `work` out in the next transaction; the result is there once it is on disk.

        An exception in `work` undoes what it did, and only that, and is raised to its caller. A caller cancelled
        before the transaction began wrote nothing; one cancelled after may have written all: a work is never
        half done, and an append may be repeated.
        """
        import asyncio

        if self._worker is not None:
            return self._worker.write(work)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.append((work, future))
        if self._loop is not loop:
            self._loop = loop
            loop.call_soon(self._flush)
        return future

    def write_now(self, work: Callable[[Tx], T]) -> T:
        """The same without an event loop: carried out, and on disk, when this returns."""
        if self._worker is not None:
            return self._worker.call(lambda: self.database.write(work))
        return self.database.write(work)

    def note(self, work: Callable[[Tx], T]) -> T:
        """The same without the wait for the disk: kept when this process is killed, perhaps not when the power goes.

        For what a later synced transaction repeats or supersedes, or `sync` confirms, and nothing else.
        """
        if self._worker is not None:
            return self._worker.call(lambda: self.database.write(work, is_synced=False))
        return self.database.write(work, is_synced=False)

    def sync(self) -> None:
        """Have everything noted before on disk when this returns."""
        if self._worker is not None:
            return self._worker.call(self.database.sync)
        return self.database.sync()

    def read(self, work: Callable[[Tx], T]) -> T:
        """What `work` finds in one consistent state of the database. Statements that write are not for it."""
        return self.database.read(work)

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

    def compact(self) -> None:
        """Give back the disk space of what was deleted.

        Raises:
            IntegrationError: another process holds the database locked, or there is no room to write it anew.
        """
        self.database.compact()

    def close(self) -> None:
        """Carry out what is still queued and let go of the database. Closing twice does nothing."""
        if self._queue:
            self._flush()
        if self._worker is not None:
            self._worker.close()
        self.database.close()

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
            outcomes = self.database.write_all([work for work, _ in batch])
        except Exception as error:  # noqa: BLE001 - handed to every caller: none of their works was kept
            outcomes = [Failure(error)] * len(batch)
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Failure):
                future.set_exception(outcome.error)
            else:
                future.set_result(outcome)
