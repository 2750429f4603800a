"""The helper's event loop: descriptors and what to call when they are ready, and frames to the host."""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable
from typing import Any

from .frames import GuestError, failure, reply

__all__ = ["Loop"]

_WRITE_BYTES = 1 << 20


class Loop:
    """One selector and the buffer of replies. Every handler runs on the one thread, none may block."""

    def __init__(self, output: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._output = output
        self._outbox = bytearray()
        self.open = True
        self.on_drained: Callable[[], None] = lambda: None
        """Called whenever the host took some of what was waiting for it."""

    @property
    def waiting_bytes(self) -> int:
        """Bytes the host has not taken yet."""
        return len(self._outbox)

    def listen(self, fd: Any, call: Callable[[], None], events: int = selectors.EVENT_READ) -> None:
        """Call `call` whenever `fd` is ready; replaces what was said about it before."""
        if fd in self._selector.get_map():
            self._selector.modify(fd, events, call)
        else:
            self._selector.register(fd, events, call)

    def forget(self, fd: Any) -> None:
        """No longer watch `fd`; fine when it is not watched. Must come before it is closed."""
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def turn(self, patience: float | None) -> None:
        """Wait for at most `patience` seconds and call the handlers of what is ready."""
        for key, _ in self._selector.select(patience):
            # An earlier handler of this turn may have let go of it.
            if self._selector.get_map().get(key.fd) is key:
                key.data()

    def send(self, frame: bytes) -> None:
        """Queue a frame for the host."""
        self._outbox += frame
        self.flush()

    def answer(self, request: object, work: Callable[[], dict[str, Any] | None]) -> None:
        """Send what `work` gives or refuses; None means that the reply comes later."""
        try:
            result = work()
        except GuestError as error:
            self.send(failure(request, error))
        except (KeyError, TypeError, ValueError) as error:
            self.send(failure(request, GuestError("bad_request", f"the request is malformed: {error!r}")))
        else:
            if result is not None:
                self.send(reply(request, result))

    def flush(self) -> None:
        """Write what the host takes now; the rest when it can."""
        before = len(self._outbox)
        while self._outbox:
            try:
                written = os.write(self._output, self._outbox[:_WRITE_BYTES])
            except BlockingIOError:
                break
            except OSError:
                self.open = False  # the host is gone
                return
            del self._outbox[:written]
        if self._outbox:
            self.listen(self._output, self.flush, selectors.EVENT_WRITE)
        else:
            self.forget(self._output)
        if len(self._outbox) < before:
            self.on_drained()
