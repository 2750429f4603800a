"""The commonest response, read without a state machine: a status line, headers, and a body of a stated length.

Anything else (chunked, closed at the end, informational, repeated or odd headers, HTTP/1.0) is not for this reader: it
says so before it has given anything, and h11 reads the same bytes from the start. It costs a tenth of h11's time per
reply, which is most of what our own transport costs at all. Pure; knows no socket.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import h11

__all__ = ["Head", "PlainResponse"]

_HEAD_BYTES = 64 * 1024
_STATUS = re.compile(rb"HTTP/1\.1 ([2-5]\d\d)(?: [^\r\n\x00]*)?\Z")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*?)[ \t]*\Z")
_LENGTH = re.compile(rb"\d{1,12}\Z")
_NOT_PLAIN = frozenset({b"transfer-encoding", b"connection", b"upgrade", b"trailer"})


class Head(NamedTuple):
    """Status and headers, names in lower case."""

    status_code: int
    headers: list[tuple[bytes, bytes]]


class PlainResponse:
    """Reads one response from the bytes of a connection."""

    def __init__(self) -> None:
        self.received = bytearray()
        """All bytes as long as the head is not read, then those of the body not yet given."""
        self.is_refused = False
        """The response is not plain: h11 has to read `received`."""
        self._left = -1
        """Bytes of the body still to come; -1 before the head."""
        self._is_cut = False

    def cut(self) -> None:
        """The other side sends nothing more."""
        self._is_cut = True
        self.is_refused = self._left < 0

    @property
    def is_done(self) -> bool:
        """The response was given whole and nothing came after it."""
        return self._left == 0 and not self.received

    def next_event(self) -> Head | h11.Data | h11.EndOfMessage | None:
        """The next part of the response; None when more bytes are needed or the response is refused.

        Raises:
            h11.RemoteProtocolError: the connection closed inside the body.
        """
        if self._left < 0:
            return self._head()
        if self._left == 0:
            return h11.EndOfMessage()
        if not self.received:
            if self._is_cut:
                raise h11.RemoteProtocolError("peer closed the connection inside the body")
            return None
        if len(self.received) <= self._left:
            data, self.received = self.received, bytearray()
        else:
            data = self.received[: self._left]
            del self.received[: self._left]
        self._left -= len(data)
        return h11.Data(data=data)  # type: ignore[arg-type]  # a bytearray does as well

    def _head(self) -> Head | None:
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            self.is_refused = len(self.received) > _HEAD_BYTES
            return None
        lines = bytes(self.received[:end]).split(b"\r\n")
        status = _STATUS.match(lines[0])
        headers: list[tuple[bytes, bytes]] = []
        length = None
        for line in lines[1:]:
            found = _HEADER.match(line)
            name = found[1].lower() if found else b""
            if found is None or name in _NOT_PLAIN or (name == b"content-length" and length is not None):
                self.is_refused = True
                return None
            if name == b"content-length":
                length = found[2]
            headers.append((name, found[2]))
        code = int(status[1]) if status else 0
        if code in (0, 204, 304) or length is None or not _LENGTH.match(length):
            self.is_refused = True
            return None
        del self.received[: end + 4]
        self._left = int(length)
        return Head(code, headers)
