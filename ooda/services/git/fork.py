"""A second repository and workspace from a run's own, as they were at an earlier moment.

The first one is only read. Its objects are copied, without taking space again where the file system can; links would
let git renew the times of the first one's files.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ooda.services.git.command import GitRunner, GitSettings
from ooda.services.git.home import give_inner_git, make_home
from ooda.services.git.intake import Intake
from ooda.services.git.worktree import WorkTree

__all__ = ["ForkPoint", "fork_repository", "snapshots_in"]

_BASE = "refs/ooda/base"
_BEFORE = "refs/ooda/before/"


class ForkPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The moment to go back to."""

    base_branch: str
    base: str
    """Commit the work began at."""
    branch: str = ""
    """Feature branch of the new repository; empty when there was none yet."""
    commit: str = ""
    """Last commit of the work then; empty when there was none yet."""
    snapshot: str = ""
    """Commit that holds the workspace; empty: the last commit, or the base."""
    as_it_is: Path | None = None
    """A workspace to copy as it is now, instead of a snapshot; only read."""
    snapshots_below: int = 0
    """Snapshots of positions below this one come along."""


async def snapshots_in(git_dir: Path, settings: GitSettings | None = None) -> Mapping[int, str]:
    """Journal positions with a snapshot of the workspace, and their commits, in order. Reads only."""
    runner = GitRunner(git_dir, settings or GitSettings())
    try:
        listed = await runner.run("for-each-ref", "--format=%(refname:lstrip=-1) %(objectname)", _BEFORE)
    finally:
        runner.close()
    pairs = (line.split(" ", 1) for line in listed.lines())
    return dict(sorted((int(position), commit) for position, commit in pairs))


async def fork_repository(
    source: Path, git_dir: Path, workspace: Path, point: ForkPoint, settings: GitSettings | None = None
) -> int:
    """Make `git_dir` and fill the empty folder `workspace` as they were at `point`; gives the number of files.

    Raises:
        IntegrationError: the source is damaged, or the point is not in it.
    """
    chosen = settings or GitSettings()
    runner = GitRunner(git_dir, chosen)
    try:
        await make_home(runner)
        await runner.off_loop(_copy_objects, source / "objects", git_dir / "objects")
        head = point.commit or point.base
        references = {_BASE: point.base, f"refs/heads/{point.base_branch}": point.base}
        if point.branch:
            references[f"refs/heads/{point.branch}"] = head
        for position, commit in (await snapshots_in(source, chosen)).items():
            if position < point.snapshots_below:
                references[f"{_BEFORE}{position}"] = commit
        made = "".join(f"update {name} {commit}\n" for name, commit in references.items())
        await runner.run("update-ref", "--stdin", stdin=made.encode())
        entered = point.branch or point.base_branch
        await runner.run("symbolic-ref", "HEAD", f"refs/heads/{entered}")
        limit_s = chosen.remote_timeout_s
        tree = point.snapshot or head
        if point.as_it_is is not None:
            tree = (await Intake(runner, WorkTree(point.as_it_is)).take()).tree
            (git_dir / "index").unlink(missing_ok=True)  # it knows the other folder's files, not ours
        await runner.run("read-tree", "--reset", "-u", tree, work_tree=workspace, timeout_s=limit_s)
        await give_inner_git(runner, chosen, workspace, entered, _bytes_below(git_dir / "objects"))
        await runner.off_loop(WorkTree(workspace).give_away)
        return len((await runner.run("ls-files", "-z")).fields())
    finally:
        runner.close()


def _copy_objects(source: Path, target: Path) -> None:
    """Copy every object and pack; what git is writing just now has another name and is left out."""
    for folder, _, files in os.walk(source):
        place = target / Path(folder).relative_to(source)
        place.mkdir(exist_ok=True)
        for name in files:
            if not name.startswith("tmp_") and not (place / name).exists():
                _copy(Path(folder) / name, place / name)


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as given, target.open("xb") as made:
        try:
            left = os.fstat(given.fileno()).st_size
            while left and (done := os.copy_file_range(given.fileno(), made.fileno(), left)):
                left -= done
        except OSError:  # not between these two file systems; both stand where it stopped
            shutil.copyfileobj(given, made)
        os.fchmod(made.fileno(), 0o444)


def _bytes_below(folder: Path) -> int:
    return sum((Path(place) / name).stat().st_size for place, _, files in os.walk(folder) for name in files)
