"""What both backends tell the helper and how they start it: one place, so that behind either wall a command
finds the same directories, limits and variables.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from ooda.sandbox.client import HelperClient
from ooda.sandbox.protocol import DiskQuota, SandboxSpec
from ooda.sandbox.root import EGRESS_SOCKET, GUEST, HOME, STATE_DIR
from ooda.sandbox.site import Site

__all__ = ["Greeting", "disk_quota", "guest_command", "guest_folder", "say_hello"]

_HELLO_S = 20.0
_GUEST_PARENT = GUEST.rsplit("/", 1)[0]


class Greeting(msgspec.Struct, frozen=True):
    """The helper's answer to `hello`."""

    version: int
    missing: tuple[str, ...]
    python: str
    machine: str
    kernel: str
    landlock: int


def disk_quota(spec: SandboxSpec) -> DiskQuota:
    """What bounds the workspace: its own file system where it has one of that size, else the helper's watch."""
    limit, workspace = spec.limits.disk_bytes, spec.workspace
    facts = os.statvfs(workspace)
    size = facts.f_blocks * facts.f_frsize
    is_own = workspace.stat().st_dev != workspace.parent.stat().st_dev
    return DiskQuota(size, is_hard=True) if is_own and size <= limit else DiskQuota(limit)


def guest_folder() -> str:
    """The helper's source on the host."""
    import ooda.sandbox.guest

    return next(iter(ooda.sandbox.guest.__path__))


def guest_command(python: str, parent: str = _GUEST_PARENT) -> list[str]:
    """The argument vector of the helper; `parent` is where its folder is shown."""
    return [
        python,
        "-I",
        "-S",
        "-B",
        "-c",
        f"import sys; sys.path.insert(0, {parent!r}); from guest.main import main; main()",
    ]


async def say_hello(
    client: HelperClient,
    spec: SandboxSpec,
    site: Site,
    *,
    mode: str,
    has_cgroup: bool,
    workspace: str = "/workspace",
    home: str = HOME,
    state_dir: str = STATE_DIR,
) -> Greeting:
    """Configure the helper. Without a cgroup the CPU cap is an affinity mask that commands may not change,
    the process cap an rlimit, and the memory cap an rlimit per process with a watchdog over all."""
    limits = spec.limits
    rlimits = {"core": 0, "fsize": limits.file_bytes, "nofile": limits.open_files}
    if not has_cgroup and mode == "namespace":
        rlimits |= {"nproc": limits.pids, "data": limits.memory_bytes}
    entries = max(16_384, limits.folder_bytes // 4096)
    settings: dict[str, Any] = {
        "mode": mode,
        "workspace": workspace,
        "home": home,
        "state_dir": state_dir,
        "uid": site.owner.uid,
        "gid": site.owner.gid,
        "env": site.variables() | dict(spec.env),
        "rlimits": rlimits,
        # Inside a cgroup with a CPU cap niceness only decides between helper and commands; outside of one
        # it decides between the commands and everything else on the machine, so it stays moderate.
        "nice": 19 if has_cgroup else 10,
        "pin_cpus": not has_cgroup,
        "watch_memory_bytes": None if has_cgroup or mode == "plain" else limits.memory_bytes,
        "disk_bytes": limits.disk_bytes,
        "entries": {} if mode == "plain" else dict.fromkeys(("/tmp", "/var/tmp", "/dev/shm", home), entries),  # noqa: S108
        "background": limits.background_processes,
        "writable": [bind.target for bind in spec.binds if bind.writable],
        "direct": list(site.direct),
        "egress_socket": None if site.egress_socket is None else EGRESS_SOCKET,
    }
    answer = await client.request("hello", {"settings": settings}, deadline_s=_HELLO_S)
    return msgspec.convert(answer, Greeting)
