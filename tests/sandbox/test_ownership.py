"""Lending a workspace to another user and taking it back, also while someone plants links in it."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from ooda.sandbox import adopt
from ooda.sandbox.ownership import Owner, adopt_near, hand_over, owner_for

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root gives files away; for other users nothing changes hands"
)

LENT = Owner(1000, 1000)


def _owners(root: Path) -> set[int]:
    return {path.lstat().st_uid for path in (root, *root.rglob("*"))}


@pytest.fixture
def workspace(tmp_path):
    """A small tree with links out of it."""
    root = tmp_path / "workspace"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "file").write_text("x")
    (root / "a" / "out").symlink_to(tmp_path / "outside")
    (root / "folder-out").symlink_to(tmp_path / "outside-folder")
    (tmp_path / "outside").write_text("host")
    (tmp_path / "outside-folder").mkdir()
    (tmp_path / "outside-folder" / "file").write_text("host")
    return root


def test_everything_changes_hands_and_nothing_outside(workspace, tmp_path):
    """Links are given, not what they lead to; a second time costs a look only."""
    assert hand_over(workspace, LENT) == 6
    assert hand_over(workspace, LENT) == 0
    assert _owners(workspace) == {1000}
    assert _owners(tmp_path / "outside-folder") == {0}
    assert (tmp_path / "outside").stat().st_uid == 0
    assert hand_over(workspace, Owner(0, 0)) == 6


def test_set_id_bits_and_devices_do_not_survive(workspace):
    """What would be dangerous on the host is taken from the files on the way back."""
    os.chmod(workspace / "a" / "file", 0o6755)
    os.chmod(workspace / "a" / "b", 0o2755)
    os.mknod(workspace / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    hand_over(workspace, LENT)
    assert stat.S_IMODE((workspace / "a" / "file").stat().st_mode) == 0o755
    assert stat.S_IMODE((workspace / "a" / "b").stat().st_mode) == 0o755
    assert not (workspace / "null").exists()


def test_a_nest_deeper_than_the_stack_stops_nobody(workspace):
    """How deep folders lie is a command's choice; what lies very deep stays as it is."""
    fd = os.open(workspace, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    open_before = len(os.listdir("/proc/self/fd"))
    assert hand_over(workspace, LENT) >= 400
    assert len(os.listdir("/proc/self/fd")) == open_before
    subprocess.run(["rm", "-rf", workspace / "d"], check=True)


def test_the_owner_is_the_workspaces_and_never_root(workspace):
    """Commands run as whoever owns the workspace; for root's it is uid 1000."""
    assert owner_for(workspace) == LENT
    os.chown(workspace, 4242, 4243)
    assert owner_for(workspace) == Owner(4242, 4243)


@pytest.mark.parametrize("take", [adopt, adopt_near])
def test_new_files_of_the_host_are_given_to_the_lent_workspace(workspace, take):
    """Only what is root's changes hands."""
    hand_over(workspace, LENT)
    (workspace / "a" / "b" / "new").write_text("x")
    assert take(workspace) == 1
    assert take(workspace) == 0
    assert _owners(workspace) == {1000}


def test_a_large_workspace_is_looked_at_near_its_top_only(workspace):
    """The quick way has a bound; the thorough one has none."""
    hand_over(workspace, LENT)
    for index in range(400):
        (workspace / f"f{index}").write_text("")
    assert adopt_near(workspace, at_most=100) <= 100
    assert adopt(workspace) >= 300
    assert _owners(workspace) == {1000}


@pytest.mark.parametrize("take", [adopt, adopt_near, lambda root: hand_over(root, LENT)], ids=["adopt", "near", "all"])
def test_a_folder_swapped_for_a_link_gives_nothing_away(workspace, tmp_path, take):
    """While a command flips a folder and a link to a folder of the host, nothing behind the link changes its owner."""
    hand_over(workspace, LENT)
    target = tmp_path / "outside-folder"
    for index in range(30):
        (target / f"host{index}").write_text("")
    (workspace / "flip").mkdir()
    (workspace / "flip" / "deep").mkdir()
    os.symlink(target, workspace / "link")
    done = threading.Event()

    def flip() -> None:
        while not done.is_set():
            os.rename(workspace / "flip", workspace / "aside")
            os.rename(workspace / "link", workspace / "flip")
            os.rename(workspace / "flip", workspace / "link")
            os.rename(workspace / "aside", workspace / "flip")

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        for _ in range(300):
            take(workspace)
    finally:
        done.set()
        thread.join()
    assert _owners(target) == {0}
