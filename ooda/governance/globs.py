"""Globs as rules use them, compiled once.

`*` is any run of characters but `/`, `**` any run at all, `?` one character but `/`, `[ab]` one of these, `{a,b}` one
of these texts, `|` between whole globs either of them. Everything else stands for itself, and a glob matches a whole
text, never a part of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

__all__ = ["Matches", "compile_globs"]

Matches = Callable[[str], bool]


def compile_globs(globs: Iterable[str]) -> Matches:
    """A test whether a text matches any of the globs.

    Raises:
        ValueError: a bracket or brace is not closed.
    """
    alternatives = [alternative for glob in globs for alternative in glob.split("|")]
    if not any(mark in glob for glob in alternatives for mark in "*?[{"):
        return frozenset(alternatives).__contains__
    found = re.compile("|".join(f"(?:{_pattern(glob)})" for glob in alternatives), re.DOTALL).fullmatch
    return lambda text: found(text) is not None


def _pattern(glob: str) -> str:
    out: list[str] = []
    at = level = 0
    while at < len(glob):
        letter = glob[at]
        if glob.startswith("**", at):
            out.append(".*")
            at += 1
        elif letter == "*":
            out.append("[^/]*")
        elif letter == "?":
            out.append("[^/]")
        elif letter == "[":
            end = glob.find("]", at + 2)
            if end < 0:
                raise ValueError(f"glob {glob!r}: the `[` at character {at + 1} is never closed")
            inside = glob[at + 1 : end]
            negated = inside.startswith(("!", "^"))
            out.append(f"[{'^' if negated else ''}{re.escape(inside[negated:]).replace(chr(92) + '-', '-')}]")
            at = end
        elif letter == "{":
            out.append("(?:")
            level += 1
        elif letter == "}" and level:
            out.append(")")
            level -= 1
        elif letter == "," and level:
            out.append("|")
        else:
            out.append(re.escape(letter))
        at += 1
    if level:
        raise ValueError(f"glob {glob!r}: a `{{` is never closed")
    return "".join(out)
