"""Single paths of a hostile tree: no link is followed, nothing but a regular file is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ooda.services.git.worktree import MAX_FILE_BYTES, WorkTree


@pytest.fixture
def tree(tmp_path: Path) -> WorkTree:
    (tmp_path / "tree/inner").mkdir(parents=True)
    (tmp_path / "tree/inner/file").write_text("inside\n")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("outside\n")
    (tmp_path / "target").mkdir()
    return WorkTree(tmp_path / "tree")


def test_a_file_behind_a_linked_folder_is_not_copied(tree: WorkTree, tmp_path: Path) -> None:
    """Each component is opened without following."""
    (tree.root / "link").symlink_to(tmp_path / "outside")
    assert tree.copy_out(["link/file", "inner/file"], tmp_path / "target") == (("inner/file",), ("link/file",))
    assert not (tmp_path / "target/link/file").exists()


def test_a_link_is_copied_as_a_link(tree: WorkTree, tmp_path: Path) -> None:
    """Its text, never what it points to."""
    (tree.root / "link").symlink_to(tmp_path / "outside/file")
    assert tree.copy_out(["link"], tmp_path / "target") == (("link",), ())
    assert os.readlink(tmp_path / "target/link") == str(tmp_path / "outside/file")


@pytest.mark.parametrize("path", ["../outside/file", "inner/../../outside/file", "/etc/passwd", "inner/./file", ""])
def test_no_path_leaves_the_tree(tree: WorkTree, tmp_path: Path, path: str) -> None:
    """Whoever names it."""
    assert tree.copy_out([path], tmp_path / "target") == ((), (path,))
    assert tree.in_the_way([path]) == []


def test_what_is_no_regular_file_is_left(tree: WorkTree, tmp_path: Path) -> None:
    """A pipe does not block, a folder is no file, a device is not opened for long."""
    os.mkfifo(tree.root / "pipe")
    assert tree.copy_out(["pipe", "inner", "gone"], tmp_path / "target") == ((), ("pipe", "inner", "gone"))


def test_a_file_above_the_limit_is_left(tree: WorkTree, tmp_path: Path) -> None:
    """By its size, before it is read."""
    with (tree.root / "large").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    assert tree.copy_out(["large"], tmp_path / "target") == ((), ("large",))


def test_a_file_is_not_put_through_a_linked_folder(tree: WorkTree, tmp_path: Path) -> None:
    """It is reported as blocked, and the folder outside stays as it was."""
    (tree.root / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "target/link").mkdir()
    (tmp_path / "target/link/file").write_text("new\n")
    assert tree.copy_in(["link/file"], tmp_path / "target") == ("link/file",)
    assert (tmp_path / "outside/file").read_text() == "outside\n"


def test_a_link_in_the_place_of_a_file_is_replaced(tree: WorkTree, tmp_path: Path) -> None:
    """Not written through; nothing temporary stays."""
    (tree.root / "link").symlink_to(tmp_path / "outside/file")
    (tmp_path / "target/link").write_text("new\n")
    assert tree.copy_in(["link"], tmp_path / "target") == ()
    assert (tree.root / "link").read_text() == "new\n"
    assert not (tree.root / "link").is_symlink()
    assert (tmp_path / "outside/file").read_text() == "outside\n"
    assert sorted(os.listdir(tree.root)) == ["inner", "link"]


def test_removing_stops_at_links_and_at_what_is_not_empty(tree: WorkTree, tmp_path: Path) -> None:
    """Folders go when the last file goes, and only then."""
    (tree.root / "link").symlink_to(tmp_path / "outside")
    (tree.root / "inner/deep").mkdir()
    (tree.root / "inner/deep/a").touch()
    tree.remove(["link/file", "inner/deep/a", "inner/gone"])
    assert (tmp_path / "outside/file").exists()
    assert not (tree.root / "inner/deep").exists()
    assert (tree.root / "inner/file").exists()
