"""A cgroup of our own for one bubblewrap sandbox: hard caps on memory, processes and CPU, where we may make one.

Knows both layouts (one hierarchy per controller, and the unified one). Where no place is writable there is
no cgroup, and the caller names that in the sandbox's report.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from ooda.sandbox.protocol import SandboxLimits

__all__ = ["Cgroup", "create_cgroup", "remove_cgroups"]

_V1_CONTROLLERS = ("memory", "pids", "cpu")
_PERIOD_US = 100_000
_REMOVE_S = 2.0


class Cgroup:
    """The folders of one sandbox's cgroup; empty folders of a dead one can be removed by name at any time."""

    def __init__(self, folders: list[Path]) -> None:
        self.folders = folders

    @property
    def procs(self) -> list[str]:
        """Files into which a process writes its pid to join."""
        return [str(folder / "cgroup.procs") for folder in self.folders]


def create_cgroup(name: str, limits: SandboxLimits) -> Cgroup | None:
    """A cgroup with the limits' memory, process and CPU caps, None where this process may not make one."""
    return _create_v1(name, limits) or _create_v2(name, limits)


def remove_cgroups(folders: list[Path]) -> None:
    """Kill what still runs in them and remove them; folders already gone are fine. Waits at most 2 s."""
    deadline = time.monotonic() + _REMOVE_S
    for folder in folders:
        while True:
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                _kill(folder)
                if time.monotonic() < deadline:
                    time.sleep(0.005)  # a cgroup empties when its last zombie is reaped; there is no event to wait for
                    continue
            break


def _kill(folder: Path) -> None:
    with contextlib.suppress(OSError):
        for pid in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), 9)


def _mounts() -> list[tuple[str, str, str, set[str]]]:
    """Cgroup mounts: (file system, root inside the hierarchy, mount point, super options)."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        fields, (kind, _, options) = left.split(), right.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            found.append((kind, fields[3], fields[4], set(options.split(","))))
    return found


def _own_paths() -> dict[str, str]:
    """This process's place per controller; the unified hierarchy under the empty name."""
    places = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            places[controller] = path
    return places


def _place(root: str, point: str, path: str) -> Path | None:
    """Where `path` of a hierarchy is seen under a mount of its part `root`; None when it lies outside."""
    if root != "/":
        if not (path == root or path.startswith(root + "/")):
            return None
        path = path[len(root) :] or "/"
    return Path(point + path)


def _create_v1(name: str, limits: SandboxLimits) -> Cgroup | None:
    own = _own_paths()
    folders: list[Path] = []
    values = {
        "memory": [
            ("memory.limit_in_bytes", limits.memory_bytes),
            ("memory.memsw.limit_in_bytes", limits.memory_bytes),
        ],
        "pids": [("pids.max", limits.pids)],
        "cpu": [
            ("cpu.cfs_period_us", _PERIOD_US),
            ("cpu.cfs_quota_us", limits.cpus * _PERIOD_US),
            ("cpu.shares", 256),
        ],
    }
    try:
        for controller in _V1_CONTROLLERS:
            mount = next((m for m in _mounts() if m[0] == "cgroup" and controller in m[3]), None)
            parent = None if mount is None or controller not in own else _place(mount[1], mount[2], own[controller])
            if parent is None:
                raise FileNotFoundError(controller)
            folder = parent / name
            if folder not in folders:
                folder.mkdir()
                folders.append(folder)
            for file, value in values[controller]:
                if file == "memory.memsw.limit_in_bytes" and not (folder / file).exists():
                    continue  # a kernel without swap accounting
                (folder / file).write_text(str(value))
    except OSError:
        remove_cgroups(folders)
        return None
    return Cgroup(folders)


def _create_v2(name: str, limits: SandboxLimits) -> Cgroup | None:
    """Below our own cgroup or, where that may have no children with controllers, beside it (as systemd delegates)."""
    mount = next((m for m in _mounts() if m[0] == "cgroup2"), None)
    own = None if mount is None else _place(mount[1], mount[2], _own_paths().get("", "/"))
    if own is None:
        return None
    for parent in (own, own.parent):
        with contextlib.suppress(OSError):
            (parent / "cgroup.subtree_control").write_text("+memory +pids +cpu")
        folder = parent / name
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / "memory.max").write_text(str(limits.memory_bytes))
            if (folder / "memory.swap.max").exists():
                (folder / "memory.swap.max").write_text("0")
            (folder / "pids.max").write_text(str(limits.pids))
            (folder / "cpu.max").write_text(f"{limits.cpus * _PERIOD_US} {_PERIOD_US}")
            (folder / "cpu.weight").write_text("25")
        except OSError:
            remove_cgroups([folder])
            continue
        return Cgroup([folder])
    return None
