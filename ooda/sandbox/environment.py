"""A task's environment, prepared once: its setup commands run in a sandbox of their own under the network
allow-list, and what they make is shown read-only to every later run with the same lock files.

The contract with the commands: they run in a copy of the workspace; what they put into `/environment` is kept
(`python3 -m venv /environment && pip install …`), and so is a `node_modules` folder (`npm ci`), which Node
finds at `/node_modules` from every folder. Both `bin` folders come first in PATH, during setup already.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from ooda.errors import ToolFailedError
from ooda.sandbox.egress import Audit
from ooda.sandbox.guest.shell import base_environment
from ooda.sandbox.opening import ignore_audit, open_sandbox
from ooda.sandbox.owners import making_name
from ooda.sandbox.ownership import Owner, hand_over, owner_for
from ooda.sandbox.protocol import Bind, ExecResult, SandboxSpec
from ooda.sandbox.registry import remove_tree
from ooda.sandbox.root import HOME, find_interpreter

__all__ = ["LOCKFILES", "Environment", "prepare_environment"]

LOCKFILES = (
    "requirements.txt",
    "requirements-dev.txt",
    "pyproject.toml",
    "setup.py",
    "setup.cfg",
    "uv.lock",
    "poetry.lock",
    "Pipfile.lock",
    "package.json",
    "package-lock.json",
    "yarn.lock",
    "pnpm-lock.yaml",
)
"""Files that decide what a setup makes; those that exist are part of the environment's key."""

_FOLDER, _MODULES = "environment", "node_modules"
_SETUP_S = 1800.0


class Environment(msgspec.Struct, frozen=True):
    """A prepared environment: what to add to a later sandbox's specification."""

    key: str
    folder: Path
    binds: tuple[Bind, ...]
    env: Mapping[str, str]
    reused: bool
    """Found in the cache; nothing ran."""


async def prepare_environment(
    spec: SandboxSpec,
    setup: Sequence[str],
    *,
    cache_dir: Path,
    lockfiles: Sequence[str] = LOCKFILES,
    audit: Audit = ignore_audit,
    timeout_s: float = _SETUP_S,
) -> Environment:
    """The environment that `setup` makes for the workspace of `spec`, from the cache when its key is known.

    Args:
        spec: its backend, image, limits, network, binds and variables hold for the setup as well.
        setup: shell commands, run in order with persisted state; the first that fails ends it.
        timeout_s: for each command.

    Raises:
        ToolFailedError: a setup command failed; the message ends with what it said.
        SandboxError: no sandbox could be opened.
    """
    key = await asyncio.to_thread(_key, spec, setup, lockfiles)
    folder = cache_dir / "environments" / key
    if await asyncio.to_thread(folder.is_dir):
        return _environment(key, folder, reused=True)
    making = folder.with_name(making_name(key))
    try:
        await asyncio.to_thread(_begin, making, spec.workspace)
        await _run(spec, setup, making, cache_dir, audit, timeout_s)
        await asyncio.to_thread(_finish, making, folder)
    finally:
        await asyncio.to_thread(remove_tree, making)
    return _environment(key, folder, reused=False)


def _key(spec: SandboxSpec, setup: Sequence[str], lockfiles: Sequence[str]) -> str:
    # A virtual environment is bound to the interpreter it was made with: the root's, when no image is named.
    root = spec.image or str(Path(find_interpreter().path).resolve())
    digest = hashlib.sha256(msgspec.json.encode([list(setup), root, dict(spec.env), os.uname().machine]))
    for name in sorted(lockfiles):
        content = _content_hash(spec.workspace / name)
        if content is not None:
            digest.update(f"{name}\0".encode() + content)
    return digest.hexdigest()[:32]


def _content_hash(path: Path) -> bytes | None:
    """The hash of a regular file, None for anything else: an agent may have put a link, a FIFO or nothing there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest() if stat.S_ISREG(os.fstat(fd).st_mode) else None


def _left_out(folder: str, names: list[str]) -> list[str]:
    """What is not copied: repositories, modules, and what is neither file nor folder nor link."""
    out = []
    for name in names:
        with contextlib.suppress(OSError):
            mode = os.lstat(os.path.join(folder, name)).st_mode
            if name in (".git", _MODULES) or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
                out.append(name)
    return out


def _begin(making: Path, workspace: Path) -> None:
    (making / _FOLDER).mkdir(parents=True)
    try:
        shutil.copytree(workspace, making / "workspace", symlinks=True, ignore=_left_out)
    except (shutil.Error, OSError, RecursionError) as error:
        said = str(error)[:500]
        raise ToolFailedError(f"the workspace cannot be copied for the environment's setup: {said}") from error
    if os.geteuid() == 0:
        for name in (_FOLDER, "workspace"):
            hand_over(making / name, owner_for(workspace))


async def _run(
    spec: SandboxSpec, setup: Sequence[str], making: Path, cache_dir: Path, audit: Audit, timeout_s: float
) -> None:
    inside = msgspec.structs.replace(
        spec,
        workspace=making / "workspace",
        spool=making / "spool",
        binds=(*spec.binds, Bind(making / _FOLDER, f"/{_FOLDER}", writable=True)),
        env={**_variables(), **spec.env},
    )
    async with await open_sandbox(inside, cache_dir=cache_dir, audit=audit) as sandbox:
        for command in setup:
            result = await sandbox.exec(command, timeout_s=timeout_s)
            if result.exit_code != 0:
                raise _failure(command, result)


def _failure(command: str, result: ExecResult) -> ToolFailedError:
    how = "ran out of time" if result.timed_out else f"ended with exit code {result.exit_code}"
    said = (result.output.head + result.output.tail).strip()[-1500:]
    if "externally-managed-environment" in said:  # the longest way there is to say it; it is in every Debian
        said = (
            "the system's Python takes no packages. Put `python3 -m venv /environment` before it: what is installed "
            "there is kept"
        )
    return ToolFailedError(
        f"environment setup command {command[:200]!r} {how}; it said: {said or 'nothing'}",
        command=command,
        exit_code=result.exit_code,
    )


def _finish(making: Path, folder: Path) -> None:
    modules = making / "workspace" / _MODULES
    if modules.is_dir() and not modules.is_symlink():
        modules.rename(making / _MODULES)
    for name in ("workspace", "spool"):
        remove_tree(making / name)
    hand_over(making, Owner(os.geteuid(), os.getegid()))  # nobody inside may change it, mounted writable or not
    try:
        making.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        # Another process prepared the same meanwhile: theirs is as good.


def _environment(key: str, folder: Path, *, reused: bool) -> Environment:
    binds = [Bind(folder / name, f"/{name}") for name in (_FOLDER, _MODULES) if (folder / name).is_dir()]
    return Environment(key, folder, tuple(binds), _variables(), reused)


def _variables() -> dict[str, str]:
    path = base_environment(HOME)["PATH"]
    return {"PATH": f"/{_FOLDER}/bin:/{_MODULES}/.bin:{path}"}
