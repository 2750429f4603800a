"""Steps that are waited for to their end also by a caller who is cancelled meanwhile.

A thread cannot be stopped and an engine goes on with what it was told: what such a step makes can only be removed
once it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["finished"]

T = TypeVar("T")


async def finished(step: Coroutine[Any, Any, T]) -> T:
    """The outcome of `step`. A cancellation is raised when the step has ended, however it did."""
    task = asyncio.ensure_future(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # the cancellation counts
        raise
