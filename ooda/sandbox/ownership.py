"""Who owns the workspace while a sandbox is open: the uid its commands run as.

When the host process is root, files of root are given to an ordinary uid at opening and back at the end.
Otherwise nothing has to change hands: commands run as the workspace's owner. Links are never followed.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

__all__ = ["Owner", "hand_over", "owner_for"]

SANDBOX_ID = 1000


class Owner(msgspec.Struct, frozen=True):
    """A user and group as the host numbers them."""

    uid: int
    gid: int


def owner_for(workspace: Path) -> Owner:
    """The ids that commands run as: the workspace's owner, or 1000 where that is root."""
    facts = workspace.stat()
    return Owner(facts.st_uid or SANDBOX_ID, facts.st_gid or SANDBOX_ID)


def hand_over(root: Path, owner: Owner) -> int:
    """Give everything below `root` to `owner`; set-id bits and devices do not survive. Gives how many entries changed.

    Costs one lstat per entry when nothing changes hands. Only for folders in which no command runs.
    """
    changed = 0
    for folder, _, files, fd in os.fwalk(root, follow_symlinks=False):
        del folder
        for name in files:
            changed += _give(name, fd, owner)
        changed += _give_folder(fd, owner)
    return changed


def _give_folder(fd: int, owner: Owner) -> int:
    facts = os.fstat(fd)
    mode = stat.S_IMODE(facts.st_mode)
    if mode & (stat.S_ISUID | stat.S_ISGID):
        os.fchmod(fd, mode & 0o1777)
    if (facts.st_uid, facts.st_gid) == (owner.uid, owner.gid):
        return 0
    os.fchown(fd, owner.uid, owner.gid)
    return 1


def _give(name: str, parent: int, owner: Owner) -> int:
    try:
        facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISBLK(facts.st_mode) or stat.S_ISCHR(facts.st_mode):
            os.unlink(name, dir_fd=parent)
            return 1
        if stat.S_ISREG(facts.st_mode) and facts.st_mode & (stat.S_ISUID | stat.S_ISGID):
            os.chmod(name, stat.S_IMODE(facts.st_mode) & 0o777, dir_fd=parent)
        if (facts.st_uid, facts.st_gid) == (owner.uid, owner.gid):
            return 0
        os.chown(name, owner.uid, owner.gid, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return 0  # removed while we walked
    return 1
