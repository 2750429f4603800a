"""Snapshots of the work tree, and putting touched paths back.

A snapshot is a commit under `refs/ooda/`, in the host's repository only, never pushed. Before each writing step one
is taken; where a person works in the same folder, one after it too, so that what the step changed is known exactly
and their own files are never reverted or deleted. Before a restore the present state is kept as well: nothing is lost.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

import msgspec

from ooda.errors import ToolArgumentsError
from ooda.services.git.command import GitRunner
from ooda.services.git.intake import Intake
from ooda.services.git.worktree import WorkTree

__all__ = ["Moment", "Restoration", "Snapshot", "Snapshots"]

Moment = Literal["before", "after"]

_SIGNATURE = {
    f"GIT_{role}_{fact}": value
    for role in ("AUTHOR", "COMMITTER")
    for fact, value in (("NAME", "ooda"), ("EMAIL", "ooda@localhost"), ("DATE", "@0 +0000"))
}
"""Snapshots of equal trees are the same commit, whenever they are taken."""


class Snapshot(msgspec.Struct, frozen=True):
    """The work tree at one moment of the run."""

    step: int
    moment: Moment
    commit: str
    tree: str


class Restoration(msgspec.Struct, frozen=True, kw_only=True):
    """What putting a snapshot back does, or did."""

    step: int
    written: tuple[str, ...] = ()
    """Paths that get back their earlier content, mode or existence."""
    removed: tuple[str, ...] = ()
    """Paths made since."""
    kept: tuple[str, ...] = ()
    """Paths that differ and stay as they are: not the run's own, or something unknown stands in the way."""
    rescue: str = ""
    """Commit holding the state before the restore; empty in a preview."""


class Snapshots:
    """The snapshots of one run.

    Args:
        is_owned: Whether the work tree is the run's own clone. In a person's folder only what steps are known to
            have changed is put back.
    """

    def __init__(self, runner: GitRunner, tree: WorkTree, intake: Intake, *, is_owned: bool) -> None:
        self._runner = runner
        self._tree = tree
        self._intake = intake
        self._is_owned = is_owned
        self._last = ("", "")

    async def take(self, step: int, moment: Moment) -> Snapshot:
        """Keep the tree as it is. Taking it again for the same step and moment replaces it."""
        tree = (await self._intake.take()).tree
        commit = await self._commit(tree)
        await self._runner.run("update-ref", _ref(moment, step), commit)
        return Snapshot(step, moment, commit, tree)

    async def steps(self) -> tuple[int, ...]:
        """Steps that can be gone back to, in order."""
        listed = await self._runner.run("for-each-ref", "--format=%(refname:lstrip=-1)", "refs/ooda/before/")
        return tuple(sorted(int(line) for line in listed.lines()))

    async def preview(self, step: int) -> Restoration:
        """What `restore(step)` would do. Changes nothing.

        Raises:
            ToolArgumentsError: there is no snapshot before that step.
        """
        known = await self.steps()
        if step not in known:
            raise ToolArgumentsError(
                f"there is no snapshot before step {step}; steps with one are "
                + (", ".join(map(str, known)) or "none (snapshots were off)")
            )
        return await self._plan(step, (await self._intake.take()).tree)

    async def restore(self, step: int) -> Restoration:
        """Put the tree back to what it was before `step`: only paths that differ, nothing written through a link."""
        await self.preview(step)
        now = (await self._intake.take()).tree
        rescue = await self._commit(now)
        await self._runner.run("update-ref", f"refs/ooda/rescue/{rescue}", rescue)
        plan = await self._plan(step, now)
        await self._runner.off_loop(self._tree.remove, plan.removed)
        blocked = await self._write(_ref("before", step), plan.written)
        return msgspec.structs.replace(
            plan,
            written=tuple(path for path in plan.written if path not in blocked),
            kept=(*plan.kept, *blocked),
            rescue=rescue,
        )

    async def _plan(self, step: int, now: str) -> Restoration:
        differing = await self._diff(now, _ref("before", step))
        ours = None if self._is_owned else await self._ours(step, now)
        written: list[str] = []
        removed: list[str] = []
        kept: list[str] = []
        for path, is_made_since in differing.items():
            if ours is not None and path not in ours:
                kept.append(path)
            else:
                (removed if is_made_since else written).append(path)
        return Restoration(step=step, written=tuple(written), removed=tuple(removed), kept=tuple(kept))

    async def _ours(self, step: int, now: str) -> set[str]:
        """Paths that steps from `step` on are known to have changed.

        A step that was interrupted has no snapshot after it: what differs since counts as its work, except a new file,
        which may be a person's and so is never removed.
        """
        ours: set[str] = set()
        for later in await self.steps():
            if later >= step:
                after = await self._runner.run("rev-parse", "--verify", "-q", _ref("after", later), ok=(0, 1))
                changed = await self._diff(after.text() or now, _ref("before", later))
                ours |= {path for path, is_made in changed.items() if after.text() or not is_made}
        return ours

    async def _diff(self, now: str, then: str) -> dict[str, bool]:
        """Paths that differ between two trees; True for those that `then` does not have."""
        raw = await self._runner.run("diff-tree", "-r", "-z", "--name-status", "--no-renames", now, then)
        fields = raw.fields()
        return {path: status == "D" for status, path in zip(fields[::2], fields[1::2], strict=True)}

    async def _write(self, snapshot: str, paths: tuple[str, ...]) -> tuple[str, ...]:
        """Check the paths out into a folder of our own, then put them in place one by one."""
        if not paths:
            return ()
        with tempfile.TemporaryDirectory(prefix="restore-", dir=self._runner.git_dir) as name:
            folder = Path(name)
            index = {"GIT_INDEX_FILE": str(folder / "index")}
            (folder / "files").mkdir()
            await self._runner.run("read-tree", snapshot, env=index)
            await self._runner.run(
                "checkout-index",
                "-z",
                "--stdin",
                work_tree=folder / "files",
                stdin=b"".join(path.encode(errors="surrogateescape") + b"\0" for path in paths),
                env=index,
            )
            return await self._runner.off_loop(self._tree.copy_in, paths, folder / "files")

    async def _commit(self, tree: str) -> str:
        """A commit of the tree; the same one for the same tree."""
        if self._last[0] != tree:
            made = await self._runner.run("commit-tree", tree, "-m", "Work tree", env=_SIGNATURE)
            self._last = (tree, made.text())
        return self._last[1]


def _ref(moment: Moment, step: int) -> str:
    return f"refs/ooda/{moment}/{step}"
