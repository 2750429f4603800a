"""The server name in a TLS ClientHello (RFC 8446 4.1.2, RFC 6066 3), read without any TLS. Pure."""

from __future__ import annotations

__all__ = ["server_name"]

_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = 22, 1, 0, 0
_MAX_BYTES = 1 << 16


class _Cut(Exception):
    """More bytes are needed."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._data):
            raise _Cut
        piece = self._data[self._at : self._at + count]
        self._at += count
        return piece

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width))

    def block(self, width: int) -> bytes:
        """A field with its length before it."""
        return self.take(self.number(width))

    @property
    def left(self) -> bool:
        return self._at < len(self._data)


def server_name(data: bytes) -> tuple[str | None, bool]:
    """(the name, whether `data` was enough to tell). None and True: not a greeting, or one without a name."""
    if (data and data[0] != _HANDSHAKE) or len(data) > _MAX_BYTES:
        return None, True
    try:
        message = _Reader(_handshake(data))
        if message.number(1) != _CLIENT_HELLO:
            return None, True
        return _name_in(message.block(3)), True
    except _Cut:
        return None, False


def _handshake(data: bytes) -> bytes:
    """The handshake bytes of as many records as there are; a greeting may be split over several."""
    records = _Reader(data)
    joined = b""
    wanted = 4
    while len(joined) < wanted:
        if records.number(1) != _HANDSHAKE:
            raise _Cut
        records.take(2)
        joined += records.block(2)
        if len(joined) >= 4:
            wanted = 4 + int.from_bytes(joined[1:4])
    return joined


def _name_in(hello: bytes) -> str | None:
    try:
        body = _Reader(hello)
        body.take(2 + 32)  # version, random
        body.block(1)  # session
        body.block(2)  # cipher suites
        body.block(1)  # compression
        extensions = _Reader(body.block(2)) if body.left else _Reader(b"")
        while extensions.left:
            kind = extensions.number(2)
            content = extensions.block(2)
            if kind == _SERVER_NAME:
                names = _Reader(_Reader(content).block(2))
                while names.left:
                    kind_of_name = names.number(1)
                    name = names.block(2)
                    if kind_of_name == _HOST_NAME:
                        return name.decode("ascii", "replace").lower()
    except _Cut:
        return None  # the greeting is complete and still cut: malformed, so nameless
    return None
