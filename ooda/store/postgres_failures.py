"""Errors of PostgreSQL as errors of ours: which database, what happened, what to do.

Sorted by who has to act, as `failures` sorts those of SQLite. Must not show a password: the place is named by host
and database only, and the server's own words hold none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ooda.errors import ConfigError, CredentialError, IntegrationError, JournalError, OodaError

if TYPE_CHECKING:
    import psycopg

__all__ = ["from_postgres"]


_REFUSED: Final = {
    "28P01": re.compile(r"FATAL: .*(authentication failed|no pg_hba.conf entry|role \".*\" does not exist)"),
    "3D000": re.compile(r"FATAL: .*database \".*\" does not exist"),
}
"""A connection that the server refuses carries no code, only its sentence; others than these may pass."""


def from_postgres(error: psycopg.Error, place: str, operation: str) -> OodaError:
    """The error to raise, `from` the given one, when `operation` on the database at `place` failed."""
    said = _said(error)
    state = error.sqlstate or next((code for code, refused in _REFUSED.items() if refused.search(str(error))), "")
    what = f"cannot {operation} the database `{place}`"
    facts = {"path": place, "code": state}
    match state[:2], state:
        case ("", _) | ("08", _):
            return _failed(
                f"{what}: {said}. Look whether the server runs and can be reached, then repeat the command; a run "
                "goes on with `ooda runs resume RUN`",
                place,
                operation,
                state or "connection",
                retryable=True,
            )
        case ("28", _):
            return CredentialError(f"{what}: {said}. Correct user and password in `store.url`", **facts)
        case (_, "3D000" | "3F000"):
            return ConfigError(f"{what}: {said}. Create it, or name another one in `store.url`", **facts)
        case (_, "42501" | "25006"):
            return ConfigError(
                f"{what}: {said}. The user of `store.url` needs to write in its schema: let it own one and name that "
                "behind the URL (`?options=-csearch_path%3DNAME`)",
                **facts,
            )
        case (_, "55P03"):
            return _failed(
                f"{what}: another process kept it locked for too long; wait for it, or find it in "
                "`pg_stat_activity` (application_name `ooda`)",
                place,
                operation,
                state,
                retryable=True,
            )
        case (_, "53100"):
            return _failed(
                f"{what}: the server's disk is full; free some space there and repeat the command. Nothing of this "
                "transaction was kept",
                place,
                operation,
                state,
                retryable=True,
            )
        case ("XX", _):
            return JournalError(f"{what}: {said}. The server reports damage; restore a backup", **facts)
        case _:
            # Too many connections, a shutdown, a deadlock or a serialisation failure pass.
            return _failed(
                f"{what}: {said}", place, operation, state, retryable=state[:2] in ("53", "57") or state[:2] == "40"
            )


def _said(error: psycopg.Error) -> str:
    """The server's sentence on one line, without the position in the statement."""
    primary = error.diag.message_primary
    lines = (primary or str(error)).strip().splitlines()
    return lines[0].rpartition("FATAL:")[2].strip().rstrip(".") if lines else type(error).__name__


def _failed(message: str, place: str, operation: str, code: str, *, retryable: bool) -> IntegrationError:
    return IntegrationError(message, service="store", operation=operation, status=code, retryable=retryable, path=place)
