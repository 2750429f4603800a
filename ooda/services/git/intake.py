"""The agent's tree as a git tree: what changed is found by git, read by us, and stored from a folder of our own.

git only looks (stat and directory listings) at the agent's tree; file contents pass through `WorkTree`, so that no
link race makes the host commit a file of its own. The copy cannot hold a repository, so no gitlink can be made;
nested repositories and repositories disguised as plain files are left out and reported.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ooda.services.git.command import GitResult, GitRunner
from ooda.services.git.worktree import WorkTree

__all__ = ["Intake", "Taken", "bare_repositories", "printable"]

_TELLING = frozenset({".gitattributes", ".gitmodules", ".gitconfig", ".lfsconfig"})


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """The work tree as stored."""

    tree: str
    """Id of the tree object."""
    left_out: tuple[str, ...] = ()
    """What is there but not stored, each with the reason."""
    notices: tuple[str, ...] = ()
    """Changed files that configure git for others: worth a reviewer's look."""


class Intake:
    """Stores the state of one work tree again and again; git's index remembers what it has seen."""

    def __init__(self, runner: GitRunner, tree: WorkTree) -> None:
        self._runner = runner
        self._tree = tree

    async def take(self) -> Taken:
        """Store the tree as it is now. Costs one `lstat` a file and one copy a changed file."""
        changed, deleted = await self._changed()
        found, nested = await self._untracked()
        planted = bare_repositories(found)
        new = [path for path in found if not any(path.startswith(folder + "/") for folder in planted)]
        left_out = [f"{printable(path)}: a repository of its own" for path in sorted({*nested, *planted})]
        left_out += [f"{printable(path)}: git data inside the tree" for path in await self._inner_git_folders(new)]
        if changed or deleted or new:
            left_out += await self._store([*changed, *new], deleted)
        tree = (await self._runner.run("write-tree")).text()
        telling = [path for path in (*changed, *new) if path.rpartition("/")[2] in _TELLING]
        return Taken(tree=tree, left_out=tuple(left_out), notices=tuple(printable(path) for path in telling))

    async def _changed(self) -> tuple[list[str], list[str]]:
        """Tracked paths whose content, mode or kind may differ from the index, and those gone."""
        raw = await self._look("diff-files", "--raw", "-z", "--no-renames", "--no-ext-diff", "--ignore-submodules=all")
        fields = iter(raw.fields())
        changed: list[str] = []
        deleted: list[str] = []
        for facts in fields:
            path = next(fields)
            (deleted if facts.endswith("D") else changed).append(path)
        return changed, deleted

    async def _untracked(self) -> tuple[list[str], list[str]]:
        """Files that are neither tracked nor ignored, and folders that are repositories of their own."""
        listed = (await self._look("ls-files", "-z", "--others", "--exclude-standard")).fields()
        return (
            [path for path in listed if not path.endswith("/")],
            [path.rstrip("/") for path in listed if path.endswith("/")],
        )

    async def _inner_git_folders(self, new: Iterable[str]) -> list[str]:
        """`.git` entries in folders whose files are tracked: git ignores them, a person should know."""
        tracked = (await self._runner.run("ls-files", "-z")).fields()
        folders = {path.rpartition("/")[0] for path in (*tracked, *new)} - {""}
        names = [f"{folder}/.git" for folder in sorted(folders)]
        return await self._runner.off_loop(self._tree.present, names)

    async def _store(self, paths: list[str], deleted: list[str]) -> list[str]:
        with tempfile.TemporaryDirectory(prefix="intake-", dir=self._runner.git_dir) as folder:
            copied, skipped = await self._runner.off_loop(self._tree.copy_out, paths, Path(folder))
            there = set(await self._runner.off_loop(self._tree.present, skipped))
            gone = [path for path in (*deleted, *skipped) if path not in there]
            for options, named in ((("--force-remove",), gone), (("--add", "--replace"), copied)):
                if named:
                    await self._runner.run(
                        "update-index", "-z", *options, "--stdin", work_tree=Path(folder), stdin=_nul(named)
                    )
        # The index now remembers the copies' times; compare with the tree itself so that the next look is cheap.
        await self._look("update-index", "-q", "--ignore-submodules", "--refresh", ok=(0, 1))
        return [f"{printable(path)}: no regular file below the size limit" for path in skipped if path in there]

    async def _look(self, *arguments: str, ok: tuple[int, ...] = (0,)) -> GitResult:
        return await self._runner.run(*arguments, work_tree=self._tree.root, ok=ok)


def bare_repositories(new: Iterable[str]) -> set[str]:
    """Folders among new files that git would take for a bare repository: HEAD, objects/ and refs/ (git-init(1)).

    Checked out by somebody else, their `config` would run programs there.
    """
    heads, objects, refs = set(), set(), set()
    for path in new:
        parts = path.split("/")
        for depth, part in enumerate(parts):
            folder = "/".join(parts[:depth])
            if part == "HEAD" and depth == len(parts) - 1:
                heads.add(folder)
            elif part == "objects" and depth < len(parts) - 1:
                objects.add(folder)
            elif part == "refs" and depth < len(parts) - 1:
                refs.add(folder)
    return (heads & objects & refs) - {""}


def printable(path: str) -> str:
    """A path as text that any encoder takes: bytes that are no UTF-8 and control characters are escaped."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def _nul(paths: Iterable[str]) -> bytes:
    return b"".join(os.fsencode(path) + b"\0" for path in paths)
