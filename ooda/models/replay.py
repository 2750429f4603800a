"""A model whose replies come from a cassette, in the order in which they were recorded.

The runtime knows what a request's digest is and gives it before it asks; this room only keeps order and says, at
the first miss, which recorded request comes nearest.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

import msgspec

from ooda.errors import DivergenceError, OodaError
from ooda.governance.grant import Grant
from ooda.models.request import ModelReply, ModelRequest, OnAttempt

__all__ = ["RecordedReply", "ReplayModel"]


class RecordedReply(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded exchange."""

    digest: str
    """The runtime's digest of the normalised request."""
    reply: ModelReply | OodaError
    """What came back; a recorded failure fails again."""
    request_preview: str = ""
    """The request's last lines, for the report of a miss."""


class ReplayModel:
    """Gives recorded replies in order; every request must be announced by `expect`.

    Args:
        start: Replies that were given before: a run that is resumed goes on behind them.
    """

    is_loopback = True

    def __init__(self, recorded: Sequence[RecordedReply], *, name: str = "replay", start: int = 0) -> None:
        self._recorded = tuple(recorded)
        self._name = name
        self._position = start
        self._expected = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def remaining(self) -> int:
        """Recorded replies not yet given."""
        return len(self._recorded) - self._position

    def expect(self, digest: str, preview: str = "") -> None:
        """Compare the next request with the recording before it is asked.

        Args:
            digest: of the normalised request, as the runtime makes it.
            preview: its last lines, to find the nearest recorded one by.

        Raises:
            DivergenceError: another request was recorded here, or none; facts: `position`, `expected`, `found`,
                `nearest` (positions count from 1).
        """
        if self._position < len(self._recorded) and self._recorded[self._position].digest == digest:
            self._expected = True
            return
        at = self._position + 1
        if self._position < len(self._recorded):
            expected = self._recorded[self._position].digest
            what = f"request {at} is not the recorded one ({digest[:12]} instead of {expected[:12]})"
        else:
            expected = ""
            what = f"the run asks {at} times but the cassette holds {len(self._recorded)} replies"
        nearest = self._nearest(digest, preview)
        hint = (
            f"; nearest is recorded request {nearest + 1}: {self._recorded[nearest].request_preview!r}"
            if nearest >= 0
            else ""
        )
        raise DivergenceError(
            f"{what}{hint}; record the run anew, undo what changed its requests, or go on with a live model "
            "(`ooda runs resume RUN --model NAME`)",
            position=at,
            expected=expected,
            found=digest,
            nearest=nearest + 1,
        )

    async def complete(
        self,
        request: ModelRequest,
        grant: Grant,
        *,
        on_piece: Callable[[str], None] | None = None,
        on_attempt: OnAttempt | None = None,
    ) -> ModelReply:
        """The recorded reply to the request announced last. Raises as recorded, or DivergenceError when none was."""
        grant.spend(request.model, kind="model")
        if not self._expected:
            raise DivergenceError(
                "a recorded reply was asked for before its request was compared; call `expect` with its digest first",
                position=self._position + 1,
                expected="",
                found="",
                nearest=0,
            )
        self._expected = False
        reply = self._recorded[self._position].reply
        self._position += 1
        if isinstance(reply, OodaError):
            raise reply
        if request.stream and on_piece is not None and reply.content:
            on_piece(reply.content)
        return reply

    async def close(self) -> None:
        """Nothing to close."""

    def _nearest(self, digest: str, preview: str) -> int:
        """Position of the recorded request most like this one; -1 when nothing was recorded."""
        previews = [entry.request_preview for entry in self._recorded]
        for position, entry in enumerate(self._recorded):
            if entry.digest == digest:
                return position
        found = difflib.get_close_matches(preview, previews, n=1, cutoff=0.0) if preview else []
        return previews.index(found[0]) if found else min(self._position, len(previews) - 1)
