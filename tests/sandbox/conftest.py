"""Real sandboxes for the tests: every case that takes `box` or `backend` runs on docker and on bubblewrap."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ooda.errors import SandboxError
from ooda.sandbox import SandboxSpec, open_sandbox
from ooda.sandbox.docker import connect
from ooda.sandbox.protocol import Sandbox

BACKENDS = [
    pytest.param("docker", marks=pytest.mark.docker),
    pytest.param("bubblewrap", marks=pytest.mark.bubblewrap),
]
_OWN_ENGINE = Path("/tmp/ooda-docker/docker.sock")
_HOW = {
    "docker": "no Docker Engine answers; start one with `scripts/services/docker up` or set DOCKER_HOST",
    "bubblewrap": "bubblewrap is not installed; as root on Debian: apt-get install -y bubblewrap",
}


class Box:
    """An open sandbox and the host's view of its workspace."""

    def __init__(self, backend: str, sandbox: Sandbox, workspace: Path, spool: Path) -> None:
        self.backend = backend
        self.sandbox = sandbox
        self.workspace = workspace
        self.spool = spool

    async def sh(self, command: str, **options: Any) -> str:
        """The output of a command that must succeed."""
        result = await self.sandbox.exec(command, **options)
        assert (result.exit_code, result.signal) == (0, None), result
        return result.output.head


Opener = Callable[..., AbstractAsyncContextManager[Box]]


def _engine_answers() -> bool:
    async def ask() -> bool:
        try:
            await connect().ping()
        except SandboxError:
            return False
        return True

    return asyncio.run(ask())


@pytest.fixture(scope="session")
def available() -> dict[str, bool]:
    """Which backends this machine can be tested with."""
    if "DOCKER_HOST" not in os.environ and _OWN_ENGINE.exists():
        os.environ["DOCKER_HOST"] = f"unix://{_OWN_ENGINE}"
    return {"docker": _engine_answers(), "bubblewrap": shutil.which("bwrap") is not None}


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest, available: dict[str, bool]) -> str:
    """One backend after the other; a missing one is a failure in CI and a skip elsewhere."""
    name: str = request.param
    if not available[name]:
        if os.environ.get("CI") == "true":
            pytest.fail(_HOW[name])
        pytest.skip(_HOW[name])
    return name


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests, so that the self-test runs once per backend."""
    return tmp_path_factory.mktemp("sandbox-cache")


@pytest.fixture(scope="module")
def opener(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Opener:
    """Opens sandboxes on fresh workspaces; extra keywords go into the specification."""

    @asynccontextmanager
    async def open_box(backend: str, **spec: Any) -> AsyncIterator[Box]:
        place = tmp_path_factory.mktemp("box")
        workspace = spec.pop("workspace", place / "workspace")
        workspace.mkdir(exist_ok=True)
        audit = spec.pop("audit", lambda *_: None)
        spec = {"run": "run-test", "spool": place / "spool", "backend": backend, **spec}
        sandbox = await open_sandbox(SandboxSpec(workspace=workspace, **spec), cache_dir=cache_dir, audit=audit)
        try:
            yield Box(sandbox.report.backend, sandbox, workspace, place / "spool")
        finally:
            await sandbox.close()

    return open_box


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def box(backend: str, opener: Opener) -> AsyncIterator[Box]:
    """One sandbox for all cases of a module that leave it usable; state they set they set on purpose."""
    async with opener(backend) as opened:
        yield opened


@pytest_asyncio.fixture(scope="function", loop_scope="module")
async def fresh(backend: str, opener: Opener) -> AsyncIterator[Box]:
    """A sandbox of its own, for cases that break things."""
    async with opener(backend) as opened:
        yield opened
