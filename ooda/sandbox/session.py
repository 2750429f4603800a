"""An open sandbox: the protocol's operations, spoken to the helper behind whichever wall.

Knows the helper's requests and the host's side of an output spool; what the wall is made of and how it is
taken down lies behind `Wall`.
"""

from __future__ import annotations

import asyncio
import base64
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from ooda.errors import SandboxError, ToolArgumentsError
from ooda.sandbox.client import HelperClient
from ooda.sandbox.ownership import adopt_near
from ooda.sandbox.protocol import (
    Entry,
    ExecResult,
    FileData,
    FileInfo,
    PollResult,
    SandboxReport,
    SearchHit,
    SearchResult,
    Stats,
)

__all__ = ["OpenSandbox", "Wall"]

_ANSWER_S = 45.0
"""Longer than the helper's own 30 s for one file operation; beyond it the enclosure counts as broken."""
_GRACE_S = 15.0
_SPOOL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}\Z")
_SPOOL_BYTES = 16 << 20


class Wall(Protocol):
    """What a backend keeps of one enclosure."""

    async def destroy(self) -> None:
        """End everything inside and remove what was made on the host. Idempotent."""
        ...


class OpenSandbox:
    """Implements `ooda.sandbox.protocol.Sandbox` over a helper connection."""

    def __init__(
        self,
        name: str,
        client: HelperClient,
        wall: Wall,
        report: SandboxReport,
        spool: Path,
        lent: Path | None = None,
    ) -> None:
        """`lent` is the workspace when it was given to another user: files the host puts there are given, too."""
        self._id = name
        self._lent = lent
        self._client = client
        self._wall = wall
        self._report = report
        self._spool = spool
        self._closed = False
        self._closing = asyncio.Lock()

    @property
    def id(self) -> str:
        """Stable for the life of the sandbox; a Grant names it."""
        return self._id

    @property
    def report(self) -> SandboxReport:
        """What stands around the commands of this run."""
        return self._report

    def with_report(self, report: SandboxReport) -> OpenSandbox:
        """The same sandbox under a fuller report (after its self-test)."""
        self._report = report
        return self

    async def exec(
        self,
        command: str,
        *,
        timeout_s: float = 120.0,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        spool: str | None = None,
        persist: bool = True,
    ) -> ExecResult:
        """Run `sh -c` text; see the protocol."""
        arguments: dict[str, Any] = {"command": command, "timeout_s": _seconds(timeout_s), "persist": persist}
        arguments |= _optional(cwd=cwd, env=None if env is None else dict(env))
        self._adopt()
        file = None if spool is None else _SpoolFile(self._spool, spool)
        try:
            result = await self._client.request(
                "exec",
                arguments if file is None else arguments | {"spool": True},
                deadline_s=timeout_s + _GRACE_S,
                chunk=None if file is None else file.write,
                on_cancel=lambda number: {"request": number},
            )
        finally:
            if file is not None:
                file.close()
        result["output"]["spool"] = None if file is None else str(file.path)
        return msgspec.convert(result, ExecResult)

    async def start(self, command: str, *, cwd: str | None = None, env: Mapping[str, str] | None = None) -> str:
        """Start a background process; gives its handle."""
        arguments = {"command": command} | _optional(cwd=cwd, env=None if env is None else dict(env))
        self._adopt()
        return str((await self._client.request("start", arguments, deadline_s=_ANSWER_S))["handle"])

    def _adopt(self) -> None:
        if self._lent is not None:
            adopt_near(self._lent)

    async def poll(self, handle: str, *, wait_s: float = 0.0) -> PollResult:
        """What a background process wrote since the last poll; waits up to `wait_s` for news."""
        arguments = {"handle": handle, "wait_s": _seconds(wait_s)}
        return msgspec.convert(await self._client.request("poll", arguments, deadline_s=wait_s + _ANSWER_S), PollResult)

    async def stop(self, handle: str) -> PollResult:
        """SIGTERM, a second of grace, then the whole tree is killed."""
        return msgspec.convert(await self._client.request("stop", {"handle": handle}, deadline_s=_ANSWER_S), PollResult)

    async def read(self, path: str, *, max_bytes: int) -> FileData:
        """The whole file."""
        arguments = {"path": path, "max_bytes": max_bytes}
        result = await self._client.request("read", arguments, deadline_s=_ANSWER_S)
        return FileData(msgspec.convert(result["info"], FileInfo), base64.b64decode(result["data"]))

    async def write(self, path: str, data: bytes, *, sha256: str | None = None, mode: int | None = None) -> FileInfo:
        """Create or replace atomically; with `sha256` only that very content is replaced."""
        arguments: dict[str, Any] = {"path": path, "data": base64.b64encode(data).decode("ascii")}
        arguments |= _optional(sha256=sha256, mode=mode)
        op = "write" if sha256 is None else "edit"
        result = await self._client.request(op, arguments, deadline_s=_ANSWER_S)
        return msgspec.convert(result["info"], FileInfo)

    async def list(self, path: str, *, depth: int = 1, max_entries: int = 1000) -> tuple[Entry, ...]:
        """Entries below a directory."""
        arguments = {"path": path, "depth": depth, "max_entries": max_entries}
        result = await self._client.request("list", arguments, deadline_s=_ANSWER_S)
        return tuple(msgspec.convert(entry, Entry) for entry in result["entries"])

    async def search(
        self,
        pattern: str,
        *,
        path: str = ".",
        glob: str | None = None,
        regex: bool = True,
        max_hits: int = 200,
    ) -> SearchResult:
        """Matching lines in path order."""
        arguments = {"pattern": pattern, "path": path, "regex": regex, "max_hits": max_hits} | _optional(glob=glob)
        result = await self._client.request("search", arguments, deadline_s=_ANSWER_S)
        hits = tuple(msgspec.convert(hit, SearchHit) for hit in result["hits"])
        return SearchResult(hits, result["files_searched"], result["truncated"])

    async def stats(self) -> Stats:
        """What the sandbox uses now."""
        return msgspec.convert(await self._client.request("stats", {}, deadline_s=_ANSWER_S), Stats)

    async def close(self) -> None:
        """End every process, remove what the backend made, keep the workspace. Idempotent."""
        async with self._closing:
            if self._closed:
                return
            try:
                await self._client.close()
            finally:
                await self._wall.destroy()
            self._closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A cancelled run must not leave its enclosure behind.
        await asyncio.shield(self.close())


class _SpoolFile:
    """The full stream of one command on the host, at most 16 MiB."""

    def __init__(self, folder: Path, name: str) -> None:
        if not _SPOOL_NAME.match(name):
            raise ToolArgumentsError(
                f"{name!r} is not a name for an output spool; use letters, digits, `.`, `_` and `-`, at most 120"
            )
        self.path = folder / name
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise SandboxError(f"the output spool {self.path} cannot be written: {error.strerror}") from error
        self._left = _SPOOL_BYTES

    def write(self, data: bytes) -> None:
        """Append what fits under the cap. The guest caps too, but the host does not rely on it."""
        view = memoryview(data)[: self._left]
        self._left -= len(view)
        while view:
            view = view[os.write(self._fd, view) :]

    def close(self) -> None:
        os.close(self._fd)


def _seconds(value: float) -> float:
    if not math.isfinite(value):
        raise ToolArgumentsError(f"{value!r} is no time to wait for; give a number of seconds")
    return value


def _optional(**values: object) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
