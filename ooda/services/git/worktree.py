"""Reading and writing single paths of a tree that somebody hostile may be changing at the same time.

git itself opens files of its work tree by name, so a link swapped in at the right moment would make the host read or
write outside it. Here every path is walked one component at a time from a directory descriptor, following no link,
and a file is used only once its descriptor says that it is a regular file. Same rules as the sandbox's file tools.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["MAX_FILE_BYTES", "WorkTree"]

MAX_FILE_BYTES = 100 << 20
"""Larger files are left out of commits and snapshots; the large git hosts refuse them too."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class WorkTree:
    """One folder, by descriptor-relative operations only. Paths are relative, `/`-separated, without `..`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def copy_out(self, paths: Iterable[str], target: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Copy files and links as they are now into the empty folder `target`; gives what was copied, what was not.

        Not copied is what is gone by now, is neither file nor link, or is larger than MAX_FILE_BYTES.
        """
        copied: list[str] = []
        skipped: list[str] = []
        for path in paths:
            destination = target / path
            try:
                destination.parent.mkdir(parents=True, exist_ok=True)
                with self._parent(path) as (folder, name):
                    done = _copy_entry(folder, name, destination)
            except OSError:
                done = False
            (copied if done else skipped).append(path)
        return tuple(copied), tuple(skipped)

    def copy_in(self, paths: Iterable[str], source: Path) -> tuple[str, ...]:
        """Put files and links of our own folder `source` into the tree; gives what something in the way kept out."""
        blocked = []
        for path in paths:
            try:
                with self._parent(path, create=True) as (folder, name):
                    self._place(folder, name, source / path)
            except (IsADirectoryError, NotADirectoryError, FileExistsError, PermissionError):
                blocked.append(path)
        return tuple(blocked)

    def remove(self, paths: Iterable[str]) -> None:
        """Delete files and links, and the folders this empties. What is gone already stays gone."""
        for path in sorted(paths, reverse=True):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
                with self._parent(path) as (folder, name):
                    os.unlink(name, dir_fd=folder)
                self._prune(path.rpartition("/")[0])

    def in_the_way(self, paths: Iterable[str]) -> list[str]:
        """Those at which something other than a folder is."""
        return [path for path in paths if self._is_taken(path)]

    def git_folders(self, paths: Iterable[str]) -> list[str]:
        """`.git` entries in the folders that hold `paths`, the root's own excepted. For reports: a race lies only."""
        folders = sorted({path.rpartition("/")[0] for path in paths} - {""})
        return [f"{folder}/.git" for folder in folders if os.path.lexists(self.root / folder / ".git")]

    def _is_taken(self, path: str) -> bool:
        with contextlib.suppress(OSError), self._parent(path) as (folder, name):
            return not stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode)
        return False

    def give_away(self) -> None:
        """Hand everything below the root over to the root's owner; links themselves, never what they point to."""
        if (owner := self._owner()) is None:
            return
        user, group = owner
        for _, folders, files, descriptor in os.fwalk(self.root, follow_symlinks=False):
            os.fchown(descriptor, user, group)
            for name in (*folders, *files):
                os.chown(name, user, group, dir_fd=descriptor, follow_symlinks=False)

    def _prune(self, folder: str) -> None:
        while folder:
            parent, _, _ = folder.rpartition("/")
            try:
                with self._parent(folder) as (descriptor, name):
                    os.rmdir(name, dir_fd=descriptor)
            except OSError:
                return  # not empty, or replaced: it is not ours to remove
            folder = parent

    def _place(self, folder: int, name: str, source: Path) -> None:
        """Write beside and rename over, so that no reader sees half a file and no link is written through."""
        temporary = f".ooda-{secrets.token_hex(8)}"
        facts = source.lstat()
        if stat.S_ISLNK(facts.st_mode):
            os.symlink(os.readlink(source), temporary, dir_fd=folder)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(temporary, flags, 0o600, dir_fd=folder), "wb") as file, source.open("rb") as content:
                shutil.copyfileobj(content, file)
                os.fchmod(file.fileno(), 0o755 if facts.st_mode & stat.S_IXUSR else 0o644)
        try:
            self._own(folder, temporary)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.unlink(temporary, dir_fd=folder)
            raise

    def _own(self, folder: int, name: str) -> None:
        if (owner := self._owner()) is not None:
            os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)

    def _owner(self) -> tuple[int, int] | None:
        """Whose the root is, when we are root and it is not: the sandbox's user works there."""
        facts = self.root.stat()
        return (facts.st_uid, facts.st_gid) if os.geteuid() == 0 and facts.st_uid != 0 else None

    @contextmanager
    def _parent(self, path: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        """Descriptor of the folder that holds `path`, and the last component."""
        *folders, name = path.split("/")
        if not name or any(part in ("", ".", "..") for part in folders):
            raise FileNotFoundError(path)
        descriptor = os.open(self.root, _DIRECTORY)
        try:
            for part in folders:
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, 0o755, dir_fd=descriptor)
                        self._own(descriptor, part)
                inner = os.open(part, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor, name
        finally:
            os.close(descriptor)


def _copy_entry(folder: int, name: str, destination: Path) -> bool:
    if stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode):
        destination.symlink_to(os.readlink(name, dir_fd=folder))
        return True
    with open(os.open(name, _FILE, dir_fd=folder), "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > MAX_FILE_BYTES:
            return False
        with destination.open("xb") as copy:
            left = MAX_FILE_BYTES
            while left > 0 and (chunk := file.read(min(left, 1 << 20))):
                copy.write(chunk)
                left -= len(chunk)
            os.fchmod(copy.fileno(), 0o755 if facts.st_mode & stat.S_IXUSR else 0o644)
    return True
