"""What the rooms above see of a database: one transaction that takes SQL with `?` parameters.

SQL is written so that both dialects understand it (`ON CONFLICT`, no `RETURNING`, integers and texts only).
Knows nothing of files, connections and commits; `ooda.store.sqlite` implements it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

__all__ = ["Params", "Tx", "columns", "records"]

S = TypeVar("S", bound=msgspec.Struct)

Params = Sequence[Any]
"""Values for the `?` of a statement: str, int, bytes or None."""


class Tx(Protocol):
    """A transaction under way. Valid only inside the work it was handed to."""

    @property
    def for_update(self) -> str:
        """Clause that locks the rows of a SELECT until the end; empty where the transaction is alone anyway."""
        ...

    def execute(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        """The rows of a query; an empty list for other statements."""
        ...

    def change(self, sql: str, params: Params = ()) -> int:
        """Carry out an INSERT, UPDATE or DELETE; the number of rows it touched."""
        ...


def columns(kind: type[msgspec.Struct]) -> str:
    """The fields of a record as a column list; they bear the same names."""
    return ", ".join(kind.__struct_fields__)


def records(kind: type[S], rows: Iterable[Sequence[Any]]) -> list[S]:
    """Rows of `columns(kind)` as records."""
    names = kind.__struct_fields__
    return [kind(**dict(zip(names, row, strict=True))) for row in rows]
