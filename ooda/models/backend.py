"""What every back end that speaks chat completions shares: the grant, the attempts, the body and its dialect.

A back end proper is one function below this: it carries a finished body to a server and brings a reply back.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable

import msgspec

from ooda.errors import ConfigError
from ooda.governance.grant import Grant
from ooda.models.failures import AttemptFailure
from ooda.models.reply import Asked
from ooda.models.request import ModelReply, ModelRequest, OnAttempt
from ooda.models.retry import RetryPolicy, Try, run_attempts

__all__ = ["Backend", "Body", "Dialect", "OnPiece", "body_of", "dialect_for"]

Body = tuple[bytes, bytes | bytearray, bytes]
"""A request's JSON: everything small, the history as it is, the closing brackets."""
OnPiece = Callable[[str], None] | None


class Dialect(msgspec.Struct, frozen=True):
    """What a server calls things, and what it does not take; learned from its refusals."""

    limit_name: str = "max_tokens"
    """OpenAI's own models take only `max_completion_tokens`, most other servers know only `max_tokens`."""
    left_out: frozenset[str] = frozenset()
    """Members that this model refused: `temperature`, `parallel_tool_calls`, `stream_options`."""

    def after(self, said: str) -> Dialect | None:
        """The dialect to try next when the server refused a member by name; None when that is not what it said."""
        if not _UNSUPPORTED.search(said):
            return None
        if "max_completion_tokens" in said or "max_tokens" in said:
            other = "max_completion_tokens" if self.limit_name == "max_tokens" else "max_tokens"
            return msgspec.structs.replace(self, limit_name=other)
        for name in ("temperature", "parallel_tool_calls", "stream_options"):
            if name in said and name not in self.left_out:
                return msgspec.structs.replace(self, left_out=self.left_out | {name})
        return None


_UNSUPPORTED = re.compile(
    r"unsupported|not support|unrecognized|unknown|unexpected|not permitted|extra (inputs|fields)|does not exist",
    re.IGNORECASE,
)


def dialect_for(host: str) -> Dialect:
    """The dialect a host is known to speak before it was ever asked."""
    own = host == "api.openai.com" or host.endswith((".openai.azure.com", ".cognitiveservices.azure.com"))
    return Dialect("max_completion_tokens") if own else Dialect()


def body_of(request: ModelRequest, wire_model: str, dialect: Dialect) -> Body:
    """The request's JSON body. Only what is small is put together anew at each call."""
    parts = [b'{"model":', msgspec.json.encode(wire_model)]
    parts.append(b',"%s":%d' % (dialect.limit_name.encode(), request.reply_tokens))
    if request.temperature_milli is not None and "temperature" not in dialect.left_out:
        parts.append(b',"temperature":%g' % (request.temperature_milli / 1000))
    if request.tools:
        parts += (b',"tools":', request.tools)
        if request.parallel_tool_calls is not None and "parallel_tool_calls" not in dialect.left_out:
            parts.append(b',"parallel_tool_calls":' + (b"true" if request.parallel_tool_calls else b"false"))
    if request.stream:
        parts.append(b',"stream":true')
        if "stream_options" not in dialect.left_out:  # without it OpenAI streams no usage at all
            parts.append(b',"stream_options":{"include_usage":true}')
    if request.extra:
        parts += (b",", request.extra)
    parts.append(b',"messages":[')
    return b"".join(parts), request.messages, b"]}"


class Backend(ABC):
    """One model of one server. One instance per agent: it owns its connections."""

    is_loopback = False
    """Whether the model runs on this machine, and hence costs nothing."""

    def __init__(
        self,
        name: str,
        wire_model: str,
        *,
        who: str,
        dialect: Dialect,
        scrub: Callable[[str], str],
        policy: RetryPolicy | None,
    ) -> None:
        self._name = name
        self._wire_model = wire_model
        self._who = f"`{wire_model}` {who}"
        self._dialect = dialect
        self._scrub = scrub
        self._policy = policy or RetryPolicy()

    @property
    def name(self) -> str:
        return self._name

    async def complete(
        self,
        request: ModelRequest,
        grant: Grant,
        *,
        on_piece: OnPiece = None,
        on_attempt: OnAttempt | None = None,
    ) -> ModelReply:
        """See `ModelAccess.complete`."""
        if request.model != self._name:
            raise ConfigError(
                f"this is `{self._name}`, but the request is for `{request.model}`; open that model instead"
            )
        asked = Asked(self._who, self._wire_model, request.taken_ids, self._scrub, grant.key)
        pieces = on_piece if request.stream else None

        async def once(current: Try) -> ModelReply:
            return await self._once(request, asked, current, pieces)

        return await run_attempts(request, grant, once, policy=self._policy, who=self._who, on_attempt=on_attempt)

    @abstractmethod
    async def close(self) -> None:
        """Close the connections; safe to call twice."""

    @abstractmethod
    async def _exchange(self, body: Body, asked: Asked, current: Try, on_piece: OnPiece, stream: bool) -> ModelReply:
        """Send `body`, read one reply. Raises AttemptFailure."""

    async def _once(self, request: ModelRequest, asked: Asked, current: Try, on_piece: OnPiece) -> ModelReply:
        """One attempt; a server that refuses a member of the body by name is asked again at once without it."""
        tried = {self._dialect}
        while True:
            try:
                body = body_of(request, self._wire_model, self._dialect)
                return await self._exchange(body, asked, current, on_piece, request.stream)
            except AttemptFailure as failure:
                other = self._dialect.after(failure.message) if failure.status in (400, 422) else None
                if other is None or other in tried:
                    raise
                tried.add(other)
                self._dialect = other
