"""Stuck detection: the same calls with the same results, judged on both. Pure.

A fingerprint is taken of every call and its result, after volatile parts (durations, addresses) are normalised.
Tools that are used by repeating them (`is_poll`) leave none. The first detection nudges, the second stops the run.
"""

from __future__ import annotations

import hashlib
import itertools

from ooda.runtime.normalise import normalise
from ooda.runtime.state import Fingerprint

__all__ = ["KEPT", "fingerprint", "judge"]

KEPT = 20
"""Fingerprints looked at: long enough for six alternations, short enough to forget what was long ago."""

_REPEATS = 4
_ALTERNATIONS = 6
_ERRORS = 6


def fingerprint(tool: str, arguments: str, result: str, is_error: bool) -> Fingerprint:
    """The fingerprint of one call; `arguments` and `result` are texts or digests of long ones."""
    return Fingerprint(_hash(f"{tool}\0{arguments}"), _hash(normalise(result)), is_error)


def judge(recent: tuple[Fingerprint, ...]) -> str:
    """What the run is stuck in, as words for the model and the report; empty when it is not."""
    if len(recent) >= _REPEATS and len(set(recent[-_REPEATS:])) == 1:
        return f"the same call gave the same result {_REPEATS} times in a row"
    tail = recent[-_ALTERNATIONS:]
    if len(tail) == _ALTERNATIONS and len(set(tail)) == 2 and all(a != b for a, b in itertools.pairwise(tail)):
        return f"two calls with the same results alternated {_ALTERNATIONS} times"
    errors = recent[-_ERRORS:]
    if len(errors) == _ERRORS and all(f.is_error for f in errors) and len({f.call for f in errors}) <= 2:
        return f"the same calls failed {_ERRORS} times in a row"
    return ""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
