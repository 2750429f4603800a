"""A store on a real file and on a real server, and journals to put into it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ooda.events import Body, Event, Limits, Observed, RunStarted
from ooda.runtime.journal import GENESIS, Row, seal
from ooda.store import Store, leases

START = RunStarted(
    agent="coding",
    task=Body('{"kind":"coding","task":{"id":"task-789","title":"Add user authentication"}}'),
    task_digest="d",
    rules=Body("rules"),
    brief=Body("brief"),
    limits=Limits(),
    loop_version=1,
    model="z-ai/glm-4.6:exacto",
    run_by="ada",
)
NOW = 1_700_000_000_000_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ooda.db"


@pytest.fixture
def store(path: Path, store_url: str) -> Iterator[Store]:
    with Store.open(path, url=store_url) as opened:
        yield opened


@pytest.fixture
def file_store(path: Path) -> Iterator[Store]:
    """SQLite only."""
    with Store.open(path) as opened:
        yield opened


@pytest.fixture
def chain() -> Callable[..., list[Row]]:
    """Rows of a journal that begins with RunStarted, then holds the events given (or so many observations)."""

    def make(events: list[Event] | int = 0, run: str = "run-a", start: RunStarted = START) -> list[Row]:
        if isinstance(events, int):
            events = [Observed(source="test", text=Body(f"line {number}")) for number in range(events)]
        rows: list[Row] = []
        for seq, event in enumerate([start, *events]):
            rows.append(seal(run, seq, event, NOW + seq, "tool/internal", rows[-1].hash if rows else GENESIS))
        return rows

    return make


@pytest.fixture
def take(store: Store) -> Callable[..., leases.Lease]:
    """Takes the lease of a run for an owner."""

    def taken(run: str = "run-a", owner: str = "me", now_ns: int = NOW) -> leases.Lease:
        return store.write_now(lambda tx: leases.take(tx, run, owner, 30, now_ns))

    return taken
