"""A chat completion's JSON as one `ModelReply`, whatever dialect it was written in.

Parsed at the door, so that nothing further in has to know that some servers send arguments as objects, repeat
call ids, leave ids out, call a finished reply `end_turn`, or hide reasoning in fields of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from ooda.events import canonical
from ooda.models.failures import from_provider_error, output_failure
from ooda.models.request import Finish, ModelReply, RawCall
from ooda.models.usage import normalise_usage

__all__ = ["Asked", "parse_completion", "text_of", "to_reply"]


class Asked(msgspec.Struct, frozen=True):
    """What the parser must know of the question."""

    who: str
    """Whom was asked for what, for messages."""
    model: str
    taken_ids: AbstractSet[str]
    scrub: Callable[[str], str]
    """Takes secrets out of a provider's words."""
    key: str = ""
    """Idempotency key of the call, the same for every attempt at it."""


class _Choice(msgspec.Struct):
    message: dict[str, Any] | None = None
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    error: Any = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Any = None
    model: str | None = None
    error: Any = None


_DECODER = msgspec.json.Decoder(_Completion)
_FINISH: dict[str, Finish] = {
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "max_output_tokens": "length",
    "model_context_window_exceeded": "length",
    "content_filter": "content_filter",
    "content_filtered": "content_filter",
    "safety": "content_filter",
    "sensitive": "content_filter",
    "recitation": "content_filter",
    "prohibited_content": "content_filter",
    "blocklist": "content_filter",
    "refusal": "refusal",
}
"""Provider's word in lower case; every other word means that the model simply stopped."""

_NEVER_ECHOED = frozenset({"annotations", "audio", "function_call", "refusal", "index"})
"""Members of a reply that some servers refuse in a request."""


def parse_completion(body: bytes | bytearray, asked: Asked) -> ModelReply:
    """The reply in the body of a response with status 200.

    Raises:
        AttemptFailure: empty, not JSON, no chat completion, or an error in disguise.
    """
    if not body.strip():
        raise output_failure("an empty body", asked.who)
    try:
        completion = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problem = f"something that is no chat completion ({error})"
        raise output_failure(problem, asked.who) from error
    if completion.error:
        raise from_provider_error(completion.error, asked.who, asked.scrub)
    if not completion.choices:
        raise output_failure("no choice at all", asked.who, usage=normalise_usage(completion.usage))
    choice = completion.choices[0]
    if choice.error:
        raise from_provider_error(choice.error, asked.who, asked.scrub)
    reason = choice.finish_reason or choice.native_finish_reason or ""
    return to_reply(choice.message, reason, completion.usage, completion.model or asked.model, asked)


def to_reply(message: dict[str, Any] | None, reason: str, raw_usage: object, model: str, asked: Asked) -> ModelReply:
    """The reply for an assistant message, parsed or put together from a stream.

    Raises:
        AttemptFailure: no message, or the provider says that generation failed.
    """
    usage = normalise_usage(raw_usage)
    if message is None:
        raise output_failure("a choice without a message", asked.who, usage=usage)
    if reason == "error":
        failure = from_provider_error({"message": "generation failed"}, asked.who, asked.scrub)
        failure.usage = usage
        raise failure
    try:
        calls, echoed_calls = _calls(message.get("tool_calls"), asked.taken_ids)
    except (AttributeError, TypeError) as error:
        raise output_failure(f"malformed tool calls ({error})", asked.who, usage=usage) from error
    refusal = text_of(message.get("refusal"))
    return ModelReply(
        message=canonical(_echo(message, echoed_calls)),
        content=text_of(message.get("content")),
        calls=calls,
        usage=usage,
        finish=_finish(reason, bool(calls), refusal),
        refusal=refusal,
        model=model,
    )


def _finish(reason: str, has_calls: bool, refusal: str) -> Finish:
    finish = _FINISH.get(reason.lower(), "stop")
    if refusal and not has_calls:
        return "refusal"
    if has_calls and finish == "stop":  # Gemini and Ollama say `stop` beside calls
        return "tool_calls"
    return "stop" if finish == "tool_calls" and not has_calls else finish


def _calls(raw: Any, taken: AbstractSet[str]) -> tuple[tuple[RawCall, ...], list[dict[str, Any]]]:
    """The calls, and how they stand in the message that is sent back."""
    calls: list[RawCall] = []
    echoed: list[dict[str, Any]] = []
    used: set[str] = set()
    for call in raw or ():
        function = call.get("function") or {}
        name, arguments = str(function.get("name") or ""), function.get("arguments")
        if not isinstance(arguments, str):  # some servers send the object itself
            arguments = "" if arguments is None else msgspec.json.encode(arguments).decode()
        arguments = arguments.strip() or "{}"
        call_id = call.get("id")
        if not isinstance(call_id, str) or not call_id or call_id in used or call_id in taken:
            call_id = _fresh_id(taken, used)
        used.add(call_id)
        calls.append(RawCall(call_id, name, arguments))
        members = {key: value for key, value in call.items() if value is not None and key != "index"}
        echoed_function = {**function, "name": name, "arguments": _echoed_arguments(arguments)}
        echoed.append({**members, "id": call_id, "type": "function", "function": echoed_function})
    return tuple(calls), echoed


def _fresh_id(taken: AbstractSet[str], used: set[str]) -> str:
    """An id nobody has: nine letters and digits, the one form every provider accepts (Mistral takes no other)."""
    number = len(taken) + len(used) + 1
    while (fresh := f"call{number:05d}") in taken or fresh in used:
        number += 1
    return fresh


def _echoed_arguments(arguments: str) -> str:
    try:
        if isinstance(msgspec.json.decode(arguments), dict):
            return arguments
    except (msgspec.DecodeError, UnicodeEncodeError):
        pass
    return msgspec.json.encode({"unparsed": arguments}).decode()


def _echo(message: dict[str, Any], calls: list[dict[str, Any]]) -> dict[str, Any]:
    """The message as it is sent back: everything the provider wrote, less what servers refuse in a request."""
    echo = {key: value for key, value in message.items() if value is not None and key not in _NEVER_ECHOED}
    echo.pop("tool_calls", None)
    echo["role"] = "assistant"
    if calls:
        echo["tool_calls"] = calls
    refusal = text_of(message.get("refusal"))
    echo.setdefault("content", None if calls else refusal)
    return echo


def text_of(content: Any) -> str:
    """The visible text: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
