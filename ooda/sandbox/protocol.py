"""What every sandbox offers, whichever wall it is built from: the types both backends and all tools share.

Knows nothing of Docker, bubblewrap, tools or governance. The wire form (frames to the in-sandbox helper)
is `guest/frames.py`; the helper itself is the folder `guest/`. Inside every sandbox the workspace is `/workspace`, and
every path given here is relative to it or absolute below it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

import msgspec

__all__ = [
    "Bind",
    "Credential",
    "DiskQuota",
    "Entry",
    "ExecResult",
    "FileData",
    "FileInfo",
    "Network",
    "Output",
    "PollResult",
    "Probe",
    "Sandbox",
    "SandboxLimits",
    "SandboxReport",
    "SandboxSpec",
    "SearchHit",
    "SearchResult",
    "Stats",
]

Backend = Literal["docker", "bubblewrap", "none"]


class SandboxLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Ceilings of one sandbox; what a backend cannot enforce it names in `SandboxReport.missing`."""

    memory_bytes: int = 2 << 30
    cpus: int = 1
    """CPU cap. A fork bomb needs it as well as the pids cap (SANDBOX section 3)."""
    pids: int = 192
    disk_bytes: int = 2 << 30
    tmp_bytes: int = 512 << 20
    """Of `/tmp` and of the home folder each; never more than a quarter of the memory, which they live in."""
    file_bytes: int = 1 << 30
    open_files: int = 1024
    background_processes: int = 8

    @property
    def folder_bytes(self) -> int:
        """Size of a temporary folder: all of them together must leave memory for commands to run in, or a full
        one could never be emptied again."""
        return min(self.tmp_bytes, self.memory_bytes // 4)


class Credential(msgspec.Struct, frozen=True):
    """A secret that never enters the sandbox: commands send `placeholder`, the egress proxy puts the secret in
    its place in the headers of HTTPS requests to `host`, and takes it out of what comes back."""

    host: str
    """One exact name, optionally with `:port` (443 otherwise); it counts as listed in `Network.hosts`."""
    placeholder: str
    """At least 8 characters that occur nowhere else."""
    secret: Callable[[], str]
    """Asked when a request needs it, and kept nowhere."""

    @property
    def name(self) -> str:
        """The host without its port, in lower case."""
        return self.host.lower().partition(":")[0].rstrip(".")

    @property
    def port(self) -> int:
        """The port that requests with the secret go to."""
        return int(self.host.partition(":")[2] or 443)


class Network(msgspec.Struct, frozen=True):
    """Which hosts the sandbox may reach through the egress proxy; none by default."""

    hosts: tuple[str, ...] = ()
    """Exact names or `*.suffix`, optionally with `:port` (default 443 and 80). An address or a CIDR range allows
    itself, which internal addresses (loopback, private, metadata) need even when a listed name leads there."""
    credentials: tuple[Credential, ...] = ()


class Bind(msgspec.Struct, frozen=True):
    """A host folder shown inside (a virtual environment, a dependency cache), read-only unless said otherwise."""

    source: Path
    target: str
    writable: bool = False
    """For preparing an environment only: what a run may change is its workspace."""


class SandboxSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to open: one sandbox per run."""

    run: str
    workspace: Path
    """Host folder shown read-write at `/workspace`; exists already."""
    spool: Path
    """Host folder for full output streams; not visible inside."""
    backend: Literal["auto", "docker", "bubblewrap", "none"] = "auto"
    image: str | None = None
    """An image by name or digest, used if present, never pulled; None is our own tiny root over the host's /usr."""
    runtime: str | None = None
    """An OCI runtime of the engine such as `runsc`; docker only."""
    limits: SandboxLimits = SandboxLimits()
    network: Network = Network()
    binds: tuple[Bind, ...] = ()
    env: Mapping[str, str] = {}
    """Environment of every command. Nothing is inherited from the host."""


class Output(msgspec.Struct, frozen=True):
    """Standard output and error of a command, in the order written, kept to head and tail."""

    head: str
    tail: str
    """Empty when `head` is everything."""
    total_bytes: int
    spool: str | None = None
    """Path of the full stream (at most 16 MiB) on the host, when one was asked for."""

    dropped_bytes: int = 0
    """Bytes between head and tail, counted in the original stream; 0 when nothing was dropped."""


class ExecResult(msgspec.Struct, frozen=True, kw_only=True):
    """How one command ended."""

    exit_code: int | None
    """From waitpid; None when it was ended by a signal."""
    signal: int | None = None
    timed_out: bool = False
    output: Output
    duration_ms: int
    cwd: str
    """Working directory after the command; the next command without `cwd` starts there."""
    killed: int = 0
    """Processes of this command's tree that were still alive at its end and were killed."""
    limit: Literal["disk", "memory"] | None = None
    """The ceiling for which the sandbox's watchdog ended the command, if it did."""


class PollResult(msgspec.Struct, frozen=True, kw_only=True):
    """A background process: what it wrote since the last poll, and whether it still runs."""

    handle: str
    running: bool
    exit_code: int | None = None
    signal: int | None = None
    output: Output


class FileInfo(msgspec.Struct, frozen=True):
    """A regular file after a write, or before one."""

    path: str
    size_bytes: int
    mode: int
    sha256: str
    created: bool = False


class FileData(msgspec.Struct, frozen=True):
    """A regular file's bytes and facts, read in one operation."""

    info: FileInfo
    data: bytes


class Entry(msgspec.Struct, frozen=True):
    """One entry of a directory listing; links are named, never followed."""

    path: str
    kind: Literal["file", "directory", "link", "other"]
    size_bytes: int
    mode: int


class SearchHit(msgspec.Struct, frozen=True):
    """One matching line."""

    path: str
    line: int
    text: str


class SearchResult(msgspec.Struct, frozen=True):
    """Hits in path order; `truncated` when the cap was reached."""

    hits: tuple[SearchHit, ...]
    files_searched: int
    truncated: bool


class Stats(msgspec.Struct, frozen=True):
    """What the sandbox uses now."""

    processes: int
    memory_bytes: int | None
    workspace_bytes: int | None
    workspace_limit_bytes: int | None = None


class Probe(msgspec.Struct, frozen=True):
    """One self-test or availability check: for selection, refusal, the journal and `ooda doctor`."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
    """The command or setting that mends it; empty when there is none."""


class DiskQuota(msgspec.Struct, frozen=True):
    """What bounds the workspace's size."""

    bytes: int
    is_hard: bool = False
    """The workspace is a file system of its own that is no larger; otherwise its size is watched, which a command can
    outrun for a quarter of a second, and file tools cannot."""


class SandboxReport(msgspec.Struct, frozen=True, kw_only=True):
    """What stands around the commands of a run: written to its journal."""

    backend: Backend
    image: str
    digest: str
    probes: tuple[Probe, ...]
    missing: tuple[str, ...] = ()
    """Protections this machine could not give, by name (for example `cgroup`)."""
    ready_ms: int = 0
    disk: DiskQuota | None = None


class Sandbox(Protocol):
    """One enclosure, open for one run. Every method raises SandboxError when the enclosure itself fails,
    ToolArgumentsError for a path outside the workspace, a missing file, a directory in a file's place or
    a failed precondition (`sha256`), and never follows a link out of the workspace."""

    @property
    def id(self) -> str:
        """Stable for the life of the sandbox; a Grant names it."""
        ...

    @property
    def report(self) -> SandboxReport: ...

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
        """Run `sh -c` text. Working directory and exported variables persist unless `persist` is False."""
        ...

    async def start(self, command: str, *, cwd: str | None = None, env: Mapping[str, str] | None = None) -> str:
        """Start a background process; gives its handle. It lives until `stop` or the sandbox closes."""
        ...

    async def poll(self, handle: str, *, wait_s: float = 0.0) -> PollResult: ...

    async def stop(self, handle: str) -> PollResult: ...

    async def read(self, path: str, *, max_bytes: int) -> FileData:
        """The whole file; ToolArgumentsError naming size and limit when it is larger than `max_bytes`."""
        ...

    async def write(self, path: str, data: bytes, *, sha256: str | None = None, mode: int | None = None) -> FileInfo:
        """Create or replace atomically, parents included. An existing file keeps its mode. With `sha256` the
        file must exist with exactly that content (the helper's `edit`), so no concurrent change is lost."""
        ...

    async def list(self, path: str, *, depth: int = 1, max_entries: int = 1000) -> tuple[Entry, ...]: ...

    async def search(
        self,
        pattern: str,
        *,
        path: str = ".",
        glob: str | None = None,
        regex: bool = True,
        max_hits: int = 200,
    ) -> SearchResult: ...

    async def stats(self) -> Stats: ...

    async def close(self) -> None:
        """End every process, remove what the backend made, keep the workspace. Idempotent."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
