"""The published normaliser: what may differ between a recording and its replay without being a divergence.

Durations, versions of interpreters and test runners, addresses of objects, process ids in brackets, timestamps
and temporary folders. Everything else must be the same, byte for byte. Idempotent and pure.
"""

from __future__ import annotations

import re

__all__ = ["normalise"]

_VOLATILE = re.compile(
    r"(?P<duration>\b\d+(?:\.\d+)? ?(?:seconds|second|secs|sec|ms|us|ns|s)\b)"
    r"|(?P<address>\b0x[0-9a-fA-F]{6,}\b)"
    r"|(?P<time>\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)"
    r"|(?P<tmp>/tmp/[\w./-]+)"
    r"|(?P<version>\b(?:[Pp]ython|pytest|pluggy|py|hypothesis|anyio|asyncio|git version)[- =]v?\d+(?:\.\d+)+\S*)"
    r"|(?P<platform>\bplatform \w+ --[^\n]*|^plugins: [^\n]*$|^rootdir: [^\n]*$)",
    re.MULTILINE,
)
_HINT = re.compile(r"\d ?(?:s|m|u|n)|0x|/tmp/|\d-\d|\d\.\d|^plugins:|^rootdir:", re.MULTILINE)


def normalise(text: str) -> str:
    """The text with every volatile part replaced by its kind in angle brackets."""
    if not _HINT.search(text):
        return text
    return _VOLATILE.sub(lambda match: f"<{match.lastgroup}>", text)
