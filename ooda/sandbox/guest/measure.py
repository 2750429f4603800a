"""The size of the workspace: every file looked at, in a process of its own."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from typing import Any

from .kernel import keep_only
from .loop import Loop

__all__ = ["BLOCK_BYTES", "Measurement", "disk_usage"]

BLOCK_BYTES = 4096
"""What an entry takes at least."""
_MAX_ENTRIES = 2_000_000
_LONG_PATH = 3500


class Measurement:
    """A measuring of the workspace in a child process: a large tree takes seconds."""

    def __init__(self, loop: Loop, root: str, done: Callable[[int | None], None]) -> None:
        """`done` gets the bytes, or None when nothing could be measured. Raises OSError when no process can be made."""
        self._loop = loop
        self._done = done
        self._data = b""
        reader, writer = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            os.close(reader)
            os.close(writer)
            raise
        if pid == 0:
            try:
                keep_only({3: writer})
                os.write(3, json.dumps(disk_usage(root)).encode())
            finally:
                os._exit(0)
        os.close(writer)
        self._reader = reader
        loop.listen(reader, self._read)

    def _read(self) -> None:
        data = os.read(self._reader, 64)
        if data:
            self._data += data
            return
        self._loop.forget(self._reader)
        os.close(self._reader)
        self._done(int(self._data) if self._data else None)


def disk_usage(root: str) -> int:
    """Bytes that everything below `root` takes, at least one block per entry (names and inodes are no free
    room for hiding data, and a million empty files are no empty disk); hard links are counted once."""
    seen: set[int] = set()
    anchors: list[int] = []
    total = entries = 0
    folders = [root]
    try:
        while folders and entries < _MAX_ENTRIES:
            try:
                listing = _open_folder(_shortened(folders.pop(), anchors))
            except OSError:
                continue  # gone meanwhile
            with listing:
                for entry in listing:
                    entries += 1
                    try:
                        facts = entry.stat(follow_symlinks=False)
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                    except OSError:
                        continue
                    if facts.st_nlink > 1:
                        if facts.st_ino in seen:
                            continue
                        seen.add(facts.st_ino)
                    total += max(facts.st_blocks * 512, BLOCK_BYTES)
    finally:
        for fd in anchors:
            os.close(fd)
    return total


def _shortened(path: str, anchors: list[int]) -> str:
    """Another name of a folder whose path comes near the kernel's limit: data could hide below it otherwise."""
    if len(path) < _LONG_PATH:
        return path
    anchors.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW))
    return f"/proc/self/fd/{anchors[-1]}"


def _open_folder(path: str) -> Any:
    """A listing of a folder; one that its owner made unreadable is opened for the moment, or data could hide in it."""
    try:
        return os.scandir(path)
    except PermissionError:
        mode = stat.S_IMODE(os.lstat(path).st_mode)
        os.chmod(path, mode | 0o500)
        try:
            return os.scandir(path)
        finally:
            os.chmod(path, mode)
