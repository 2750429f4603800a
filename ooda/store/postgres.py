"""A PostgreSQL database as the store: the same tables, the same SQL, the same one-writer-at-a-time transactions.

Every write transaction takes one lock for the whole store first, as SQLite does. All of them extend one audit chain,
so they would queue behind each other anyway; taking the lock at the start means that they never wait for each other
in a circle. Reads have a connection of their own and wait for nobody.
Knows connections, locks and migrations; must not know what the tables mean.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from ooda.errors import ConfigError, IntegrationError, JournalError, OodaError
from ooda.store.database import Work, apart, ended
from ooda.store.postgres_failures import from_postgres
from ooda.store.schema import latest, numbered, refuse_newer, refuse_older
from ooda.store.tx import Params

if TYPE_CHECKING:
    import psycopg

__all__ = ["PostgresDatabase", "PostgresTx"]

T = TypeVar("T")

_LOCK = 0x6F6F6461 << 32  # the half of the lock's number that says `ooda`; the other half is the schema's
_MARK = (
    "INSERT INTO meta (key, value) VALUES ('store.synced', '1') ON CONFLICT (key) DO UPDATE "
    "SET value = CASE meta.value WHEN '1' THEN '2' ELSE '1' END"
)
_CONNECT_S = 10
_ABANDONED_S = 60
"""A writer that was stopped in the middle of a transaction holds everybody up for at most so long."""
_NUL = "\N{SYMBOL FOR NULL}"


class PostgresTx:
    """A transaction on a connection; unusable once its work has returned."""

    __slots__ = ("_execute", "for_update")

    def __init__(self, connection: psycopg.Connection[Any], for_update: str) -> None:
        self._execute: Any = connection.execute
        self.for_update = for_update

    def execute(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        cursor = self._execute(_numbered_marks(sql), _storable(params))
        return cursor.fetchall() if cursor.description is not None else []

    def change(self, sql: str, params: Params = ()) -> int:
        return int(self._execute(_numbered_marks(sql), _storable(params)).rowcount)

    def end(self) -> None:
        """From here on every use raises."""
        self._execute = ended


class PostgresDatabase:
    """A database on a server, with one connection to write and one to read."""

    is_remote = True

    def __init__(self, url: str, *, readonly: bool, busy_timeout_s: float) -> None:
        """Connect and bring the schema up to date, unless `readonly`.

        Raises:
            ConfigError: the URL is none, `psycopg` is not installed, or the schema cannot be written.
            CredentialError: the server rejects user or password.
            JournalError: the database is not ours, or was written by a newer version.
            IntegrationError: the server cannot be reached.
        """
        self._conninfo = _conninfo(url)
        self.place = _place(self._conninfo)
        self._readonly = readonly
        self._busy_timeout_s = busy_timeout_s
        self._lock_key = 0
        self._reading = threading.Lock()
        self._inside: set[int] = set()
        """Threads in a transaction."""
        self._reader: psycopg.Connection[Any] | None = None
        self._writer: psycopg.Connection[Any] | None = None
        if readonly:
            self._reader = self._connected(is_writer=False)
        else:
            self._writer = self._connected(is_writer=True)

    def write(self, work: Work[T], *, is_synced: bool = True) -> T:
        begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; "
        if not is_synced:
            begin += "SET LOCAL synchronous_commit = off; "
        if self._writer is None or self._writer.closed:
            self._writer = self._connected(is_writer=True)
        begin += f"SELECT pg_advisory_xact_lock({self._lock_key})"
        self._writer = self._begun(self._writer, begin, "write", is_writer=True)
        return self._carried_out(self._writer, work, " FOR UPDATE", "write")

    def sync(self) -> None:
        # The commit of a transaction that changed nothing waits for nothing, so this one makes a change.
        self.write(lambda tx: tx.change(_MARK))

    def write_all(self, works: Sequence[Work[Any]]) -> list[Any]:
        if len(works) == 1:
            return [self.write(works[0])]
        return self.write(lambda tx: [apart(work, tx, self._translated) for work in works])

    def read(self, work: Work[T]) -> T:
        if threading.get_ident() in self._inside:
            raise RuntimeError("a transaction is under way; use the `tx` it was given instead of the store")
        with self._reading:
            if self._reader is None or self._reader.closed:
                self._reader = self._connected(is_writer=False)
            begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
            self._reader = self._begun(self._reader, begin, "read", is_writer=False)
            return self._carried_out(self._reader, work, "", "read")

    def compact(self) -> None:
        """Nothing: the server's own autovacuum does that."""

    def close(self) -> None:
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()

    # -- transactions -----------------------------------------------------------------------------------

    def _begun(
        self, connection: psycopg.Connection[Any], begin: str, operation: str, *, is_writer: bool
    ) -> psycopg.Connection[Any]:
        """The connection, or a fresh one when it was lost, inside a transaction."""
        import psycopg

        try:
            connection.execute(begin.encode(), prepare=False)
        except psycopg.Error as error:
            if not connection.closed:
                _roll_back(connection)
                raise from_postgres(error, self.place, operation) from error
            # The server was restarted or dropped us while nothing was under way: nothing can have been lost.
            connection = self._connected(is_writer=is_writer)
            try:
                connection.execute(begin.encode(), prepare=False)
            except psycopg.Error as again:
                raise from_postgres(again, self.place, operation) from again
        return connection

    def _carried_out(self, connection: psycopg.Connection[Any], work: Work[T], for_update: str, operation: str) -> T:
        import psycopg

        tx = PostgresTx(connection, for_update)
        self._inside.add(threading.get_ident())
        try:
            result = work(tx)
            # After an error that the work kept to itself the server would answer COMMIT with ROLLBACK, and no word.
            if connection.execute("COMMIT").statusmessage != "COMMIT":
                raise IntegrationError(
                    f"the transaction on `{self.place}` was rolled back after an earlier error in it; nothing was kept",
                    service="store",
                    operation=operation,
                    status="25P02",
                    retryable=False,
                    path=self.place,
                )
            return result
        except psycopg.Error as error:
            raise from_postgres(error, self.place, operation) from error
        finally:
            tx.end()
            self._inside.discard(threading.get_ident())
            _roll_back(connection)

    def _translated(self, error: Exception) -> OodaError | None:
        import psycopg

        return from_postgres(error, self.place, "write") if isinstance(error, psycopg.Error) else None

    # -- opening ----------------------------------------------------------------------------------------

    def _connected(self, *, is_writer: bool) -> psycopg.Connection[Any]:
        if is_writer and self._readonly:
            raise ConfigError(f"the database `{self.place}` is open for reading only", path=self.place)
        psycopg = _psycopg()
        try:
            connection = _opened(self._conninfo, self._busy_timeout_s)
        except psycopg.Error as error:
            raise from_postgres(error, self.place, "open") from error
        try:
            self._prepare(connection, is_writer=is_writer)
        except psycopg.Error as error:
            connection.close()
            raise from_postgres(error, self.place, "open") from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: psycopg.Connection[Any], *, is_writer: bool) -> None:
        schema, number = connection.execute(
            "SELECT current_schema(), current_schema()::regnamespace::oid::bigint"
        ).fetchone() or (None, 0)
        if schema is None:
            raise ConfigError(
                f"the search path of `{self.place}` names no schema that exists; create it, or correct `store.url`",
                path=self.place,
            )
        self._lock_key = _LOCK | number
        known = latest("postgres")
        found = self._version(connection, schema)
        refuse_newer(found, known, self.place)
        if is_writer:
            if found < known:
                self._migrate(connection, schema, known)
        elif self._readonly:
            refuse_older(found, known, self.place)

    def _version(self, connection: psycopg.Connection[Any], schema: str) -> int:
        """The number of the last migration applied; 0 where none of our tables is."""
        rows = connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1",
            (schema,),
        ).fetchall()
        there = {name for (name,) in rows}
        if "ooda_migrations" not in there:
            others = sorted(there & _our_tables())
            if others:
                raise JournalError(
                    f"`{self.place}` holds tables of another program under names of ours ({', '.join(others)}); "
                    "nothing was changed, name another database or schema in `store.url` "
                    "(`?options=-csearch_path%3DNAME`)",
                    path=self.place,
                )
            return 0
        found = connection.execute("SELECT COALESCE(MAX(number), 0) FROM ooda_migrations").fetchone()
        return int(found[0]) if found else 0

    def _migrate(self, connection: psycopg.Connection[Any], schema: str, known: int) -> None:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock($1)", (self._lock_key,))
            # Read again under the lock: another process may have been first.
            found = self._version(connection, schema)
            refuse_newer(found, known, self.place)
            if not found:
                connection.execute("CREATE TABLE ooda_migrations (number BIGINT PRIMARY KEY, name TEXT NOT NULL)")
            for number, file in numbered("postgres"):
                if number > found:
                    connection.execute(file.read_bytes(), prepare=False)
                    connection.execute(
                        "INSERT INTO ooda_migrations (number, name) VALUES ($1, $2)", (number, file.stem)
                    )


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise ConfigError(
            "`store.url` names a PostgreSQL database, and the package `psycopg` is not installed; install it with "
            "`pip install 'ooda-agents[postgres]'`, or unset `store.url` to use SQLite",
            setting="store.url",
        ) from error
    return psycopg


def _conninfo(url: str) -> dict[str, Any]:
    """The parts of a connection URL. A driver named in it (`postgresql+asyncpg://`) is left out."""
    psycopg = _psycopg()
    plain = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url)
    if not plain.startswith("postgresql://"):
        raise ConfigError(
            f"`store.url` begins with {url.partition(':')[0]!r}, expected `postgresql://user:password@host/database`; "
            "unset it to use SQLite in the data folder",
            setting="store.url",
        )
    try:
        parts: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(plain)
    except psycopg.ProgrammingError as error:
        # What libpq says may hold parts of the URL, and so of a password.
        raise ConfigError(
            "`store.url` is no connection URL; expected `postgresql://user:password@host:5432/database`, with special "
            "characters of the password written as %XX",
            setting="store.url",
        ) from error
    return parts


def _place(parts: dict[str, Any]) -> str:
    host = parts.get("host") or parts.get("hostaddr") or "localhost"
    port = f":{parts['port']}" if parts.get("port") else ""
    return f"{host}{port}/{parts.get('dbname') or parts.get('user') or ''}"


def _opened(parts: dict[str, Any], busy_timeout_s: float) -> psycopg.Connection[Any]:
    import psycopg

    given: dict[str, Any] = {"connect_timeout": _CONNECT_S, "application_name": "ooda"} | parts
    connection = psycopg.connect(**given, autocommit=True, cursor_factory=psycopg.RawCursor)
    try:
        _adapt(connection)
        for name, value in (
            ("lock_timeout", round(busy_timeout_s * 1000)),
            ("idle_in_transaction_session_timeout", _ABANDONED_S * 1000),
        ):
            connection.execute(f"SET {name} = {value}".encode())
        # Whatever the server's default: what is acknowledged is on its disk.
        connection.execute("SET synchronous_commit = on")
    except BaseException:
        connection.close()
        raise
    return connection


def _adapt(connection: psycopg.Connection[Any]) -> None:
    """Whole numbers only: every int travels as a bigint; a sum, which the server calls numeric, comes back as int."""
    from psycopg.types.numeric import Int8Dumper, IntLoader

    connection.adapters.register_dumper(int, Int8Dumper)
    connection.adapters.register_loader("numeric", IntLoader)


def _roll_back(connection: psycopg.Connection[Any]) -> None:
    """End what is left of a transaction; a connection that cannot is of no more use."""
    import psycopg
    from psycopg.pq import TransactionStatus

    if connection.closed or connection.info.transaction_status == TransactionStatus.IDLE:
        return
    try:
        connection.execute("ROLLBACK", prepare=False)
    except psycopg.Error:
        with suppress(psycopg.Error):
            connection.close()


@cache
def _our_tables() -> frozenset[str]:
    """What the migrations make."""
    made = re.compile(r"^CREATE (?:TABLE|VIEW) (\w+)", re.MULTILINE)
    return frozenset(name for _, file in numbered("postgres") for name in made.findall(file.read_text("utf-8")))


@cache
def _numbered_marks(sql: str) -> bytes:
    """`?` as `$1`, `$2`, …; no text constant of ours holds a question mark."""
    head, *rest = sql.split("?")
    return (head + "".join(f"${number}{part}" for number, part in enumerate(rest, start=1))).encode()


def _storable(params: Params) -> Params:
    """PostgreSQL keeps no NUL in a text; it is stored as the sign for it."""
    if any(type(value) is str and "\0" in value for value in params):
        return [value.replace("\0", _NUL) if type(value) is str else value for value in params]
    return params
