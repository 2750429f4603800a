"""The host's side of one sandbox, the same for every backend: who it belongs to, whose files it works on,
its folder, its proxy. What is made here is recorded first and removed by `registry.clean_up`.
"""

from __future__ import annotations

import asyncio
import atexit
import os
from pathlib import Path

import msgspec

from ooda.errors import SandboxError
from ooda.sandbox.authority import make_authority
from ooda.sandbox.cgroups import planned_cgroups
from ooda.sandbox.egress import Audit, EgressProxy
from ooda.sandbox.egress_rules import AllowList
from ooda.sandbox.finishing import finished
from ooda.sandbox.owners import Mark, this_process
from ooda.sandbox.ownership import Owner, hand_over, owner_for
from ooda.sandbox.protocol import Backend, Bind, SandboxSpec
from ooda.sandbox.registry import Entry, clean_up, register
from ooda.sandbox.root import CA_BUNDLE, EGRESS_SOCKET, host_certificates
from ooda.sandbox.session import Wall
from ooda.sandbox.substitution import check_credentials

__all__ = ["Site", "SiteWall", "prepare_site"]

# OpenSSL and Python, requests, curl, Node, git, pip, cargo: each has its own.
_CERTIFICATE_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
)


_OWN_NAMES = ("localhost", "127.0.0.1")


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
    """Where the sandbox's proxy listens; None without a network."""
    ca_bundle: Path | None = None
    """The certificates to trust inside: this machine's, and the proxy's where it answers for some hosts itself."""
    direct: tuple[str, ...] = _OWN_NAMES
    """Names that programs inside reach without the proxy: the sandbox's own, unless the host's were listed."""

    def shown(self) -> tuple[Bind, ...]:
        """What of the host's side is shown inside."""
        found = []
        if self.egress_socket is not None:
            found.append(Bind(self.egress_socket, EGRESS_SOCKET))
        if self.ca_bundle is not None:
            found.append(Bind(self.ca_bundle, CA_BUNDLE))
        return tuple(found)

    def variables(self) -> dict[str, str]:
        """Variables by which programs find the certificates they must trust; empty without a network."""
        return {} if self.ca_bundle is None else dict.fromkeys(_CERTIFICATE_VARIABLES, CA_BUNDLE)

    @property
    def name(self) -> str:
        """The sandbox's id."""
        return self.mark.name

    @property
    def lent(self) -> Path | None:
        """The workspace, when it was given to another user for the time being."""
        return None if self.entry.giver is None else Path(self.entry.workspace)


_standing: dict[str, tuple[Path, Entry]] = {}
"""Sandboxes of this process whose host's side is not yet removed."""


def _leave() -> None:
    """Remove what is left when the interpreter ends without having closed its sandboxes. Their processes and
    containers end with this process by themselves; cgroups, folders and lent workspaces do not."""
    for cache_dir, entry in list(_standing.values()):
        if entry.mark.owner == this_process():  # and not a fork of it
            clean_up(cache_dir, entry)


class SiteWall:
    """A backend's wall and what stands around it, taken down in order: inside first, then the host's side."""

    def __init__(self, cache_dir: Path, entry: Entry) -> None:
        self._cache_dir = cache_dir
        self._entry = entry
        self.proxy: EgressProxy | None = None
        self.inner: Wall | None = None

    async def destroy(self) -> None:
        """End everything inside and remove what was made on the host. Idempotent."""
        try:
            if self.inner is not None:
                await self.inner.destroy()
        finally:
            if self.proxy is not None:
                await self.proxy.close()
            await asyncio.to_thread(clean_up, self._cache_dir, self._entry)
            _standing.pop(self._entry.mark.name, None)


async def prepare_site(
    spec: SandboxSpec, mark: Mark, backend: Backend, cache_dir: Path, audit: Audit, *, shift: int = 0
) -> tuple[Site, SiteWall]:
    """Record the sandbox, lend it its workspace and start its proxy.

    Args:
        shift: what the engine adds to every uid and gid inside (`userns-remap`), when we are root.

    Raises SandboxError or ConfigError; nothing is left behind when it does.
    """
    facts = spec.workspace.stat()
    owner = owner_for(spec.workspace)
    giver = None
    if backend != "none":
        if os.geteuid() == 0:
            giver = Owner(facts.st_uid, facts.st_gid) if facts.st_uid == 0 or shift else None
        elif backend == "bubblewrap" and owner.uid != os.geteuid():
            raise SandboxError(
                f"the workspace {spec.workspace} belongs to uid {owner.uid} and this process is uid {os.geteuid()}; "
                "run as its owner, or give it to this user with chown",
                probe="bubblewrap workspace",
            )
    check_credentials(spec.network.credentials)
    hosts = spec.network.hosts + tuple(f"{one.name}:{one.port}" for one in spec.network.credentials)
    allow = AllowList(hosts) if hosts and backend != "none" else None
    cgroups = tuple(str(path) for path in planned_cgroups(mark.name)) if backend == "bubblewrap" else ()
    entry = Entry(mark, str(spec.workspace), backend, giver, cgroups)
    _standing[mark.name] = (cache_dir, entry)
    atexit.unregister(_leave)  # once, however many sandboxes there are
    atexit.register(_leave)
    wall = SiteWall(cache_dir, entry)
    socket = bundle = None
    try:
        folder = await finished(asyncio.to_thread(register, cache_dir, entry))
        if allow is not None:
            inner_tls, bundle = None, host_certificates()
            if spec.network.credentials:
                names = tuple(dict.fromkeys(one.name for one in spec.network.credentials))
                inner_tls, bundle = await make_authority(folder, names)
            wall.proxy = EgressProxy(
                allow,
                audit=audit,
                facts={"run": mark.run, "sandbox": mark.name},
                credentials=spec.network.credentials,
                inner_tls=inner_tls,
            )
            socket = folder / "egress.sock"
            await wall.proxy.start(socket)
        if os.geteuid() == 0 and backend != "none":
            lent_to = Owner(owner.uid + shift, owner.gid + shift)
            await finished(asyncio.to_thread(hand_over, spec.workspace, lent_to))
    except BaseException:
        await asyncio.shield(wall.destroy())
        raise
    direct = tuple(name for name in _OWN_NAMES if allow is None or not allow.reaches(name))
    return Site(mark, owner, cache_dir, entry, folder, socket, bundle, direct), wall
