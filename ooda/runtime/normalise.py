"""The published normaliser: what may differ between a recording and its replay without being a divergence.

Durations, timestamps, versions of interpreters and test runners, addresses of objects, process ids that are called
so, temporary folders, and ids of commits (a commit's time is part of it). Everything else must be the same, byte for
byte: counts of tests, line numbers, exit codes and small hexadecimal constants stay. Pure, total, idempotent, linear.
"""

from __future__ import annotations

import re

__all__ = ["normalise"]

_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_CLOCK = r"\d\d:\d\d:\d\d"

# In this order: whole lines before the words in them; commits last, when what stands in their brackets is short.
# A kind is looked for when one of its marks is in the text, because most texts hold none of them.
_KINDS: tuple[tuple[str, tuple[str, ...], re.Pattern[str]], ...] = tuple(
    (kind, marks, re.compile(pattern, re.MULTILINE))
    for kind, marks, pattern in (
        ("platform", ("platform ",), r"\bplatform \w+ -- Python [^\n]*"),
        ("plugins", ("plugins: ",), r"^plugins: [^\n]*-\d[^\n]*$"),
        ("rootdir", ("rootdir: ",), r"^rootdir: /[^\n]*$"),
        ("time", (":",), rf"\d(?<!\w\d)\d{{3}}-\d\d-\d\d[T ]{_CLOCK}(?:[.,]\d+)?(?: ?[+-]\d\d:?\d\d|Z)?\b"),
        ("time", (":",), rf"{_DAY}(?<!\w{{4}}) {_MONTH} [ \d]?\d {_CLOCK} \d{{4}}(?: [+-]\d{{4}})?\b"),
        (
            "duration",
            ("s",),
            r"\d(?<!\w\d)\d*(?:\.\d+)? ?(?:seconds|second|secs|sec|ms|us|ns|s)\b(?: \(\d+:\d\d:\d\d\))?",
        ),
        ("address", ("0x",), r"\b0x[0-9a-fA-F]{6,}\b|\b0x[0-9a-fA-F]+(?=\.\.\.)"),
        # S108 asks about writing to a shared folder; this is text to be found.
        ("tmp", ("/tmp/",), r"/tmp/[\w./-]+"),  # noqa: S108
        (
            "version",
            ("ython", "pytest", "pluggy", "hypothesis", "anyio", "git version"),
            r"\b(?:[Pp]ython|pytest|pluggy|hypothesis|anyio|git version)[- =]v?\d+(?:\.\d+)+[\w.+-]*",
        ),
        ("pid", ("pid",), r"\bpid[ :=] ?\d+\b"),
        ("commit", ("commit ",), r"\bcommit [0-9a-f]{40}\b"),
        ("commit", ("] ",), r"\[[^\[\]\n]{1,200} [0-9a-f]{7,12}\](?= )"),
    )
)


# Every kind needs a digit or one of these words; most texts of a run hold neither, and are judged in one look.
_SOME = re.compile(r"\d|/tmp/|^rootdir: /", re.MULTILINE)


def normalise(text: str) -> str:
    """The text with every volatile part replaced by its kind in angle brackets."""
    if _SOME.search(text) is None:
        return text
    for kind, marks, pattern in _KINDS:
        for mark in marks:
            if mark in text:
                text = pattern.sub(f"<{kind}>", text)
                break
    return text
