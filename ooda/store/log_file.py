"""The write-ahead log of a SQLite file, as far as we sync it ourselves.

Knows one descriptor, and what a failed sync means. Opened before the first commit: the kernel tells a failed write
once to each descriptor that was open then, and one opened later may never hear of it. Must not know transactions.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from ooda.errors import IntegrationError, OodaError
from ooda.store.failures import from_os

__all__ = ["LogFile"]


class LogFile:
    """The log beside a database that a connection has open in WAL mode.

    Args:
        database: The database file; a link is followed, as SQLite does, which puts the log beside its target.
        sync: Waits until what was written to a descriptor is on disk.

    Raises:
        ConfigError: it may not be opened.
        IntegrationError: the disk is failing.
    """

    def __init__(self, database: Path, sync: Callable[[int], None] = os.fdatasync) -> None:
        self._given = database
        self._database = Path(os.path.realpath(database))
        self._path = f"{self._database}-wal"
        self._sync = sync
        self._failed: OodaError | None = None
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            self._files = self._found()
        except OSError as error:
            raise from_os(error, database, "open") from error

    def require_whole(self) -> None:
        """Raise what `sync` raised if it ever did: what follows in the log would stand behind a hole in it."""
        if self._failed is not None:
            raise self._failed

    def sync(self) -> None:
        """Wait until all that was committed is on disk.

        Raises:
            IntegrationError: it may be lost, or the files were moved away. Final: after a failed sync the kernel takes
                the lost pages for written, so that the next one would succeed and prove nothing.
        """
        self.require_whole()
        try:
            self._sync(self._descriptor)
            found = self._found()
        except FileNotFoundError:
            found = ()
        except OSError as error:
            self._failed = IntegrationError(
                f"cannot write `{self._given}`: {error.strerror}. What was written last may be lost in a power cut, so "
                "nothing more is written by this process; check the disk (`dmesg`), then repeat or resume",
                service="store",
                operation="write",
                status=errno.errorcode.get(error.errno or 0, type(error).__name__),
                retryable=False,
                path=str(self._given),
            )
            raise self._failed from error
        if found != self._files:
            self._failed = IntegrationError(
                f"cannot write `{self._given}`: the file or its -wal was removed or replaced while it was in use, and "
                "what is written now may be lost. Put both back together, then repeat or resume",
                service="store",
                operation="write",
                status="moved",
                retryable=False,
                path=str(self._given),
            )
            raise self._failed

    def close(self) -> None:
        """Let go of it; closing twice does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _found(self) -> tuple[tuple[int, int], ...]:
        """Which files stand at the two names now."""
        return tuple((found.st_dev, found.st_ino) for found in (os.stat(self._database), os.stat(self._path)))
