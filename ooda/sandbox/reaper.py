"""Removes what dead processes left: containers, cgroups, folders whole and half made, and workspaces lent to
another user.

Little is left at all: a container ends with the connection to it, and a bubblewrap tree with its parent.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from ooda.errors import SandboxError
from ooda.sandbox.docker import connect
from ooda.sandbox.engine import Engine
from ooda.sandbox.owners import Owning, is_alive
from ooda.sandbox.registry import clean_up, entries, sweep

__all__ = ["reap"]


async def reap(cache_dir: Path) -> tuple[str, ...]:
    """Remove the leavings of dead owners and name them; what belongs to a live process is never touched.

    An engine that does not answer is no error: its containers are removed when it does.
    """
    gone = [entry for entry in entries(cache_dir) if not is_alive(entry.mark.owner)]
    engine = await _engine()
    reaped = list(await asyncio.to_thread(sweep, cache_dir))
    for entry in gone:
        if entry.backend == "docker":
            if engine is None:
                continue  # the record stays, so that the container is found another time
            await engine.remove(entry.mark.name)
        await asyncio.to_thread(clean_up, cache_dir, entry)
        reaped.append(entry.mark.name)
    if engine is not None:
        for container in await engine.containers("ooda.sandbox"):
            owner = _owner(container.get("Labels") or {})
            if owner is not None and not is_alive(owner):
                await engine.remove(str(container["Id"]))
                reaped.append(str(container["Labels"]["ooda.sandbox"]))
    return tuple(dict.fromkeys(reaped))


async def _engine() -> Engine | None:
    try:
        engine = connect()
        await engine.ping()
    except SandboxError:
        return None
    return engine


def _owner(labels: dict[str, str]) -> Owning | None:
    try:
        return Owning(
            int(labels["ooda.owner.pid"]),
            int(labels["ooda.owner.started"]),
            labels["ooda.owner.boot"],
            labels["ooda.owner.namespace"],
        )
    except (KeyError, ValueError):
        return None
