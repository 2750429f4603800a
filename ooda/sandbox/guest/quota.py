"""How much room the workspace has left, known before a file tool writes and without a look at every file each time.

Between two measurements what is used is bounded from above: by what was measured, and what the file system lost since
or the file tools wrote since, whichever is more. Only when that bound leaves no room is the workspace measured again.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from .loop import Loop
from .measure import BLOCK_BYTES, Measurement, disk_usage
from .settings import Settings

__all__ = ["Quota"]


class Quota:
    """The workspace's quota as the file tools meet it."""

    def __init__(self, loop: Loop, settings: Settings) -> None:
        self._loop = loop
        self._root = settings.workspace
        self._limit = settings.disk_bytes
        self._used: int | None = None
        self._free = (0, 0)
        """Bytes and files the file system had left when that was measured, or more."""
        self._written = 0
        """Bytes the file tools were let write since, and those they had not written yet then."""
        self._flying = 0
        """Bytes they were let write and have not written yet."""
        self._waiting: list[tuple[int, Callable[[int], None]]] = []
        self._measuring = False

    def measure(self) -> None:
        """Measure in the background, so that the first write need not wait for it."""
        if self._measuring:
            return
        self._measuring = True
        free, self._written = self._left(), self._flying
        try:
            Measurement(self._loop, self._root, lambda used: self._measured(used, free))
        except OSError:  # the process limit is reached
            self._measured(disk_usage(self._root), free)

    def learn(self, used: int, free: tuple[int, int]) -> None:
        """Hear what someone else measured, and which bytes and files were free when he began."""
        if not self._measuring:
            self._used, self._free, self._written = used, free, self._flying

    def admit(self, size: int, go: Callable[[int], None]) -> None:
        """Call `go` with the bytes that are left, at once or when they are known; it may refuse by them. A file of
        `size` bytes counts as written from then on; `settled` must follow when it is, or is refused."""
        room = self._room()
        if room is not None and room >= size:
            self._let(size, go, room)
            return
        self._waiting.append((size, go))
        self.measure()

    def settled(self, size: int) -> None:
        """Hear that a file of `size` bytes is written, or was refused."""
        self._flying -= size

    def _let(self, size: int, go: Callable[[int], None], room: int) -> None:
        self._written += size
        self._flying += size
        go(room)

    def _measured(self, used: int | None, free: tuple[int, int]) -> None:
        self._measuring = False
        if used is not None:
            self._used, self._free = used, free
        waiting, self._waiting = self._waiting, []
        for size, go in waiting:
            room = self._room()
            self._let(size, go, self._limit if room is None else room)

    def _room(self) -> int | None:
        if self._used is None:
            return None
        (bytes_left, files_left), known = self._left(), self._free
        self._free = max(known[0], bytes_left), max(known[1], files_left)
        lost = max(self._free[0] - bytes_left, self._written) + BLOCK_BYTES * (self._free[1] - files_left)
        return self._limit - self._used - lost

    def _left(self) -> tuple[int, int]:
        facts = os.statvfs(self._root)
        return facts.f_bavail * facts.f_frsize, facts.f_ffree
