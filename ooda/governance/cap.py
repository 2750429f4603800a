"""The output cap: what of a long text the decider sees. Pure.

Head and tail, cut at line ends where there are any, with the gap counted: the beginning says what ran, the end says
how it ended, and nothing is left out silently.
"""

from __future__ import annotations

__all__ = ["capped"]


def capped(text: str, limit_bytes: int, handle: str = "") -> str:
    """`text` within `limit_bytes` of UTF-8 (plus the line that counts the gap), whole when it fits.

    Args:
        handle: Where the full text can be read back; named in the gap line when given.
    """
    if len(text) <= limit_bytes and (text.isascii() or len(text.encode()) <= limit_bytes):
        return text
    raw = text.encode()
    head = _cut_end(raw[: limit_bytes * 2 // 3])
    tail = _cut_start(raw[len(raw) - limit_bytes // 3 :])
    gap = len(raw) - len(head) - len(tail)
    where = f'; `read_output` with handle "{handle}" reads it' if handle else ""
    middle = f"\n… {gap:,} bytes left out of {len(raw):,}{where} …\n"
    return head.decode(errors="ignore") + middle + tail.decode(errors="ignore")


def _cut_end(raw: bytes) -> bytes:
    """Up to the last line end, unless that loses more than half."""
    at = raw.rfind(b"\n")
    return raw[: at + 1] if at > len(raw) // 2 else raw.decode(errors="ignore").encode()


def _cut_start(raw: bytes) -> bytes:
    at = raw.find(b"\n")
    return raw[at + 1 :] if 0 <= at < len(raw) // 2 else raw.decode(errors="ignore").encode()
