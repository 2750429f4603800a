"""The `openai` client as back end, for what only it can do (its own authentication flows, custom HTTP clients).

The raw `post` is used: `chat.completions.create` walks every field of every message at each call, which makes a
run's cost quadratic in its steps. Retries stay ours, so that each attempt is counted and charged.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from ooda.models.backend import Backend, Body, OnPiece, dialect_for
from ooda.models.client_failures import failure_of, load_extra, transport_errors
from ooda.models.endpoint import Endpoint
from ooda.models.failures import output_failure, unreachable
from ooda.models.reply import Asked, parse_completion
from ooda.models.request import ModelReply
from ooda.models.retry import RetryPolicy, Try
from ooda.models.stream import StreamedReply

__all__ = ["OpenAIClientModel"]


class OpenAIClientModel(Backend):
    """One model through `openai.AsyncOpenAI`; the package is imported when this is made."""

    def __init__(self, name: str, endpoint: Endpoint, *, policy: RetryPolicy | None = None, client: Any = None) -> None:
        """`client` is an `AsyncOpenAI` of the caller's own, used and closed instead of a fresh one.

        Raises:
            ConfigError: `openai` is not installed.
        """
        super().__init__(
            name,
            endpoint.wire_model,
            who=f"at {endpoint.url} (openai client)",
            dialect=dialect_for(endpoint.url.host),
            scrub=endpoint.scrub,
            policy=policy,
        )
        self._openai = load_extra("openai", "openai")
        self.endpoint = endpoint
        self.is_loopback = endpoint.is_loopback
        self._client = client if client is not None else self._open()

    def _open(self) -> Any:
        key = self.endpoint.key.get_secret_value()
        headers = dict(self.endpoint.headers)
        if key and self.endpoint.key_header != "authorization":
            headers[self.endpoint.key_header] = key
        return self._openai.AsyncOpenAI(
            api_key=key or "none",
            base_url=str(self.endpoint.url),
            default_headers=headers,
            max_retries=0,
        )

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()

    async def _exchange(self, body: Body, asked: Asked, current: Try, on_piece: OnPiece, stream: bool) -> ModelReply:
        current.mark_sent()
        try:
            async with asyncio.timeout_at(current.deadline):
                return await self._post(body, asked, current, on_piece, stream)
        except TimeoutError as error:
            raise unreachable("nothing came before the deadline", asked.who, sent=True, sort="busy") from error
        except (self._openai.APIError, ValueError, *transport_errors()) as error:
            raise failure_of(error, asked) from error

    async def _post(self, body: Body, asked: Asked, current: Try, on_piece: OnPiece, stream: bool) -> ModelReply:
        options = {
            "timeout": max(0.001, current.deadline - asyncio.get_running_loop().time()),
            "follow_redirects": False,
            "headers": {"idempotency-key": asked.key} if asked.key else {},
        }
        decoded = msgspec.json.decode(b"".join(body))
        if not stream:
            answer = await self._client.post("/chat/completions", cast_to=object, body=decoded, options=options)
            return parse_completion(_encoded(answer, asked), asked)
        reply = StreamedReply(asked, on_piece)
        chunks = await self._client.post(
            "/chat/completions",
            cast_to=object,
            body=decoded,
            options=options,
            stream=True,
            stream_cls=self._openai.AsyncStream[object],
        )
        async for chunk in chunks:
            reply.add(_encoded(chunk, asked))
        return reply.reply()


def _encoded(answer: object, asked: Asked) -> bytes:
    """What the client parsed as JSON again: one parser for every back end is worth the detour."""
    if not isinstance(answer, dict):
        raise output_failure("something that is no chat completion", asked.who)
    return msgspec.json.encode(answer)
