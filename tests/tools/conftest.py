"""A run's room over a real sandbox, without and with a wall."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ooda.clock import ManualClock
from ooda.sandbox import SandboxSpec, open_sandbox
from ooda.tools.room import FolderSpool, ToolRoom
from tests.tools.bench import Bench


@pytest.fixture(params=["none", pytest.param("bubblewrap", marks=pytest.mark.bubblewrap)])
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "bubblewrap" and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed: apt-get install bubblewrap")
    return str(request.param)


@pytest.fixture
async def bench(tmp_path: Path, backend: str) -> AsyncIterator[Bench]:
    """Tools over an open sandbox with an empty workspace."""
    workspace, spool = tmp_path / "workspace", tmp_path / "spool"
    workspace.mkdir()
    spool.mkdir()
    spec = SandboxSpec(run="run-1", workspace=workspace, spool=spool, backend=backend)  # type: ignore[arg-type]
    async with await open_sandbox(spec, cache_dir=tmp_path / "cache") as sandbox:
        room = ToolRoom(run="run-1", clock=ManualClock(), sandbox=sandbox, spool=FolderSpool(spool))
        yield Bench(room, workspace)


@pytest.fixture
def bare_bench(tmp_path: Path) -> Bench:
    """Tools of a run without sandbox and repository."""
    return Bench(ToolRoom(run="run-1", clock=ManualClock()), tmp_path)
