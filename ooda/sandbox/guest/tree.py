"""Process trees as /proc shows them: who descends from whom, and how a tree is ended for good.

A tree cannot be killed one by one while it forks: everything is stopped first, again and again until
nothing new appears, and only then killed. Orphans stay in the tree because its root is a child subreaper.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

__all__ = ["descendants", "freeze_and_kill", "kill_tree", "resident_bytes"]

_PAGE = os.sysconf("SC_PAGE_SIZE")
_KILL_DEADLINE_S = 5.0
_RETRY_S = 0.001
"""Between two looks: the kernel has no event for "this tree is gone"."""


def _parents() -> dict[int, tuple[int, str]]:
    """Every visible process: pid -> (parent pid, state letter)."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                stat = file.read(1024)
        except OSError:
            continue  # it ended meanwhile
        # The name in parentheses is the process's own choice and may hold spaces and parentheses.
        state, parent = stat[stat.rindex(b")") + 2 :].split(b" ", 2)[:2]
        found[int(name)] = (int(parent), state.decode())
    return found


def descendants(root: int) -> dict[int, str]:
    """The living processes below `root` (not itself): pid -> state letter. Zombies are not counted."""
    processes = _parents()
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in processes.items():
        children.setdefault(parent, []).append(pid)
    below: dict[int, str] = {}
    queue = list(children.get(root, ()))
    while queue:
        pid = queue.pop()
        state = processes[pid][1]
        if state not in "ZX":
            below[pid] = state
        queue += children.get(pid, ())
    return below


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def freeze_and_kill(root: int) -> int:
    """End everything below the calling process `root`, which may signal the commands' user and nobody else.

    One system call stops every process of that user, so nothing forks any more and the CPU is free; then the
    tree is killed at leisure and the other commands go on where they were.
    """
    before = _parents()
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGSTOP)
    count = 0
    deadline = time.monotonic() + _KILL_DEADLINE_S
    while left := descendants(root):
        count = count or len(left)
        for pid in left:
            _signal(pid, signal.SIGKILL)
        _reap()
        if time.monotonic() > deadline:
            break
        time.sleep(_RETRY_S)
    for pid in _parents():
        if pid != root and before.get(pid, (0, ""))[1] != "T":
            _signal(pid, signal.SIGCONT)
    return count


def kill_tree(root: int, reap: bool) -> int:
    """End everything below `root`; gives how many processes there were at first.

    Args:
        root: a child subreaper (usually the caller), left alive.
        reap: collect the caller's own dead children on the way; only when `root` is the caller.
    """
    first = descendants(root)
    if not first:
        return 0
    deadline = time.monotonic() + _KILL_DEADLINE_S
    stopped: set[int] = set()
    quiet = 0
    while quiet < 2 and time.monotonic() < deadline:
        new = set(descendants(root)) - stopped
        quiet = 0 if new else quiet + 1
        for pid in new:
            _signal(pid, signal.SIGSTOP)
        stopped |= new
    while True:
        left = descendants(root)
        if not left or time.monotonic() > deadline:
            return len(first)
        for pid in left:
            _signal(pid, signal.SIGKILL)
        if reap:
            _reap()
        time.sleep(_RETRY_S)


def resident_bytes() -> int:
    """Resident memory of everything visible in this pid namespace."""
    total = 0
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/statm", "rb", buffering=0) as file:
                total += int(file.read(256).split()[1]) * _PAGE
        except (OSError, IndexError):
            continue  # it ended meanwhile
    return total
