"""The person at the terminal: answers approvals inline."""

from __future__ import annotations

import asyncio
import sys

from ooda.cli.style import Style
from ooda.engines.local import Answer
from ooda.runtime.commands import AskHuman

__all__ = ["TerminalPerson", "read_line"]


async def read_line(prompt: str) -> str | None:
    """A line typed at the terminal, None at end of input; the event loop goes on meanwhile."""
    print(prompt, end="", file=sys.stderr, flush=True)
    loop = asyncio.get_running_loop()
    got: asyncio.Future[str] = loop.create_future()

    def readable() -> None:
        if not got.done():
            got.set_result(sys.stdin.readline())

    loop.add_reader(sys.stdin.fileno(), readable)
    try:
        line = await got
    finally:
        loop.remove_reader(sys.stdin.fileno())
    return line.rstrip("\n") if line else None


class TerminalPerson:
    """Whoever sits at the terminal. Only one question is asked at a time."""

    def __init__(self, name: str, style: Style) -> None:
        self._name = name
        self._style = style
        self._lock = asyncio.Lock()

    async def approve(self, ask: AskHuman) -> Answer:
        """Show the question in full and take yes, no, stop or why not."""
        async with self._lock:
            print("\n" + self._style(ask.prompt, "bold"), file=sys.stderr)
            if ask.ask == "decision":
                return await self._decision()
            while True:
                typed = await read_line("[y]es, [n]o (`n because …`), [s]top the run: ")
                if typed is None:
                    return Answer("stop", self._name, "the terminal was closed")
                word, _, note = typed.strip().partition(" ")
                match word.lower():
                    case "y" | "yes":
                        return Answer("approve", self._name, note)
                    case "n" | "no":
                        return Answer("reject", self._name, note.removeprefix("because").strip())
                    case "s" | "stop":
                        return Answer("stop", self._name, note)

    async def _decision(self) -> Answer:
        while True:
            typed = await read_line("Did it [h]appen, or did it [n]ot? ")
            if typed is None:
                return Answer("stop", self._name, "the terminal was closed")
            match typed.strip().lower():
                case "h" | "happened":
                    return Answer("happened", self._name)
                case "n" | "not":
                    return Answer("did_not", self._name)

    async def message(self, prompt: str) -> str | None:
        """The next message of a conversation; None when the person leaves."""
        async with self._lock:
            return await read_line(f"{prompt}\n> ")
