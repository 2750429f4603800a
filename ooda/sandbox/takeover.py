"""Ends enclosures from outside: those of an earlier owner of a run, who lives and lost it, and at once our own.

A paused process must not go on working in a run that another one took up. Dead owners are the reaper's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from ooda.sandbox.docker import connect
from ooda.sandbox.owners import is_alive, this_process
from ooda.sandbox.registry import Entry, clean_up, entries

__all__ = ["end_enclosures", "end_own_enclosures"]

_END_S = 1.0


async def end_enclosures(cache_dir: Path, run: str) -> tuple[str, ...]:
    """Kill what other live processes of this machine have running in sandboxes of `run`; gives the sandboxes' names.

    Call it with the run's lease in hand. Their records stay: the owner removes them when it wakes up, or the reaper.

    Raises:
        SandboxError: a container could not be removed.
    """
    every = list(entries(cache_dir))
    theirs = [e for e in every if e.mark.run == run and e.mark.owner != this_process() and is_alive(e.mark.owner)]
    for entry in theirs:
        if entry.backend == "docker":
            await connect().remove(entry.mark.name)
            continue
        is_shared = any(other.workspace == entry.workspace and other.mark.run != run for other in every)
        await asyncio.to_thread(_kill, list(_inside(entry, is_shared=is_shared)))
    return tuple(entry.mark.name for entry in theirs)


def end_own_enclosures(cache_dir: Path) -> None:
    """Kill what this process has running in sandboxes and remove what was made for them: before it ends at once.

    Waits a second at most. A container ends with the connection to it; its record stays, so that the reaper looks.
    """
    ours = [entry for entry in entries(cache_dir) if entry.mark.owner == this_process() and entry.backend != "docker"]
    inside = [process for entry in ours for process in _inside(entry, is_shared=False)]
    _kill(inside)
    deadline = time.monotonic() + _END_S
    while any(_is_there(process) for process in inside) and time.monotonic() < deadline:
        time.sleep(0.005)  # they are not all our children: nobody tells
    for entry in ours:
        clean_up(cache_dir, entry)


def _is_there(process: int) -> bool:
    """Whether a process still runs; one that only waits for its parent to take note does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state not in (b"Z", b"X")


def _inside(entry: Entry, *, is_shared: bool) -> Iterator[int]:
    """Processes of the enclosure: by its cgroups, else by the workspace they see, unless others see it too."""
    for group in entry.cgroups:
        with contextlib.suppress(OSError):
            yield from map(int, (Path(group) / "cgroup.procs").read_text().split())
    if is_shared:
        return
    workspace, host = os.stat(entry.workspace), os.stat("/")
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with contextlib.suppress(OSError):
                if not os.path.samestat(os.stat(place / "root"), host) and os.path.samestat(
                    os.stat(place / "root" / "workspace"), workspace
                ):
                    yield int(place.name)


def _kill(processes: list[int]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
