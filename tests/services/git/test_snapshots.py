"""Snapshots and restoring: exactly the touched paths, and never a person's own files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ooda.errors import ToolArgumentsError
from ooda.services.git import Restoration, WorkRepo
from tests.services.git.hosts import git


def tree_of(folder: Path) -> dict[str, bytes | str]:
    """Every file's bytes and every link's target below `folder`, `.git` left out."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.split("/")[0] == ".git":
            continue
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = path.read_bytes() + oct(path.stat().st_mode & 0o100).encode()
    return found


async def test_a_restore_puts_back_what_changed_and_nothing_else(repo: WorkRepo) -> None:
    """Changed, deleted and new files; an untouched file keeps even its time of change."""
    before = tree_of(repo.workspace)
    await repo.snapshot(3)
    (repo.workspace / "app.py").write_text("print('two')\n")
    (repo.workspace / "pkg/mod.py").unlink()
    (repo.workspace / "new").mkdir()
    (repo.workspace / "new/file.py").write_text("x\n")
    untouched = (repo.workspace / "README.md").stat().st_mtime_ns
    expected = Restoration(step=3, written=("app.py", "pkg/mod.py"), removed=("new/file.py",))
    assert await repo.preview(3) == expected
    done = await repo.restore(3)
    assert (done.written, done.removed, done.kept) == (expected.written, expected.removed, ())
    assert tree_of(repo.workspace) == before
    assert not (repo.workspace / "new").exists()
    assert (repo.workspace / "README.md").stat().st_mtime_ns == untouched


async def test_the_state_before_a_restore_is_kept(repo: WorkRepo) -> None:
    """Nothing is lost by going back."""
    await repo.snapshot(1)
    (repo.workspace / "new.py").write_text("precious\n")
    done = await repo.restore(1)
    assert git(repo.git_dir, "show", f"{done.rescue}:new.py") == "precious"


async def test_ignored_files_survive_a_restore(repo: WorkRepo) -> None:
    """They are in no snapshot, so none of them can be ours to delete, even in a folder that goes."""
    (repo.workspace / ".gitignore").write_text("*.log\n")
    await repo.snapshot(1)
    (repo.workspace / "out").mkdir()
    (repo.workspace / "out/a.py").write_text("x\n")
    (repo.workspace / "out/b.log").write_text("kept\n")
    done = await repo.restore(1)
    assert done.removed == ("out/a.py",)
    assert (repo.workspace / "out/b.log").read_text() == "kept\n"


async def test_something_unknown_in_the_way_is_kept_and_reported(repo: WorkRepo) -> None:
    """A folder with ignored files stands where a file was: the file is not put back over them."""
    (repo.workspace / ".gitignore").write_text("*.log\n")
    await repo.snapshot(1)
    (repo.workspace / "app.py").unlink()
    (repo.workspace / "app.py").mkdir()
    (repo.workspace / "app.py/b.log").write_text("kept\n")
    done = await repo.restore(1)
    assert (done.written, done.kept) == ((), ("app.py",))
    assert (repo.workspace / "app.py/b.log").read_text() == "kept\n"


async def test_a_step_without_snapshot_is_told_those_with_one(repo: WorkRepo) -> None:
    """Instead of a guess."""
    await repo.snapshot(2)
    await repo.snapshot(10)
    assert await repo.snapshot_steps() == (2, 10)
    with pytest.raises(ToolArgumentsError, match="no snapshot before step 5; steps with one are 2, 10"):
        await repo.restore(5)


async def test_equal_trees_are_the_same_snapshot(repo: WorkRepo) -> None:
    """A step that changed nothing costs no new object."""
    first = await repo.snapshot(1)
    second = await repo.snapshot(2)
    assert first.commit == second.commit


@pytest.fixture
async def chat(open_repo: Callable[..., WorkRepo], tmp_path: Path) -> WorkRepo:
    """A repository over a person's own folder, with a file of theirs in it."""
    (tmp_path / "run/workspace").mkdir(parents=True)
    (tmp_path / "run/workspace/notes.txt").write_text("mine\n")
    repo: WorkRepo = open_repo(is_owned=False)
    await repo.adopt()
    return repo


async def test_a_persons_folder_is_taken_as_it_is(chat: WorkRepo) -> None:
    """Without a remote and without a `.git` in it; twice is once."""
    await chat.adopt()
    assert (await chat.diff()).changes == ()
    assert not (chat.workspace / ".git").exists()


async def test_in_a_persons_folder_only_the_agents_changes_are_undone(chat: WorkRepo) -> None:
    """What they wrote before, between and after the agent's steps stays."""
    folder = chat.workspace
    await chat.snapshot(1)
    (folder / "agent.py").write_text("a\n")
    await chat.snapshot(1, "after")
    (folder / "between.txt").write_text("theirs\n")
    (folder / "notes.txt").write_text("mine, edited by me\n")
    await chat.snapshot(2)
    (folder / "agent.py").write_text("b\n")
    await chat.snapshot(2, "after")
    (folder / "later.txt").write_text("theirs\n")
    done = await chat.restore(1)
    assert done.removed == ("agent.py",)
    assert set(done.kept) == {"between.txt", "later.txt", "notes.txt"}
    assert {name: (folder / name).read_text() for name in ("between.txt", "later.txt", "notes.txt")} == {
        "between.txt": "theirs\n",
        "later.txt": "theirs\n",
        "notes.txt": "mine, edited by me\n",
    }


async def test_a_file_made_during_an_interrupted_step_is_not_removed(chat: WorkRepo) -> None:
    """Nobody knows whose it is; what was changed is put back."""
    await chat.snapshot(1)
    (chat.workspace / "notes.txt").write_text("half written\n")
    (chat.workspace / "whose.txt").write_text("?\n")
    done = await chat.restore(1)
    assert (done.written, done.removed, done.kept) == (("notes.txt",), (), ("whose.txt",))
    assert (chat.workspace / "notes.txt").read_text() == "mine\n"


_NAMES = st.sampled_from(["a", "b", "d/a", "d/b", "d/e/f", "ü ö", "x\ny"])
_ACTIONS = st.lists(
    st.tuples(_NAMES, st.sampled_from(["write", "delete", "link", "chmod"]), st.binary(max_size=3)), max_size=6
)


@pytest.fixture
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], WorkRepo]:
    def make() -> WorkRepo:
        folder = tmp_path_factory.mktemp("any")
        (folder / "workspace").mkdir()
        return WorkRepo(folder / "git", folder / "workspace")

    return make


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=_ACTIONS, then=_ACTIONS)
def test_a_restore_gives_back_the_very_same_tree(
    fresh: Callable[[], WorkRepo], first: list[tuple[str, str, bytes]], then: list[tuple[str, str, bytes]]
) -> None:
    """Whatever happened in between: contents, modes, links, odd names."""
    import asyncio

    async def try_it() -> None:
        repo = fresh()
        try:
            _act(repo.workspace, first)
            await repo.adopt()
            before = tree_of(repo.workspace)
            await repo.snapshot(1)
            _act(repo.workspace, then)
            await repo.restore(1)
            assert tree_of(repo.workspace) == before
        finally:
            repo.close()

    asyncio.run(try_it())


def _act(folder: Path, actions: list[tuple[str, str, bytes]]) -> None:
    for name, what, content in actions:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if what == "write":
            path.unlink(missing_ok=True)
            path.write_bytes(content)
        elif what == "delete":
            path.unlink(missing_ok=True)
        elif what == "link" and not os.path.lexists(path):
            path.symlink_to("somewhere/" + content.hex())
        elif what == "chmod" and path.is_file():
            path.chmod(0o755)


async def test_names_of_any_bytes_large_files_links_and_modes_come_back(chat: WorkRepo) -> None:
    """Bytes that are no UTF-8, line breaks, leading dashes and quotes; 30 MB; a link to nowhere and one to a folder;
    a file where a folder was, and the other way round."""
    folder = os.fsencode(chat.workspace)
    names = [b"a\xffb", b"-rf", b"x\ny", b'"quoted"', b" lead", b"tab\there", b"\xf0\x9f\x92\xa5", b"*", b":!magic"]
    for name in names:
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(b"first " + name)
    tree = chat.workspace
    (tree / "big.bin").write_bytes(os.urandom(1 << 20) * 30)
    (tree / "run.sh").write_text("#!/bin/sh\n")
    (tree / "run.sh").chmod(0o755)
    (tree / "dangling").symlink_to("/nowhere/at/all")
    (tree / "shape").mkdir()
    (tree / "shape/inner").write_text("a folder\n")
    (tree / "plain").write_text("a file\n")
    before = tree_of(tree)
    await chat.snapshot(1)
    for name in names:
        Path(os.fsdecode(folder + b"/" + name)).unlink()
    (tree / "big.bin").write_bytes(b"small")
    (tree / "run.sh").chmod(0o644)
    (tree / "dangling").unlink()
    (tree / "dangling").symlink_to("notes.txt")
    (tree / "shape/inner").unlink()
    (tree / "shape").rmdir()
    (tree / "shape").write_text("a file now\n")
    (tree / "plain").unlink()
    (tree / "plain").mkdir()
    (tree / "plain/inner").write_text("a folder now\n")
    await chat.snapshot(1, "after")
    await chat.restore(1)
    assert tree_of(tree) == before


async def test_folders_without_files_are_left_as_they_are(chat: WorkRepo) -> None:
    """Git knows files only: an empty folder of theirs is not removed, and one that the agent emptied does not matter
    to what is put back into it."""
    tree = chat.workspace
    (tree / "theirs-empty").mkdir()
    (tree / "filled").mkdir()
    (tree / "filled/one").write_text("1\n")
    await chat.snapshot(1)
    (tree / "filled/one").unlink()
    (tree / "filled").rmdir()
    (tree / "made").mkdir()
    (tree / "made/file").write_text("agent\n")
    await chat.snapshot(1, "after")
    await chat.restore(1)
    assert (tree / "theirs-empty").is_dir()
    assert (tree / "filled/one").read_text() == "1\n"
    assert not (tree / "made/file").exists()


def _repository_of(folder: Path) -> dict[str, bytes]:
    """Every file of a person's own repository."""
    return {str(path): path.read_bytes() for path in sorted((folder / ".git").rglob("*")) if path.is_file()}


async def test_a_persons_own_repository_is_not_touched(open_repo: Callable[..., WorkRepo], tmp_path: Path) -> None:
    """Its HEAD, index, branches, stash and configuration are the same bytes after snapshots, a restore and a diff;
    what they have staged, ignored and not added stays as it is."""
    folder = tmp_path / "run/workspace"
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / "tracked.txt").write_text("one\n")
    (folder / ".gitignore").write_text("ignored/\n")
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=me", "-c", "user.email=me@example.com", "commit", "-qm", "first")
    (folder / "staged.txt").write_text("staged\n")
    git(folder, "add", "staged.txt")
    (folder / "untracked.txt").write_text("untracked\n")
    (folder / "ignored").mkdir()
    (folder / "ignored/secret").write_text("ignored\n")
    status = git(folder, "status", "--porcelain", "--ignored")
    before = _repository_of(folder)

    repo: WorkRepo = open_repo(is_owned=False)
    await repo.adopt()
    await repo.snapshot(1)
    (folder / "tracked.txt").write_text("two\n")
    (folder / "agent.txt").write_text("agent\n")
    await repo.snapshot(1, "after")
    await repo.preview(1)
    done = await repo.restore(1)

    assert (done.written, done.removed) == (("tracked.txt",), ("agent.txt",))
    assert _repository_of(folder) == before
    assert git(folder, "status", "--porcelain", "--ignored") == status
    assert (folder / "ignored/secret").read_text() == "ignored\n"
