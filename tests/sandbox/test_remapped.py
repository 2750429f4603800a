"""A Docker Engine with userns-remap: root in a container is nobody on the host, and the workspace is lent to match."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ooda.sandbox import SandboxSpec, open_sandbox
from ooda.sandbox.docker import connect, examine

pytestmark = pytest.mark.docker

FIRST = 200_000
# The ids of a remapped engine stand in two files of the host: in a mount namespace of its own it finds ours.
START = """mount --make-rprivate /
mount --bind "$1/subid" /etc/subuid
mount --bind "$1/subid" /etc/subgid
exec scripts/services/docker up
"""


@pytest.fixture
def remapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An engine of our own that maps ids from `FIRST` on, named by DOCKER_HOST."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None or not Path("/etc/subuid").exists():
        pytest.skip("needs root, dockerd and /etc/subuid; as root on Debian: apt-get install -y docker.io uidmap")
    root = Path(__file__).parents[2]
    folder = Path("/tmp", f"ooda-remapped-{os.getpid()}")
    folder.mkdir()
    (folder / "subid").write_text(f"nobody:{FIRST}:65536\nnogroup:{FIRST}:65536\n")
    environ = {
        **os.environ,
        "SERVICES_DOCKER_DIR": str(folder / "engine"),
        "SERVICES_DOCKER_FLAGS": "--userns-remap=nobody:nogroup",
    }
    command = ["unshare", "--mount", "sh", "-euc", START, "sh", str(folder)]
    try:
        subprocess.run(command, cwd=root, env=environ, check=True, capture_output=True, timeout=60)
        monkeypatch.setenv("DOCKER_HOST", f"unix://{folder / 'engine' / 'docker.sock'}")
        yield
    finally:
        subprocess.run(["scripts/services/docker", "down"], cwd=root, env=environ, check=True, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.usefixtures("remapped")
async def test_the_workspace_is_lent_to_the_shifted_user_and_given_back(tmp_path: Path) -> None:
    """Commands see their own uid, the host sees it shifted, and afterwards every file is the host's again."""
    assert (await examine(connect())).shift == FIRST
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "given.txt").write_text("given\n")
    spec = SandboxSpec(run="r", workspace=workspace, spool=tmp_path / "spool", backend="docker")
    async with await open_sandbox(spec, cache_dir=tmp_path / "cache") as sandbox:
        assert all(probe.ok for probe in sandbox.report.probes)
        result = await sandbox.exec("id -u; cat given.txt; echo made > made.txt; cat /proc/self/uid_map")
        assert result.output.head.split() == ["1000", "given", "0", str(FIRST), "65536"]
        await sandbox.write("written.txt", b"written\n")
        assert {path.stat().st_uid for path in (workspace, *workspace.iterdir())} == {FIRST + 1000}
    assert {path.name for path in workspace.iterdir()} == {"given.txt", "made.txt", "written.txt"}
    assert {path.stat().st_uid for path in (workspace, *workspace.iterdir())} == {os.geteuid()}
