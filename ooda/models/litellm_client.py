"""litellm as back end, for providers without an OpenAI-compatible endpoint (Bedrock, Vertex AI, SageMaker …).

Its import costs seconds and reaches for a price map on the network unless told not to; both happen here only, when
the back end is opened. Retries stay ours, so that each attempt is counted and charged.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import msgspec

from ooda.models.backend import Backend, Body, Dialect, OnPiece
from ooda.models.client_failures import failure_of, load_extra
from ooda.models.endpoint import Endpoint
from ooda.models.failures import unreachable
from ooda.models.reply import Asked, parse_completion
from ooda.models.request import ModelReply
from ooda.models.retry import RetryPolicy, Try
from ooda.models.stream import StreamedReply

__all__ = ["LiteLLMModel"]


class LiteLLMModel(Backend):
    """One model by litellm's name (`bedrock/…`, `vertex_ai/…`); the package is imported when this is made."""

    def __init__(self, name: str, *, endpoint: Endpoint | None = None, policy: RetryPolicy | None = None) -> None:
        """Without an endpoint litellm finds the provider's URL and key by itself, by the provider's own names.

        Raises:
            ConfigError: `litellm` is not installed.
        """
        super().__init__(
            name,
            endpoint.wire_model if endpoint else name,
            who=f"at {endpoint.url} (litellm)" if endpoint else "through litellm",
            dialect=Dialect(),
            scrub=endpoint.scrub if endpoint else str,
            policy=policy,
        )
        self.endpoint = endpoint
        self.is_loopback = endpoint is not None and endpoint.is_loopback
        # Read by litellm while it is imported; without it the import downloads three megabytes of prices.
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        self._litellm = load_extra("litellm", "litellm")
        self._litellm.suppress_debug_info = True  # it prints advice to stdout, where results go
        self._errors = load_extra("openai", "litellm").OpenAIError

    async def close(self) -> None:
        """litellm's clients belong to the process, not to one model; it closes them itself."""

    async def _exchange(self, body: Body, asked: Asked, current: Try, on_piece: OnPiece, stream: bool) -> ModelReply:
        current.mark_sent()
        try:
            async with asyncio.timeout_at(current.deadline):
                return await self._complete(body, asked, current, on_piece, stream)
        except TimeoutError as error:
            raise unreachable("nothing came before the deadline", asked.who, sent=True, sort="busy") from error
        except (self._errors, ValueError) as error:
            raise failure_of(error, asked) from error

    async def _complete(self, body: Body, asked: Asked, current: Try, on_piece: OnPiece, stream: bool) -> ModelReply:
        arguments: dict[str, Any] = msgspec.json.decode(b"".join(body))
        arguments.update(
            timeout=max(0.001, current.deadline - asyncio.get_running_loop().time()),
            num_retries=0,
            max_retries=0,
            _skip_mcp_handler=True,  # or tools need the `mcp` package, which litellm does not require
        )
        if self.endpoint is not None:
            arguments.update(
                api_base=str(self.endpoint.url),
                api_key=self.endpoint.key.get_secret_value() or "none",
                custom_llm_provider="openai",
                extra_headers=dict(self.endpoint.headers) | ({"idempotency-key": asked.key} if asked.key else {})
                or None,
            )
        answer = await self._litellm.acompletion(**arguments)
        if not stream:
            return parse_completion(answer.model_dump_json().encode(), asked)
        reply = StreamedReply(asked, on_piece)
        async for chunk in answer:
            reply.add(chunk.model_dump_json().encode())
        return reply.reply()
