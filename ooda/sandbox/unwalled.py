"""No sandbox at all: the helper as an ordinary child of this process. Only for `backend: none`, said in so
many words by a person; never a fallback. Commands run as the calling user and see the whole machine; what
remains is the helper's minding of trees, deadlines and output.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from pathlib import Path

from ooda.sandbox.bubblewrap import ProcessChannel
from ooda.sandbox.client import HelperClient
from ooda.sandbox.launch import disk_quota, guest_command, guest_folder, say_hello
from ooda.sandbox.protocol import SandboxReport, SandboxSpec
from ooda.sandbox.session import OpenSandbox
from ooda.sandbox.site import Site, SiteWall

__all__ = ["open_unwalled"]

_END_S = 5.0
_MISSING = (
    "filesystem",
    "network",
    "user",
    "capabilities",
    "seccomp",
    "landlock",
    "memory",
    "cpu",
    "pids",
    "disk-quota",
)


class _Wall:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def destroy(self) -> None:
        """The helper ends its commands and itself when its input closes; it is killed when it does not."""
        try:
            async with asyncio.timeout(_END_S):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


async def open_unwalled(spec: SandboxSpec, site: Site, wall: SiteWall) -> OpenSandbox:
    """A helper without walls. Raises SandboxError; the caller takes down `wall` then."""
    began = time.monotonic()
    for name in ("home", "state"):
        (site.folder / name).mkdir(mode=0o700)
    process = await asyncio.create_subprocess_exec(
        *guest_command(sys.executable, str(Path(guest_folder()).parent)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={},
        cwd="/",
        limit=1 << 20,
        start_new_session=True,  # Ctrl-C at a terminal is for us; what becomes of the commands, we say
    )
    wall.inner = _Wall(process)
    client = HelperClient(ProcessChannel(process))
    try:
        greeting = await say_hello(
            client,
            spec,
            site,
            mode="plain",
            has_cgroup=False,
            workspace=str(spec.workspace),
            home=str(site.folder / "home"),
            state_dir=str(site.folder / "state"),
        )
    except BaseException:
        await asyncio.shield(client.close())
        raise
    report = SandboxReport(
        backend="none",
        image="host",
        digest="",
        probes=(),
        missing=(*_MISSING, *greeting.missing),
        disk=disk_quota(spec),
        ready_ms=int((time.monotonic() - began) * 1000),
    )
    return OpenSandbox(site.name, client, wall, report, spec.spool)
