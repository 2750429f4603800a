"""What git operations answer with: frozen facts, paths printable."""

from __future__ import annotations

import msgspec

__all__ = ["Author", "Change", "Cloned", "Commit", "Diff", "Pushed"]


class Author(msgspec.Struct, frozen=True):
    """Who a commit is by."""

    name: str = "ooda"
    email: str = "ooda@localhost"


class Cloned(msgspec.Struct, frozen=True, kw_only=True):
    """A filled workspace."""

    branch: str
    commit: str
    files: int
    size_bytes: int
    """Of the packed history."""
    warnings: tuple[str, ...] = ()


class Change(msgspec.Struct, frozen=True):
    """One changed file; counts are -1 for a binary one."""

    path: str
    status: str
    """git's letter: A added, D deleted, M modified, T changed kind."""
    insertions: int
    deletions: int


class Diff(msgspec.Struct, frozen=True, kw_only=True):
    """What the work tree changes."""

    changes: tuple[Change, ...] = ()
    text: str = ""
    text_bytes: int = 0
    """Size of the whole patch; `text` may be cut."""
    left_out: tuple[str, ...] = ()
    """What is there but would not be committed, each with the reason."""
    notices: tuple[str, ...] = ()
    """Changed files that configure git for others."""

    @property
    def insertions(self) -> int:
        return sum(max(0, change.insertions) for change in self.changes)

    @property
    def deletions(self) -> int:
        return sum(max(0, change.deletions) for change in self.changes)


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """A commit of the run."""

    hash: str
    branch: str
    files: int
    """Files that differ from the base branch."""
    is_new: bool
    """False when the commit of an earlier attempt was found."""
    left_out: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """A branch the remote holds."""

    branch: str
    commit: str
    remote: str
    is_new: bool
    """False when the remote had it already."""
    message: str = ""
    """What the remote printed, often the address for a pull request."""
