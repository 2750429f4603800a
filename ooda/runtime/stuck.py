"""Stuck detection: the same calls with the same results, judged on both. Pure.

A fingerprint is taken of every call and its result, after volatile parts (durations, addresses) are normalised.
Tools that are used by repeating them (`is_poll`) leave none. The first detection nudges, the second stops the run.
"""

from __future__ import annotations

import hashlib

from ooda.runtime.normalise import normalise
from ooda.runtime.state import Fingerprint

__all__ = ["KEPT", "fingerprint", "judge"]

KEPT = 20
"""Fingerprints looked at: long enough for the longest cycle, short enough to forget what was long ago."""

_REPEATS = 4
_CYCLES = 3
_LONGEST_CYCLE = 6
_ERRORS = 6


def fingerprint(tool: str, arguments: str, result: str, is_error: bool) -> Fingerprint:
    """The fingerprint of one call; `arguments` and `result` are texts or digests of long ones."""
    return Fingerprint(_hash(f"{tool}\0{arguments}"), _hash(normalise(result)), is_error)


def judge(recent: tuple[Fingerprint, ...]) -> str:
    """What the run is stuck in, as words for the model and the report; empty when it is not.

    One call four times, a cycle of two to six calls three times, or six errors of at most two calls.
    """
    if len(recent) >= _REPEATS and recent[-_REPEATS:].count(recent[-1]) == _REPEATS:
        return f"the same call gave the same result {_REPEATS} times in a row"
    for length in range(2, _LONGEST_CYCLE + 1):
        tail = recent[-_CYCLES * length :]
        if len(tail) == _CYCLES * length and tail == tail[:length] * _CYCLES:
            return f"{length} calls with the same results repeated {_CYCLES} times"
    errors = recent[-_ERRORS:]
    if len(errors) == _ERRORS and all(f.is_error for f in errors) and len({f.call for f in errors}) <= 2:
        return f"the same calls failed {_ERRORS} times in a row"
    return ""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
