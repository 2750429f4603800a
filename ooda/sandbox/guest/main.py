"""The helper's loop: requests in, replies out, commands and the file worker in between.

One thread. It never opens a file by a path that a command can influence (the file worker does), never
blocks on a command, and judges deadlines by its own clock, so a host that is slow cannot lengthen them.
"""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import signal
import sys
import time
from typing import Any

from . import kernel
from .commands import Commands
from .files import display
from .fileside import FileSide
from .forward import start_forwarder
from .frames import VERSION, Decoder, FrameError, GuestError, failure, reply
from .loop import Loop
from .measure import Measurement, disk_usage
from .minder import Confinement
from .quota import Quota
from .seccomp import build_filter, supported
from .settings import Settings
from .tree import resident_bytes
from .watch import Watch
from .worker import OPERATIONS as FILE_OPERATIONS

__all__ = ["main"]

_OPERATIONS = ("hello", "exec", "start", "poll", "stop", "stats", *FILE_OPERATIONS)
_REQUEST_BYTES = 1 << 20
_WRITABLE = ("/tmp", "/var/tmp", "/dev", "/proc")  # noqa: S108 - inside the sandbox
_END_S = 3.0


class _Helper:
    def __init__(self) -> None:
        self._loop = Loop(output=1)
        self._decoder = Decoder()
        self._settings: Settings | None = None
        self._commands: Commands | None = None
        self._files: FileSide | None = None
        self._watch: Watch | None = None

    def run(self) -> None:
        """Serve until the host closes our input, then end every command."""
        os.set_blocking(0, False)
        os.set_blocking(1, False)
        wake_reader, wake_writer = os.pipe()
        os.set_blocking(wake_reader, False)
        os.set_blocking(wake_writer, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        self._loop.listen(0, self._read_requests)
        self._loop.listen(wake_reader, lambda: self._reap(wake_reader))
        while self._loop.open:
            self._turn()
        if self._commands is not None:
            self._commands.end_all()
            until = time.monotonic() + _END_S
            while self._commands.busy and time.monotonic() < until:
                self._turn()

    def _turn(self) -> None:
        now = time.monotonic()
        due = [] if self._commands is None else [self._commands.due(now)]
        if self._commands is not None and self._commands.busy and self._watch is not None:
            due.append(self._watch.due())
        if self._files is not None:
            due.append(self._files.due())
        self._loop.turn(min((max(0.0, moment - now) for moment in due if moment is not None), default=None))
        now = time.monotonic()
        if self._commands is not None:
            self._commands.tend(now)
            if self._commands.busy and self._watch is not None:
                self._watch.tend(now)
        if self._files is not None:
            self._files.tend(now)

    def _reap(self, wake_reader: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(wake_reader, 4096)
        with contextlib.suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                if self._commands is not None:
                    self._commands.reaped(pid)

    def _read_requests(self) -> None:
        try:
            data = os.read(0, _REQUEST_BYTES)
        except BlockingIOError:
            return
        requests: list[dict[str, Any]] = []
        try:
            requests = self._decoder.feed(data)
        except FrameError as error:
            sys.stderr.write(f"sandbox helper: {error}\n")
            data = b""
        if not data:  # the host is gone, or is no host of ours: so is everything here
            self._loop.forget(0)
            self._loop.open = False
        for request in requests:
            self._handle(request)

    def _handle(self, request: dict[str, Any]) -> None:
        op, number = request.get("op"), request.get("id")
        error = None
        if request.get("v") != VERSION:
            error = GuestError("version", f"frame version {request.get('v')!r} was sent; this helper speaks {VERSION}")
        elif op not in _OPERATIONS:
            known = ", ".join(_OPERATIONS)
            error = GuestError("unknown_op", f"{display(str(op))} is not an operation; known are {known}")
        elif (op == "hello") == (self._settings is not None):
            error = GuestError("bad_request", "`hello` with the sandbox's settings comes first, and once")
        if error is not None:
            self._loop.send(failure(number, error))
        elif op in FILE_OPERATIONS:
            assert self._files is not None
            self._files.handle(request)
        else:
            self._loop.answer(number, lambda: self._perform(str(op), request))

    def _perform(self, op: str, request: dict[str, Any]) -> dict[str, Any] | None:
        if op == "hello":
            return self._hello(request)
        if op == "stats":
            return self._stats(request)
        commands = self._commands
        assert commands is not None
        if op == "exec":
            commands.exec(request)
            return None
        if op == "start":
            return commands.start(request)
        return commands.poll(request) if op == "poll" else commands.stop(request)

    def _hello(self, request: dict[str, Any]) -> dict[str, Any]:
        settings = Settings(request["settings"])
        missing = []
        if settings.mode == "setuid":
            kernel.set_file_owner(settings.uid, settings.gid)
        kernel.set_subreaper()
        rules = seccomp = None
        if settings.mode != "plain":
            writable = [settings.workspace, settings.home, settings.state_dir, *_WRITABLE, *settings.writable]
            try:
                rules = kernel.LandlockRules(writable)
            except OSError:
                missing.append("landlock")
            if supported():
                seccomp = kernel.SeccompFilter(build_filter(platform.machine(), settings.pin_cpus))
            else:
                missing.append("seccomp")
        confinement = Confinement(settings, rules, seccomp)
        egress = start_forwarder(settings, rules, seccomp) if settings.egress_socket is not None else {}
        # Nothing made so far goes away: without this every fork would copy the pages that hold counters.
        gc.collect()
        gc.freeze()
        self._commands = Commands(self._loop, settings, confinement, egress)
        quota = Quota(self._loop, settings)
        self._files = FileSide(self._loop, settings, quota, rules, seccomp)
        self._files.start()
        self._watch = Watch(self._loop, settings, quota, self._commands.end_all)
        quota.measure()
        self._settings = settings
        return {
            "version": VERSION,
            "missing": missing,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "kernel": platform.release(),
            "landlock": kernel.landlock_version(),
        }

    def _stats(self, request: dict[str, Any]) -> dict[str, Any] | None:
        assert self._settings is not None
        assert self._commands is not None
        limit = self._settings.disk_bytes
        facts = {"processes": self._commands.processes(), "memory_bytes": resident_bytes()}

        def answer(used: int | None) -> None:
            self._loop.send(
                reply(request.get("id"), {**facts, "workspace_bytes": used, "workspace_limit_bytes": limit})
            )

        root = self._settings.workspace
        try:
            Measurement(self._loop, root, answer)
        except OSError:
            answer(disk_usage(root))
        return None


def main() -> None:
    """Run until the host closes our standard input."""
    _Helper().run()
