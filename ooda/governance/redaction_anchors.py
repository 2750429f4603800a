"""The cheap look: which few bytes of which secrets stand in a text, found at about a hundred megabytes a second.

Every recorded event passes here, nearly always clean, so this is the hot path of redaction. Two tricks carry it. A
text cut at a separator gives pieces whose ends are compared with a set (one hash for all prefixes of tokens that are
followed by `_`, say). Longer words are found from their rarest letter: `re` jumps from one `z` to the next as fast
as `memchr` does, and looks backwards from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Final

__all__ = ["AnchorIndex", "LiteralGate", "compacted"]

_RARE_FIRST: Final = b"~`^\\@<>|*+%#&?!;'[]{}$qzjxkvw798654y3bg21hpfum0c=/dl(),.\"-:_rsnoiate \n"
"""Bytes of lower-cased logs, code and JSON, rare ones first."""

_DROPPED: Final = b" \t\r\n\x0b\x0c\"'`\\+|>#"

_EQUALS_AS_COLON: Final = bytes.maketrans(b"=", b":")


def compacted(low: bytes) -> bytes:
    """Lower-cased bytes without white space, quotes, backslashes, wrapping marks and escaped line breaks; = is :."""
    if b"\\" in low:
        low = low.replace(b"\\n", b"").replace(b"\\r", b"")
    return low.translate(_EQUALS_AS_COLON, _DROPPED)


class LiteralGate:
    """Finds which of many literals stand in a text, without a search for each."""

    def __init__(self, literals: Iterable[bytes]) -> None:
        groups = list(_grouped(literals))
        self._searches = tuple((pattern.search, members) for pattern, members in groups)

    def is_open(self, text: bytes) -> bool:
        """Whether at least one literal stands in the text."""
        for search, _ in self._searches:  # noqa: SIM110 - a generator would cost more than the search itself
            if search(text):
                return True
        return False

    def found(self, text: bytes) -> list[bytes]:
        """The literals that stand in the text."""
        result: list[bytes] = []
        for search, members in self._searches:
            if search(text):
                result += [literal for literal in members if literal in text]
        return result


def _grouped(literals: Iterable[bytes]) -> Iterator[tuple[re.Pattern[bytes], list[bytes]]]:
    """One pattern per chosen letter (the letter, and what must stand around it), with the literals it finds."""
    left = set(literals)
    while left:
        covered = {
            letter: [literal for literal in left if letter in literal]
            for letter in {byte for literal in left for byte in literal}
        }
        # The letter that is cheapest for what it covers; ties by value, so that every process agrees.
        best = min(covered, key=lambda letter: (_cost(letter, len(covered[letter])) / len(covered[letter]), letter))
        left.difference_update(covered[best])
        members = sorted(covered[best])
        around = "|".join(_around(literal, literal.index(best)) for literal in members)
        yield re.compile(f"{re.escape(chr(best))}(?:{around})".encode("latin-1")), members


def _cost(letter: int, alternatives: int) -> float:
    """Rough nanoseconds for 1 KB: starting a search, and trying the alternatives at each occurrence."""
    place = _RARE_FIRST.find(letter)
    occurrences = 1 if place < 0 else 1 + place // 2
    return 250 + occurrences * (12 + 15 * alternatives)


def _around(literal: bytes, place: int) -> str:
    before, after = literal[: place + 1].decode("latin-1"), literal[place + 1 :].decode("latin-1")
    return (f"(?<={re.escape(before)})" if place else "") + re.escape(after)


_last3 = itemgetter(slice(-3, None))
_last4 = itemgetter(slice(-4, None))

_Ends = Mapping[bytes, frozenset[int]]


class AnchorIndex:
    """Which finders are called for by the anchors in a text; finders are numbers, the caller knows their meaning.

    Each mapping goes from an anchor to the finders it calls for. See `redaction_shapes.Lens` for the lenses.
    """

    def __init__(
        self,
        *,
        before_underscore: _Ends,
        before_dash: _Ends,
        before_dot: _Ends,
        before_colon: _Ends,
        literal: _Ends,
        userinfo: frozenset[int],
        manifest: frozenset[int],
    ) -> None:
        self._before_underscore = before_underscore
        self._before_dash = before_dash
        self._before_dot = before_dot
        self._before_colon = before_colon
        self._literal = literal
        self._gate = LiteralGate(literal)
        self._userinfo = userinfo
        self._manifest = manifest
        self._underscore_ends = frozenset(before_underscore)
        self._dash_ends = frozenset(before_dash)
        self._dot_ends = frozenset(before_dot)
        self._colon_ends = frozenset(before_colon)

    def called_for(self, low: bytes, compact: bytes) -> set[int]:
        """The finders to run on a text, given its lower-cased and its `compacted()` bytes."""
        wanted: set[int] = set()
        for literal in self._gate.found(low):
            wanted |= self._literal[literal]
        pieces = low.split(b"_")
        if not self._underscore_ends.isdisjoint(map(_last3, pieces)):
            wanted.update(*_looked_up(self._before_underscore, map(_last3, pieces)))
        pieces = low.split(b"-")
        if not self._dash_ends.isdisjoint(map(_last3, pieces)):
            wanted.update(*_looked_up(self._before_dash, map(_last3, pieces)))
        pieces = low.split(b".")
        if not self._dot_ends.isdisjoint(map(_last3, pieces)):
            wanted.update(*_looked_up(self._before_dot, map(_last3, pieces)))
        pieces = compact.split(b":")
        if not self._colon_ends.isdisjoint(map(_last4, pieces)):
            wanted.update(*_looked_up(self._before_colon, map(_last4, pieces)))
        if b"@" in low and b"://" in low:
            wanted |= self._userinfo
        if b"kind:secret" in compact:
            wanted |= self._manifest
        return wanted


def _looked_up(index: _Ends, ends: Iterable[bytes]) -> Iterable[frozenset[int]]:
    return [index[end] for end in set(ends) if end in index]
