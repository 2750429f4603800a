"""Blocking calls on threads of their own, with a deadline.

Daemon threads, because those of asyncio's own pool are waited for at the end of the process: a name server that does
not answer would hold up the end of a run.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["aside"]

T = TypeVar("T")


async def aside(work: Callable[[], T], timeout_s: float) -> T:
    """What `work` gives or raises; its own waits are to end by themselves, as nobody can end the thread.

    Raises:
        TimeoutError: it took longer.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only where T is

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except Exception as caught:  # noqa: BLE001 - handed to the one who waits
            error = caught
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            return  # the loop has ended; nobody waits any more

    threading.Thread(target=run, daemon=True, name="ooda-notify").start()
    async with asyncio.timeout(timeout_s):
        return await future
