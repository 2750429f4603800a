"""The person at the terminal: types lines, answers approvals inline."""

from __future__ import annotations

import asyncio
import os
import sys
import termios

from ooda.cli.style import Style
from ooda.engines.local import Answer
from ooda.runtime.commands import AskHuman

__all__ = ["TerminalPerson", "read_burst", "read_line"]

_MOST = 1 << 16
"""Bytes taken from the terminal at once; a line typed at one is at most 4096 long."""


_BURST_S = 0.05
"""Nobody types two lines within this; a terminal delivers pasted ones much faster."""


async def read_line(prompt: str, *, is_answer: bool = False) -> str | None:
    """A line typed at the terminal, None at end of input; the event loop goes on meanwhile.

    Args:
        is_answer: It answers a question: what was typed before that was seen is no answer, and is dropped.
    """
    if is_answer and sys.stdin.isatty():
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
    print(prompt, end="", file=sys.stderr, flush=True)
    line = await _typed()
    return _text(line) if line else None


async def read_burst() -> tuple[list[str], bool]:
    """The lines that came together with the one just read, as pasted ones do, and whether input ended with them."""
    lines: list[str] = []
    while True:
        try:
            async with asyncio.timeout(_BURST_S):
                line = await _typed()
        except TimeoutError:
            return lines, False
        if not line:
            return lines, True
        lines += _text(line).split("\n")


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r\n")


async def _typed() -> bytes:
    """A line with its end, several where input is no terminal, nothing at its end.

    Reads the descriptor itself: `sys.stdin` would block the loop on half a line (Ctrl-D in the middle of one), and
    with it the handler of Ctrl-C.
    """
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()
    got: asyncio.Future[bytes] = loop.create_future()
    typed = bytearray()

    def readable() -> None:
        try:
            piece = os.read(descriptor, _MOST)
        except OSError:  # the terminal is gone
            piece = b""
        typed.extend(piece)
        if not got.done() and (not piece or piece.endswith(b"\n")):
            got.set_result(bytes(typed))

    loop.add_reader(descriptor, readable)
    try:
        return await got
    finally:
        loop.remove_reader(descriptor)


class TerminalPerson:
    """Whoever sits at the terminal. Only one question is asked at a time."""

    def __init__(self, name: str, style: Style) -> None:
        self.name = name
        self.style = style
        self._lock = asyncio.Lock()

    async def approve(self, ask: AskHuman) -> Answer:
        """Show the question in full and take yes, no, stop or why not."""
        async with self._lock:
            print("\n" + self.style(ask.prompt, "bold"), file=sys.stderr)
            if ask.ask == "decision":
                return await self._decision()
            while True:
                typed = await self.typed("[y]es, [n]o (`n because …`), [s]top the run: ", is_answer=True)
                if typed is None:
                    return self.unanswered()
                word, _, note = typed.strip().partition(" ")
                match word.lower():
                    case "y" | "yes":
                        return Answer("approve", self.name, note)
                    case "n" | "no":
                        return Answer("reject", self.name, note.removeprefix("because").strip())
                    case "s" | "stop":
                        return Answer("stop", self.name, note)

    async def _decision(self) -> Answer:
        while True:
            typed = await self.typed("Did it [h]appen, or did it [n]ot? ", is_answer=True)
            if typed is None:
                return Answer("stop", self.name, "nobody said what became of it")
            match typed.strip().lower():
                case "h" | "happened":
                    return Answer("happened", self.name)
                case "n" | "not":
                    return Answer("did_not", self.name)

    async def message(self, prompt: str) -> str | None:
        """The next message of a conversation; None when the person leaves."""
        async with self._lock:
            return await self.typed(f"{prompt}\n> ")

    async def typed(self, prompt: str, *, is_answer: bool = False) -> str | None:
        """A line the person typed; None when there is none to come. For `is_answer` see `read_line`."""
        return await read_line(prompt, is_answer=is_answer)

    def unanswered(self) -> Answer:
        """What it means that a question got no line at all."""
        return Answer("stop", self.name, "the terminal was closed")
