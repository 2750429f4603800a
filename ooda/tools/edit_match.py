"""Where an edit applies: exact match first, then one unique match that ignores spacing, else the nearest real lines.

Pure. Nothing outside the matched stretch changes, and the new text goes in as it was given, with two additions that
are reported: line ends of a CRLF file are kept, and a block matched at another depth gets the file's indentation.
"""

from __future__ import annotations

import re
from collections import Counter
from difflib import SequenceMatcher
from typing import Literal

import msgspec

from ooda.errors import ToolArgumentsError

__all__ = ["Edit", "apply_edit", "is_crlf", "nearest_lines", "to_crlf"]

_LOOSE_BYTES = 200_000
"""Longest `old` matched loosely; anything longer is a file and belongs to write_file."""
_FUZZY_LINES = 200
"""Lines compared letter by letter when showing the nearest ones: those that share most words."""
_WORD = re.compile(r"\w+")
_SHOWN_LINES = 12


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """A text after an edit, and what was done."""

    text: str
    lines: tuple[int, ...]
    """First line of each replaced stretch, counted from 1 in the text before the edit."""
    how: Literal["exact", "spacing"]
    indent: str = ""
    """Indentation put before each line of the new text; empty when none was."""


def is_crlf(text: str) -> bool:
    """Whether every line end of `text` is CRLF, and there is one."""
    ends = text.count("\n")
    return ends > 0 and text.count("\r\n") == ends


def to_crlf(text: str) -> str:
    """`text` with CRLF line ends; one that holds a CRLF already is left as it is."""
    return text if "\r\n" in text else text.replace("\n", "\r\n")


def apply_edit(text: str, old: str, new: str, *, replace_all: bool = False) -> Edit:
    """Replace `old` by `new` in `text`.

    Raises:
        ToolArgumentsError: `old` is empty, equals `new`, is not there (the nearest real lines are shown), or is
            there several times and `replace_all` is off.
    """
    if not old:
        raise ToolArgumentsError("`old` is empty; give the text to replace, or use write_file for a new file")
    if old == new:
        raise ToolArgumentsError("`old` and `new` are the same text, so there is nothing to change")
    if is_crlf(text):
        old, new = to_crlf(old), to_crlf(new)
    found = _occurrences(text, old)
    if len(found) == 1 or (found and replace_all):
        starts = [] if replace_all else found
        position = -1
        while replace_all and (position := text.find(old, starts[-1] + len(old) if starts else 0)) >= 0:
            starts.append(position)
        changed = text.replace(old, new) if replace_all else text[: found[0]] + new + text[found[0] + len(old) :]
        return Edit(text=changed, lines=tuple(_line(text, start) for start in starts), how="exact")
    if found:
        raise ToolArgumentsError(
            f"`old` is there {len(found)} times, {_at_lines(text, found)}; add lines around it until it is unique, "
            "or set `replace_all`"
        )
    return _loose(text, old, new)


def _loose(text: str, old: str, new: str) -> Edit:
    pattern = _pattern(old) if old.strip() and len(old) <= _LOOSE_BYTES else None
    matches = list(pattern.finditer(text)) if pattern else []
    if len(matches) > 1:
        starts = [match.start() for match in matches]
        raise ToolArgumentsError(
            f"`old` is not there exactly, and apart from spacing it is there {len(matches)} times, "
            f"{_at_lines(text, starts)}; copy the lines you mean exactly as read_file shows them"
        )
    if not matches:
        raise ToolArgumentsError(f"`old` is not in the file. {nearest_lines(text, old)}")
    match = matches[0]
    block = match.group()
    indent = _shift(old, block)
    inserted = "".join(indent + line if line.strip() else line for line in new.splitlines(keepends=True))
    if "\r\n" in block:
        inserted = to_crlf(inserted)
    changed = text[: match.start()] + inserted + text[match.end() :]
    return Edit(text=changed, lines=(_line(text, match.start()),), how="spacing", indent=indent)


def _pattern(old: str) -> re.Pattern[str]:
    """What matches `old` whatever its spacing within lines; line breaks stay line breaks."""
    lines = old.replace("\r\n", "\n").split("\n")
    parts = []
    for number, line in enumerate(lines):
        words = r"[ \t]+".join(map(re.escape, line.split()))
        if number == 0 and len(lines) == 1 and not line[:1].isspace():
            parts.append((r"(?<!\w)" if line[:1].isalnum() else "") + words)
        else:
            parts.append(("^" if number == 0 else "") + (r"[ \t]*" + words if words else ""))
    if lines[-1].rstrip()[-1:].isalnum():
        parts[-1] += r"(?!\w)"
    return re.compile(r"[ \t]*\r?\n".join(parts), re.MULTILINE)


def _shift(old: str, block: str) -> str:
    """What the file's block is indented by beyond `old`, when it is the same for every line."""
    if not block[:1].isspace():
        return ""
    shifts = set()
    for given, real in zip(old.splitlines(), block.splitlines(), strict=False):
        if given.strip():
            given_indent, real_indent = _indent(given), _indent(real)
            if not real_indent.endswith(given_indent):
                return ""
            shifts.add(real_indent[: len(real_indent) - len(given_indent)])
    return shifts.pop() if len(shifts) == 1 else ""


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def nearest_lines(text: str, old: str) -> str:
    """The stretch of `text` most like `old`, with line numbers, as a sentence for the model."""
    lines = text.splitlines()
    wanted = [line for line in old.splitlines() if line.strip()]
    if not lines or not wanted:
        return "The file is empty; use write_file." if not lines else "Read the file again and copy what it says."
    start = _best_window(lines, wanted)
    shown = lines[start : start + min(len(wanted) + 2, _SHOWN_LINES)]
    numbered = "\n".join(f"{number}: {line[:300]}" for number, line in enumerate(shown, start + 1))
    return f"The nearest lines are:\n{numbered}\nCopy the text to replace exactly from there."


def _best_window(lines: list[str], wanted: list[str]) -> int:
    """Index of the first line of the window sharing most lines with `wanted`, else of the line most like one."""
    squeezed = ["".join(line.split()) for line in lines]
    sought = Counter("".join(line.split()) for line in wanted)
    hits = [index for index, line in enumerate(squeezed) if line in sought]
    if hits:
        span = len(wanted) + 2
        best = max(hits, key=lambda index: len(sought.keys() & set(squeezed[index : index + span])))
        return max(0, best - 1)
    longest = max(wanted, key=len).strip()
    words = set(_WORD.findall(longest))
    likely = sorted(range(len(lines)), key=lambda index: -len(words.intersection(_WORD.findall(lines[index]))))
    matcher = SequenceMatcher(b=longest, autojunk=False)

    def likeness(index: int) -> float:
        matcher.set_seq1(lines[index].strip()[:300])
        return matcher.ratio()

    return max(0, max(likely[:_FUZZY_LINES], key=likeness) - 1)


def _occurrences(text: str, old: str) -> list[int]:
    """Where `old` starts, overlapping places counted: a match is unique only when no other fits."""
    found = []
    position = text.find(old)
    while position >= 0:
        found.append(position)
        position = text.find(old, position + 1)
    return found


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _at_lines(text: str, starts: list[int], shown: int = 8) -> str:
    numbers = [str(_line(text, start)) for start in starts[:shown]]
    more = f" and {len(starts) - shown} more" if len(starts) > shown else ""
    return ("at lines " if len(starts) > 1 else "at line ") + ", ".join(numbers) + more
