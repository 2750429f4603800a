"""The host's side of one sandbox, the same for every backend: who it belongs to, whose files it works on,
its folder, its proxy. What is made here is recorded first and removed by `registry.clean_up`.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec

from ooda.errors import SandboxError
from ooda.sandbox.cgroups import planned_cgroups
from ooda.sandbox.egress import Audit, EgressProxy
from ooda.sandbox.egress_rules import AllowList
from ooda.sandbox.owners import Mark
from ooda.sandbox.ownership import Owner, hand_over, owner_for
from ooda.sandbox.protocol import Backend, SandboxSpec
from ooda.sandbox.registry import Entry, clean_up, folder_of, register
from ooda.sandbox.session import Wall

__all__ = ["Site", "SiteWall", "prepare_site"]


class Site(msgspec.Struct, frozen=True):
    """What a backend needs to know besides the specification."""

    mark: Mark
    owner: Owner
    """The user and group that commands run as."""
    cache_dir: Path
    entry: Entry
    folder: Path
    """The sandbox's own folder on the host."""
    egress_socket: Path | None = None

    @property
    def name(self) -> str:
        """The sandbox's id."""
        return self.mark.name


class SiteWall:
    """A backend's wall and what stands around it, taken down in order: inside first, then the host's side."""

    def __init__(self, cache_dir: Path, entry: Entry, proxy: EgressProxy | None) -> None:
        self._cache_dir = cache_dir
        self._entry = entry
        self._proxy = proxy
        self.inner: Wall | None = None

    async def destroy(self) -> None:
        """End everything inside and remove what was made on the host. Idempotent."""
        try:
            if self.inner is not None:
                await self.inner.destroy()
        finally:
            if self._proxy is not None:
                await self._proxy.close()
            await asyncio.to_thread(clean_up, self._cache_dir, self._entry)


async def prepare_site(
    spec: SandboxSpec, mark: Mark, backend: Backend, cache_dir: Path, audit: Audit
) -> tuple[Site, SiteWall]:
    """Record the sandbox, lend it its workspace and start its proxy.

    Raises SandboxError or ConfigError; nothing is left behind when it does.
    """
    facts = spec.workspace.stat()
    owner = owner_for(spec.workspace)
    giver = None
    if backend != "none":
        if os.geteuid() == 0:
            giver = Owner(facts.st_uid, facts.st_gid) if facts.st_uid == 0 else None
        elif backend == "bubblewrap" and owner.uid != os.geteuid():
            raise SandboxError(
                f"the workspace {spec.workspace} belongs to uid {owner.uid} and this process is uid {os.geteuid()}; "
                "run as its owner, or give it to this user with chown",
                probe="bubblewrap workspace",
            )
    allow = AllowList(spec.network.hosts) if spec.network.hosts and backend != "none" else None
    cgroups = tuple(str(path) for path in planned_cgroups(mark.name)) if backend == "bubblewrap" else ()
    entry = Entry(mark, str(spec.workspace), backend, giver, cgroups)
    folder = await asyncio.to_thread(register, cache_dir, entry)
    proxy = None
    socket = None
    if allow is not None:
        socket = folder_of(cache_dir, mark.name) / "egress.sock"
        proxy = EgressProxy(allow, audit=audit, facts={"run": mark.run, "sandbox": mark.name})
    wall = SiteWall(cache_dir, entry, proxy)
    try:
        if proxy is not None and socket is not None:
            await proxy.start(socket)
        if giver is not None or (os.geteuid() == 0 and backend != "none"):
            await asyncio.to_thread(hand_over, spec.workspace, owner)
    except BaseException:
        await asyncio.shield(wall.destroy())
        raise
    return Site(mark, owner, cache_dir, entry, folder, socket), wall
