"""Git processes end with whoever started them, and a new owner of a repository works on it alone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ooda.services.git import WorkRepo
from tests.durability.lab import until

HANGS = """
import asyncio, sys
from pathlib import Path
from ooda.services.git.command import GitRunner, GitSettings
runner = GitRunner(Path(sys.argv[1]), GitSettings())
asyncio.run(runner.run("ls-remote", sys.argv[2], env={"GIT_ALLOW_PROTOCOL": "git"}))
"""


def gits(git_dir: Path) -> list[int]:
    """Processes of git on this repository."""
    found = []
    for place in Path("/proc").iterdir():
        try:
            words = (place / "cmdline").read_bytes().split(b"\0") if place.name.isdigit() else []
        except OSError:
            continue
        if f"--git-dir={git_dir}".encode() in words:
            found.append(int(place.name))
    return found


@pytest.mark.skipif(not os.path.exists("/usr/bin/setpriv"), reason="needs setpriv: apt-get install util-linux")
def test_git_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    """A killed run leaves no fetch or push behind that goes on in its repository."""
    subprocess.run(["git", "init", "--quiet", "--bare", tmp_path / "git"], check=True)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"git://127.0.0.1:{silent.getsockname()[1]}/x"
        owner = subprocess.Popen([sys.executable, "-c", HANGS, tmp_path / "git", url])
        until(lambda: bool(gits(tmp_path / "git")))
        owner.send_signal(signal.SIGKILL)
        owner.wait()

        until(lambda: not gits(tmp_path / "git"))
    assert gits(tmp_path / "git") == []


async def test_a_new_owner_ends_the_git_of_the_one_before(tmp_path: Path) -> None:
    """A paused owner's git would go on beside it, holding locks that look left behind."""
    (tmp_path / "work").mkdir()
    first = WorkRepo(tmp_path / "git", tmp_path / "work")
    await first.adopt()
    first.close()
    stray = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import time; time.sleep(60)",
        f"--git-dir={tmp_path / 'git'}",
        start_new_session=True,
    )
    until(lambda: bool(gits(tmp_path / "git")))

    second = WorkRepo(tmp_path / "git", tmp_path / "work")
    await second.head()
    second.close()

    assert await asyncio.wait_for(stray.wait(), 5) == -signal.SIGKILL
