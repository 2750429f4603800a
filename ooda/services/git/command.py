"""One git process, hardened: nothing of the host's environment, no configuration but ours, no program but git.

Everything git could be made to run or read by configuration is switched off in three layers: an empty environment
with named variables only, no system and user configuration, and options on the command line that win over the
repository's own file. The repository is always named by `--git-dir`, so git never looks for one in the agent's tree.
GitPython starts the process; deadline, cancellation and the cap on output are kept here, for the whole process tree.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec

from ooda.errors import ConfigError, IntegrationError

__all__ = ["GitResult", "GitRunner", "GitSettings"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_GIT_PLACES = ("/usr/bin/git", "/usr/local/bin/git", "/bin/git")
_ENV = "/usr/bin/env"
_LEASH = ("/usr/bin/setpriv", "--pdeathsig", "KILL")
"""What lets a process die with the thread that started it, where util-linux has it."""

_CONFIG = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.autocrlf=false",
    "core.safecrlf=false",
    "core.quotePath=false",
    "core.symlinks=true",
    "core.fileMode=true",
    "core.askPass=",
    "core.pager=cat",
    "core.editor=false",
    "credential.helper=",
    "commit.gpgSign=false",
    "tag.gpgSign=false",
    "push.gpgSign=false",
    "gpg.program=false",
    "diff.ignoreSubmodules=all",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "push.recurseSubmodules=no",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
)
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/nonexistent",
    "XDG_CONFIG_HOME": "/nonexistent",
    "LC_ALL": "C",
    "LANGUAGE": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false",
    "GIT_EDITOR": "/bin/false",
    "GIT_SEQUENCE_EDITOR": "/bin/false",
    "GIT_PAGER": "cat",
    "GIT_SSH_VARIANT": "ssh",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_NO_LAZY_FETCH": "1",
}
_PASSED_ON = frozenset(
    {"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}
    | {"SSL_CERT_FILE", "SSL_CERT_DIR", "SSH_AUTH_SOCK"}
)
_LINGER_S = 0.5
"""How long output is still read after git ended, when something it started holds the pipe."""
_CHUNK = 65_536
_WORKERS = 4


class GitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How git is run on the host."""

    git: str = ""
    """Absolute path of git; empty: the usual places."""
    env: Mapping[str, str] = {}
    """Proxy, certificate and ssh-agent variables to hand on; any other name is refused."""
    timeout_s: float = 120.0
    """Deadline of a local operation."""
    remote_timeout_s: float = 900.0
    """Deadline of a fetch or push."""
    attempts: int = 4
    """Tries of an operation on a remote that cannot be reached, with exponential back-off."""
    strict_host_keys: bool = False
    """Refuse ssh hosts that are in no known_hosts file; off: a new one is taken, a changed one is refused."""
    large_bytes: int = 1 << 30
    """Repositories above this size are cloned with a warning."""


class GitResult(msgspec.Struct, frozen=True):
    """How one git process ended."""

    exit_code: int
    out: bytes
    err: str
    out_bytes: int
    """Size of the whole output; more than `len(out)` when it was cut."""

    def lines(self) -> list[str]:
        return self.out.decode(errors="surrogateescape").splitlines()

    def fields(self) -> list[str]:
        """Output of a command given `-z`."""
        return [field for field in self.out.decode(errors="surrogateescape").split("\0") if field]

    def text(self) -> str:
        return self.out.decode(errors="replace").strip()

    def error(self, operation: str) -> IntegrationError:
        """This result as a failure."""
        return IntegrationError(
            f"git {operation} failed with exit code {self.exit_code}: {_last_words(self.err)}",
            service="git",
            operation=operation,
            status=self.exit_code,
            retryable=False,
            stderr=self.err,
        )


class GitRunner:
    """Runs git on one host-owned repository, a few processes at a time, off the event loop."""

    def __init__(self, git_dir: Path, settings: GitSettings) -> None:
        self.git_dir = git_dir
        self.settings = settings
        unknown = sorted(set(settings.env) - _PASSED_ON)
        if unknown:
            raise ConfigError(
                f"git is not given the environment variable `{unknown[0]}`; handed on are "
                + ", ".join(f"`{name}`" for name in sorted(_PASSED_ON))
            )
        self._git = settings.git or next((place for place in _GIT_PLACES if os.access(place, os.X_OK)), "")
        if not os.path.isabs(self._git) or not os.access(self._git, os.X_OK):
            raise ConfigError(f"no git at {self._git or ', '.join(_GIT_PLACES)}; install git or set its absolute path")
        self._leash = _LEASH if os.access(_LEASH[0], os.X_OK) else ()
        self._threads = ThreadPoolExecutor(max_workers=_WORKERS, thread_name_prefix="ooda-git")

    async def run(
        self,
        *arguments: str,
        work_tree: Path | None = None,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        max_bytes: int = 64 << 20,
        ok: tuple[int, ...] = (0,),
    ) -> GitResult:
        """Run `git ARGUMENTS` and wait for it.

        Raises:
            IntegrationError: it exited with a code not in `ok`, or missed its deadline (`retryable`).
        """
        limit_s = timeout_s or self.settings.timeout_s
        child = _Child(self._command(arguments, work_tree, env or {}), arguments[0], stdin, limit_s, max_bytes)
        future = asyncio.get_running_loop().run_in_executor(self._threads, child.run)
        try:
            result = await asyncio.shield(future)
        except asyncio.CancelledError:
            child.kill()
            await asyncio.wait([future])
            raise
        if result.exit_code not in ok:
            raise result.error(arguments[0])
        return result

    async def off_loop(self, function: Callable[_P, _R], *arguments: _P.args, **named: _P.kwargs) -> _R:
        """Run blocking file work of the repository in the same few threads."""
        call = functools.partial(function, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def close(self) -> None:
        """Let the threads go. Idempotent."""
        self._threads.shutdown(wait=False)

    def _command(self, arguments: tuple[str, ...], work_tree: Path | None, env: Mapping[str, str]) -> list[str]:
        variables = {**_ENVIRONMENT, **self.settings.env, **env}
        command = [_ENV, "-i", *(f"{name}={value}" for name, value in variables.items())]
        command += [*self._leash, self._git, "--no-pager", f"--git-dir={self.git_dir}"]
        if work_tree is not None:
            command.append(f"--work-tree={work_tree}")
        for setting in _CONFIG:
            command += ["-c", setting]
        return [*command, *arguments]


class _Child:
    """One process with its whole session, run in a worker thread; `kill` may come from another one."""

    def __init__(self, command: list[str], operation: str, stdin: bytes, timeout_s: float, max_bytes: int) -> None:
        self._command = command
        self._operation = operation
        self._stdin = stdin
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    def run(self) -> GitResult:
        from git.cmd import Git

        with contextlib.ExitStack() as stack:
            stdin = None
            if self._stdin:
                stdin = stack.enter_context(open(os.memfd_create("ooda-git-stdin"), "w+b"))
                stdin.write(self._stdin)
                stdin.seek(0)
            handle = Git("/").execute(self._command, istream=stdin, as_process=True, start_new_session=True)
        process: subprocess.Popen[bytes] | None = handle.proc
        assert process is not None
        # GitPython would end and close the process when its handle is collected; from here on we do.
        handle.proc = None
        self._process = process
        try:
            if self._killed:
                self.kill()
            return self._collect(process)
        finally:
            self._end(process)

    def kill(self) -> None:
        """End git and whatever it started."""
        self._killed = True
        process = self._process
        if process is not None and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)

    def _collect(self, process: subprocess.Popen[bytes]) -> GitResult:
        assert process.stdout is not None
        assert process.stderr is not None
        kept = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
        out = kept[process.stdout.fileno()]
        total = 0
        deadline = time.monotonic() + self._timeout_s
        ended_at = 0.0
        with selectors.DefaultSelector() as selector:
            for descriptor in kept:
                selector.register(descriptor, selectors.EVENT_READ)
            while selector.get_map():
                now = time.monotonic()
                if now >= deadline:
                    raise self._late()
                if process.poll() is not None:
                    ended_at = ended_at or now
                    if now - ended_at > _LINGER_S:
                        break
                for key, _ in selector.select(min(deadline - now, _LINGER_S)):
                    data = os.read(key.fd, _CHUNK)
                    if not data:
                        selector.unregister(key.fd)
                    stream = kept[key.fd]
                    total += len(data) if stream is out else 0
                    stream += data[: max(0, self._max_bytes - len(stream))]
        try:
            exit_code = process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise self._late() from error
        err = kept[process.stderr.fileno()].decode(errors="replace")
        return GitResult(exit_code, bytes(out), err, total)

    def _late(self) -> IntegrationError:
        return IntegrationError(
            f"git {self._operation} did not finish within {self._timeout_s:g} s and was ended",
            service="git",
            operation=self._operation,
            status="timeout",
            retryable=True,
            stderr="",
        )

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _last_words(err: str) -> str:
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    return " ".join(lines[-3:]) or "it said nothing"
