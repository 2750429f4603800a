"""What is kept of a command's output: its first and last 64 KiB, in constant memory, as clean text.

Pure. Knows nothing of pipes or frames.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["KEEP_BYTES", "Keeper", "clean"]

KEEP_BYTES = 64 << 10

# Terminal sequences go as a whole, so that `\x1b[31m` leaves no `[31m`. A string sequence (OSC, DCS …) ends
# at a line break even without its terminator: otherwise one stray byte could hide the rest of the output.
_SEQUENCES = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]|\x9b[0-?]*[ -/]*[@-~]|\x1b[\\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\\\)?|\x1b[ -/]*[0-~]"
)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """`text` without terminal sequences and control characters; line breaks and tabs stay, CR becomes LF."""
    return _CONTROLS.sub("", _SEQUENCES.sub("", text).replace("\r\n", "\n").replace("\r", "\n"))


def _head_cut(data: bytes) -> bytes:
    """`data` without a UTF-8 sequence that its end cuts in two."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if wanted > back else data
    return data


def _tail_cut(data: bytes) -> bytes:
    """`data` without the rest of a UTF-8 sequence that its start cuts in two."""
    skip = 0
    while skip < min(3, len(data)) and 0x80 <= data[skip] < 0xC0:
        skip += 1
    return data[skip:]


class Keeper:
    """The head and the tail of a stream of any length."""

    def __init__(self, keep_bytes: int = KEEP_BYTES) -> None:
        self._keep = keep_bytes
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def add(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self.total += len(data)
        room = self._keep - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if len(data) >= self._keep:
            self._tail[:] = data[-self._keep :]
        elif data:
            self._tail += data
            if len(self._tail) > 4 * self._keep:
                del self._tail[: -self._keep]

    def render(self) -> dict[str, Any]:
        """The wire form of the protocol's `Output`: clean head and tail, bytes in all, bytes dropped between."""
        if self.total <= 2 * self._keep:
            whole = bytes(self._head + self._tail)
            return {"head": _text(whole), "tail": "", "total_bytes": self.total, "dropped_bytes": 0}
        head, tail = _head_cut(bytes(self._head)), _tail_cut(bytes(self._tail[-self._keep :]))
        dropped = self.total - len(head) - len(tail)
        return {"head": _text(head), "tail": _text(tail), "total_bytes": self.total, "dropped_bytes": dropped}


def _text(data: bytes) -> str:
    return clean(data.decode("utf-8", "replace"))
