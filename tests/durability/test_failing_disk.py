"""A disk that fails a sync in the middle of a run: one sentence, and a resume with nothing done twice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.home import GOOD, NO_WALL, Home


@pytest.mark.parametrize("when", [10, 14], ids=["early", "later"])
def test_a_run_whose_sync_fails_once_ends_and_is_resumed(tmp_path: Path, when: int) -> None:
    """One EIO from the kernel, told once: the process writes nothing more, the next one goes on."""
    if not shutil.which("strace") and not os.environ.get("CI"):
        pytest.skip("needs strace, to make a system call fail; as root on Debian: apt-get install -y strace")
    with Home(tmp_path, GOOD) as there:
        inject = f"inject=fdatasync:error=EIO:when={when}"
        command = [sys.executable, "-m", "ooda", "run", there.task(), *NO_WALL, "-q"]
        ended = subprocess.run(
            ["strace", "-f", "-o", "/dev/null", "-e", inject, *command],
            cwd=there.folder,
            env=there.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 1, ended.stderr
        assert "nothing more is written by this process" in ended.stderr
        assert "Traceback" not in ended.stderr
        asked = len(there.provider.requests)
        assert asked <= len(GOOD)

        (run,) = there.runs()
        resumed = there.ooda("runs", "resume", run["run"], *NO_WALL, "-q")
        assert (resumed.code, len(there.commits())) == (0, 1), resumed.err
        assert len(there.provider.requests) == len(GOOD)
        assert there.ooda("audit", "verify").code == 0
        assert there.ooda("runs", "replay", run["run"]).code == 0
