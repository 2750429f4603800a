"""What the store asks of a database: one transaction at a time, several works in one, each failing alone.

`sqlite` and `postgres` implement it. Knows transactions and savepoints; must not know what is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

from ooda.errors import OodaError
from ooda.store.tx import Tx

__all__ = ["Database", "Failure", "Work", "apart", "ended"]

T = TypeVar("T")

Work = Callable[[Tx], T]
"""What is done inside one transaction; it holds nothing of the transaction afterwards."""


class Failure:
    """An exception on its way to the caller whose work raised it."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class Database(Protocol):
    """A database opened by this process. One transaction at a time; a second one inside it is a RuntimeError."""

    @property
    def place(self) -> str:
        """Where it is, for people: a file, or host and name; never a password."""
        ...

    @property
    def is_remote(self) -> bool:
        """Whether a transaction waits for a network, so that it needs a thread of its own."""
        ...

    def write(self, work: Work[T], *, is_synced: bool = True) -> T:
        """Carry `work` out alone and commit; on disk when this returns, if `is_synced`."""
        ...

    def sync(self) -> None:
        """Wait until everything committed before is on disk."""
        ...

    def write_all(self, works: Sequence[Work[Any]]) -> list[Any]:
        """The result, or the Failure, of each work; all are on disk. Raises when the transaction as a whole failed."""
        ...

    def read(self, work: Work[T]) -> T:
        """What `work` finds in one consistent state."""
        ...

    def compact(self) -> None:
        """Give back the space of what was deleted, where that does not happen by itself."""
        ...

    def close(self) -> None:
        """Let go of it; closing twice does nothing."""
        ...


def apart(work: Work[Any], tx: Tx, translate: Callable[[Exception], OodaError | None]) -> Any:
    """The result of one work of several, or its Failure; a failed one leaves no trace.

    Args:
        translate: The database's own error as one of ours; None for an error that is none of the database. Raises
            when the whole transaction is gone, because then nobody's work was kept.
    """
    tx.execute("SAVEPOINT work")
    try:
        result = work(tx)
    except Exception as error:  # noqa: BLE001 - handed to its caller
        translated = translate(error)
        tx.execute("ROLLBACK TO work")
        tx.execute("RELEASE work")
        return Failure(translated or error)
    tx.execute("RELEASE work")
    return result


def ended(*_: object) -> NoReturn:
    """Stands in for a transaction after its end: a statement after the commit would not be part of anything."""
    raise RuntimeError("this transaction has ended; do all its statements inside the work given to the store")
