"""The bundled example as a repository to work on: made anew in a folder, with a bare remote beside it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from ooda.errors import ConfigError, IntegrationError

__all__ = ["DEMO", "MENDING", "bundled", "prepare", "pushed"]

_PACKAGE = Path(__file__).parents[1]
_EXAMPLES = next(
    (folder for folder in (_PACKAGE / "examples", _PACKAGE.parent / "examples") if folder.is_dir()),
    _PACKAGE / "examples",
)
"""In an installed package the examples lie inside it, in a checkout beside it."""

DEMO = _EXAMPLES / "tariff.cassette.jsonl"
"""A run that succeeds at once."""
MENDING = _EXAMPLES / "tariff-mended.cassette.jsonl"
"""A run that fails its validation first, and mends it."""


def bundled(digest: str) -> Path | None:
    """The bundled recording with this digest; None when it is another cassette, or one of another version."""
    for recording in (DEMO, MENDING):
        if recording.is_file() and hashlib.sha256(recording.read_bytes()).hexdigest() == digest:
            return recording
    return None


def prepare(folder: Path) -> Path:
    """Make the example's repository and its bare remote in `folder`; gives the task file.

    Raises:
        ConfigError: the folder is not empty, or the examples are not installed.
        IntegrationError: git is missing or failed.
    """
    project = _EXAMPLES / "tariff"
    if not project.is_dir():
        raise ConfigError(f"the examples are not installed ({project}); install ooda-agents anew")
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ConfigError(f"the folder {folder} is not empty; name a new one, so that nothing of yours is touched")
    source, remote = folder / "tariff", folder / "remote.git"
    shutil.copytree(project, source, ignore=shutil.ignore_patterns("__pycache__"))
    _git(source, "init", "--quiet", "--initial-branch=main")
    _git(source, "add", "--all")
    _git(source, "commit", "--quiet", "--message=Turn readings into invoices")
    _git(folder, "clone", "--quiet", "--bare", str(source), str(remote))
    task = folder / "task.yaml"
    task.write_text((_EXAMPLES / "tariff.task.yaml").read_text().replace("REMOTE", str(remote)))
    return task


def pushed(folder: Path) -> str:
    """What the run pushed to the example's remote, as a diff against `main`; empty when nothing was."""
    remote = folder / "remote.git"
    branches = _git(remote, "for-each-ref", "--format=%(refname:short)", "refs/heads/feat").split()
    return _git(remote, "diff", "--stat", "--patch", "--no-ext-diff", "main", branches[-1]) if branches else ""


def _git(folder: Path, *arguments: str) -> str:
    """Run git with nobody's configuration and a fixed author and date: the commit is the same everywhere."""
    environ = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "A. Maintainer",
        "GIT_AUTHOR_EMAIL": "maintainer@example.invalid",
        "GIT_AUTHOR_DATE": "2026-11-02T09:00:00Z",
        "GIT_COMMITTER_NAME": "A. Maintainer",
        "GIT_COMMITTER_EMAIL": "maintainer@example.invalid",
        "GIT_COMMITTER_DATE": "2026-11-02T09:00:00Z",
    }
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
    except FileNotFoundError as error:
        raise IntegrationError("git is not installed; install it (`apt-get install git`)", service="git") from error
    if done.returncode:
        raise IntegrationError(f"`git {arguments[0]}` failed: {done.stderr.strip()}", service="git")
    return done.stdout
