"""A root file system of our own, for whoever wants more than the host's /usr: made by debootstrap, kept in the
cache for bubblewrap, imported into the Docker Engine when one answers. No registry is needed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ooda.errors import SandboxError
from ooda.sandbox.docker import connect
from ooda.sandbox.engine import Engine
from ooda.sandbox.owners import making_name
from ooda.sandbox.registry import remove_tree

__all__ = ["PACKAGES", "BuiltImage", "build_image", "rootfs_of"]

PACKAGES = ("python3", "python3-venv", "git", "ca-certificates", "build-essential", "curl", "procps")
"""What a coding agent misses first in a bare Debian."""
_MIRROR = "http://deb.debian.org/debian"
_BUILD_S = 1800
_DROPPED = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")


class BuiltImage(msgspec.Struct, frozen=True):
    """An image that `sandbox.image` may name, on either backend."""

    name: str
    """`repository:tag`; the tag is the beginning of the digest of what it was built from."""
    rootfs: Path
    digest: str
    """The engine's, or the recipe's where no engine answered."""
    in_engine: bool


def rootfs_of(image: str, cache_dir: Path) -> Path:
    """The root file system that bubblewrap shows for `image`: a folder by its absolute path, or a built image.

    Raises SandboxError when there is none; an image that only the Docker Engine knows cannot be shown.
    """
    folder = Path(image) if image.startswith("/") else cache_dir / "images" / image.replace(":", "_") / "rootfs"
    if not (folder / "usr").is_dir():
        raise SandboxError(
            f"bubblewrap has no root file system for image {image!r} (looked in {folder}); build one with "
            "`ooda sandbox build-image`, give the path of a folder, or leave `sandbox.image` unset",
            probe="bubblewrap image",
        )
    return folder


async def build_image(
    *,
    cache_dir: Path,
    repository: str = "ooda-sandbox",
    suite: str = "bookworm",
    packages: Sequence[str] = PACKAGES,
    mirror: str = _MIRROR,
    commands: Sequence[str] = (),
) -> BuiltImage:
    """Build a root file system, or find the one already built from the same recipe.

    Takes about a minute and 400 MB. Needs root and the `debootstrap` program.

    Args:
        packages: Debian packages beside the minimal system; `python3` is needed by the sandbox's helper.
        commands: shell commands run in the new root, with this machine's network, after the packages.

    Raises:
        SandboxError: what is missing, or the end of what debootstrap said.
    """
    recipe = msgspec.json.encode([suite, sorted(packages), mirror, list(commands)])
    digest = hashlib.sha256(recipe).hexdigest()
    name = f"{repository}:{digest[:12]}"
    folder = cache_dir / "images" / name.replace(":", "_")
    if not (folder / "rootfs").is_dir():
        making = folder.with_name(making_name(folder.name))
        try:
            await _make(making / "rootfs", suite, packages, mirror, commands)
            await asyncio.to_thread(making.rename, folder)
        finally:
            await asyncio.to_thread(remove_tree, making)
    engine = await _engine()
    if engine is None:
        return BuiltImage(name, folder / "rootfs", f"recipe:{digest}", in_engine=False)
    facts = await engine.image(name) or await _import(engine, folder, name)
    return BuiltImage(name, folder / "rootfs", str(facts["Id"]), in_engine=True)


async def _make(rootfs: Path, suite: str, packages: Sequence[str], mirror: str, commands: Sequence[str]) -> None:
    if os.geteuid() != 0:
        raise SandboxError("an image is built as root: debootstrap sets owners and devices; run this with sudo")
    program = shutil.which("debootstrap")
    if program is None:
        raise SandboxError(
            "debootstrap is not installed; as root on Debian: apt-get install -y debootstrap", probe="debootstrap"
        )
    await asyncio.to_thread(rootfs.mkdir, parents=True)
    include = ",".join(["python3", *packages])
    await _run(program, "--variant=minbase", f"--include={include}", suite, str(rootfs), mirror)
    for command in commands:
        await _run("chroot", str(rootfs), "/bin/sh", "-c", command)
    await asyncio.to_thread(_tidy, rootfs)


def _tidy(rootfs: Path) -> None:
    """Drop caches and manuals, and make the folders that a sandbox mounts over."""
    for name in _DROPPED:
        shutil.rmtree(rootfs / name, ignore_errors=True)
    for name in ("dev", "run", "tmp"):
        shutil.rmtree(rootfs / name, ignore_errors=True)
        (rootfs / name).mkdir()
    for name in ("workspace", "home/agent", "run/ooda", ".ooda/guest", "var/tmp"):
        (rootfs / name).mkdir(parents=True, exist_ok=True)
    (rootfs / "etc/hostname").write_text("sandbox\n")
    (rootfs / "etc/resolv.conf").write_text("")


async def _import(engine: Engine, folder: Path, name: str) -> dict[str, object]:
    repository, tag = name.split(":")
    archive = folder / f"rootfs.{os.getpid()}.tar"
    try:
        await _run(
            "tar", "--create", "--numeric-owner", "--file", str(archive), "--directory", str(folder / "rootfs"), "."
        )
        await engine.import_image(archive, repository, tag, [f"LABEL ooda.root={name}"])
    finally:
        await asyncio.to_thread(archive.unlink, missing_ok=True)
    facts = await engine.image(name)
    if facts is None:
        raise SandboxError(f"the Docker Engine imported {name} but does not show it", probe="docker image")
    return facts


async def _engine() -> Engine | None:
    try:
        engine = connect()
        await engine.ping()
    except SandboxError:
        return None
    return engine


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(_BUILD_S):
            said, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        words = said.decode("utf-8", "replace").strip()[-1500:]
        raise SandboxError(f"`{' '.join(command[:3])} …` ended with exit code {process.returncode}: {words}")
