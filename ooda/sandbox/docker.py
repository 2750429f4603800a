"""The docker backend: one hardened container per sandbox, whose only program is the helper.

The helper is the container's init, attached to us by its standard streams: when this process ends, in
whatever way, the engine closes those streams, the helper ends, and the engine removes the container. So
nothing is left to be found even after `kill -9`; the labels are for what the engine itself leaves.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from ooda.errors import SandboxError
from ooda.sandbox.cgroups import CPU_PERIOD_US, CPU_SHARES
from ooda.sandbox.client import HelperClient
from ooda.sandbox.engine import Engine, socket_path
from ooda.sandbox.finishing import finished
from ooda.sandbox.launch import disk_quota, guest_command, guest_folder, say_hello
from ooda.sandbox.ownership import Owner
from ooda.sandbox.protocol import Bind, SandboxReport, SandboxSpec
from ooda.sandbox.root import (
    GUEST,
    HOME,
    INTERPRETERS,
    STATE_DIR,
    find_interpreter,
    host_binds,
    tiny_root,
)
from ooda.sandbox.session import OpenSandbox
from ooda.sandbox.site import Site, SiteWall

__all__ = ["DockerImage", "EngineFacts", "connect", "examine", "open_docker", "resolve_image"]

REPOSITORY = "ooda-sandbox-root"
_STARTERS = 8
"""More containers started at once only wait for each other (measured: 50 take the same time by 8 or by 50)."""
_PING_S = 2.0
_starters: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


def connect() -> Engine:
    """The engine that `DOCKER_HOST` names, or the usual socket."""
    return Engine(socket_path(os.environ.get("DOCKER_HOST")))


class EngineFacts(msgspec.Struct, frozen=True):
    """What matters of an engine's configuration."""

    identity: str
    """Version, API and socket: part of what a self-test's result is good for."""
    runtimes: tuple[str, ...]
    shift: int = 0
    """Where uid 0 of a container lies on the host (`userns-remap`)."""


_importing: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
"""Fifty sandboxes opened at once on a new engine import one root, not fifty."""
_examined: dict[str, EngineFacts] = {}


async def examine(engine: Engine) -> EngineFacts:
    """The engine's facts, asked once per process and version.

    Raises SandboxError when no engine answers in 2 s, or one that cannot hold a sandbox of ours.
    """
    try:
        version = await engine.ping(_PING_S)
    except SandboxError as error:
        fix = "start Docker (`systemctl start docker`), or set DOCKER_HOST to the socket of a running engine"
        raise SandboxError(str(error), probe="docker engine", fix=fix) from error
    identity = f"{version.get('Version')} {version.get('ApiVersion')} {engine.path}"
    if identity not in _examined:
        info = await engine.info()
        options = " ".join(info.get("SecurityOptions") or ())
        if "name=rootless" in options:
            raise SandboxError(
                "a rootless Docker Engine shows the workspace's owner as root inside, and commands never run as root",
                probe="docker engine",
                fix="use bubblewrap, or an engine with root",
            )
        # The remapped engine keeps its data in a folder named `<uid>.<gid>` after the first ids it uses.
        remapped = re.search(r"/(\d+)\.\d+/?$", str(info.get("DockerRootDir"))) if "name=userns" in options else None
        shift = 0 if remapped is None else int(remapped[1])
        _examined[identity] = EngineFacts(identity, tuple(info.get("Runtimes") or ()), shift)
    return _examined[identity]


class DockerImage:
    """A root for containers: the image, the binds it needs, and how the helper starts in it."""

    def __init__(self, name: str, digest: str, command: list[str], binds: tuple[Bind, ...]) -> None:
        self.name = name
        self.digest = digest
        self.command = command
        self.binds = binds


async def resolve_image(engine: Engine, named: str | None, owner: Owner) -> DockerImage:
    """The named image when it is present, else our own tiny root, imported on first use.

    Raises SandboxError when a named image is absent; nothing is ever pulled.
    """
    if named is not None:
        facts = await engine.image(named)
        if facts is None:
            raise SandboxError(
                f"image {named!r} is not present in the Docker Engine and is never pulled silently; "
                f"run `docker pull {named}`, or leave `sandbox.image` unset for the default root",
                probe="docker image",
            )
        return DockerImage(named, str(facts["Id"]), _any_python(), ())
    archive, tag = await asyncio.to_thread(tiny_root, owner.uid, owner.gid)
    name = f"{REPOSITORY}:{tag}"
    facts = await engine.image(name)
    if facts is None:
        await engine.import_image(archive, REPOSITORY, tag, ["LABEL ooda.root=tiny"])
        facts = await engine.image(name)
        if facts is None:
            raise SandboxError(f"the Docker Engine imported {name} but does not show it", probe="docker image")
    interpreter = find_interpreter()
    extra = () if interpreter.bind is None else (interpreter.bind,)
    return DockerImage(name, str(facts["Id"]), guest_command(interpreter.path), host_binds() + extra)


def _any_python() -> list[str]:
    """The helper's command for an image that we know nothing about but its shell."""
    found = "; ".join(f'[ -x {path} ] && exec {path} "$@"' for path in INTERPRETERS)
    sorry = "echo 'the image has no python3 in /usr/bin or /usr/local/bin; the sandbox needs one' >&2; exit 127"
    return ["/bin/sh", "-c", f"{found}; {sorry}", "sh", *guest_command("")[1:]]


class _DockerWall:
    def __init__(self, engine: Engine, container: str) -> None:
        self._engine = engine
        self._container = container

    async def destroy(self) -> None:
        await self._engine.remove(self._container)


async def open_docker(spec: SandboxSpec, site: Site, wall: SiteWall, engine: Engine) -> OpenSandbox:
    """A running container with its helper greeted. Raises SandboxError; the caller takes down `wall` then."""
    began = time.monotonic()
    async with _importing.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        image = await resolve_image(engine, spec.image, site.owner)
    async with _starters.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_STARTERS)):
        wall.inner = _DockerWall(engine, site.name)
        container = await finished(engine.create(site.name, _container(spec, site, image)))
        client = HelperClient(await engine.attach(container))
        try:
            await finished(engine.start(container))
            greeting = await say_hello(client, spec, site, mode="setuid", has_cgroup=True)
        except BaseException:
            await asyncio.shield(client.close())
            raise
    disk = disk_quota(spec)
    report = SandboxReport(
        backend="docker",
        image=image.name,
        digest=image.digest,
        probes=(),
        missing=greeting.missing if disk.is_hard else (*greeting.missing, "disk-quota"),
        disk=disk,
        ready_ms=int((time.monotonic() - began) * 1000),
    )
    return OpenSandbox(site.name, client, wall, report, spec.spool, site.lent)


def _container(spec: SandboxSpec, site: Site, image: DockerImage) -> dict[str, Any]:
    limits, owner = spec.limits, site.owner
    binds = [*image.binds, Bind(Path(guest_folder()), GUEST), *site.shown(), *spec.binds]
    mounts = [_mount(bind.source, bind.target, read_only=not bind.writable) for bind in binds]
    mounts.append(_mount(spec.workspace, "/workspace", read_only=False))
    own = f"uid={owner.uid},gid={owner.gid},nosuid,nodev"
    host_config: dict[str, Any] = {
        "AutoRemove": True,
        "Init": False,  # the helper is the first process, whatever the engine's default
        "NetworkMode": "none",
        "Dns": ["127.0.0.1"],  # else the engine copies the host's resolv.conf in
        "CapDrop": ["ALL"],
        "CapAdd": ["SETUID", "SETGID", "KILL"],
        "SecurityOpt": ["no-new-privileges"],
        "ReadonlyRootfs": True,
        "IpcMode": "private",
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,
        "PidsLimit": limits.pids,
        "CpuPeriod": CPU_PERIOD_US,
        "CpuQuota": limits.cpus * CPU_PERIOD_US,
        "CpuShares": CPU_SHARES,
        "ShmSize": min(64 << 20, limits.folder_bytes // 4),
        "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
        "Tmpfs": {
            "/tmp": f"rw,exec,nosuid,nodev,size={limits.folder_bytes},mode=1777",  # noqa: S108
            "/var/tmp": "rw,nosuid,nodev,size=16m,mode=1777",  # noqa: S108
            HOME: f"rw,exec,{own},size={limits.folder_bytes},mode=755",
            STATE_DIR: f"rw,noexec,{own},size=4m,mode=700",
        },
        "Mounts": mounts,
        # The frames pass through standard output: the engine must not write them to a log file.
        "LogConfig": {"Type": "none"},
    }
    if spec.runtime is not None:
        host_config["Runtime"] = spec.runtime
    if os.geteuid() != 0:
        # Under userns-remap only root could give the workspace to the shifted uid.
        host_config["UsernsMode"] = "host"
    return {
        "Image": image.digest,
        "Cmd": image.command,
        "Entrypoint": [],
        "User": "0:0",
        "WorkingDir": "/",
        "Hostname": "sandbox",
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": True,
        "StdinOnce": True,  # the end of our connection is the end of its input
        "Tty": False,
        "Labels": site.mark.labels(),
        "HostConfig": host_config,
    }


def _mount(source: Path, target: str, *, read_only: bool) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": str(source.resolve()),
        "Target": target,
        "ReadOnly": read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }
