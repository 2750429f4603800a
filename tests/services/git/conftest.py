"""A run's repository over fresh folders, closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ooda.services.git import GitSettings, Remote, WorkRepo
from tests.services.git.hosts import make_remote

FILES = {"app.py": "print('one')\n", "pkg/mod.py": "x = 1\n", "README.md": "# Demo\n"}


@pytest.fixture
def open_repo(tmp_path: Path) -> Iterator[Callable[..., WorkRepo]]:
    """Opens the run's repository, again if asked; waits between tries are skipped."""
    opened: list[WorkRepo] = []

    async def no_wait(seconds: float) -> None:
        waits.append(seconds)

    waits: list[float] = []

    def make(**options: Any) -> WorkRepo:
        options.setdefault("settings", GitSettings(timeout_s=30, remote_timeout_s=30))
        repo = WorkRepo(tmp_path / "run/git", tmp_path / "run/workspace", sleep=no_wait, **options)
        opened.append(repo)
        return repo

    yield make
    for repo in opened:
        repo.close()


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A local bare repository with the branches main and develop."""
    return make_remote(tmp_path / "host", FILES, branches=("main", "develop"))


@pytest.fixture
def remote(bare: Path) -> Remote:
    return Remote.parse(str(bare))


@pytest.fixture
async def repo(open_repo: Callable[..., WorkRepo], remote: Remote) -> WorkRepo:
    """Cloned from `bare`, on its main branch."""
    cloned: WorkRepo = open_repo()
    await cloned.clone(remote, "main")
    return cloned
