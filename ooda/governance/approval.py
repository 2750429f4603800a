"""Approvals: what a person is shown, and to what exactly their answer is bound. Pure.

An approval is bound to run, tool definition, canonical arguments, targets, policy version and labels by one
hash; an answer for anything else does not open the door. What is shown escapes every character that could make it
read as something else, and nothing is cut.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter

import msgspec

from ooda.events import canonical

__all__ = ["Binding", "escape", "shown_text"]


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that makes a call this call."""

    run: str
    call: str
    tool: str
    definition: str
    arguments: str
    """SHA-256 of the canonical arguments."""
    targets: tuple[str, ...]
    policy: str
    labels: str
    """What the run had read when it was asked."""

    @property
    def digest(self) -> str:
        """One hash over all of it."""
        return hashlib.sha256(canonical(self)).hexdigest()


def shown_text(tool: str, operation: str, reason: str, targets: tuple[str, ...], arguments: bytes) -> str:
    """What the person decides on: tool, why they are asked, targets and every argument in full."""
    lines = [f"Allow `{escape(tool)}` ({operation})?", f"Asked because {escape(reason)}."]
    lines += [f"  target: {escape(target)}" for target in targets]
    given = msgspec.json.decode(arguments)
    for name, value in given.items() if isinstance(given, dict) else (("arguments", given),):
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        lines += [f"  {escape(name)}:", *(f"    {escape(line)}" for line in text.split("\n"))]
    return "\n".join(lines)


def escape(text: str) -> str:
    """`text` with everything escaped but printable ASCII, tabs, and the letters of one script.

    A line's script is Latin where it has Latin letters, else that of most of its letters: a Cyrillic `а` in a host
    name, a bidi override, a zero-width space, a dash that is no hyphen and a digit that is no ASCII digit all show.
    """
    if text.isascii() and text.isprintable():
        return text
    script = _script_of(text)
    return "".join(char if _is_plain(char, script) else _escaped(char) for char in text)


def _script_of(text: str) -> str:
    found = Counter(_script(char) for char in text if char.isalpha())
    return "LATIN" if "LATIN" in found or not found else found.most_common(1)[0][0]


def _is_plain(char: str, script: str) -> bool:
    return " " <= char <= "~" or char == "\t" or (char.isalpha() and char.isprintable() and _script(char) == script)


def _script(char: str) -> str:
    word = unicodedata.name(char, "?").split(" ")[0]
    return "CJK" if word in _JAPANESE else word


_JAPANESE = frozenset({"HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"})
"""Written with Chinese characters in one line."""


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
