"""Errors of SQLite and of the file system as errors of ours: which file, what happened, what to do.

Sorted by who has to act: a setting or a permission is a ConfigError, a full disk or a lock an IntegrationError,
a damaged file a JournalError.
"""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from ooda.errors import ConfigError, IntegrationError, JournalError, OodaError

__all__ = ["from_os", "from_sqlite"]

_NO_SPACE = "the disk is full; free some space (`ooda runs gc` removes old runs) and repeat the command"


def from_sqlite(error: sqlite3.Error, path: Path, operation: str) -> OodaError:
    """The error to raise, `from` the given one, when `operation` on the database at `path` failed."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    what = f"cannot {operation} the database `{path}`"
    match code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return _failed(f"{what}: {_NO_SPACE}. Nothing of this transaction was kept", path, operation, name, True)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return _failed(
                f"{what}: another process kept it locked for too long; wait for it, or find it with `fuser {path}`",
                path,
                operation,
                name,
                True,
            )
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_AUTH:
            return ConfigError(
                f"{what}: {error}. File and folder must be writable by this user; change their owner or mode, or "
                "name another place with XDG_DATA_HOME",
                path=str(path),
                code=name,
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return JournalError(
                f"{what}: {error}. The file is damaged or no database of this program; move it (with its -wal and "
                "-shm) aside and restore a backup, `sqlite3 FILE .recover` saves what is left",
                path=str(path),
                code=name,
            )
        case sqlite3.SQLITE_IOERR:
            return _failed(
                f"{what}: the disk reported an error ({name}); check that the disk is mounted and not full, then "
                "repeat the command",
                path,
                operation,
                name,
                True,
            )
        case _:
            return _failed(f"{what}: {error} ({name})", path, operation, name, False)


def from_os(error: OSError, path: Path, operation: str) -> OodaError:
    """The error to raise, `from` the given one, when a file operation of the store failed."""
    what = f"cannot {operation} `{path}`"
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return _failed(f"{what}: {_NO_SPACE}", path, operation, name, True)
        case errno.EACCES | errno.EPERM | errno.EROFS | errno.ENOTDIR | errno.EEXIST | errno.EISDIR:
            return ConfigError(
                f"{what}: {error.strerror}. The place must be a folder writable by this user; change its owner or "
                "mode, or name another one with XDG_DATA_HOME",
                path=str(path),
                code=name,
            )
        case _:
            return _failed(f"{what}: {error.strerror or error}", path, operation, name, False)


def _failed(message: str, path: Path, operation: str, code: str, retryable: bool) -> IntegrationError:
    return IntegrationError(
        message, service="store", operation=operation, status=code, retryable=retryable, path=str(path)
    )
