"""Cgroups in both layouts: where they are made, what is written, and that nothing is left where they cannot be.

The unified layout is tested on a tree of plain files: this machine's controllers belong to the old one. What only a
kernel can show (a controller that is not delegated has no files; who is killed) is tried on its real unified hierarchy.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ooda.sandbox import SandboxLimits
from ooda.sandbox.cgroups import create_cgroup, planned_cgroups, remove_cgroups

LIMITS = SandboxLimits(memory_bytes=1 << 30, pids=99, cpus=2)
FILES = ("memory.max", "memory.swap.max", "pids.max", "cpu.max", "cpu.weight", "cgroup.procs")


class Unified:
    """A unified hierarchy of plain files; folders made where controllers are delegated get the kernel's files."""

    def __init__(self, folder: Path, own: str, delegating: str, root: str = "/") -> None:
        self.proc = folder / "proc"
        self.mount = folder / "mounted"
        self.proc.mkdir()
        (self.mount / own.removeprefix(root).lstrip("/")).mkdir(parents=True)
        (self.proc / "cgroup").write_text(f"0::{own}\n")
        (self.proc / "mountinfo").write_text(
            "31 23 0:27 / /proc rw - proc proc rw\n"
            f"30 23 0:26 {root} {self.mount} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
        )
        self.delegating = self.mount / delegating.lstrip("/")

    def make(self, folder: Path) -> None:
        folder.mkdir()
        for name in FILES if folder.parent == self.delegating else ():
            (folder / name).write_text("max")


def _written(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in FILES if (folder / name).exists()}


CAPS = {
    "memory.max": str(1 << 30),
    "memory.swap.max": "0",
    "pids.max": "99",
    "cpu.max": "40000 20000",
    "cpu.weight": "100",
    "cgroup.procs": "max",
}


def test_under_systemd_the_group_lies_beside_our_own(tmp_path: Path) -> None:
    """Our own scope holds processes and so may not delegate; the slice above it does."""
    there = Unified(
        tmp_path, "/user.slice/user@1000.service/app.slice/run.scope", "/user.slice/user@1000.service/app.slice"
    )
    group = create_cgroup("ooda-x", LIMITS, there.proc, there.make)
    assert group is not None
    assert group.folders == [there.delegating / "ooda-x"]
    assert group.procs == [str(there.delegating / "ooda-x" / "cgroup.procs")]
    assert _written(there.delegating / "ooda-x") == CAPS
    assert (there.delegating / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert not (there.delegating / "run.scope" / "ooda-x").exists()


def test_where_our_own_group_delegates_the_group_lies_below_it(tmp_path: Path) -> None:
    """As for a service with `Delegate=yes` whose processes have moved to a leaf."""
    there = Unified(tmp_path, "/system.slice/ooda.service", "/system.slice/ooda.service")
    group = create_cgroup("ooda-x", LIMITS, there.proc, there.make)
    assert group is not None
    assert group.folders == [there.delegating / "ooda-x"]
    assert planned_cgroups("ooda-x", there.proc)[0] == there.delegating / "ooda-x"


def test_a_kernel_without_swap_accounting_is_no_obstacle(tmp_path: Path) -> None:
    """The file for swap is absent then, and is not made."""
    there = Unified(tmp_path, "/a/b", "/a")

    def make(folder: Path) -> None:
        there.make(folder)
        (folder / "memory.swap.max").unlink(missing_ok=True)

    group = create_cgroup("ooda-x", LIMITS, there.proc, make)
    assert group is not None
    assert _written(group.folders[0]) == {name: text for name, text in CAPS.items() if name != "memory.swap.max"}


def test_inside_a_container_nothing_is_made_beside_the_mount(tmp_path: Path) -> None:
    """The root of the hierarchy is our own group there, and what is beside the mount point are ordinary folders."""
    there = Unified(tmp_path, "/", "/nowhere")
    assert create_cgroup("ooda-x", LIMITS, there.proc, there.make) is None
    assert planned_cgroups("ooda-x", there.proc) == [there.mount / "ooda-x"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mounted", "proc"]
    assert list(there.mount.glob("ooda-x")) == []


def test_a_part_of_the_hierarchy_mounted_elsewhere_is_found_in_its_place(tmp_path: Path) -> None:
    """The mount shows the hierarchy from `/docker/abc` on; what lies outside of it cannot be reached."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    inside = Unified(tmp_path / "in", "/docker/abc/x", "/", root="/docker/abc")
    group = create_cgroup("ooda-x", LIMITS, inside.proc, inside.make)
    assert group is not None
    assert group.folders == [inside.mount / "ooda-x"]
    outside = Unified(tmp_path / "out", "/elsewhere", "/", root="/docker/abc")
    assert planned_cgroups("ooda-x", outside.proc) == []
    assert create_cgroup("ooda-x", LIMITS, outside.proc, outside.make) is None


def test_without_any_hierarchy_there_is_no_group(tmp_path: Path) -> None:
    """No mount, no group, no error."""
    (tmp_path / "mountinfo").write_text("31 23 0:27 / /proc rw - proc proc rw\n")
    (tmp_path / "cgroup").write_text("0::/\n")
    assert create_cgroup("ooda-x", LIMITS, tmp_path) is None


@pytest.fixture
def unified() -> Path:
    """This machine's unified hierarchy, writable."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup2 ") and os.geteuid() == 0:
            return Path(left.split()[4])
    pytest.skip("needs root and a mounted unified hierarchy")


def test_a_real_group_without_controllers_is_not_taken_and_not_left(unified: Path, tmp_path: Path) -> None:
    """Where memory, pids and cpu belong to the old hierarchy, the unified one has no files for them."""
    if "memory" in (unified / "cgroup.controllers").read_text():
        pytest.skip("this machine's unified hierarchy has the controllers")
    (tmp_path / "mountinfo").write_text(f"30 23 0:26 / {unified} rw - cgroup2 cgroup2 rw\n")
    (tmp_path / "cgroup").write_text("0::/\n")
    assert create_cgroup("ooda-test-empty", LIMITS, tmp_path) is None
    assert not (unified / "ooda-test-empty").exists()


def test_removing_a_real_group_kills_what_runs_in_it(unified: Path) -> None:
    """All of it at once, so that nothing forks its way out."""
    group = unified / f"ooda-test-{os.getpid()}"
    group.mkdir()
    process = subprocess.Popen(["sh", "-c", "read go; while :; do sleep 60 & sleep 60; done"], stdin=subprocess.PIPE)
    assert process.stdin is not None
    (group / "cgroup.procs").write_text(str(process.pid))
    process.stdin.write(b"go\n")
    process.stdin.close()
    remove_cgroups([group, unified / "ooda-test-absent"])
    assert process.wait(10) == -9
    remove_cgroups([group])
    assert not group.exists()
