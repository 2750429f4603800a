"""The file worker: a process of its own for everything that touches files, so that a slow search or a large
file never delays the minding of commands, and a pattern that takes for ever can be ended.

It reads one request at a time from its socket and answers it. What it may do at most is confined again: no
writes outside the workspace (Landlock), no new privileges, no odd system call.
"""

from __future__ import annotations

import base64
import os
import socket
import stat
from typing import Any

from . import kernel
from .files import Workspace
from .frames import Decoder, GuestError, failure, reply
from .search import search

__all__ = ["OPERATIONS", "disk_usage", "serve_files"]

OPERATIONS = ("read", "write", "edit", "list", "search")
_BLOCK_BYTES = 4096
_MAX_ENTRIES = 2_000_000
_LONG_PATH = 3500
_READ_BYTES = 40 << 20
"""What a frame can carry back as base64."""


def serve_files(
    connection: socket.socket, root: str, rules: kernel.LandlockRules | None, seccomp: kernel.SeccompFilter | None
) -> None:
    """Answer file requests until the other end closes."""
    kernel.forbid_new_privileges()
    if rules is not None:
        rules.restrict()
    if seccomp is not None:
        seccomp.install()
    workspace = Workspace(root)
    decoder = Decoder()
    while data := connection.recv(1 << 18):
        for request in decoder.feed(data):
            connection.sendall(_answer(workspace, request))


def _answer(workspace: Workspace, request: dict[str, Any]) -> bytes:
    try:
        return reply(request.get("id"), _perform(workspace, request))
    except GuestError as error:
        return failure(request.get("id"), error)
    except (KeyError, TypeError, ValueError) as error:
        return failure(request.get("id"), GuestError("bad_request", f"the request is malformed: {error!r}"))
    except OSError as error:
        return failure(request.get("id"), GuestError("failed", f"the file operation failed: {error.strerror}"))
    except MemoryError:
        return failure(
            request.get("id"), GuestError("too_large", "the sandbox has not enough memory left for that file")
        )


def _perform(workspace: Workspace, request: dict[str, Any]) -> dict[str, Any]:
    op = request["op"]
    path = request.get("path", ".")
    if not isinstance(path, str):
        raise TypeError("path is not a string")
    if op == "read":
        found = workspace.read(path, min(int(request["max_bytes"]), _READ_BYTES))
        return {"info": found["info"], "data": base64.b64encode(found["data"]).decode("ascii")}
    if op in ("write", "edit"):
        data = base64.b64decode(request["data"], validate=True)
        mode = request.get("mode")
        if op == "edit":
            return {"info": workspace.edit(path, data, str(request["sha256"]), mode)}
        return {"info": workspace.write(path, data, mode)}
    if op == "list":
        return workspace.list_entries(path, int(request["depth"]), int(request["max_entries"]))
    if op == "search":
        glob = request.get("glob")
        return search(workspace, request["pattern"], path, glob, bool(request["regex"]), int(request["max_hits"]))
    raise GuestError("unknown_op", f"{op!r} is not a file operation; known are {', '.join(OPERATIONS)}")


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
                    total += max(facts.st_blocks * 512, _BLOCK_BYTES)
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
