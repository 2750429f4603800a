"""Which sandboxes this machine's processes have open: a folder each under the cache, written before anything
is made, so that whatever a killed process leaves can be found and removed.

Folders come and go under another name, which says whose they are: there is none without its record, or half removed,
that could not be told from one in use. The same names serve whatever else is made in the cache step by step.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ooda.sandbox.cgroups import remove_cgroups
from ooda.sandbox.owners import Mark, is_alive, maker_of, making_name
from ooda.sandbox.ownership import Owner, hand_over

__all__ = ["Entry", "clean_up", "entries", "folder_of", "register", "remove_tree", "sweep"]

_FILE = "sandbox.json"
_MADE_IN = ("sandboxes", "environments", "images", "roots")


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
    """Make the sandbox's folder with its record, both or neither; gives the folder."""
    folder = folder_of(cache_dir, entry.mark.name)
    making = folder.with_name(making_name(folder.name))
    making.mkdir(parents=True, mode=0o700)
    (making / _FILE).write_bytes(msgspec.json.encode(entry))
    making.rename(folder)
    return folder


def entries(cache_dir: Path) -> Iterator[Entry]:
    """Every record that can be read, of sandboxes that are neither just coming nor going."""
    folder = cache_dir / "sandboxes"
    if not folder.is_dir():
        return
    for place in sorted(folder.iterdir()):
        if maker_of(place.name) is not None:
            continue
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
    folder = folder_of(cache_dir, entry.mark.name)
    going = folder.with_name(making_name(folder.name))
    with contextlib.suppress(FileNotFoundError):
        folder.rename(going)
    shutil.rmtree(going, ignore_errors=True)


def sweep(cache_dir: Path) -> tuple[str, ...]:
    """Remove what dead processes had half made or half removed in the cache; gives the names of the sandboxes in it."""
    swept = []
    for room in _MADE_IN:
        folder = cache_dir / room
        for name in os.listdir(folder) if folder.is_dir() else ():
            maker = maker_of(name)
            if maker is not None and not is_alive(maker):
                remove_tree(folder / name)
                if room == "sandboxes":
                    swept.append(name.partition(".")[0])
    return tuple(swept)


def remove_tree(folder: Path) -> None:
    """Remove what setup commands made. By `rm`: how deep folders lie was their choice, and rmtree recurses."""
    if folder.exists():
        subprocess.run(["rm", "-rf", "--one-file-system", "--", str(folder)], check=False, capture_output=True)
