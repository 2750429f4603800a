"""The thread on which the transactions of a remote database are carried out, so that no network blocks the loop.

One transaction at a time, in the order they were asked for. Works that arrive while one is under way are collected
and share the next one. Knows threads and futures; what a transaction is, the database knows.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from ooda.store.database import Database, Failure, Work

__all__ = ["Worker"]

T = TypeVar("T")


class _Promise(asyncio.Future[T]):
    """The outcome of a work. Once its transaction has begun it cannot be cancelled.

    A caller cancelled meanwhile is told so when the transaction is over, not before: nobody goes on while it is
    unknown whether a work was kept.
    """

    has_begun = False

    def cancel(self, msg: Any | None = None) -> bool:
        return False if self.has_begun else super().cancel(msg)


_Batch = list[tuple[Work[Any], "_Promise[Any]"]]


class Worker:
    """Carries works out on `database`, on one thread of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ooda-store")
        self._ident = 0
        self._queue: _Batch = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._under_way: Future[list[Any]] | None = None

    def write(self, work: Work[T]) -> asyncio.Future[T]:
        """Put `work` into the next transaction."""
        loop = asyncio.get_running_loop()
        promise: _Promise[T] = _Promise(loop=loop)
        self._queue.append((work, promise))
        if self._loop is not loop:
            self._loop = loop
            loop.call_soon(self._flush, loop)
        return promise

    def call(self, function: Callable[[], T]) -> T:
        """Carry `function` out on the thread and wait for it."""
        if threading.get_ident() == self._ident:
            raise RuntimeError("a transaction is under way; use the `tx` it was given instead of the store")
        return self._pool.submit(self._on_thread, function).result()

    def close(self) -> None:
        """Carry out what is queued and end the thread. Closing twice does nothing."""
        if self._under_way is not None:
            with suppress(Exception):  # told to those who wait for it
                self._under_way.result()
        batch = self._taken()
        if batch:
            self._deliver(batch, self._outcomes(batch, self._begin(batch)))
        self._pool.shutdown()

    def _on_thread(self, function: Callable[[], T]) -> T:
        self._ident = threading.get_ident()
        return function()

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._under_way is not None and not self._under_way.done():
            self._under_way.add_done_callback(lambda _: _soon(loop, self._flush, loop))
            return
        batch = self._taken()
        if batch:
            self._under_way = begun = self._begin(batch)
            begun.add_done_callback(lambda done: _soon(loop, lambda: self._deliver(batch, self._outcomes(batch, done))))

    def _taken(self) -> _Batch:
        batch, self._queue, self._loop = self._queue, [], None
        return [(work, promise) for work, promise in batch if not promise.cancelled()]

    def _begin(self, batch: _Batch) -> Future[list[Any]]:
        for _, promise in batch:
            promise.has_begun = True
        works = [work for work, _ in batch]
        return self._pool.submit(self._on_thread, lambda: self._database.write_all(works))

    @staticmethod
    def _outcomes(batch: _Batch, done: Future[list[Any]]) -> list[Any]:
        try:
            return done.result()
        except Exception as error:  # noqa: BLE001 - handed to every caller: none of their works was kept
            return [Failure(error)] * len(batch)

    @staticmethod
    def _deliver(batch: _Batch, outcomes: list[Any]) -> None:
        for (_, promise), outcome in zip(batch, outcomes, strict=True):
            if promise.done():
                continue
            if isinstance(outcome, Failure):
                promise.set_exception(outcome.error)
            else:
                promise.set_result(outcome)


def _soon(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *args: object) -> None:
    """Call back on the loop; nothing when it has ended, because then nobody waits there any more."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, *args)
