"""Registered secrets: exact values, found in every disguise in which programs write them.

A value is looked for as it stands, escaped for JSON, URLs and HTML, in hex, and in base64 at each of the three
offsets it can have inside a longer encoded text; each form also when it is split over several lines. A cheap search
on the text with white space, quotes and wrapping marks left out (where a split form is whole again) says whether a
form may be there; only then does a pattern for that form look for its exact place.
"""

from __future__ import annotations

import base64
import html
import json
import re
import urllib.parse
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, TypeVar

import msgspec

from ooda.errors import ConfigError
from ooda.governance.redaction_anchors import LiteralGate, compacted

__all__ = ["MIN_LENGTH", "RegisteredValues"]

MIN_LENGTH: Final = 6
"""A shorter value would be found in ordinary words."""

_MIN_DISTINCT: Final = 3
_MIN_NEEDLE: Final = 5
_CHUNK: Final = 128
"""Longer values are looked for in pieces of this many characters, so that the head of a long key is found too."""

_EVERYDAY: Final = (
    "password secret changeme default localhost production staging development sandbox username postgres "
    "example testing qwerty 123456 1234567 12345678 123456789 1234567890 redacted master develop feature "
    "openai anthropic github gitlab function return import string object undefined"
)
_TOO_COMMON: Final = frozenset(_EVERYDAY.split())

_Text = TypeVar("_Text", str, bytes)

_BREAK: Final = (
    r"(?:[\"'`]?[ \t]*[\\+]{0,2}(?:\r\n|[\r\n\x0b\x0c]|\\{1,2}r\\{1,2}n|\\{1,2}[nr])"
    r"[ \t]*(?:[|>#+]{1,2}[ \t]?)?[\"'`]?)?"
)
"""What may stand between two characters of a split value: a line break, real or escaped, and what wraps it."""


class _Form(msgspec.Struct, frozen=True):
    """One spelling of (a piece of) one value."""

    name: str
    spelling: str
    ignores_case: bool = False
    edge: str = ""
    """A pattern for what may continue the spelling: the character whose bits base64 shares with its neighbours."""

    @property
    def needle(self) -> bytes:
        """What the cheap search looks for. A leading n or r may have been taken for an escaped line break."""
        return compacted(self.spelling.encode("utf-8", "surrogatepass").lower()).lstrip(b"nr")


class RegisteredValues:
    """The registered secrets of one process."""

    def __init__(self) -> None:
        self._forms: dict[bytes, list[_Form]] = {}
        self._gate = LiteralGate(())
        self.names: set[str] = set()

    def register(self, name: str, value: str | bytes) -> None:
        """Make a value known under a name; one name may have several (an old and a new key).

        Raises:
            ConfigError: the value is shorter than six characters, has fewer than three different ones, or is
                an everyday word; to redact it would hide ordinary text. The message does not hold the value.
        """
        data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        _refuse_plain(name, data)
        for form in _forms(name, data):
            needle = form.needle
            if len(needle) >= _MIN_NEEDLE:
                known = self._forms.setdefault(needle, [])
                if form not in known:
                    known.append(form)
        self._gate = LiteralGate(self._forms)
        self.names.add(name)

    def may_touch(self, compact: bytes) -> bool:
        """Whether a form may be in a text, given the text's `compacted()` bytes."""
        return self._gate.is_open(compact)

    def spans(self, text: str, compact: bytes) -> Iterator[tuple[int, int, str]]:
        """Where the values stand in `text`: start, end and name; findings may overlap."""
        for needle in self._gate.found(compact):
            for form in self._forms[needle]:
                for match in _pattern(form).finditer(text):
                    yield match.start(), match.end(), form.name


def _refuse_plain(name: str, data: bytes) -> None:
    text = data.decode("utf-8", "replace").strip()
    if len(text) < MIN_LENGTH or len(compacted(data.lower()).lstrip(b"nr")) < _MIN_NEEDLE:
        why = f"it has fewer than {MIN_LENGTH} characters that count"
    elif len(set(data)) < _MIN_DISTINCT:
        why = f"it has fewer than {_MIN_DISTINCT} different characters"
    elif text.lower() in _TOO_COMMON:
        why = "it is an everyday word"
    else:
        return
    raise ConfigError(
        f"the secret registered as {name!r} cannot be redacted: {why}, so ordinary text would be hidden with it; "
        "use a longer, random secret",
        name=name,
    )


def _forms(name: str, data: bytes) -> Iterator[_Form]:
    try:
        text = data.decode("utf-8", "surrogatepass").strip()
    except UnicodeDecodeError:
        for piece in _pieces(data):
            yield from _byte_forms(name, piece)
        return
    for part in _pieces(text):
        yield from _byte_forms(name, part.encode("utf-8", "surrogatepass"))
        escaped = json.dumps(part)[1:-1]
        for spelling in {
            part,
            escaped,
            json.dumps(part, ensure_ascii=False)[1:-1],
            json.dumps(escaped)[1:-1],
            html.escape(part),
            html.escape(part, quote=False),
        }:
            yield _Form(name, spelling)


def _byte_forms(name: str, data: bytes) -> Iterator[_Form]:
    yield _Form(name, data.hex(), ignores_case=True)
    for spelling in {
        urllib.parse.quote(data),
        urllib.parse.quote(data, safe=""),
        urllib.parse.quote_plus(data),
    }:
        if "%" in spelling or "+" in spelling:
            yield _Form(name, spelling, ignores_case=True)
    yield from _base64_forms(name, data)


def _pieces(value: _Text) -> Iterator[_Text]:
    if len(value) <= _CHUNK:
        yield value
        return
    for start in range(0, len(value), _CHUNK):
        # The last piece overlaps the one before it rather than being too short to be told from ordinary text.
        yield value[min(start, len(value) - _CHUNK) : start + _CHUNK].strip()


def _base64_forms(name: str, data: bytes) -> Iterator[_Form]:
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + data).decode()
        # Characters made of this value's bits alone; those at the rim hold bits of its neighbours too.
        core = encoded[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6]
        for spelling in {core, core.replace("+", "-").replace("/", "_")}:
            yield _Form(name, spelling, edge="[A-Za-z0-9+/_-]?")


@lru_cache(maxsize=256)
def _pattern(form: _Form) -> re.Pattern[str]:
    """The exact form, which may be broken over lines between any two characters."""
    units = [r"(?:\s|\\[nrt])+" if part.isspace() else re.escape(part) for part in re.findall(r"\s+|\S", form.spelling)]
    tail = f"{form.edge}={{0,2}}" if form.edge else ""
    return re.compile(form.edge + _BREAK.join(units) + tail, re.IGNORECASE if form.ignores_case else 0)
