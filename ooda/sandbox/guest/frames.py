"""Frames between the host and the helper: u32 big-endian length, then one JSON object.

Requests are `{v, id, op, …}`; replies `{v, id, ok: {…}}` or `{v, id, error: {code, message}}`; while a
command with a spool runs, `{v, id, chunk: base64}` pieces precede its reply. Both sides use this file.
"""

from __future__ import annotations

import json
import struct
from typing import Any

__all__ = ["MAX_FRAME_BYTES", "VERSION", "Decoder", "FrameError", "GuestError", "encode", "failure", "reply"]

VERSION = 1
MAX_FRAME_BYTES = 64 << 20
"""A file of 40 MiB as base64 fits; anything longer is a broken or hostile peer."""

_HEADER = struct.Struct(">I")


class FrameError(Exception):
    """The peer sent something that is not a frame; the connection cannot go on."""


class GuestError(Exception):
    """A typed refusal: `code` for programs, the message (one sentence) for people and models."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def encode(message: dict[str, Any]) -> bytes:
    """One frame. ASCII only, so that no odd file name can make the JSON invalid UTF-8."""
    body = json.dumps(message, separators=(",", ":")).encode("ascii")
    if len(body) > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {len(body)} bytes is longer than {MAX_FRAME_BYTES}")
    return _HEADER.pack(len(body)) + body


def reply(request: object, result: dict[str, Any]) -> bytes:
    """The frame that answers `request`."""
    return encode({"v": VERSION, "id": request, "ok": result})


def failure(request: object, error: GuestError) -> bytes:
    """The frame that refuses `request`."""
    return encode({"v": VERSION, "id": request, "error": {"code": error.code, "message": str(error)}})


class Decoder:
    """Turns a byte stream into messages; keeps what is incomplete."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The messages completed by `data`, in order. Raises FrameError on anything that is not a frame."""
        self._buffer += data
        messages = []
        at = 0
        while len(self._buffer) - at >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._buffer, at)
            if length > MAX_FRAME_BYTES:
                raise FrameError(f"a frame of {length} bytes is announced; at most {MAX_FRAME_BYTES} are allowed")
            if len(self._buffer) - at - _HEADER.size < length:
                break
            start = at + _HEADER.size
            try:
                message = json.loads(self._buffer[start : start + length])
            except ValueError as error:
                raise FrameError(f"a frame is not JSON: {error}") from error
            if not isinstance(message, dict):
                raise FrameError("a frame is not a JSON object")
            messages.append(message)
            at = start + length
        del self._buffer[:at]
        return messages
