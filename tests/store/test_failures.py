"""Every failure of SQLite and of the file system becomes one of ours, with the path and what to do."""

import errno
import sqlite3
from pathlib import Path

import pytest

from ooda.errors import ConfigError, IntegrationError, JournalError, OodaError
from ooda.store.failures import from_os, from_sqlite

PATH = Path("/data/ooda.db")


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("said by sqlite")
    error.sqlite_errorcode = code
    error.sqlite_errorname = "SQLITE_SOMETHING"
    return error


@pytest.mark.parametrize(
    ("code", "kind", "advice", "retryable"),
    [
        (sqlite3.SQLITE_FULL, IntegrationError, "free some space", True),
        (sqlite3.SQLITE_BUSY, IntegrationError, "fuser", True),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, IntegrationError, "fuser", True),
        (sqlite3.SQLITE_LOCKED, IntegrationError, "fuser", True),
        (sqlite3.SQLITE_IOERR, IntegrationError, "check that the disk", True),
        (sqlite3.SQLITE_IOERR_FSYNC, IntegrationError, "check that the disk", True),
        (sqlite3.SQLITE_CANTOPEN, ConfigError, "XDG_DATA_HOME", None),
        (sqlite3.SQLITE_READONLY, ConfigError, "XDG_DATA_HOME", None),
        (sqlite3.SQLITE_PERM, ConfigError, "XDG_DATA_HOME", None),
        (sqlite3.SQLITE_CORRUPT, JournalError, "backup", None),
        (sqlite3.SQLITE_NOTADB, JournalError, "backup", None),
        (sqlite3.SQLITE_CONSTRAINT, IntegrationError, "said by sqlite", False),
        (sqlite3.SQLITE_NOMEM, IntegrationError, "said by sqlite", False),
    ],
)
def test_sqlite_errors_are_sorted_by_who_has_to_act(
    code: int, kind: type[OodaError], advice: str, retryable: bool | None
) -> None:
    """Extended codes follow their primary ones."""
    error = from_sqlite(sqlite_error(code), PATH, "write")

    assert type(error) is kind
    assert advice in str(error)
    assert error.facts["path"] == str(PATH)
    assert error.facts.get("retryable") is retryable


def test_errors_raised_by_the_python_module_itself_are_mapped_too() -> None:
    """They carry no code."""
    error = from_sqlite(sqlite3.ProgrammingError("wrong thread"), PATH, "write")

    assert type(error) is IntegrationError
    assert "wrong thread" in str(error)


@pytest.mark.parametrize(
    ("code", "kind", "advice"),
    [
        (errno.ENOSPC, IntegrationError, "free some space"),
        (errno.EDQUOT, IntegrationError, "free some space"),
        (errno.EACCES, ConfigError, "XDG_DATA_HOME"),
        (errno.EROFS, ConfigError, "XDG_DATA_HOME"),
        (errno.ENOTDIR, ConfigError, "XDG_DATA_HOME"),
        (errno.EIO, IntegrationError, "Input/output error"),
    ],
    ids=errno.errorcode.get,
)
def test_file_errors_are_sorted_the_same_way(code: int, kind: type[OodaError], advice: str) -> None:
    """A full disk reads alike wherever it is met."""
    import os

    error = from_os(OSError(code, os.strerror(code)), PATH, "write the blob")

    assert type(error) is kind
    assert advice in str(error)
    assert error.facts["path"] == str(PATH)
