"""The file worker: a process of its own for everything that touches files, so that a slow search or a large
file never delays the minding of commands, and a pattern that takes for ever can be ended.

It reads one request at a time from its socket and answers it. What it may do at most is confined again: no
writes outside the workspace (Landlock), no new privileges, no odd system call.
"""

from __future__ import annotations

import base64
import signal
import socket
from typing import Any

from . import kernel
from .files import Workspace
from .frames import Decoder, GuestError, failure, reply
from .search import search

__all__ = ["OPERATIONS", "WRITING", "serve_files"]

WRITING = ("write", "edit")
OPERATIONS = ("read", *WRITING, "list", "search")
_MAX_HITS, _MAX_LISTED = 10_000, 200_000
_READ_BYTES = 40 << 20
"""What a frame can carry back as base64."""


def serve_files(
    connection: socket.socket, root: str, rules: kernel.LandlockRules | None, seccomp: kernel.SeccompFilter | None
) -> None:
    """Answer file requests until the other end closes."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)  # how the kernel says that someone wants to open a file being edited
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
    if op in WRITING:
        data = base64.b64decode(request["data"], validate=True)
        mode, room = request.get("mode"), request.get("room")
        if op == "edit":
            return {"info": workspace.edit(path, data, str(request["sha256"]), mode, room)}
        return {"info": workspace.write(path, data, mode, room)}
    if op == "list":
        return workspace.list_entries(path, int(request["depth"]), min(int(request["max_entries"]), _MAX_LISTED))
    if op == "search":
        glob, hits = request.get("glob"), min(int(request["max_hits"]), _MAX_HITS)
        return search(workspace, request["pattern"], path, glob, bool(request["regex"]), hits)
    raise GuestError("unknown_op", f"{op!r} is not a file operation; known are {', '.join(OPERATIONS)}")
