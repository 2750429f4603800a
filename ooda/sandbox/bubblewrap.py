"""The bubblewrap backend: one enclosure per sandbox without any daemon, for machines with user namespaces.

The helper runs inside it and puts every command into a pid and user namespace of its own. It dies with us:
bubblewrap's first process follows this one, and the kernel ends everything in its namespace with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from ooda.errors import SandboxError
from ooda.sandbox.bubblewrap_root import Root, default_root, image_root
from ooda.sandbox.cgroups import Cgroup, create_cgroup
from ooda.sandbox.client import HelperClient
from ooda.sandbox.finishing import finished
from ooda.sandbox.launch import disk_quota, guest_command, guest_folder, say_hello
from ooda.sandbox.protocol import SandboxReport, SandboxSpec
from ooda.sandbox.root import GUEST, HOME, STATE_DIR
from ooda.sandbox.session import OpenSandbox
from ooda.sandbox.site import Site, SiteWall

__all__ = ["ProcessChannel", "open_bubblewrap"]

_NAMESPACES = ("user", "ipc", "pid", "net", "uts")
_KEPT_STDERR_BYTES = 8192
_END_S = 5.0


class ProcessChannel:
    """The helper's standard streams."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._input, self._output, self._errors = process.stdin, process.stdout, process.stderr
        self._words = bytearray()
        self._listener = asyncio.create_task(self._listen(), name="sandbox-helper-errors")

    async def _listen(self) -> None:
        while data := await self._errors.read(4096):
            self._words = (self._words + data)[-_KEPT_STDERR_BYTES:]

    async def receive(self) -> bytes:
        return await self._output.read(1 << 18)

    async def send(self, data: bytes) -> None:
        self._input.write(data)
        await self._input.drain()

    async def last_words(self) -> str:
        await asyncio.wait({self._listener}, timeout=1)
        return self._words.decode("utf-8", "replace")

    async def close(self) -> None:
        self._input.close()
        with contextlib.suppress(OSError):
            await self._input.wait_closed()
        self._listener.cancel()
        await asyncio.wait({self._listener})


class _BubblewrapWall:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def destroy(self) -> None:
        """Kill bubblewrap's outer process; its death takes the pid namespace along."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            async with asyncio.timeout(_END_S):
                await self._process.wait()


async def open_bubblewrap(spec: SandboxSpec, site: Site, wall: SiteWall, program: str) -> OpenSandbox:
    """A running enclosure with its helper greeted. Raises SandboxError; the caller takes down `wall` then."""
    began = time.monotonic()
    if spec.image is None:
        root = await asyncio.to_thread(default_root, site)
    else:
        root = await asyncio.to_thread(image_root, spec.image, site.cache_dir)
    cgroup = await finished(asyncio.to_thread(create_cgroup, site.name, spec.limits))
    settings = _settings(spec, site, program, root, cgroup)
    try:
        process = await asyncio.create_subprocess_exec(
            *_launcher(),
            json.dumps(settings),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={},
            cwd="/",
            limit=1 << 20,
            start_new_session=True,  # Ctrl-C at a terminal is for us; what becomes of the commands, we say
        )
    except OSError as error:
        raise SandboxError(f"the sandbox could not be started: {error}", probe="bubblewrap") from error
    wall.inner = _BubblewrapWall(process)
    client = HelperClient(ProcessChannel(process))
    try:
        greeting = await say_hello(client, spec, site, mode="namespace", has_cgroup=cgroup is not None)
    except BaseException:
        await asyncio.shield(client.close())
        raise
    disk = disk_quota(spec)
    missing = [*greeting.missing, *([] if disk.is_hard else ["disk-quota"])]
    if cgroup is None:
        missing.append("cgroup")
    report = SandboxReport(
        backend="bubblewrap",
        image=root.image,
        digest=root.digest,
        probes=(),
        missing=tuple(missing),
        disk=disk,
        ready_ms=int((time.monotonic() - began) * 1000),
    )
    return OpenSandbox(site.name, client, wall, report, spec.spool, site.lent)


def _launcher() -> list[str]:
    """The step before bubblewrap, by a Python of the host."""
    parent = str(Path(guest_folder()).parent)
    code = f"import sys; sys.path.insert(0, {parent!r}); from guest.enter import main; main()"
    return [sys.executable, "-I", "-S", "-B", "-c", code]


def _settings(spec: SandboxSpec, site: Site, program: str, root: Root, cgroup: Cgroup | None) -> dict[str, Any]:
    limits, owner = spec.limits, site.owner
    before = [program, *(f"--unshare-{name}" for name in _NAMESPACES), "--unshare-cgroup-try"]
    before += ["--uid", str(owner.uid), "--gid", str(owner.gid), "--hostname", "sandbox"]
    before += ["--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
    for name, bits in sorted(root.folders.items()):
        before += ["--perms", f"{bits:o}", "--dir", f"/{name}"]
    for name, target in sorted(root.links.items()):
        before += ["--symlink", target, f"/{name}"]
    binds = [["--ro-bind", source, target] for source, target in root.binds]
    binds.append(["--ro-bind", guest_folder(), GUEST])
    for bind in (*site.shown(), *spec.binds):
        binds.append(["--bind" if bind.writable else "--ro-bind", str(bind.source.resolve()), bind.target])
    binds.append(["--bind", str(spec.workspace), "/workspace"])
    after = ["--proc", "/proc", "--dev", "/dev"]
    for path, size, mode in (
        ("/dev/shm", min(64 << 20, limits.folder_bytes // 4), "1777"),  # noqa: S108 - inside the sandbox
        ("/tmp", limits.folder_bytes, "1777"),  # noqa: S108
        ("/var/tmp", 16 << 20, "1777"),  # noqa: S108
        (HOME, limits.folder_bytes, "755"),
        (STATE_DIR, 4 << 20, "700"),
    ):
        after += ["--perms", mode, "--size", str(size), "--tmpfs", path]
    after += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/", "--"]
    cpus = sorted(os.sched_getaffinity(0))
    start = os.getpid() % len(cpus)  # not every sandbox on the first CPU
    return {
        "bwrap": program,
        "become": [owner.uid, owner.gid] if os.geteuid() == 0 else None,
        "cgroup_procs": [] if cgroup is None else cgroup.procs,
        "cpus": [] if cgroup is not None else (cpus[start:] + cpus[:start])[: limits.cpus],
        "rlimits": {"core": 0},
        "before": before,
        "binds": binds,
        "after": after + guest_command(root.python),
    }
