"""A cgroup of our own for one bubblewrap sandbox: hard caps on memory, processes and CPU, where we may make one.

Knows both layouts (one hierarchy per controller, and the unified one). Where no place is writable there is
no cgroup, and the caller names that in the sandbox's report.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from ooda.sandbox.protocol import SandboxLimits

__all__ = ["CPU_PERIOD_US", "CPU_SHARES", "Cgroup", "create_cgroup", "planned_cgroups", "remove_cgroups"]

CPU_PERIOD_US = 20_000
"""Short, because whoever used up the quota makes the helper wait with it until the period ends."""
CPU_SHARES = 1024
"""A whole sandbox weighs as much as one ordinary process when the CPU is contended. Less would protect the
machine more, but helper and commands share the weight: at 256, on a machine with five busy processes, the last
of 190 was gone 1.5 s after a time-out and `true` took 24 ms."""
_PROC = Path("/proc/self")
_V1_CONTROLLERS = ("memory", "pids", "cpu")
_REMOVE_S = 2.0


class Cgroup:
    """The folders of one sandbox's cgroup; empty folders of a dead one can be removed by name at any time."""

    def __init__(self, folders: list[Path]) -> None:
        self.folders = folders

    @property
    def procs(self) -> list[str]:
        """Files into which a process writes its pid to join."""
        return [str(folder / "cgroup.procs") for folder in self.folders]


def planned_cgroups(name: str, proc: Path = _PROC) -> list[Path]:
    """Every folder that `create_cgroup` might make for `name`: to be recorded before the first is made."""
    return list(_v1_folders(name, proc).values()) + _v2_folders(name, proc)


def create_cgroup(
    name: str, limits: SandboxLimits, proc: Path = _PROC, make: Callable[[Path], None] = Path.mkdir
) -> Cgroup | None:
    """A cgroup with the limits' memory, process and CPU caps, None where this process may not make one.

    Args:
        proc: where the files `mountinfo` and `cgroup` of this process are.
        make: makes a group's folder, in which the kernel then shows the files of its controllers.
    """
    return _create_v1(_v1_folders(name, proc), limits, make) or _create_v2(_v2_folders(name, proc), limits, make)


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
        if (folder / "cgroup.kill").exists():  # unified hierarchy, kernel 5.14: nothing can fork its way out
            (folder / "cgroup.kill").write_text("1")
            return
    with contextlib.suppress(OSError):
        for pid in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), 9)


def _mounts(proc: Path) -> list[tuple[str, str, str, set[str]]]:
    """Cgroup mounts: (file system, root inside the hierarchy, mount point, super options)."""
    found = []
    for line in (proc / "mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        fields, (kind, _, options) = left.split(), right.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            found.append((kind, fields[3], fields[4], set(options.split(","))))
    return found


def _own_paths(proc: Path) -> dict[str, str]:
    """This process's place per controller; the unified hierarchy under the empty name."""
    places = {}
    for line in (proc / "cgroup").read_text().splitlines():
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


def _v1_folders(name: str, proc: Path) -> dict[str, Path]:
    """Controller -> folder, for the three we use; empty unless all three have a hierarchy of their own."""
    own, mounts = _own_paths(proc), _mounts(proc)
    folders = {}
    for controller in _V1_CONTROLLERS:
        mount = next((m for m in mounts if m[0] == "cgroup" and controller in m[3]), None)
        parent = None if mount is None or controller not in own else _place(mount[1], mount[2], own[controller])
        if parent is None:
            return {}
        folders[controller] = parent / name
    return folders


def _v2_folders(name: str, proc: Path) -> list[Path]:
    """Below our own cgroup or, where that may have no children with controllers, beside it (as systemd delegates).
    What is beside the root of the hierarchy is no cgroup."""
    mount = next((m for m in _mounts(proc) if m[0] == "cgroup2"), None)
    own = None if mount is None else _place(mount[1], mount[2], _own_paths(proc).get("", "/"))
    if mount is None or own is None:
        return []
    return [own / name] if own == Path(mount[2]) else [own / name, own.parent / name]


def _create_v1(folders: dict[str, Path], limits: SandboxLimits, make: Callable[[Path], None]) -> Cgroup | None:
    if not folders:
        return None
    values = {
        "memory": {"limit_in_bytes": limits.memory_bytes, "memsw.limit_in_bytes": limits.memory_bytes},
        "pids": {"max": limits.pids},
        "cpu": {"cfs_period_us": CPU_PERIOD_US, "cfs_quota_us": limits.cpus * CPU_PERIOD_US, "shares": CPU_SHARES},
    }
    made: list[Path] = []
    try:
        for controller, folder in folders.items():
            if folder not in made:  # two controllers may share a hierarchy
                make(folder)
                made.append(folder)
            for name, value in values[controller].items():
                file = folder / f"{controller}.{name}"
                if file.exists() or "memsw" not in name:  # absent in a kernel without swap accounting
                    file.write_text(str(value))
    except OSError:
        remove_cgroups(made)
        return None
    return Cgroup(made)


def _create_v2(folders: list[Path], limits: SandboxLimits, make: Callable[[Path], None]) -> Cgroup | None:
    for folder in folders:
        with contextlib.suppress(OSError):
            (folder.parent / "cgroup.subtree_control").write_text("+memory +pids +cpu")
        try:
            make(folder)
            for name in ("memory.max", "pids.max", "cpu.max"):
                if not (folder / name).exists():
                    raise FileNotFoundError(f"the controller of {name} is not delegated to {folder.parent}")
            (folder / "memory.max").write_text(str(limits.memory_bytes))
            if (folder / "memory.swap.max").exists():
                (folder / "memory.swap.max").write_text("0")
            (folder / "pids.max").write_text(str(limits.pids))
            (folder / "cpu.max").write_text(f"{limits.cpus * CPU_PERIOD_US} {CPU_PERIOD_US}")
            (folder / "cpu.weight").write_text(str(CPU_SHARES * 100 // 1024))
        except OSError:
            remove_cgroups([folder])
            continue
        return Cgroup([folder])
    return None
