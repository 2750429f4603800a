"""Approvals: what a person is shown, and to what exactly their answer is bound. Pure.

An approval is bound to run, tool definition, canonical arguments, targets and policy version by one hash; an answer
for anything else does not open the door. What is shown escapes every character that could make it read as something
else, and nothing is cut.
"""

from __future__ import annotations

import hashlib
import unicodedata

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
    """`text` with every non-printing character, and every letter outside the script of most letters, escaped."""
    scripts = {_script(char) for char in text if char.isalpha()}
    mixed = scripts - {"LATIN"} if "LATIN" in scripts and len(scripts) > 1 else set()
    return "".join(_escaped(char) if not _is_plain(char) or _script(char) in mixed else char for char in text)


def _is_plain(char: str) -> bool:
    return " " <= char <= "~" or char == "\t" or (char.isprintable() and unicodedata.category(char)[0] in "LNPS")


def _script(char: str) -> str:
    return unicodedata.name(char, "?").split(" ")[0] if char.isalpha() else ""


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
