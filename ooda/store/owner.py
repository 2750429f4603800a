"""Names of lease owners from which another process of the same machine can tell that the owner is gone.

A process killed with -9 leaves its lease behind; without this its run could be resumed only after the lease has
expired. Where it cannot be told (another machine, another container), the owner counts as alive.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from ooda.clock import to_rfc3339

__all__ = ["described", "is_alive", "process_owner"]

_PROC = Path("/proc")


def process_owner(token: str) -> str:
    """This process as a lease owner: `host/place/pid/start/token`.

    Args:
        token: tells the owners of one process apart (two runners must not share a run); without `/`.
    """
    return f"{os.uname().nodename}/{_place()}/{os.getpid()}/{_start_of(os.getpid())}/{token}"


def described(owner: str) -> str:
    """An owner's name for people: `process 4711 on build-7`; other names as they are.

    A process of this machine that is at work is told with its start: `process 4711 on build-7, there since 2026-…Z`.
    """
    parts = owner.split("/")
    if len(parts) != 5:
        return owner
    name = f"process {parts[2]} on {parts[0]}"
    is_here = parts[:2] == [os.uname().nodename, _place()] and parts[3].isdigit()
    return f"{name}, there since {to_rfc3339(_started_ns(int(parts[3])))}" if is_here else name


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


def _started_ns(ticks: int) -> int:
    """When something began that many of the kernel's ticks after this machine did; exact to a second."""
    lines = (_PROC / "stat").read_text().splitlines()
    boot_s = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
    return (boot_s + ticks // os.sysconf("SC_CLK_TCK")) * 1_000_000_000


def _start_of(pid: int) -> str:
    """When the process started, in the kernel's ticks, so that a reused pid is another owner; empty when it ended."""
    try:
        # The second field is the command in brackets, which may itself hold brackets and spaces.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
