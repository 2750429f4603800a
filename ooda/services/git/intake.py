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

_GITLINK = "160000 "
_TELLING = frozenset({".gitattributes", ".gitmodules", ".gitconfig", ".lfsconfig"})


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """The work tree as stored."""

    tree: str
    """Id of the tree object."""
    left_out: tuple[str, ...] = ()
    """What is there but not stored, each with the reason."""
    notices: tuple[str, ...] = ()
    """Changed files that configure git for others: worth a reviewer's look."""


class _Seen(msgspec.Struct):
    """The tree against the index, by path."""

    tracked: list[str] = []
    changed: list[str] = []
    deleted: list[str] = []
    new: list[str] = []
    nested: list[str] = []


class Intake:
    """Stores the state of one work tree again and again; git's index remembers what it has seen."""

    def __init__(self, runner: GitRunner, tree: WorkTree) -> None:
        self._runner = runner
        self._tree = tree
        self._state: tuple[int, int, int] | None = None
        self._tree_id = ""

    async def take(self) -> Taken:
        """Store the tree as it is now. Costs one `lstat` a file, and one copy a changed file."""
        seen = await self._look()
        planted = bare_repositories(seen.new)
        new = [path for path in seen.new if not any(path.startswith(folder + "/") for folder in planted)]
        inner = await self._runner.off_loop(self._tree.git_folders, [*seen.tracked, *new])
        left_out = [f"{printable(path)}: a repository of its own" for path in sorted({*seen.nested, *planted})]
        left_out += [f"{printable(path)}: git data inside the tree" for path in inner]
        if seen.changed or seen.deleted or new:
            left_out += await self._store([*seen.changed, *new], seen.deleted)
        telling = [path for path in (*seen.changed, *new) if path.rpartition("/")[2] in _TELLING]
        return Taken(
            tree=await self._written(),
            left_out=tuple(left_out),
            notices=tuple(printable(path) for path in telling),
        )

    async def _look(self) -> _Seen:
        """One pass of git over index and tree; it runs nothing and follows nothing (git-ls-files(1), -t)."""
        options = ("-z", "-t", "--stage", "--cached", "--deleted", "--modified", "--others", "--exclude-standard")
        seen = _Seen()
        for line in (await self._in_tree("ls-files", *options)).fields():
            mark, rest = line[0], line[2:]
            if mark == "?":
                (seen.nested if rest.endswith("/") else seen.new).append(rest.rstrip("/"))
            elif not rest.startswith(_GITLINK):
                {"H": seen.tracked, "R": seen.deleted, "C": seen.changed}[mark].append(rest.partition("\t")[2])
        gone = set(seen.deleted)
        seen.changed = [path for path in seen.changed if path not in gone]
        return seen

    async def _store(self, paths: list[str], deleted: list[str]) -> list[str]:
        with tempfile.TemporaryDirectory(prefix="intake-", dir=self._runner.git_dir) as folder:
            copied, skipped = await self._runner.off_loop(self._tree.copy_out, paths, Path(folder))
            there = set(await self._runner.off_loop(self._tree.in_the_way, skipped))
            gone = [path for path in (*deleted, *skipped) if path not in there]
            for options, named in ((("--force-remove",), gone), (("--add", "--replace"), copied)):
                if named:
                    await self._runner.run(
                        "update-index", "-z", *options, "--stdin", work_tree=Path(folder), stdin=_nul(named)
                    )
        # The index now remembers the copies' times; compare with the tree itself so that the next look is cheap.
        await self._in_tree("update-index", "-q", "--ignore-submodules", "--refresh", ok=(0, 1))
        return [f"{printable(path)}: no regular file below the size limit" for path in skipped if path in there]

    async def _written(self) -> str:
        """The index as a tree object; asked of git only when the index is another file than last time."""
        facts = (self._runner.git_dir / "index").stat() if (self._runner.git_dir / "index").exists() else None
        state = (facts.st_ino, facts.st_mtime_ns, facts.st_size) if facts else None
        if state is None or state != self._state:
            self._tree_id = (await self._runner.run("write-tree")).text()
            self._state = state
        return self._tree_id

    async def _in_tree(self, *arguments: str, ok: tuple[int, ...] = (0,)) -> GitResult:
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
