"""Several models as one: the next is asked when the one before is unavailable.

A grant binds one model at its own price, so each further model needs a grant of its own; the gate is asked for it
through `regrant`, and may refuse.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from ooda.errors import ConfigError, ModelUnavailableError
from ooda.governance.grant import Grant
from ooda.models.request import Attempt, ModelAccess, ModelReply, ModelRequest, OnAttempt

__all__ = ["FallbackModel", "Regrant"]

Regrant = Callable[[Grant, str], Awaitable[Grant]]
"""`(spent grant, model name) -> grant`: the gate decides the same call anew for another model.

Raises RefusedError when it must not be made.
"""


class FallbackModel:
    """Asks `members` in order, going on only on ModelUnavailableError.

    Every other error is about the request, the key or the reply, and another model would hide it.
    """

    def __init__(self, members: Sequence[ModelAccess], regrant: Regrant) -> None:
        if not members:
            raise ConfigError(
                "a fallback list needs at least one model; name one in `model.fallbacks` or drop the list"
            )
        self.members = tuple(members)
        """In the order in which they are asked."""
        self.regrant = regrant
        """Set anew by whoever opens the run, once it has a door."""

    @property
    def name(self) -> str:
        """The first model's name: the one a call is decided for at first."""
        return self.members[0].name

    @property
    def is_loopback(self) -> bool:
        """Whether every member runs on this machine."""
        return all(getattr(member, "is_loopback", False) for member in self.members)

    async def complete(
        self,
        request: ModelRequest,
        grant: Grant,
        *,
        on_piece: Callable[[str], None] | None = None,
        on_attempt: OnAttempt | None = None,
    ) -> ModelReply:
        """See `ModelAccess.complete`; `attempts` counts those of all models asked."""
        failed = 0

        def count(attempt: Attempt) -> Awaitable[None] | None:
            nonlocal failed
            failed += 1
            return on_attempt(attempt) if on_attempt is not None else None

        unavailable: list[ModelUnavailableError] = []
        for member in self.members:
            if unavailable:
                grant = await self.regrant(grant, member.name)  # the attempts so far are charged by then
                request = msgspec.structs.replace(request, model=member.name)
            try:
                reply = await member.complete(request, grant, on_piece=on_piece, on_attempt=count)
            except ModelUnavailableError as error:
                unavailable.append(error)
            else:
                return msgspec.structs.replace(reply, attempts=failed + 1)
        waits = [wait for error in unavailable if isinstance(wait := error.facts.get("retry_after_s"), float)]
        raise ModelUnavailableError(
            "; then ".join(str(error) for error in unavailable),
            status=unavailable[-1].facts.get("status", 0),
            retry_after_s=min(waits, default=None),
        ) from unavailable[-1]

    async def close(self) -> None:
        """Close every member."""
        for member in self.members:
            await member.close()
