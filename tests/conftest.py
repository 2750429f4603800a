"""What every test may use: a folder as HOME, and the marks for real parts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ooda.testing.runs import RunBench
from tests.servers import emptied, postgres_schema, server

IN_CI = bool(os.environ.get("CI"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Soak runs only when asked for; a missing part skips elsewhere and fails in CI."""
    soaking = "soak" in (config.option.markexpr or "")
    has_bubblewrap = shutil.which("bwrap") is not None
    for item in items:
        if item.get_closest_marker("soak") and not soaking:
            item.add_marker(pytest.mark.skip(reason="long; run it with `make soak`"))
        if item.get_closest_marker("bubblewrap") and not has_bubblewrap and not IN_CI:
            item.add_marker(pytest.mark.skip(reason="needs bubblewrap: apt-get install bubblewrap"))


@pytest.fixture
def bench(tmp_path: Path) -> RunBench:
    """A repository with one bug, a home of its own, bubblewrap around every command."""
    return RunBench(tmp_path)


@pytest.fixture(scope="session")
def shared_schema() -> Iterator[str]:
    """One schema on the real PostgreSQL server for all tests of this session."""
    with postgres_schema() as url:
        yield url


@pytest.fixture
def postgres_url(shared_schema: str) -> Iterator[str]:
    """A PostgreSQL database with nothing in it."""
    yield shared_schema
    emptied(shared_schema)


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest) -> str:
    """Both dialects, one after the other: nothing for SQLite, or the URL of an empty PostgreSQL schema."""
    return "" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def redis_url() -> str:
    """The real Redis server; a test takes a prefix of its own."""
    return server("TEST_REDIS_URL", "redis")


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[Any]:
    """A connection to it."""
    import redis

    with redis.Redis.from_url(redis_url) as client:
        yield client
