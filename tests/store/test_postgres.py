"""What is PostgreSQL's own: opening a schema, a connection that is lost, a loop that is never blocked.

What both dialects share is tested with both of them in the other files of this folder.
"""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from ooda.errors import ConfigError, CredentialError, IntegrationError, JournalError, OodaError
from ooda.store import Store, Tx, outbox
from ooda.store.postgres_failures import from_postgres
from ooda.store.schema import latest, numbered
from tests.servers import postgres_schema, server


def enqueue(id: str, payload: str = "{}") -> Callable[[Tx], bool]:
    return lambda tx: outbox.enqueue(tx, id, "mail", payload, 1)


def ids(store: Store) -> list[str]:
    return [notice.id for notice in store.read(lambda tx: outbox.pending(tx, 10))]


@pytest.fixture
def fresh_url() -> Iterator[str]:
    """A schema in which nothing ever was."""
    with postgres_schema() as url:
        yield url


@pytest.fixture
def store(tmp_path: Path, postgres_url: str) -> Iterator[Store]:
    with Store.open(tmp_path / "ooda.db", url=postgres_url) as opened:
        yield opened


def change(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def tables(url: str) -> list[str]:
    found = change(url, "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1")
    return [str(name) for (name,) in found]


# -- opening


def test_a_newer_database_is_refused_untouched(fresh_url: str, tmp_path: Path) -> None:
    """Whatever a newer program wrote may mean something this one would destroy."""
    Store.open(tmp_path / "ooda.db", url=fresh_url).close()
    change(fresh_url, "INSERT INTO ooda_migrations (number, name) VALUES (9, '0009_later')")

    for readonly in (True, False):
        with pytest.raises(JournalError, match="newer `ooda`") as caught:
            Store.open(tmp_path / "ooda.db", url=fresh_url, readonly=readonly)
        assert (caught.value.facts["found"], caught.value.facts["expected"]) == (9, latest("postgres"))

    assert change(fresh_url, "SELECT number FROM ooda_migrations ORDER BY 1") == [
        *((number,) for number, _ in numbered("postgres")),
        (9,),
    ]


def test_a_reader_makes_nothing(fresh_url: str, tmp_path: Path) -> None:
    """Neither tables nor folders; the message says how a database comes to be."""
    with pytest.raises(ConfigError, match="open it once for writing"):
        Store.open(tmp_path / "data" / "ooda.db", url=fresh_url, readonly=True)

    assert tables(fresh_url) == []
    assert not (tmp_path / "data").exists()


def test_tables_of_another_program_under_our_names_are_refused_untouched(fresh_url: str, tmp_path: Path) -> None:
    """A schema may be shared with other tables, but not with another `events`."""
    change(fresh_url, "CREATE TABLE photos (id int); CREATE TABLE events (id int)")

    with pytest.raises(JournalError, match=r"another program under names of ours \(events\)"):
        Store.open(tmp_path / "ooda.db", url=fresh_url)

    assert tables(fresh_url) == ["events", "photos"]
    change(fresh_url, "DROP TABLE events")
    Store.open(tmp_path / "ooda.db", url=fresh_url).close()
    assert {"events", "photos"} < set(tables(fresh_url))


OPEN = """
import sys
from pathlib import Path
from ooda.errors import OodaError
from ooda.store import Store, outbox
try:
    with Store.open(Path(sys.argv[1]), url=sys.argv[2]) as store:
        store.write_now(lambda tx: outbox.enqueue(tx, sys.argv[3], "mail", "{}", 1))
except OodaError as error:
    print(type(error).__name__, error)
"""


def test_many_processes_may_open_a_new_database_at_once(fresh_url: str, tmp_path: Path) -> None:
    """One of them makes the tables, the others wait; all write."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, tmp_path / "ooda.db", fresh_url, f"n{number}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(4)
    ]
    said = [child.communicate()[0] for child in children]

    assert said == [""] * 4
    with Store.open(tmp_path / "ooda.db", url=fresh_url) as store:
        assert sorted(ids(store)) == [f"n{number}" for number in range(4)]


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("mysql://u:hunter22@h/d", ConfigError, "begins with 'mysql', expected `postgresql://"),
        ("postgresql://u:hunter22@[h/d", ConfigError, "no connection URL"),
        ("postgresql://u:hunter22@127.0.0.1:1/d?connect_timeout=2", IntegrationError, "127.0.0.1:1/d.*Look whether"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_without_its_password(
    tmp_path: Path, url: str, error: type[OodaError], says: str
) -> None:
    """Another kind of database, a typing slip, nobody there."""
    with pytest.raises(error, match=says) as caught:
        Store.open(tmp_path / "ooda.db", url=url)

    assert "hunter22" not in str(caught.value) + repr(caught.value.facts)


def test_a_database_or_schema_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The message says to create it."""
    url = server("TEST_POSTGRES_URL", "postgres")

    with pytest.raises(ConfigError, match=r"`nowhere` does not exist|\"nowhere\" does not exist"):
        Store.open(tmp_path / "ooda.db", url=url.rpartition("/")[0] + "/nowhere")
    with pytest.raises(ConfigError, match="names no schema that exists"):
        Store.open(tmp_path / "ooda.db", url=f"{url}?options=-csearch_path%3Dnowhere")


def test_a_driver_in_the_url_is_left_out(fresh_url: str, tmp_path: Path) -> None:
    """The URL other tools share may name the driver they use."""
    url = fresh_url.replace("postgresql://", "postgres+asyncpg://")

    with Store.open(tmp_path / "ooda.db", url=url) as store:
        assert store.place.startswith("127.0.0.1:")
        assert "options" not in store.place


def test_a_reader_cannot_write(postgres_url: str, tmp_path: Path) -> None:
    """Whatever the work tries."""
    Store.open(tmp_path / "ooda.db", url=postgres_url).close()
    with Store.open(tmp_path / "ooda.db", url=postgres_url, readonly=True) as reader:
        with pytest.raises(ConfigError, match="reading only"):
            reader.write_now(enqueue("n"))
        with pytest.raises(ConfigError, match="read-only transaction"):
            reader.read(enqueue("n"))
        assert ids(reader) == []


# -- writing


def transaction(tx: Tx) -> str:
    """The number of the transaction a work is carried out in."""
    return str(tx.execute("SELECT pg_current_xact_id()::text")[0][0])


async def test_works_of_one_iteration_share_one_transaction(store: Store) -> None:
    """However many runs write at once, there is one sync to disk."""
    numbers = await asyncio.gather(*(store.write(transaction) for _ in range(20)))

    assert len(set(numbers)) == 1
    assert await store.write(transaction) not in numbers


async def test_works_that_arrive_while_one_is_under_way_share_the_next(store: Store) -> None:
    """They are collected until the thread is free again."""
    began, go_on = threading.Event(), threading.Event()

    def slow(tx: Tx) -> None:
        began.set()
        assert go_on.wait(10)

    first = store.write(slow)
    assert await asyncio.to_thread(began.wait, 10)
    others = []
    for _ in range(3):
        others.append(store.write(transaction))
        await asyncio.sleep(0)
    go_on.set()
    await first

    assert len(set(await asyncio.gather(*others))) == 1


async def test_the_loop_goes_on_while_another_process_holds_the_lock(store: Store, postgres_url: str) -> None:
    """Neither the event loop nor a reader waits for a writer."""
    locked, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        def work(tx: Tx) -> None:
            locked.set()
            assert go_on.wait(10)

        with Store.open(store.blobs.folder / "other.db", url=postgres_url) as other:
            other.write_now(work)

    holder = asyncio.create_task(asyncio.to_thread(hold))
    assert await asyncio.to_thread(locked.wait, 10)
    writing = store.write(enqueue("n"))
    turns = 0
    while turns < 50:
        await asyncio.sleep(0)
        turns += 1
        assert ids(store) == []
    assert not writing.done()
    go_on.set()

    assert await writing is True
    await holder
    assert ids(store) == ["n"]


async def test_a_writer_cancelled_while_its_transaction_is_under_way_hears_of_it_at_its_end(store: Store) -> None:
    """Nobody goes on while it is unknown whether the work was kept."""
    began, go_on = threading.Event(), threading.Event()

    def slow(tx: Tx) -> None:
        began.set()
        assert go_on.wait(10)
        outbox.enqueue(tx, "n", "mail", "{}", 1)

    async def writer() -> None:
        await store.write(slow)

    task = asyncio.create_task(writer())
    assert await asyncio.to_thread(began.wait, 10)
    task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ids(store) == ["n"]


def test_an_error_that_a_work_kept_to_itself_is_not_taken_for_a_commit(store: Store) -> None:
    """The server rolls such a transaction back and calls that an answer to COMMIT."""

    def careless(tx: Tx) -> None:
        outbox.enqueue(tx, "n", "mail", "{}", 1)
        with pytest.raises(psycopg.Error):
            tx.execute("SELECT nonsense")

    with pytest.raises(IntegrationError, match="rolled back"):
        store.write_now(careless)

    assert ids(store) == []


def test_a_work_that_asks_for_a_second_transaction_is_told(store: Store) -> None:
    """It would wait for itself, or read what it has not committed."""
    for inner in (
        lambda tx: store.write_now(enqueue("n")),
        lambda tx: store.read(lambda tx: tx.execute("SELECT 1")),
    ):
        with pytest.raises(RuntimeError, match="under way"):
            store.write_now(inner)
        with pytest.raises(RuntimeError, match="under way"):
            store.read(lambda tx: store.read(lambda tx: tx.execute("SELECT 1")))


def test_a_note_is_seen_at_once(store: Store) -> None:
    """It is only the disk that is not waited for."""
    store.note(enqueue("n"))

    assert ids(store) == ["n"]


def test_a_nul_is_kept_as_the_sign_for_it(store: Store) -> None:
    """PostgreSQL refuses it in texts; a tool's output may hold one."""
    store.write_now(enqueue("n", "a\0b"))

    assert store.read(lambda tx: outbox.pending(tx, 10))[0].payload == "a␀b"


# -- a connection that is lost


def drop_connections(url: str) -> None:
    change(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'ooda' AND pid <> pg_backend_pid()",
    )


def test_a_connection_lost_between_transactions_is_made_again(store: Store, postgres_url: str) -> None:
    """A restart of the server costs nobody anything."""
    store.write_now(enqueue("n1"))
    assert ids(store) == ["n1"]
    drop_connections(postgres_url)

    store.write_now(enqueue("n2"))
    drop_connections(postgres_url)

    assert ids(store) == ["n1", "n2"]


async def test_a_connection_lost_inside_a_transaction_keeps_nothing_of_it(store: Store, postgres_url: str) -> None:
    """Everyone who shared it is told, and told that it may be repeated; the next one goes through."""

    def interrupted(tx: Tx) -> None:
        outbox.enqueue(tx, "half", "mail", "{}", 1)
        drop_connections(postgres_url)
        outbox.enqueue(tx, "other half", "mail", "{}", 1)

    said = await asyncio.gather(
        store.write(enqueue("n1")),
        store.write(interrupted),
        return_exceptions=True,
    )
    await store.write(enqueue("n2"))

    assert [type(error) for error in said] == [IntegrationError] * 2
    assert all(isinstance(error, IntegrationError) and error.facts["retryable"] for error in said)
    assert ids(store) == ["n2"]


def test_closing_the_event_loop_under_a_transaction_loses_nothing(store: Store) -> None:
    """What was begun is carried out, and the next loop can write."""

    async def leave() -> None:
        store.write(enqueue("left"))
        await asyncio.sleep(0)

    async def write(id: str) -> bool:
        return bool(await store.write(enqueue(id)))

    asyncio.run(leave())
    assert asyncio.run(write("n")) is True
    assert ids(store) == ["left", "n"]


# -- failures


class _Error(psycopg.Error):
    def __init__(self, state: str | None, message: str) -> None:
        super().__init__(message)
        self.sqlstate = state


@pytest.mark.parametrize(
    ("state", "expected", "retryable"),
    [
        (None, IntegrationError, True),
        ("08006", IntegrationError, True),
        ("28P01", CredentialError, None),
        ("3D000", ConfigError, None),
        ("42501", ConfigError, None),
        ("25006", ConfigError, None),
        ("55P03", IntegrationError, True),
        ("53100", IntegrationError, True),
        ("53300", IntegrationError, True),
        ("57P01", IntegrationError, True),
        ("40P01", IntegrationError, True),
        ("XX001", JournalError, None),
        ("23505", IntegrationError, False),
    ],
)
def test_errors_are_sorted_by_who_has_to_act(
    state: str | None, expected: type[OodaError], retryable: bool | None
) -> None:
    """One line each, with the place and the server's own sentence."""
    error = from_postgres(_Error(state, "the server said this\nLINE 1: SELECT"), "db/ooda", "write")

    assert type(error) is expected
    assert error.facts.get("retryable") is retryable
    assert "cannot write the database `db/ooda`" in str(error)
    assert "\n" not in str(error)
