"""The inner end of the egress proxy: a port on loopback inside the sandbox whose every byte goes to the
host's proxy over a unix socket. It decides nothing; without the proxy behind it there is no way out.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket

from . import kernel
from .settings import Settings

__all__ = ["start_forwarder"]

_LISTENER_FD, _RULES_FD = 3, 4
_PIECE_BYTES = 1 << 16
_MAX_CONNECTIONS = 256


def start_forwarder(
    settings: Settings, rules: kernel.LandlockRules | None, seccomp: kernel.SeccompFilter | None
) -> dict[str, str]:
    """Fork the forwarder; gives the variables that lead programs to it."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    port = listener.getsockname()[1]
    if os.fork() == 0:
        try:
            wanted = {_LISTENER_FD: listener.fileno()}
            if rules is not None:
                wanted[_RULES_FD] = rules.fd
            kernel.keep_only(wanted)
            kernel.forbid_new_privileges()
            if rules is not None:
                rules.fd = _RULES_FD
                rules.restrict()
            if seccomp is not None:
                seccomp.install()
            assert settings.egress_socket is not None
            _Forwarder(socket.socket(fileno=_LISTENER_FD), settings.egress_socket).run()
        finally:
            os._exit(0)
    listener.close()
    address = f"http://127.0.0.1:{port}"
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")
    direct = ",".join(settings.direct)
    return {**dict.fromkeys(names, address), "no_proxy": direct, "NO_PROXY": direct}


class _Side:
    """One direction's sink: a socket and what it has not taken yet."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.outbox = bytearray()
        self.finished = False
        """Its peer has said its last: shut down when the outbox is empty."""
        self.reading = True


class _Forwarder:
    def __init__(self, listener: socket.socket, target: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = listener
        self._target = target
        self._peers: dict[_Side, _Side] = {}

    def run(self) -> None:
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        while True:
            for key, events in self._selector.select():
                if key.data is None:
                    self._accept()
                elif key.data in self._peers:
                    self._serve(key.data, events)

    def _accept(self) -> None:
        try:
            inner, _ = self._listener.accept()
        except OSError:
            return
        outer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if len(self._peers) >= 2 * _MAX_CONNECTIONS:
                raise OSError("too many connections")
            outer.connect(self._target)
        except OSError:
            inner.close()
            outer.close()
            return
        one, other = _Side(inner), _Side(outer)
        self._peers[one], self._peers[other] = other, one
        for side in (one, other):
            side.connection.setblocking(False)
            self._selector.register(side.connection, selectors.EVENT_READ, side)

    def _serve(self, side: _Side, events: int) -> None:
        peer = self._peers[side]
        try:
            if events & selectors.EVENT_WRITE and side.outbox:
                del side.outbox[: side.connection.send(side.outbox)]
            if events & selectors.EVENT_READ:
                data = side.connection.recv(_PIECE_BYTES)
                peer.outbox += data
                if not data:
                    side.reading = False
                    peer.finished = True
            if peer.outbox:
                with contextlib.suppress(BlockingIOError):
                    del peer.outbox[: peer.connection.send(peer.outbox)]
        except BlockingIOError:
            return
        except OSError:
            self._drop(side)
            return
        for one, other in ((side, peer), (peer, side)):
            if one.finished and not one.outbox:
                with contextlib.suppress(OSError):
                    one.connection.shutdown(socket.SHUT_WR)
                if not one.reading:
                    self._drop(one)
                    return
            self._watch(one, other)

    def _watch(self, side: _Side, peer: _Side) -> None:
        """Read a side only while its peer keeps up, write it only while something waits."""
        events = selectors.EVENT_READ if side.reading and not peer.outbox else 0
        events |= selectors.EVENT_WRITE if side.outbox else 0
        known = side.connection in self._selector.get_map()
        if events and known:
            self._selector.modify(side.connection, events, side)
        elif events:
            self._selector.register(side.connection, events, side)
        elif known:
            self._selector.unregister(side.connection)

    def _drop(self, side: _Side) -> None:
        peer = self._peers.pop(side)
        del self._peers[peer]
        for one in (side, peer):
            if one.connection in self._selector.get_map():
                self._selector.unregister(one.connection)
            one.connection.close()
