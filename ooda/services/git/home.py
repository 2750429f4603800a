"""The host-owned GIT_DIR, and the throw-away `.git` the sandbox gets to look at.

Nothing in the GIT_DIR comes from the agent. Its `info/attributes` outranks every .gitattributes of the tree
(gitattributes(5)), so no attribute can name a filter or a diff driver, should one ever be configured.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ooda.services.git.command import GitRunner, GitSettings
from ooda.services.git.lend import ASKPASS

__all__ = ["give_inner_git", "make_home"]

_EXCLUDED = (
    "__pycache__/",
    "*.py[cod]",
    ".pytest_cache/",
    ".mypy_cache/",
    ".ruff_cache/",
    ".hypothesis/",
    ".coverage",
    ".venv/",
    "node_modules/",
)
"""Left behind by running things; not committed although a repository may lack the .gitignore for it."""

_ATTRIBUTES = "* !filter !diff !merge\n"
_INNER_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n"
_END_S = 5.0
_INNER_DEPTH = 50
_LAST_MADE = "askpass"
"""The last file of a repository that is being made."""
_INNER_MAX_BYTES = 200 << 20
"""Above this much history the sandbox gets no copy of it."""


async def make_home(runner: GitRunner) -> None:
    """Make the repository, or make an existing one ready again after its process was killed. Idempotent."""
    git_dir = runner.git_dir
    if git_dir.exists():
        await runner.off_loop(_end_strays, git_dir)
    else:
        git_dir.mkdir(parents=True, mode=0o700)
    for left in git_dir.rglob("*.lock"):
        left.unlink(missing_ok=True)  # of a killed process: one owner at a time is what the run's lease is for
    if not (git_dir / _LAST_MADE).exists():
        git_dir.chmod(0o700)
        # Killed in the middle, it is begun again: what is there already stays.
        await runner.run("init", "--quiet", "--bare", "--template=", str(git_dir))
    for left in (path for kind in ("intake", "restore", "inner") for path in git_dir.glob(f"{kind}-*")):
        shutil.rmtree(left)
    info = git_dir / "info"
    info.mkdir(exist_ok=True)
    (info / "attributes").write_text(_ATTRIBUTES)
    (info / "exclude").write_text("\n".join(_EXCLUDED) + "\n")
    (git_dir / _LAST_MADE).write_text(ASKPASS)
    (git_dir / _LAST_MADE).chmod(0o700)


async def give_inner_git(
    runner: GitRunner, settings: GitSettings, workspace: Path, branch: str, size_bytes: int
) -> bool:
    """Put a `.git` with some history into the fresh workspace; nothing in it is ever read by us again.

    It is made in a folder of ours and moved there finished: git never runs on a repository the agent could write to.
    Its objects are copies, since a hard link would let the sandbox change ours. False when the history is too large.
    """
    if size_bytes > _INNER_MAX_BYTES:
        return False
    with tempfile.TemporaryDirectory(prefix="inner-", dir=runner.git_dir) as folder:
        made = Path(folder) / "git"
        await runner.run(
            "clone",
            "--quiet",
            "--bare",
            "--template=",
            f"--depth={_INNER_DEPTH}",
            "--single-branch",
            f"--branch={branch}",
            runner.git_dir.as_uri(),
            str(made),
            env={"GIT_ALLOW_PROTOCOL": "file"},
        )
        (made / "config").write_text(_INNER_CONFIG)
        local = GitRunner(made, settings)
        try:
            await local.run("read-tree", "HEAD")
            await local.run("update-index", "-q", "--refresh", work_tree=workspace, ok=(0, 1))
        finally:
            local.close()
        await runner.off_loop(_put, made, workspace / ".git")
    return True


def _end_strays(git_dir: Path) -> None:
    """Kill what an earlier owner's git still does here, and wait until it is gone: two must not work on one repository.

    A killed owner takes its git along where `setpriv` is installed; a paused one does not.
    """
    mark = f"--git-dir={git_dir}".encode()
    strays = [process for process in _processes() if mark in _command_line(process)]
    for stray in strays:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(stray, signal.SIGKILL)  # each git leads a session of its own
    deadline = time.monotonic() + _END_S
    while strays and time.monotonic() < deadline:
        strays = [stray for stray in strays if mark in _command_line(stray)]
        time.sleep(0.005)  # nobody tells us of a death that is not our child's


def _processes() -> Iterator[int]:
    return (int(place.name) for place in Path("/proc").iterdir() if place.name.isdigit())


def _command_line(process: int) -> list[bytes]:
    """Empty for one that is gone, or only waits for its parent to take note."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def _put(made: Path, place: Path) -> None:
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.exists():
        shutil.rmtree(place)
    shutil.move(made, place)
