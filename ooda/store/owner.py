"""Names of lease owners from which another process of the same machine can tell that the owner is gone.

A process killed with -9 leaves its lease behind; without this its run could be resumed only after the lease has
expired. Where it cannot be told (another machine, another container), the owner counts as alive.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

__all__ = ["described", "is_alive", "process_owner"]

_PROC = Path("/proc")


def process_owner(token: str) -> str:
    """This process as a lease owner: `host/place/pid/start/token`.

    Args:
        token: tells the owners of one process apart (two runners must not share a run); without `/`.
    """
    return f"{os.uname().nodename}/{_place()}/{os.getpid()}/{_start_of(os.getpid())}/{token}"


def described(owner: str) -> str:
    """An owner's name for people: `process 4711 on build-7`; other names as they are."""
    parts = owner.split("/")
    return f"process {parts[2]} on {parts[0]}" if len(parts) == 5 else owner


def is_alive(owner: str) -> bool:
    """False only when `owner` was a process of this very machine and container that has ended."""
    parts = owner.split("/")
    if len(parts) != 5 or parts[:2] != [os.uname().nodename, _place()] or not parts[2].isdigit():
        return True
    return _start_of(int(parts[2])) == parts[3]


@cache
def _place() -> str:
    """This boot of this machine and its process-id namespace; a pid means something only within both."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()[:8]
        return f"{boot}-{os.readlink(_PROC / 'self/ns/pid').strip('pid:[]')}"
    except OSError:
        return "unknown"


def _start_of(pid: int) -> str:
    """When the process started, in the kernel's ticks, so that a reused pid is another owner; empty when it ended."""
    try:
        # The second field is the command in brackets, which may itself hold brackets and spaces.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
