"""The helper's side of the file worker: starts it, passes requests on, ends it when it takes too long.

A process of its own does the file work, so that a slow search never delays the minding of commands, and a
pattern that takes for ever costs one worker and one refusal.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections import deque
from typing import Any

from . import kernel
from .frames import Decoder, GuestError, encode, failure
from .loop import Loop
from .quota import Quota
from .settings import Settings
from .worker import WRITING, serve_files

__all__ = ["FileSide"]

_DEADLINE_S = 30.0
_CONNECTION_FD, _RULES_FD = 3, 4


class _Worker:
    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.pid = pid
        self.connection = connection
        self.decoder = Decoder()
        self.outbox = bytearray()
        self.waiting: deque[tuple[object, str, int]] = deque()
        """(request, operation, bytes it writes), in the order sent: the worker answers in that order."""
        self.since: float | None = None
        """When it began with the first of them."""
        self.patience = _DEADLINE_S
        """How long that one may take, in seconds."""


class FileSide:
    """All file requests of a sandbox; one worker at a time."""

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        quota: Quota,
        rules: kernel.LandlockRules | None,
        seccomp: kernel.SeccompFilter | None,
    ) -> None:
        self._loop = loop
        self._quota = quota
        self._settings = settings
        self._rules = rules
        self._seccomp = seccomp
        self._worker: _Worker | None = None

    def start(self) -> None:
        """Start the worker before the first request, to save that one the wait."""
        self._worker = self._worker or self._fork()

    def handle(self, request: dict[str, Any]) -> None:
        """Pass a request on, one that writes with the room there is; its reply goes to the host by itself."""
        data = request.get("data")
        if request["op"] in WRITING and isinstance(data, str):
            size = len(data) * 3 // 4
            self._quota.admit(size, lambda room: self._pass({**request, "room": room}, size))
        else:
            self._pass(request, 0)

    def _pass(self, request: dict[str, Any], size: int) -> None:
        try:
            self.start()
        except OSError as error:
            message = f"the file worker cannot be started ({error.strerror}); stop background processes"
            self._loop.send(failure(request.get("id"), GuestError("no_process", message)))
            self._quota.settled(size)
            return
        worker = self._worker
        assert worker is not None
        worker.waiting.append((request.get("id"), str(request["op"]), size))
        if worker.since is None:
            worker.since = time.monotonic()
            worker.patience = float(request.get("timeout_s") or _DEADLINE_S)
        worker.outbox += encode(request)
        self._write(worker)

    def due(self) -> float | None:
        """When `tend` has to be called next, on the monotonic clock."""
        worker = self._worker
        return None if worker is None or worker.since is None else worker.since + worker.patience

    def tend(self, now: float) -> None:
        """End a worker that is late; its end of file brings the refusal."""
        due = self.due()
        if due is not None and now >= due:
            assert self._worker is not None
            os.kill(self._worker.pid, signal.SIGKILL)

    def _fork(self) -> _Worker:
        ours, theirs = socket.socketpair()
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            try:
                wanted = {_CONNECTION_FD: theirs.fileno()}
                if self._rules is not None:
                    wanted[_RULES_FD] = self._rules.fd
                kernel.keep_only(wanted)
                if self._rules is not None:
                    self._rules.fd = _RULES_FD
                connection = socket.socket(fileno=_CONNECTION_FD)
                serve_files(connection, self._settings.workspace, self._rules, self._seccomp)
            finally:
                os._exit(0)
        theirs.close()
        ours.setblocking(False)
        worker = _Worker(pid, ours)
        self._loop.listen(ours, lambda: self._serve(worker))
        return worker

    def _write(self, worker: _Worker) -> None:
        events = selectors.EVENT_READ
        while worker.outbox:
            try:
                del worker.outbox[: worker.connection.send(worker.outbox[: 1 << 20])]
            except BlockingIOError:
                events |= selectors.EVENT_WRITE
                break
            except OSError:
                break  # it died: the reading side finds out
        self._loop.listen(worker.connection, lambda: self._serve(worker), events)

    def _serve(self, worker: _Worker) -> None:
        self._read(worker)
        if worker is self._worker and worker.outbox:
            self._write(worker)

    def _read(self, worker: _Worker) -> None:
        try:
            data = worker.connection.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._bury(worker)
            return
        for message in worker.decoder.feed(data):
            self._quota.settled(worker.waiting.popleft()[2])
            worker.since = time.monotonic() if worker.waiting else None
            self._loop.send(encode(message))

    def _bury(self, worker: _Worker) -> None:
        """The worker ended without answering: it was killed for taking too long, or too much memory."""
        self._loop.forget(worker.connection)
        worker.connection.close()
        self._worker = None
        late = worker.since is not None and time.monotonic() - worker.since >= worker.patience
        for index, (request, op, size) in enumerate(worker.waiting):
            self._quota.settled(size)
            if index > 0:
                text = f"`{op}` was waiting behind another file operation that was ended; try again"
            elif late:
                text = f"`{op}` took longer than {worker.patience:g} s and was ended; narrow the path or the pattern"
            else:
                text = f"`{op}` was ended by the sandbox's memory limit; work on less at once"
            self._loop.send(failure(request, GuestError("timeout" if late else "ended", text)))
