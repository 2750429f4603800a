"""A model whose replies are written down beforehand: for tests of agents, by us and by users."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import msgspec

from ooda.errors import ModelOutputError
from ooda.events import Usage
from ooda.governance.grant import Grant
from ooda.models.reply import Asked, to_reply
from ooda.models.request import ModelReply, ModelRequest, OnAttempt

__all__ = ["Script", "ScriptedModel", "say"]

Script = ModelReply | Exception | Callable[[ModelRequest], "Answer | Awaitable[Answer]"]
"""A reply, an error to raise, or a function of the request that gives one of them (a coroutine function may wait)."""

Answer = ModelReply | Exception


def say(
    content: str = "",
    *calls: tuple[str, dict[str, Any] | str],
    usage: Usage | None = None,
    finish: str = "",
    reasoning: str = "",
) -> ModelReply:
    """A reply as a provider would give it: `say("I look first.", ("read_file", {"path": "a.py"}))`.

    Args:
        calls: tool name and arguments; a string is passed on as it is, to play a model that writes bad JSON. The
            ids are given when the reply is asked for, so that they never collide.
        usage: 100 tokens in and 10 out unless told.
        finish: `stop` or `tool_calls` unless told.
    """
    raw = [
        {
            "id": "",
            "function": {"name": name, "arguments": given if isinstance(given, str) else _encode(given)},
        }
        for name, given in calls
    ]
    message: dict[str, Any] = {"content": content or None, "tool_calls": raw or None}
    if reasoning:
        message["reasoning_content"] = reasoning
    reply = to_reply(message, finish, None, "scripted", Asked("the script", "scripted", frozenset(), str))
    return msgspec.structs.replace(reply, usage=usage or Usage(input_tokens=100, output_tokens=10))


class ScriptedModel:
    """Gives `replies` in order, through the same protocol and the same grants as a real model."""

    is_loopback = True

    def __init__(self, replies: Iterable[Script], *, name: str = "scripted") -> None:
        self._name = name
        self._replies: Iterator[Script] = iter(replies)
        self.requests: list[ModelRequest] = []
        """Every request so far; `messages` as they were when it came."""

    @property
    def name(self) -> str:
        return self._name

    async def complete(
        self,
        request: ModelRequest,
        grant: Grant,
        *,
        on_piece: Callable[[str], None] | None = None,
        on_attempt: OnAttempt | None = None,
    ) -> ModelReply:
        """See `ModelAccess.complete`.

        Raises:
            ModelOutputError: the script has come to its end.
        """
        grant.spend(request.model, kind="model")
        if request.on_send is not None:
            request.on_send()
        request = msgspec.structs.replace(request, messages=bytes(request.messages))
        self.requests.append(request)
        script = next(self._replies, None)
        if script is None:
            raise ModelOutputError(
                f"the script of `{self._name}` holds {len(self.requests) - 1} replies and was asked for one more; "
                "write another, or let the run end earlier",
                status=0,
            )
        answer: Any = script(request) if callable(script) else script
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        reply = _with_fresh_ids(answer, request)
        if request.stream and on_piece is not None and reply.content:
            on_piece(reply.content)
        return reply

    async def close(self) -> None:
        """Nothing to close."""


def _with_fresh_ids(reply: ModelReply, request: ModelRequest) -> ModelReply:
    """The reply with ids that no earlier reply used: a script may give the same value twice."""
    if not any(call.id in request.taken_ids for call in reply.calls):
        return reply
    message = msgspec.json.decode(reply.message)
    asked = Asked("the script", reply.model, request.taken_ids, str)
    fresh = to_reply(message, reply.finish, None, reply.model, asked)
    return msgspec.structs.replace(reply, message=fresh.message, calls=fresh.calls)


def _encode(arguments: dict[str, Any]) -> str:
    return msgspec.json.encode(arguments).decode()
