"""Who owns the workspace while a sandbox is open: the uid its commands run as.

When the host process is root, files of root are given to an ordinary uid at opening and back at the end.
Otherwise nothing has to change hands: commands run as the workspace's owner. Links are never followed.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

__all__ = ["Owner", "adopt", "adopt_near", "hand_over", "owner_for"]

SANDBOX_ID = 1000
_MAX_DEPTH = 400
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Owner(msgspec.Struct, frozen=True):
    """A user and group as the host numbers them."""

    uid: int
    gid: int


def owner_for(workspace: Path) -> Owner:
    """The ids that commands run as: the workspace's owner, or 1000 where that is root."""
    facts = workspace.stat()
    return Owner(facts.st_uid or SANDBOX_ID, facts.st_gid or SANDBOX_ID)


def adopt(workspace: Path) -> int:
    """Give what the host wrote into an open sandbox's workspace to its commands: its folder's owner.

    Call it after a checkout or a restored snapshot. Nothing happens where the host's user owns the workspace.
    """
    facts = workspace.stat()
    return hand_over(workspace, Owner(facts.st_uid, facts.st_gid)) if os.geteuid() == 0 else 0


def adopt_near(workspace: Path, at_most: int = 256) -> int:
    """`adopt`, but only for what lies near the top: the first entries of a walk level by level.

    Cheap enough (a millisecond) to be done before every command, so that a file which the host just put there
    can be changed by it. Whoever writes deep inside a large workspace calls `adopt`.
    """
    changed = looked = 0
    level = [os.open(workspace, _FOLDER)]
    facts = os.fstat(level[0])
    owner = Owner(facts.st_uid, facts.st_gid)
    if owner.uid == 0:
        at_most = 0
    while level:
        below: list[int] = []
        for fd in level:
            for name in os.listdir(fd) if looked < at_most else ():
                looked += 1
                if looked > at_most:
                    break
                # Descriptors all the way: a background process may swap any folder for a link meanwhile.
                with contextlib.suppress(OSError):
                    changed += _give_roots(name, fd, owner, below)
            os.close(fd)
        level = below
    return changed


def _give_roots(name: str, parent: int, owner: Owner, folders: list[int]) -> int:
    """Give an entry to `owner` if it is root's; an opened folder is added to `folders`."""
    facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if stat.S_ISDIR(facts.st_mode):
        folders.append(os.open(name, _FOLDER, dir_fd=parent))
    return _give(name, parent, owner) if facts.st_uid == 0 else 0


def hand_over(root: Path, owner: Owner) -> int:
    """Give everything below `root` to `owner`; set-id bits and devices do not survive. Gives how many entries changed.

    Costs one lstat per entry when nothing changes hands. Safe while commands run in it: no name is used
    that a planted link could lead elsewhere.
    """
    changed = 0
    for fd in _folders(root):
        changed += _give_folder(fd, owner)
        with contextlib.suppress(OSError):
            for name in os.listdir(fd):
                changed += _give(name, fd, owner)
    return changed


def _folders(root: Path) -> Iterator[int]:
    """A descriptor of every folder at or below `root`, parents first, each open until the next is asked for.

    Links are not entered. Folders nested deeper than any sensible tree are passed over: their number is a
    command's choice, the descriptors are ours.
    """
    stack: list[tuple[int, Iterator[str]]] = []
    below: int | None = os.open(root, _FOLDER)
    try:
        while below is not None or stack:
            if below is not None:
                stack.append((below, iter(())))
                yield below
                stack[-1] = (below, _subfolders(below))
                below = None
            fd, names = stack[-1]
            name = next(names, None)
            if name is None:
                os.close(stack.pop()[0])
            elif len(stack) < _MAX_DEPTH:
                with contextlib.suppress(OSError):  # gone, or swapped for a link
                    below = os.open(name, _FOLDER, dir_fd=fd)
    finally:
        for fd, _ in stack:
            os.close(fd)


def _subfolders(fd: int) -> Iterator[str]:
    try:
        with os.scandir(fd) as entries:
            return iter([entry.name for entry in entries if entry.is_dir(follow_symlinks=False)])
    except OSError:
        return iter(())


def _give_folder(fd: int, owner: Owner) -> int:
    facts = os.fstat(fd)
    mode = stat.S_IMODE(facts.st_mode)
    if mode & (stat.S_ISUID | stat.S_ISGID):
        os.fchmod(fd, mode & 0o1777)
    if (facts.st_uid, facts.st_gid) == (owner.uid, owner.gid):
        return 0
    os.fchown(fd, owner.uid, owner.gid)
    return 1


def _strip(name: str, parent: int) -> None:
    """Take set-id bits from a file; through a descriptor, because a name could become a link meanwhile."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISREG(mode):
            os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(mode) & 0o777)
    finally:
        os.close(fd)


def _give(name: str, parent: int, owner: Owner) -> int:
    try:
        facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISBLK(facts.st_mode) or stat.S_ISCHR(facts.st_mode):
            os.unlink(name, dir_fd=parent)
            return 1
        if stat.S_ISREG(facts.st_mode) and facts.st_mode & (stat.S_ISUID | stat.S_ISGID):
            _strip(name, parent)
        if (facts.st_uid, facts.st_gid) == (owner.uid, owner.gid):
            return 0
        os.chown(name, owner.uid, owner.gid, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return 0  # removed while we walked
    return 1
