"""The root that bubblewrap assembles: from the host's /usr as everywhere by default, or from an image's folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from ooda.errors import SandboxError
from ooda.sandbox.images import rootfs_of
from ooda.sandbox.owners import making_name
from ooda.sandbox.root import (
    INTERPRETERS,
    find_interpreter,
    host_binds,
    root_files,
    root_folders,
    root_links,
    tiny_root,
)
from ooda.sandbox.site import Site

__all__ = ["Root", "default_root", "image_root"]

# Made empty, mounted over, or nothing that a command needs from an image.
_OURS = {"proc", "sys", "dev", "tmp", "run", "workspace", "home", ".ooda", "lost+found", "root", "boot", "mnt", "media"}


class Root(msgspec.Struct, frozen=True):
    """What to assemble, in this order: folders, links, read-only binds."""

    image: str
    digest: str
    python: str
    """The interpreter of the helper, inside."""
    folders: dict[str, int]
    """Path below the root -> mode."""
    links: dict[str, str]
    """Path below the root -> target."""
    binds: tuple[tuple[str, str], ...]
    """(folder or file of the host, absolute path inside)."""


def default_root(site: Site) -> Root:
    """The host's /usr and the little around it that programs there look for."""
    interpreter = find_interpreter()
    files, digest = _generated_files(site)
    shown = list(host_binds()) + ([] if interpreter.bind is None else [interpreter.bind])
    binds = [(str(bind.source.resolve()), bind.target) for bind in shown]
    binds += [(str(files / name), f"/{name}") for name in root_files(site.owner.uid, site.owner.gid)]
    return Root("host /usr", digest, interpreter.path, root_folders(), root_links(), tuple(binds))


def image_root(image: str, cache_dir: Path) -> Root:
    """The folders of a root file system, each bound read-only. Raises SandboxError when it cannot serve."""
    folder = rootfs_of(image, cache_dir)
    python = next((path for path in INTERPRETERS if os.path.lexists(folder / path.lstrip("/"))), None)
    if python is None:
        raise SandboxError(f"image {image!r} has no python3 in /usr/bin or /usr/local/bin; the sandbox needs one")
    links = {path.name: os.readlink(path) for path in folder.iterdir() if path.is_symlink()}
    binds = [
        (str(path), f"/{path.name}")
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.is_symlink() and path.name not in _OURS
    ]
    folders = {"tmp": 0o1777, "run/ooda": 0o755, "workspace": 0o755, "home/agent": 0o755, ".ooda/guest": 0o755}
    folders |= dict.fromkeys(("proc", "sys", "dev", "root", "mnt"), 493)
    digest = folder.parent.name if folder.name == "rootfs" else f"{folder}@{folder.stat().st_mtime_ns}"
    return Root(image, digest, python, folders, links, tuple(binds))


def _generated_files(site: Site) -> tuple[Path, str]:
    """The small files of the default root as files of the host, made once per content; and the root's hash."""
    owner = site.owner
    _, digest = tiny_root(owner.uid, owner.gid)
    folder = site.cache_dir / "roots" / digest
    if not folder.exists():
        making = folder.with_name(making_name(digest))
        for name, text in root_files(owner.uid, owner.gid).items():
            path = making / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o644)
        try:
            making.rename(folder)
        except OSError:  # another process made it meanwhile: theirs is the same
            shutil.rmtree(making)
    return folder, digest
