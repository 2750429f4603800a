"""One running command as the helper sees it: its minder, its pipe, its deadline, what it wrote.

Knows how to start, read and end it; which command does what when is the matter of `commands.py`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from typing import Any

from .frames import GuestError
from .minder import Confinement, Job, start_minder
from .output import Keeper
from .tree import descendants, kill_tree

__all__ = ["Command", "Minder", "no_process", "open_script"]

_READ_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031
_PIPE_BYTES = 1 << 20
_JOB_BYTES = 60_000
"""A pipe takes this much at once (it holds 64 KiB), so that handing over a job never waits."""
_DRAIN_S = 0.3
"""How long output is awaited after the end of the command: only an unkillable process can still hold the pipe."""
_MINDER_GRACE_S = 0.5
"""How long the minder has to end the tree before the helper does it itself."""


class Minder:
    """The helper's end of one minder: what it said, and the signals that end its tree."""

    def __init__(self, confinement: Confinement, job: Job | None) -> None:
        """Forks it; raises OSError at the process limit."""
        self._mode = confinement.mode
        started = start_minder(confinement, job)
        self._forked = started.pid
        self._job = started.job
        self.control = started.control
        self.output = started.output
        self.pid: int | None = None if self._mode == "namespace" else started.pid
        self.report: dict[str, Any] | None = None
        self.silent = False
        """It said its last."""
        self._reaped = False
        self._ending = False
        """Its tree was to be ended before anyone knew its pid."""
        self._lines = b""
        self.control.setblocking(False)
        os.set_blocking(self.output, False)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self.output, _F_SETPIPE_SZ, _PIPE_BYTES)

    @property
    def over(self) -> bool:
        """Whether its tree is gone: it said so, or ended. In a namespace only its own end means that."""
        if self._mode == "namespace" and not self._reaped:
            return False
        return self.report is not None or self.silent

    def give(self, job: Job) -> bool:
        """Hand a waiting command its job; False when that cannot be done, and nothing has happened then."""
        data = job.encode()
        if self._job is None or job.script is not None or len(data) > _JOB_BYTES:
            return False
        try:
            return os.write(self._job, data) == len(data)
        except OSError:
            return False
        finally:
            os.close(self._job)
            self._job = None

    def read(self) -> None:
        """Take what the minder says."""
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
                self.pid = int(facts["pid"])
                if self._ending:
                    self.end()
            else:
                self.report = facts
        self.silent = self.silent or not data

    def reap(self, pid: int) -> None:
        """Hear that process `pid` is gone."""
        if self._mode == "namespace" and self.pid is None:
            self.read()  # its pid was written before it could end
        # The process that only makes the namespace ends at once; without having made one there is no other to wait for.
        self._reaped = self._reaped or pid == (self.pid or self._forked)

    def end(self) -> None:
        """Have the tree ended; at once, or as soon as it is known which process holds it."""
        self._ending = True
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def end_ourselves(self) -> None:
        """Do the minder's work when it does not get round to it."""
        if self.pid is None:
            return  # a process that has yet to make the namespace: it does nothing else, and says so when it has
        if self._mode == "namespace":
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)  # the death of its init ends a pid namespace
        else:
            kill_tree(self.pid, reap=False)

    def tree(self) -> dict[int, str]:
        """The command's processes: pid -> state."""
        return {} if self.pid is None else descendants(self.pid)

    def close(self) -> None:
        """Let go of everything; a command that still waits for its job ends by itself."""
        self.control.close()
        os.close(self.output)
        if self._job is not None:
            os.close(self._job)
            self._job = None


class Command:
    """A command from its start to its report."""

    def __init__(
        self,
        minder: Minder,
        *,
        request: object,
        deadline: float | None,
        spool_bytes: int,
        handle: str | None,
        state_file: str | None,
        call_env: dict[str, str],
        cwd: str,
    ) -> None:
        self.minder = minder
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
        self.killing_since: float | None = None
        self.news = False
        """Whether output came since the last poll."""
        self.paused = False
        """Not read on until the host has taken more of the spooled output."""
        self.output_open = True
        """Whether more output may come."""
        self._total_at_end = 0

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

    def read_output(self) -> bytes:
        """The next piece of output, kept; empty when there is none now, and at its end."""
        try:
            data = os.read(self.minder.output, _READ_BYTES)
        except BlockingIOError:
            return b""
        self.output_open = bool(data)
        self.keeper.add(data)
        self.news = self.news or bool(data)
        return data

    def read_control(self) -> None:
        """Take what the minder says; its silence (end of file) without a report means that it was killed."""
        self.minder.read()
        self._settle()

    def reap(self, pid: int) -> None:
        """Hear that process `pid` is gone."""
        self.minder.reap(pid)
        self._settle()

    def _settle(self) -> None:
        if self.ended is None and self.minder.over:
            self.ended = time.monotonic()
            self._total_at_end = self.keeper.total

    def kill(self) -> None:
        """End the whole tree, now."""
        if self.killing_since is None and self.ended is None:
            self.killing_since = time.monotonic()
            self.minder.end()

    def terminate(self) -> None:
        """Ask politely: SIGTERM to everything in the tree."""
        for pid in self.minder.tree():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)

    def insist(self) -> None:
        """Help a minder that is late: it shares one CPU with what it must kill."""
        overdue = self.killing_since is not None and time.monotonic() - self.killing_since > _MINDER_GRACE_S
        if self.ended is None and overdue:
            self.killing_since = time.monotonic()
            self.minder.end_ourselves()

    def result(self) -> dict[str, Any]:
        """The wire form of how it ended, or of how far it is. Raises GuestError when it could not start."""
        killed = {"exit": None, "signal": int(signal.SIGKILL), "killed": 0}
        report = (self.minder.report or killed) if self.ended is not None else {}
        if report.get("code") == "no_process":
            raise no_process()
        if "error" in report:
            raise GuestError(str(report["code"]), f"the command could not start: {report['error']}")
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


def no_process() -> GuestError:
    """The refusal at the process limit."""
    return GuestError(
        "no_process", "no process can be started: the sandbox's limit is reached; stop background processes"
    )


def open_script(text: str) -> int:
    """A descriptor of `text` that a shell can read by name: for commands too long for an argument."""
    fd = os.memfd_create("command")
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(text.encode("utf-8", "surrogateescape"))
    return fd
