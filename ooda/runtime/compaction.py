"""When the prompt is compacted, and where it is cut. Pure.

A compaction is an event: everything before its cut leaves the prompt, except what is pinned (rules, task, plan,
active skills) and a record of what was done, one line a call, taken from the journal rather than from a model's
memory of it: a run never claims work that its journal does not show.
"""

from __future__ import annotations

from ooda.runtime.state import RunState

__all__ = ["cut_point", "digest_text", "wants_compaction"]

_DIGEST_LINES = 120
_FIRST_LINES = 20


def wants_compaction(state: RunState) -> bool:
    """Whether the last reply showed the prompt at three quarters of the window or more."""
    return state.context_tokens * 4 >= state.limits.context_tokens * 3


def cut_point(turns: tuple[int, ...], kept: int) -> int | None:
    """Journal position from which `kept` model turns stay verbatim; None when there is nothing to drop."""
    kept = max(1, kept)
    return turns[-kept] if len(turns) > kept else None


def digest_text(lines: list[str]) -> str:
    """The record of what left the prompt: the first and the last calls, the gap counted."""
    if len(lines) <= _DIGEST_LINES:
        kept = lines
    else:
        last = _DIGEST_LINES - _FIRST_LINES
        gap = f"… {len(lines) - _DIGEST_LINES} more calls …"
        kept = [*lines[:_FIRST_LINES], gap, *lines[-last:]]
    return "\n".join(kept)
