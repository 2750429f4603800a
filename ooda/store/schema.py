"""Numbered migrations: which there are for a dialect, and which databases are not ours to touch.

One folder per dialect, one file per number; a file is never edited after a release. Knows no connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from ooda.errors import ConfigError, JournalError

__all__ = ["Dialect", "latest", "numbered", "refuse_newer", "refuse_older"]

Dialect = Literal["sqlite", "postgres"]

_FOLDER = Path(__file__).parent / "migrations"


def numbered(dialect: Dialect) -> Iterator[tuple[int, Path]]:
    """The migrations of a dialect in order, each with its number."""
    for file in sorted((_FOLDER / dialect).glob("[0-9][0-9][0-9][0-9]_*.sql")):
        yield int(file.name[:4]), file


def latest(dialect: Dialect) -> int:
    """The schema version this program works with."""
    return max(number for number, _ in numbered(dialect))


def refuse_newer(found: int, known: int, place: str) -> None:
    """Return when this program knows schema version `found`.

    Raises:
        JournalError: a newer program made the database at `place`; facts `found`, `expected`.
    """
    if found > known:
        raise JournalError(
            f"database `{place}` has schema version {found}, this program knows versions up to {known}; nothing was "
            "changed, use the newer `ooda` that wrote it",
            path=place,
            found=found,
            expected=known,
        )


def refuse_older(found: int, known: int, place: str) -> None:
    """Return when a reader, who may not migrate, can read version `found`.

    Raises:
        ConfigError: the database has to be brought up to date first; facts `found`, `expected`.
    """
    if found < known:
        raise ConfigError(
            f"database `{place}` has schema version {found}, this program reads {known}; open it once for "
            "writing (any `ooda run` does) to bring it up to date",
            path=place,
            found=found,
            expected=known,
        )
