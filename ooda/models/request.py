"""What a model is asked and what it gives back: the types every back end shares.

This room turns a request into one reply of a language model. It knows HTTP, the shapes of the providers and
their misbehaviour; it knows nothing of runs, journals, prompts, prices or tools. Every back end spends the
grant of the gate before anything leaves. This module imports neither `ssl` nor `asyncio`, so that the core's
neighbours can name these types for nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from typing import Literal, Protocol

import msgspec

from ooda.events import Usage
from ooda.governance.grant import Grant

__all__ = ["Attempt", "Finish", "ModelAccess", "ModelReply", "ModelRequest", "OnAttempt", "RawCall"]

Finish = Literal["stop", "tool_calls", "length", "content_filter", "refusal"]
"""Why a reply ended, the same word for every provider."""


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request, its long parts already encoded."""

    model: str
    """The model's name as its user wrote it; the grant is spent under this name."""
    messages: bytes | bytearray
    """JSON messages joined by commas, without the enclosing brackets: appended to, never encoded again.

    It must not change while `complete` runs.
    """
    tools: bytes = b""
    """JSON array of tool definitions; empty for none."""
    reply_tokens: int
    """Ceiling of generated tokens, reasoning included."""
    temperature_milli: int | None = None
    """Temperature in thousandths; None leaves it to the provider."""
    parallel_tool_calls: bool | None = None
    stream: bool = False
    deadline_s: float
    """Seconds for the whole call, all attempts and waits included."""
    extra: bytes = b""
    """JSON members (`"seed":1,"user":"x"`) spliced into the body; what a provider understands beyond the common."""
    taken_ids: AbstractSet[str] = frozenset()
    """Tool-call ids of earlier replies: a reply that uses one again gets another."""
    on_send: Callable[[], None] | None = None
    """Called just before the first byte of each attempt leaves: from there on it may have to be paid."""


class RawCall(msgspec.Struct, frozen=True):
    """A tool call as the model wrote it; `arguments` may be anything but should be a JSON object."""

    id: str
    name: str
    arguments: str


class ModelReply(msgspec.Struct, frozen=True, kw_only=True):
    """One whole reply."""

    message: bytes
    """The assistant message as canonical JSON, to be sent back in later requests.

    Reasoning fields are kept. Call ids are unique and non-empty, the same as in `calls`. Arguments that are no
    JSON object stand in it as `{"unparsed": "…"}`, because strict servers refuse a history they cannot parse.
    """
    content: str
    calls: tuple[RawCall, ...] = ()
    usage: Usage | None
    """None when the provider did not say; the caller then settles at its reservation."""
    finish: Finish
    refusal: str = ""
    model: str
    """The model that answered, in the provider's words."""
    latency_ms: int = 0
    """From sending to the last byte, of the attempt that answered."""
    attempts: int = 1


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt that failed. Reported before the next one begins, so that each can be charged."""

    number: int
    """1 for the first."""
    model: str
    sent: bool
    """Whether any part of the request may have left this machine."""
    is_billable: bool
    """Whether the provider may have generated something: sent, and not turned away by an error status."""
    status: int = 0
    """HTTP status; 0 when there was none."""
    problem: str
    """One sentence, free of secrets."""
    usage: Usage | None = None
    """None on a billable attempt means unknown: charge the reservation."""
    latency_ms: int = 0
    wait_s: float = 0.0
    """Seconds until the next attempt; 0 when there is none."""
    goes_on: bool = False
    """Whether the same model is asked once more."""


OnAttempt = Callable[[Attempt], Awaitable[None] | None]
"""Told of an attempt. Where another one follows, what it gives is awaited before: charging may take a while."""


class ModelAccess(Protocol):
    """A language model that can be asked. One instance per agent: it owns its connections."""

    @property
    def name(self) -> str:
        """The name under which grants are spent, as the user wrote it."""
        ...

    async def complete(
        self,
        request: ModelRequest,
        grant: Grant,
        *,
        on_piece: Callable[[str], None] | None = None,
        on_attempt: OnAttempt | None = None,
    ) -> ModelReply:
        """The model's reply; spends `grant` first.

        Args:
            request: what to ask.
            grant: a model grant of the gate for `request.model`.
            on_piece: gets the visible text as it arrives, when `request.stream` is set. A failed attempt may have
                given pieces already: its `on_attempt` says that they are void.
            on_attempt: gets every attempt that failed or was cancelled.

        Raises:
            RefusedError: the grant is spent or for something else. Nothing was sent.
            CredentialError: the key is missing or was rejected. Not retried.
            ContextOverflowError: the request is longer than the model's window.
            ModelUnavailableError: unreachable, overloaded, out of credit or past the deadline; facts: `status`,
                `retry_after_s`.
            ModelOutputError: what came back is not a reply, or the request was rejected as malformed; fact: `status`.
            ConfigError: the URL or the model's name is wrong.
        """
        ...

    async def close(self) -> None:
        """Close the connections; safe to call twice."""
        ...
