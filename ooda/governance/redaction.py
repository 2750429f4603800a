"""Redaction: the one place where secrets leave a text before anything records, shows or sends it.

Three nets, in this order of trust: values that were registered (`redaction_values`), shapes of well-known keys and
tokens (`redaction_shapes`), values behind telling keys (`redaction_keys`). Each finding becomes `«redacted:NAME»`.
The result is stable (redacting it again changes nothing), every text is accepted, and a clean text costs one look
for anchors. Knows texts only; who must call it (journal, log, cassette, notice, webhook, error) is written there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Final

import msgspec

from ooda.errors import ConfigError
from ooda.governance.redaction_anchors import AnchorIndex, compacted
from ooda.governance.redaction_keys import (
    COLON_ANCHORS,
    FLAG_LITERALS,
    KEY_LITERALS,
    KEY_NAMES,
    PAIR_ANCHORS,
    flag_spans,
    key_spans,
    manifest_spans,
    pair_spans,
)
from ooda.governance.redaction_shapes import SHAPES, Lens, Shape
from ooda.governance.redaction_values import RegisteredValues

__all__ = ["OVERLAP", "Hit", "Redacted", "Redactor", "Stream", "has_marker", "marker"]

OVERLAP: Final = 4096
"""Characters a stream holds back, so that a secret cut by a chunk's end is still seen whole."""

_WINDOW: Final = 2048
"""Longer texts are looked at in windows of this many characters, so that one finding does not slow the rest."""
_SHORTEST: Final = 5
_DEPTH: Final = 12
_SWALLOW_FROM: Final = 65_536

_MARKER: Final = re.compile(r"«redacted:([A-Za-z0-9_.-]{1,64})»")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")

_Span = tuple[int, int, str]
_Finder = Callable[[str], Iterable[_Span]]


class Hit(msgspec.Struct, frozen=True):
    """How often one kind of secret was found. Never the secret."""

    name: str
    count: int


class Redacted(msgspec.Struct, frozen=True):
    """A text that may be recorded, and what was taken out of it, sorted by name."""

    text: str
    hits: tuple[Hit, ...] = ()


def marker(name: str) -> str:
    """What stands in place of a secret."""
    return f"«redacted:{name}»"


def has_marker(text: str) -> bool:
    """Whether a text holds a marker; a tool that writes files asks, so that no mask overwrites a real secret."""
    return bool(_MARKER.search(text))


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _shape_finder(shape: Shape) -> _Finder:
    def find(text: str) -> Iterator[_Span]:
        pattern = _compiled(shape.pattern)
        group = "v" if "v" in pattern.groupindex else 0
        for match in pattern.finditer(text):
            if shape.check is None or shape.check(match):
                yield (*match.span(group), shape.name)

    return find


_FINDERS: Final[tuple[_Finder, ...]] = (*map(_shape_finder, SHAPES), key_spans, flag_spans, pair_spans, manifest_spans)
"""In order of precedence: where two findings overlap, the earlier finder names the marker."""
_KEYS, _FLAGS, _PAIRS, _MANIFESTS = range(len(SHAPES), len(SHAPES) + 4)
_MULTILINE: Final = frozenset(i for i, shape in enumerate(SHAPES) if shape.is_multiline) | {_PAIRS, _MANIFESTS}


def _index(lens: Lens, more: dict[bytes, set[int]] | None = None) -> dict[bytes, frozenset[int]]:
    """Which finders an anchor of this lens calls for."""
    found: dict[bytes, set[int]] = more or {}
    for number, shape in enumerate(SHAPES):
        if shape.lens == lens:
            for anchor in shape.anchors:
                found.setdefault(anchor, set()).add(number)
    return {anchor: frozenset(numbers) for anchor, numbers in found.items()}


_ANCHORS: Final = AnchorIndex(
    before_underscore=_index("before_underscore"),
    before_dash=_index("before_dash"),
    before_dot=_index("before_dot"),
    before_colon={anchor: frozenset({_KEYS}) for anchor in COLON_ANCHORS}
    | {anchor: frozenset({_PAIRS}) for anchor in PAIR_ANCHORS},
    literal=_index(
        "literal",
        {literal: {_KEYS} for literal in KEY_LITERALS} | {literal: {_FLAGS} for literal in FLAG_LITERALS},
    ),
    userinfo=_index("userinfo")[b"@"],
    manifest=frozenset({_MANIFESTS}),
)


class Redactor:
    """Takes secrets out of texts. One per process; registering is for its start, redacting for ever after."""

    def __init__(self) -> None:
        self._values = RegisteredValues()
        self._names: set[str] = {shape.name for shape in SHAPES} | set(KEY_NAMES) | {"unstable"}

    def register(self, name: str, value: str | bytes) -> None:
        """Redact this very value from now on, in all its encodings, as `«redacted:name»`.

        Raises:
            ConfigError: the name has other characters than letters, digits, `_`, `.` and `-`, or the value is too
                short (under six characters), too plain or too common to be told from ordinary text.
        """
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"a registered secret is named {name!r}; use 1 to 64 letters, digits, `_`, `.` or `-`, as in "
                "`OPENROUTER_API_KEY`",
                name=name,
            )
        self._values.register(name, value)
        self._names.add(name)

    def redact(self, text: str) -> Redacted:
        """The text without secrets. Accepts every string; redacting the result again changes nothing."""
        spans = self._spans(text)
        if not spans:
            return Redacted(text)
        counts: dict[str, int] = {}
        for _, _, name in spans:
            counts[name] = counts.get(name, 0) + 1
        return Redacted(_rendered(text, spans, 0, len(text)), tuple(Hit(n, counts[n]) for n in sorted(counts)))

    def stream(self) -> Stream:
        """A redactor for a text that arrives in pieces."""
        return Stream(self)

    def _spans(self, text: str) -> list[_Span]:
        """All findings, sorted and without overlap.

        What is left between two findings is looked at again, as the text of its own that it will be in the next
        redaction; that makes the result stable. Markers this redactor could have written are left alone, others
        are text like any other, so that a forged marker shields nothing.
        """
        if text.isascii() or "«redacted:" not in text:
            first = self._find(text)
            if not first:
                return first
            return self._stable(text, 0, first)
        spans: list[_Span] = []
        start = 0
        for match in _MARKER.finditer(text):
            if match.group(1) in self._names:
                spans += self._stable_segment(text, start, match.start())
                start = match.end()
        return spans + self._stable_segment(text, start, len(text))

    def _stable_segment(self, text: str, start: int, end: int) -> list[_Span]:
        segment = text[start:end]
        return self._stable(segment, start, self._find(segment))

    def _stable(self, segment: str, offset: int, found: list[_Span], depth: int = 0) -> list[_Span]:
        if not found:
            return []
        result: list[_Span] = []
        at = 0
        for start, end, name in [*found, (len(segment), len(segment), "")]:
            gap = segment[at:start]
            again = self._find(gap)
            if again and depth >= _DEPTH:
                # Each finding uncovers the next: made to do so. Hide the rest rather than go on for ever.
                result.append((offset + at, offset + start, "unstable"))
            elif again:
                result += self._stable(gap, offset + at, again, depth + 1)
            if name:
                result.append((offset + start, offset + end, name))
            at = end
        return result

    def _find(self, text: str) -> list[_Span]:
        """One look at a text that holds no marker of ours: spans sorted and without overlap."""
        if len(text) < _SHORTEST:
            return []
        low = text.encode("utf-8", "surrogatepass").lower()
        compact = compacted(low)
        touches_value = self._values.may_touch(compact)
        if len(text) <= _WINDOW:
            wanted = _ANCHORS.called_for(low, compact)
            if not wanted and not touches_value:
                return []
            windows = [(0, len(text), wanted)]
        else:
            windows = [(start, end, _wanted_in(text[start:end])) for start, end in _windows(text)]
        ranked: list[tuple[int, int, int, str]] = []
        if touches_value:
            ranked += [(start, end, -1, name) for start, end, name in self._values.spans(text, compact)]
        for number in sorted(set().union(*(wanted for _, _, wanted in windows))):
            if number in _MULTILINE or len(windows) == 1:
                ranked += [(start, end, number, name) for start, end, name in _FINDERS[number](text)]
        if len(windows) > 1:
            for first, last, wanted in windows:
                piece = text[first:last]
                for number in wanted - _MULTILINE:
                    ranked += [(first + s, first + e, number, name) for s, e, name in _FINDERS[number](piece)]
        return _merged(ranked)


def _wanted_in(window: str) -> set[int]:
    low = window.encode("utf-8", "surrogatepass").lower()
    return _ANCHORS.called_for(low, compacted(low))


def _windows(text: str) -> Iterator[tuple[int, int]]:
    """Cut at line ends; a line longer than a window stays whole."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + _WINDOW - 1)
        end = len(text) if end < 0 else end + 1
        yield start, end
        start = end


def _merged(ranked: list[tuple[int, int, int, str]]) -> list[_Span]:
    """Overlapping findings become one, named by the most trusted of them."""
    result: list[_Span] = []
    rank_of_last = 0
    for start, end, rank, name in sorted(ranked):
        if end <= start:
            continue
        if result and start < result[-1][1]:
            before_start, before_end, before_name = result[-1]
            name = name if rank < rank_of_last else before_name
            result[-1] = (before_start, max(before_end, end), name)
            rank_of_last = min(rank, rank_of_last)
        else:
            result.append((start, end, name))
            rank_of_last = rank
    return result


def _rendered(text: str, spans: list[_Span], start: int, end: int) -> str:
    """`text[start:end]` with markers for the spans in it; a span that began before `start` was rendered before."""
    parts: list[str] = []
    at = start
    for first, last, name in spans:
        if last <= start or first >= end:
            continue
        parts.append(text[at : max(at, first)])
        if first >= start:
            parts.append(marker(name))
        at = max(at, last)
    parts.append(text[at:end])
    return "".join(parts)


class Stream:
    """Redacts a text that arrives in chunks; the last 4 KB are held back until more comes or the stream closes.

    The text in front of a chunk is kept for context, so that the result is the same as redacting the whole, however
    it was cut, as long as no secret and no distance from a key to its value is longer than what is held back.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._seen = ""
        self._pending = ""
        self._swallowing: re.Pattern[str] | None = None

    def feed(self, chunk: str) -> str:
        """Take a chunk; give what can no longer turn out to be part of a secret, redacted."""
        self._pending += chunk
        self._swallow()
        if len(self._pending) < 2 * OVERLAP:
            return ""
        text = self._seen + self._pending
        begin = len(self._seen)
        spans = self._redactor._spans(text)
        cut = len(text) - OVERLAP
        line_end = text.rfind("\n", begin, cut)
        cut = line_end + 1 if line_end >= 0 else cut
        for first, last, name in spans:
            if first < cut < last:
                if first <= begin and len(text) - first > _SWALLOW_FROM:
                    return self._begin_swallowing(text, spans, begin, name)
                cut = max(begin, first)
        given = _rendered(text, spans, begin, cut)
        self._seen, self._pending = text[max(0, cut - OVERLAP) : cut], text[cut:]
        return given

    def close(self) -> str:
        """The end of the text, redacted."""
        self._swallow()
        text = self._seen + self._pending
        given = _rendered(text, self._redactor._spans(text), len(self._seen), len(text))
        self._seen = self._pending = ""
        return given

    def _begin_swallowing(self, text: str, spans: list[_Span], begin: int, name: str) -> str:
        """A secret without an end in sight: hide it now, and drop what follows until it ends."""
        given = _rendered(text, spans, begin, len(text))
        self._swallowing = re.compile(r"-----END[^\n]*" if name == "private-key" else r"(?=[\s\"'<>])")
        self._seen = self._pending = ""
        return given

    def _swallow(self) -> None:
        if self._swallowing:
            end = self._swallowing.search(self._pending)
            self._pending = self._pending[end.end() :] if end else ""
            if end:
                self._swallowing = None
