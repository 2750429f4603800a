"""Whole listings in pages, although rows move between the pages while they are read.

Coder orders workspaces by favourites, running first, owner and name: a workspace that stops between two pages moves,
and another one slips through the gap. Rows are therefore told apart by id, and the listing is read again until
nothing moved. A page may be shorter than asked for although more follow (rows are dropped after the limit was
applied), so the offset advances by what was asked for, and the count says when to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

import msgspec

__all__ = ["Listing", "Page", "Row", "whole_listing"]

_PASSES = 3
_AT_ONCE = 4


class Row(Protocol):
    """What is listed."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=Row)


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some rows of a listing."""

    rows: tuple[T, ...]
    count: int
    """All rows that match, on whatever page."""


class Listing(msgspec.Struct, Generic[T], frozen=True):
    """A listing read to its end."""

    rows: tuple[T, ...]
    """Each id once, in the server's order."""
    missing: int = 0
    """Rows the server counts and does not show (it may not, or they kept moving)."""
    passes: int = 1


async def whole_listing(
    fetch: Callable[[int, int], Awaitable[Page[T]]], page_rows: int, passes: int = _PASSES
) -> Listing[T]:
    """Read a listing until two readings agree or `passes` are done.

    Args:
        fetch: one page, from offset and limit.
        page_rows: rows asked for in one page; Coder answers at most 1,000.
    """
    found: dict[str, T] = {}
    done = 0
    while True:
        done += 1
        known = len(found)
        pages = await _pages(fetch, page_rows)
        rows = [row for page in pages for row in page.rows]
        counts = {page.count for page in pages}
        once = {row.id: row for row in rows}
        is_quiet = len(counts) == 1 and len(once) == len(rows)
        # What an earlier reading saw and this one missed still exists: at worst its facts are some seconds old.
        order = {**once, **{id: row for id, row in found.items() if id not in once}}
        found = order if not is_quiet or len(once) < max(counts) else once
        missing = max(0, max(counts) - len(found))
        if (is_quiet and missing == 0) or done >= passes or (is_quiet and done > 1 and len(found) == known):
            return Listing(tuple(found.values()), missing, done)


async def _pages(fetch: Callable[[int, int], Awaitable[Page[T]]], page_rows: int) -> list[Page[T]]:
    """One reading: the first page tells how many there are, the others follow a few at a time."""
    pages = [await fetch(0, page_rows)]
    turn = asyncio.Semaphore(_AT_ONCE)

    async def page(offset: int) -> Page[T]:
        async with turn:
            return await fetch(offset, page_rows)

    while len(pages) * page_rows < max(page.count for page in pages):
        offsets = range(len(pages) * page_rows, max(page.count for page in pages), page_rows)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(page(offset)) for offset in offsets]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        pages += [task.result() for task in tasks]
    return pages
