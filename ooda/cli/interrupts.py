"""SIGINT and SIGTERM for whoever carries a run: the first ends it cleanly, the second at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Self

from ooda.cli.exits import EXIT

__all__ = ["Interruptible"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruptible:
    """A context in which the first signal ends the run, or what is still being opened; the second ends the process."""

    def __init__(self, *, quiet: bool, at_once: Callable[[], object] = lambda: None) -> None:
        """`at_once` is what a second signal still does before the process is gone."""
        self.interrupt: Callable[[str], None] | None = None
        """Ends what runs, with the reason; None while nothing does, then the task itself is cancelled."""
        self.reason = ""
        self._quiet = quiet
        self._at_once = at_once
        self._task = asyncio.current_task()

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._signalled, number)
        return self

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    def _signalled(self, number: int) -> None:
        if self.reason:
            self._at_once()
            os._exit(EXIT["cancelled"])
        self.reason = f"interrupted by {signal.Signals(number).name}"
        if not self._quiet:
            print("\nStopping: finishing the journal. Again to end at once.", file=sys.stderr, flush=True)
        if self.interrupt is not None:
            self.interrupt(self.reason)
        elif self._task is not None:
            self._task.cancel()
