"""The sandbox of one run, and its renewal once the task's environment is prepared.

Setup commands need the repository's files, so they run after the clone, in a sandbox of their own with the task's
network; what they make is then shown read-only. A sandbox cannot gain binds while it is open, so the run's one is
opened anew behind the same object: the tools of the run never notice.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from ooda.sandbox import Sandbox, SandboxReport, SandboxSpec, open_sandbox, prepare_environment
from ooda.sandbox.egress import Audit
from ooda.sandbox.protocol import Entry, ExecResult, FileData, FileInfo, PollResult, SearchResult, Stats

__all__ = ["Enclosure"]


class Enclosure:
    """An open sandbox that can be opened anew. Implements `ooda.sandbox.Sandbox`; everything passes through."""

    def __init__(self, spec: SandboxSpec, sandbox: Sandbox, *, cache_dir: Path, audit: Audit) -> None:
        """Use `Enclosure.opened`."""
        self._spec = spec
        self._sandbox = sandbox
        self._cache_dir = cache_dir
        self._audit = audit

    @classmethod
    async def opened(cls, spec: SandboxSpec, *, cache_dir: Path, audit: Audit) -> Self:
        """Open the sandbox of `spec`; raises SandboxError when no wall works."""
        sandbox = await open_sandbox(spec, cache_dir=cache_dir, audit=audit)
        return cls(spec, sandbox, cache_dir=cache_dir, audit=audit)

    async def prepare(self, setup: tuple[str, ...]) -> tuple[str, bool]:
        """Prepare the environment `setup` makes and show it from now on; gives its key and whether it was there.

        Raises:
            ToolFailedError: a setup command failed; the message ends with what it said. The sandbox stays as it was.
        """
        made = await prepare_environment(self._spec, setup, cache_dir=self._cache_dir, audit=self._audit)
        spec = msgspec.structs.replace(
            self._spec, binds=(*self._spec.binds, *made.binds), env={**made.env, **self._spec.env}
        )
        before, self._sandbox = self._sandbox, await open_sandbox(spec, cache_dir=self._cache_dir, audit=self._audit)
        await before.close()
        return made.key, made.reused

    @property
    def id(self) -> str:
        return self._sandbox.id

    @property
    def report(self) -> SandboxReport:
        return self._sandbox.report

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
        return await self._sandbox.exec(command, timeout_s=timeout_s, cwd=cwd, env=env, spool=spool, persist=persist)

    async def start(self, command: str, *, cwd: str | None = None, env: Mapping[str, str] | None = None) -> str:
        return await self._sandbox.start(command, cwd=cwd, env=env)

    async def poll(self, handle: str, *, wait_s: float = 0.0) -> PollResult:
        return await self._sandbox.poll(handle, wait_s=wait_s)

    async def stop(self, handle: str) -> PollResult:
        return await self._sandbox.stop(handle)

    async def read(self, path: str, *, max_bytes: int) -> FileData:
        return await self._sandbox.read(path, max_bytes=max_bytes)

    async def write(self, path: str, data: bytes, *, sha256: str | None = None, mode: int | None = None) -> FileInfo:
        return await self._sandbox.write(path, data, sha256=sha256, mode=mode)

    async def list(self, path: str, *, depth: int = 1, max_entries: int = 1000) -> tuple[Entry, ...]:
        return await self._sandbox.list(path, depth=depth, max_entries=max_entries)

    async def search(
        self, pattern: str, *, path: str = ".", glob: str | None = None, regex: bool = True, max_hits: int = 200
    ) -> SearchResult:
        return await self._sandbox.search(pattern, path=path, glob=glob, regex=regex, max_hits=max_hits)

    async def stats(self) -> Stats:
        return await self._sandbox.stats()

    async def close(self) -> None:
        await self._sandbox.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
