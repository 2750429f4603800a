"""The workspace of a run around each call that may change it: kept before, put back when the call was cut off.

Snapshots lie in the run's own repository on the host, named by the journal position of the call's intent. In the
run's own clone an interrupted call is undone; in a person's folder nothing is put back by itself, because they may
have worked there since, and the decider is told what differs.
"""

from __future__ import annotations

import os
from pathlib import Path

from ooda.engines.local import PutBack
from ooda.governance.grant import Grant
from ooda.services.git import Restoration, WorkRepo
from ooda.tools.git import git_branch, git_clone, git_commit

__all__ = ["WorkspaceSnapshots", "is_worth_keeping"]

_HOST_SIDE = frozenset({git_clone.name, git_branch.name, git_commit.name})
"""Local calls that act on the run's repository, not on what a step writes: each finds what it did before."""
_FILES = 20_000
"""A person's folder with more entries is not kept: it is a home or a data folder rather than a project."""
_SHOWN = 20


class WorkspaceSnapshots:
    """The snapshots of one run. Implements `ooda.governance.gate.KeepsWorkspace`.

    Args:
        is_owned: Whether the workspace is the run's own clone.
        repeats: Whether a call that was undone is made again instead of shown to the decider: a recorded model cannot
            look and think anew, it only goes on where the recording does.
    """

    def __init__(self, git: WorkRepo, *, is_owned: bool, repeats: bool = False) -> None:
        self._git = git
        self._is_owned = is_owned
        self._repeats = repeats
        self._is_adopted = False

    async def before(self, grant: Grant) -> None:
        """Keep the workspace as it is before the call."""
        if await self._keeps(grant):
            await self._git.snapshot(grant.seq, "before")

    async def after(self, grant: Grant) -> None:
        """Keep what the call made of a person's folder, so that what they change is told from it."""
        if not self._is_owned and await self._keeps(grant):
            await self._git.snapshot(grant.seq, "after")

    async def put_back(self, tool: str, seq: int) -> PutBack:
        """Undo the interrupted call whose intent is at `seq`, or say what differs since.

        Raises:
            IntegrationError: the repository is damaged or cannot be written.
        """
        if tool in _HOST_SIDE:
            return PutBack(True, "It may have done all, part or none of its work; made again it finds what is there.")
        if not self._git.branch:
            return PutBack(True, "It may have done all, part or none of its work: look before you go on.")
        if seq not in await self._git.snapshot_steps():
            return PutBack(False, "It was cut off before it began.")
        if self._is_owned:
            done = await self._git.restore(seq)
            back = f"The workspace was put back to what it was before this call{_counted(done)}."
            return PutBack(not self._repeats, back)
        return PutBack(True, f"Since it began these files differ{_counted(await self._git.preview(seq))}.")

    async def _keeps(self, grant: Grant) -> bool:
        if grant.tool in _HOST_SIDE:
            return False
        if self._is_owned:
            return bool(self._git.branch)
        if not self._is_adopted:
            if not is_worth_keeping(self._git.workspace):
                return False
            await self._git.adopt()
            self._is_adopted = True
        return True


def is_worth_keeping(folder: Path) -> bool:
    """Whether a person's folder is small enough to be kept at every step; looks at no more than it needs to."""
    seen = 0
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in (".git", "node_modules", ".venv")]
        seen += len(folders) + len(files)
        if seen > _FILES:
            return False
    return True


def _counted(done: Restoration) -> str:
    """` (restored: a, b; removed: c)`, or nothing."""
    parts = []
    for word, paths in (("restored", done.written), ("removed", done.removed), ("left as they are", done.kept)):
        if paths:
            more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
            parts.append(f"{word}: {', '.join(paths[:_SHOWN])}{more}")
    return f" ({'; '.join(parts)})" if parts else ""
