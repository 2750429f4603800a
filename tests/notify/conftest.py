"""A store on a file and on a server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ooda.store import Store


@pytest.fixture
def store(tmp_path: Path, store_url: str) -> Iterator[Store]:
    with Store.open(tmp_path / "ooda.db", url=store_url) as opened:
        yield opened


@pytest.fixture
def file_store(tmp_path: Path) -> Iterator[Store]:
    """SQLite only."""
    with Store.open(tmp_path / "ooda.db") as opened:
        yield opened
