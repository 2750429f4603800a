"""Which sandboxes this machine's processes have open: a folder each under the cache, written before anything
is made, so that whatever a killed process leaves can be found and removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ooda.sandbox.cgroups import remove_cgroups
from ooda.sandbox.owners import Mark, is_alive
from ooda.sandbox.ownership import Owner, hand_over

__all__ = ["Entry", "clean_up", "entries", "folder_of", "register"]

_FILE = "sandbox.json"


class Entry(msgspec.Struct, frozen=True):
    """One open sandbox."""

    mark: Mark
    workspace: str
    backend: str
    giver: Owner | None = None
    """Who gets the workspace back at the end; None when it never changed hands."""
    cgroups: tuple[str, ...] = ()


def folder_of(cache_dir: Path, name: str) -> Path:
    """The sandbox's own folder on the host: its record, its proxy's socket."""
    return cache_dir / "sandboxes" / name


def register(cache_dir: Path, entry: Entry) -> Path:
    """Write the record; gives the sandbox's folder. Called again it replaces the record."""
    folder = folder_of(cache_dir, entry.mark.name)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    making = folder / f"{_FILE}.new"
    making.write_bytes(msgspec.json.encode(entry))
    making.replace(folder / _FILE)
    return folder


def entries(cache_dir: Path) -> Iterator[Entry]:
    """Every record that can be read."""
    folder = cache_dir / "sandboxes"
    if not folder.is_dir():
        return
    for place in sorted(folder.iterdir()):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            yield msgspec.json.decode((place / _FILE).read_bytes(), type=Entry)


def clean_up(cache_dir: Path, entry: Entry) -> None:
    """Remove what a sandbox left on the host besides its container: cgroups, ownership, folder. Idempotent.

    The workspace keeps its owner while another live sandbox works in it.
    """
    remove_cgroups([Path(path) for path in entry.cgroups])
    shared = any(
        other.workspace == entry.workspace and other.mark.name != entry.mark.name and is_alive(other.mark.owner)
        for other in entries(cache_dir)
    )
    workspace = Path(entry.workspace)
    if entry.giver is not None and not shared and os.geteuid() == 0 and workspace.is_dir():
        hand_over(workspace, entry.giver)
    shutil.rmtree(folder_of(cache_dir, entry.mark.name), ignore_errors=True)
