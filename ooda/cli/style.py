"""How the command line looks: colours when they are wanted, amounts, times and small tables. Values to text."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TextIO

__all__ = ["Style", "amount", "duration", "is_terminal", "style_for", "table", "when"]

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}


class Style:
    """Paints, or does not."""

    def __init__(self, is_on: bool) -> None:
        self.is_on = is_on

    def __call__(self, text: str, *looks: str) -> str:
        if not self.is_on or not looks:
            return text
        return f"\x1b[{';'.join(_CODES[look] for look in looks)}m{text}\x1b[0m"


def style_for(stream: TextIO, wanted: str = "auto") -> Style:
    """Colours for a stream: `always`, `never`, or `auto` (a terminal, unless NO_COLOR is set to anything)."""
    if wanted != "auto":
        return Style(wanted == "always")
    if os.environ.get("NO_COLOR"):
        return Style(False)
    if os.environ.get("FORCE_COLOR"):
        return Style(True)
    return Style(stream.isatty())


def amount(nano: int) -> str:
    """Nano-USD for people: four digits from a cent up, six below."""
    return f"${nano / 1e9:.4f}" if abs(nano) >= 10_000_000 else f"${nano / 1e9:.6f}"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def when(at_ns: int) -> str:
    """Local time to the second."""
    return datetime.fromtimestamp(at_ns / 1e9, tz=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], style: Style) -> str:
    """Columns as wide as their widest cell; numbers and amounts to the right."""
    body = [list(row) for row in rows]
    widths = [max(len(head[i]), *(len(row[i]) for row in body)) if body else len(head[i]) for i in range(len(head))]
    right = [bool(body) and all(_is_number(row[i]) for row in body) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True)]
        return "  ".join(padded).rstrip()

    return "\n".join([style(line(head), "bold"), *map(line, body)])


def _is_number(cell: str) -> bool:
    return bool(cell) and cell.strip("$%-+, .0123456789") == ""


def is_terminal() -> bool:
    """Whether a person sits at both ends: standard input and standard error are terminals."""
    return sys.stdin.isatty() and sys.stderr.isatty()
