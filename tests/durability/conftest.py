"""What the crash tests share: one provider process, and one cache in which a sandbox was opened before."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ooda.testing.runs import RunBench
from tests.durability.lab import Lab, Provider

MakeLab = Callable[..., Lab]


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """A model provider in a process of its own."""
    made = Provider(tmp_path_factory.mktemp("provider"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Path:
    """A cache after one whole run, which is examined like every other."""
    lab = Lab(tmp_path_factory.mktemp("warm"), provider)
    assert lab.carry() == 0, lab.stderr.read_text()
    lab.examine()
    return lab.folder / "cache"


@pytest.fixture
def lab(tmp_path: Path, provider: Provider, warm: Path) -> Iterator[MakeLab]:
    """Makes labs; nothing of them outlives the test."""
    made: list[Lab] = []

    def make(**options: Any) -> Lab:
        made.append(Lab(tmp_path / f"lab-{len(made)}", provider, cache=warm, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
        shutil.rmtree(one.folder)


@pytest.fixture
def bench(tmp_path: Path, warm: Path) -> RunBench:
    """A bench as everywhere, which need not try its sandbox anew."""
    made = RunBench(tmp_path)
    made.environ["XDG_CACHE_HOME"] = str(warm)
    return made
