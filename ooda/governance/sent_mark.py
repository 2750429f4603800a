"""The last model call a run sent, noted outside the database just before its first byte leaves.

A killed process leaves a reservation behind; whether its call was sent decides between charging and releasing it. A
second synced transaction for that one bit would cost as much as the whole intent, so the key is written into a small
file of the run: the kernel keeps it when the process dies. A power cut may lose it, and then the call counts as not
sent; the provider's own bill tells. Knows keys only.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["SentMark"]

_WIDTH = 64


class SentMark:
    """The note of one run.

    Args:
        path: The file; made on the first note, in a folder that exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def note(self, key: str) -> None:
        """Remember that the call with this idempotency key is about to leave. One write, never partly seen."""
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.pwrite(self._descriptor, key.encode().ljust(_WIDTH), 0)

    def last(self) -> str:
        """The key of the call that was sent last; empty when none was."""
        try:
            return self._path.read_text().strip()
        except FileNotFoundError:
            return ""

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
