"""Ends the enclosures that an earlier owner of a run still has open: a paused process must not go on working in it.

Dead owners are the reaper's; here the owner lives, has lost the run, and perhaps does not know it yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from ooda.sandbox.docker import connect
from ooda.sandbox.owners import is_alive, this_process
from ooda.sandbox.registry import Entry, entries

__all__ = ["end_enclosures"]


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
