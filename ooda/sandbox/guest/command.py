"""One running command as the helper sees it: its minder, its pipe, its deadline, what it wrote.

Knows how to start, read and end it; the loop that calls these is in `main.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from .frames import GuestError
from .minder import Confinement, Job, start_minder
from .output import Keeper
from .tree import descendants, kill_tree

__all__ = ["READ_BYTES", "Command"]

READ_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031
_PIPE_BYTES = 1 << 20
_DRAIN_S = 0.3
"""How long output is awaited after the end of the command: only an unkillable process can still hold the pipe."""
_MINDER_GRACE_S = 0.5
"""How long the minder has to end the tree before the helper does it itself."""


class Command:
    """A command from its start to its report."""

    def __init__(
        self,
        job: Job,
        confinement: Confinement,
        *,
        request: object,
        deadline: float | None,
        spool_bytes: int,
        handle: str | None,
        state_file: str | None,
        call_env: dict[str, str],
        cwd: str,
    ) -> None:
        self.request = request
        self.handle = handle
        """Set for a background process."""
        self.deadline = deadline
        self.state_file = state_file
        self.call_env = call_env
        self.cwd = cwd
        self.keeper = Keeper()
        self.spool_left = spool_bytes
        self.started = time.monotonic()
        self.ended: float | None = None
        self.timed_out = False
        self.limit: str | None = None
        self.report: dict[str, Any] | None = None
        self.killing_since: float | None = None
        self.news = False
        """Whether output came since the last poll."""
        self.paused = False
        """Not read on until the host has taken more of the spooled output."""
        self._reaped = False
        self.silent = False
        """The minder said its last."""
        self._mode = confinement.mode
        self._lines = b""
        self._total_at_end = 0
        try:
            self._forked, self.control, self.output = start_minder(job, confinement)
        except OSError as error:
            raise GuestError(
                "no_process",
                "no process can be started: the sandbox's limit is reached; stop background processes",
            ) from error
        self.minder: int | None = None if self._mode == "namespace" else self._forked
        self.control.setblocking(False)
        os.set_blocking(self.output, False)
        self.output_open = True
        with contextlib.suppress(OSError):
            import fcntl

            fcntl.fcntl(self.output, _F_SETPIPE_SZ, _PIPE_BYTES)

    @property
    def done(self) -> bool:
        """Ended, and its output complete or waited for long enough."""
        if self.ended is None:
            return False
        return not self.output_open or time.monotonic() >= self.drained_by

    @property
    def drained_by(self) -> float:
        """When an ended command's output is no longer waited for."""
        return (self.ended or 0.0) + _DRAIN_S

    @property
    def total_since_end(self) -> int:
        """Bytes read after the end: whatever holds the pipe then is not ours any more."""
        return self.keeper.total - self._total_at_end

    def read_output(self, before_close: Callable[[], None]) -> bytes:
        """The next piece of output, kept; empty when there is none now. At its end the pipe is closed."""
        try:
            data = os.read(self.output, READ_BYTES)
        except BlockingIOError:
            return b""
        if not data:
            before_close()
            self.close_output()
            return b""
        self.keeper.add(data)
        self.news = True
        return data

    def close_output(self) -> None:
        """Stop listening to the pipe."""
        if self.output_open:
            self.output_open = False
            os.close(self.output)

    def read_control(self) -> None:
        """Take what the minder says; its silence (end of file) without a report means that it was killed."""
        try:
            data = self.control.recv(8192)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._lines += data
        *lines, self._lines = self._lines.split(b"\n")
        for line in lines:
            facts = json.loads(line)
            if "pid" in facts:
                self.minder = int(facts["pid"])
            else:
                self.report = facts
        self.silent = self.silent or not data
        self._settle()

    def reap(self, pid: int) -> None:
        """Hear that process `pid` is gone. In a namespace the minder's end means that everything in it is."""
        if self._mode == "namespace" and self.minder is None:
            self.read_control()  # its pid was written before it could end
        if pid == self.minder:
            self._reaped = True
            self._settle()

    def _settle(self) -> None:
        over = self.report is not None or self.silent
        if self.ended is not None or not over or (self._mode == "namespace" and not self._reaped):
            return
        self.ended = time.monotonic()
        self._total_at_end = self.keeper.total
        if self.report is None:
            self.report = {"exit": None, "signal": int(signal.SIGKILL), "killed": 0}

    def kill(self) -> None:
        """End the whole tree, now."""
        if self.killing_since is not None or self.ended is not None:
            return
        self.killing_since = time.monotonic()
        target = self.minder or self._forked
        with contextlib.suppress(ProcessLookupError):
            os.kill(target, signal.SIGTERM)

    def processes(self) -> int:
        """How many processes of the command run now, the minder not counted."""
        return 0 if self.minder is None else len(descendants(self.minder))

    def terminate(self) -> None:
        """Ask politely: SIGTERM to everything in the tree."""
        for pid in descendants(self.minder or self._forked):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)

    def insist(self) -> None:
        """Do the minder's work when it does not get round to it (it shares one CPU with what it must kill)."""
        overdue = self.killing_since is not None and time.monotonic() - self.killing_since > _MINDER_GRACE_S
        if self.ended is not None or not overdue:
            return
        self.killing_since = time.monotonic()
        target = self.minder or self._forked
        if self._mode == "namespace":
            with contextlib.suppress(ProcessLookupError):
                os.kill(target, signal.SIGKILL)  # the death of its init ends a pid namespace
        else:
            kill_tree(target, reap=False)

    def close(self) -> None:
        """Let go of both descriptors."""
        self.close_output()
        self.control.close()

    def result(self) -> dict[str, Any]:
        """The wire form of how it ended."""
        report = self.report or {}
        if "error" in report:
            raise GuestError(
                "bad_cwd" if report.get("errno") else "internal",
                f"the command could not start: {report['error']}",
            )
        now = self.ended or time.monotonic()
        return {
            "exit_code": report.get("exit"),
            "signal": report.get("signal"),
            "timed_out": self.timed_out,
            "limit": self.limit,
            "killed": report.get("killed", 0),
            "output": self.keeper.render(),
            "duration_ms": int((now - self.started) * 1000),
        }


def open_script(text: str) -> int:
    """A descriptor of `text` that a shell can read by name: for commands too long for an argument."""
    fd = os.memfd_create("command")
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(text.encode("utf-8", "surrogateescape"))
    return fd
