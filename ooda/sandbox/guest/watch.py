"""Limits that the kernel does not hold here: the size of the workspace, and memory where there is no cgroup."""

from __future__ import annotations

import os
from collections.abc import Callable

from .kernel import loose_segments
from .loop import Loop
from .measure import Measurement, disk_usage
from .quota import Quota
from .settings import Settings
from .tree import resident_bytes

__all__ = ["Watch"]

_EVERY_S = 0.25
_STEP_BYTES, _STEP_FILES = 32 << 20, 8192
"""The workspace is measured when its file system lost this much: asking for that is one system call, while
measuring costs a look at every file."""


def _segment_bytes() -> int:
    """Memory of shared segments that is in no process any more, and so in nobody's resident size."""
    try:
        return sum(loose_segments().values())
    except OSError:
        return 0  # a kernel without them


class Watch:
    """Looks every quarter of a second while commands run; `exceeded` is called with the name of the limit."""

    def __init__(self, loop: Loop, settings: Settings, quota: Quota, exceeded: Callable[[str], None]) -> None:
        self._loop = loop
        self._quota = quota
        self._settings = settings
        self._exceeded = exceeded
        self._next = 0.0
        self._free: tuple[int, int] | None = None
        """Bytes and files the file system had left when last measured, or more."""
        self._measured: int | None = None
        self._measuring = False
        self._entries: dict[str, int] = {}
        """Files of each temporary folder at the last look."""

    def due(self) -> float:
        """When to look next, on the monotonic clock."""
        return self._next

    def tend(self, now: float) -> None:
        """Look, when it is time."""
        if now < self._next:
            return
        self._next = now + _EVERY_S
        ceiling = self._settings.watch_memory_bytes
        if ceiling is not None and resident_bytes() + _segment_bytes() > ceiling:
            self._exceeded("memory")
        self._count_entries()
        facts = os.statvfs(self._settings.workspace)
        bytes_left, files_left = facts.f_bavail * facts.f_frsize, facts.f_ffree
        known = self._free
        if known is None or known[0] - bytes_left >= _STEP_BYTES or known[1] - files_left >= _STEP_FILES:
            self._measure((bytes_left, files_left))
        else:
            self._free = max(known[0], bytes_left), max(known[1], files_left)

    def _count_entries(self) -> None:
        """Empty files take nothing of a temporary folder's size, and a kilobyte of the kernel's memory each."""
        for folder, ceiling in self._settings.entries.items():
            try:
                facts = os.statvfs(folder)
            except OSError:
                continue  # this root has no such folder
            used, before = facts.f_files - facts.f_ffree, self._entries.get(folder, 0)
            self._entries[folder] = used
            if used > ceiling and used > before:
                self._exceeded("disk")

    def _measure(self, free: tuple[int, int]) -> None:
        if self._measuring:
            return
        self._free = free
        try:
            Measurement(self._loop, self._settings.workspace, self._judge)
            self._measuring = True
        except OSError:  # the process limit is reached, which must not be a way round this one
            self._judge(disk_usage(self._settings.workspace))

    def _judge(self, used: int | None) -> None:
        self._measuring = False
        if used is None:
            return
        if self._free is not None:
            self._quota.learn(used, self._free)
        before, self._measured = self._measured, used
        # A workspace that was over the limit from the start, or is shrinking, is left alone: otherwise no
        # command could ever clean it up.
        if used > self._settings.disk_bytes and before is not None and used > before:
            self._exceeded("disk")
