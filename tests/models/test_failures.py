"""What providers' error responses mean: who acts, and whether to ask again."""

from __future__ import annotations

import json

import pytest

from ooda.errors import (
    ConfigError,
    ContextOverflowError,
    CredentialError,
    ModelOutputError,
    ModelUnavailableError,
    OodaError,
)
from ooda.models.failures import AttemptFailure, from_provider_error, from_status, retry_after_s

OVERFLOWS = {
    "openai": "This model's maximum context length is 128000 tokens. However, your messages resulted in 130112 tokens.",
    "openai responses": "Your input exceeds the context window of this model. Please adjust your input and try again.",
    "anthropic": "prompt is too long: 210013 tokens > 200000 maximum",
    "anthropic with reply": "input length and `max_tokens` exceed context limit: 197000 + 8192 > 200000",
    "gemini": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    "openrouter": "This endpoint's maximum context length is 131072 tokens. However, you requested about 140000.",
    "xai": "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
    "mistral": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
    "moonshot": "Invalid request: Your request exceeded model token limit: 8192",
    "glm": "Prompt exceeds max length",
    "qwen": "Range of input length should be [1, 30720]",
    "bedrock": "Input is too long for requested model.",
    "groq": "Please reduce the length of the messages or completion.",
    "vllm": "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
    "llama.cpp": "the request exceeds the available context size. try increasing the context size",
    "lm studio": "Trying to keep the first 4523 tokens when context the overflows. The model is loaded with 4096",
    "ollama": "input length exceeds maximum context length",
    "together": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097.",
    "minimax": "invalid params, context window exceeds limit",
    "copilot": "prompt token count of 140000 exceeds the limit of 128000",
}

NOT_OVERFLOWS = {
    "reply ceiling": "max_tokens is too large: 99999. This model supports at most 16384 completion tokens",
    "reply ceiling, bounded": "Invalid value: max_tokens must be <= 8192",
    "bad tool": "Invalid schema for function 'read_file': schema must be of type object",
    "bad history": "An assistant message with 'tool_calls' must be followed by tool messages",
}


def failure_of(status: int, said: str, **members: object) -> AttemptFailure:
    body = json.dumps({"error": {"message": said, **members}}).encode()
    return from_status(status, {}, body, "`m` at http://host/v1", str)


@pytest.mark.parametrize("said", OVERFLOWS.values(), ids=OVERFLOWS.keys())
def test_an_overlong_request_is_recognised_in_every_providers_words(said: str) -> None:
    """ContextOverflowError makes the runtime compact; anything else would end the run."""
    failure = failure_of(400, said)
    assert (failure.error, failure.sort) == (ContextOverflowError, "final")


@pytest.mark.parametrize("said", NOT_OVERFLOWS.values(), ids=NOT_OVERFLOWS.keys())
def test_other_rejections_do_not_trigger_compaction(said: str) -> None:
    """Compacting for a wrong parameter would lose context and fail again."""
    assert failure_of(400, said).error is ModelOutputError


STATUSES: dict[str, tuple[int, dict[str, object], type[OodaError], str]] = {
    "bad key": (401, {}, CredentialError, "final"),
    "not allowed": (403, {}, CredentialError, "final"),
    "gemini's bad key": (400, {"message": "API key not valid. Please pass a valid API key."}, CredentialError, "final"),
    "out of credit": (402, {}, ModelUnavailableError, "final"),
    "quota used up": (429, {"code": "insufficient_quota"}, ModelUnavailableError, "final"),
    "rate limit": (429, {}, ModelUnavailableError, "busy"),
    "timeout": (408, {}, ModelUnavailableError, "busy"),
    "conflict": (409, {}, ModelUnavailableError, "busy"),
    "server": (500, {}, ModelUnavailableError, "busy"),
    "overloaded": (529, {}, ModelUnavailableError, "busy"),
    "overflow by code": (400, {"code": "context_length_exceeded"}, ContextOverflowError, "final"),
    "overflow as 500": (500, {"message": "context size exceeded"}, ContextOverflowError, "final"),
    "too large": (413, {}, ContextOverflowError, "final"),
    "no such model": (404, {}, ConfigError, "final"),
    "malformed": (400, {}, ModelOutputError, "final"),
    "unprocessable": (422, {}, ModelOutputError, "final"),
    "redirect": (308, {}, ConfigError, "final"),
}


@pytest.mark.parametrize(("status", "members", "error", "sort"), STATUSES.values(), ids=STATUSES.keys())
def test_a_status_says_who_acts_and_whether_to_retry(
    status: int, members: dict[str, object], error: type[OodaError], sort: str
) -> None:
    """The table of the module, row by row."""
    body = json.dumps({"error": {"message": "No.", **members}}).encode()
    failure = from_status(status, {}, body, "`m` at http://host/v1", str)
    assert (failure.error, failure.sort, failure.status) == (error, sort, status)


SENTENCES = {
    "openai": (b'{"error":{"message":"Rate limit reached","type":"requests","code":"rate"}}', "Rate limit reached"),
    "a list": (b'[{"error":{"code":429,"message":"Resource exhausted"}}]', "Resource exhausted"),
    "a string": (b'{"error":"model not found"}', "model not found"),
    "detail": (b'{"detail":"Not Found"}', "Not Found"),
    "detail list": (b'{"detail":[{"loc":["body"],"msg":"field required"}]}', "field required"),
    "upstream": (
        b'{"error":{"message":"Provider returned error","metadata":{"raw":"overloaded upstream"}}}',
        "overloaded upstream",
    ),
    "html": (b"<html><style>b{}</style><body><h1>502</h1>Bad\nGateway</body></html>", "502 Bad Gateway"),
    "nothing": (b"", "no explanation"),
    "not utf-8": (b"\xff\xfe", "answered 500"),
}


@pytest.mark.parametrize(("body", "said"), SENTENCES.values(), ids=SENTENCES.keys())
def test_the_providers_own_sentence_is_kept(body: bytes, said: str) -> None:
    """In whatever shape the error comes."""
    message = from_status(500, {}, body, "`m` at http://host/v1", str).message
    assert message.startswith("`m` at http://host/v1 answered 500")
    assert said in message


def test_an_error_message_is_one_short_line_without_control_characters() -> None:
    """A hostile server must not paint the terminal or fill the journal."""
    message = failure_of(500, "\x1b[2J\r\n" + "x" * 100_000).message
    assert message.isprintable()
    assert len(message) < 600


def test_a_key_that_the_provider_quotes_back_is_scrubbed() -> None:
    """Some providers repeat the rejected key in their message."""
    body = b'{"error":{"message":"Incorrect API key provided: sk-secret-1"}}'
    failure = from_status(401, {}, body, "`m`", lambda text: text.replace("sk-secret-1", "***"))
    assert "sk-secret-1" not in failure.message


def test_a_redirect_names_its_target_without_the_query() -> None:
    """Following it would carry the key elsewhere; the user fixes the URL."""
    failure = from_status(307, {b"location": b"https://other.example/v1/?key=abc"}, b"", "`m`", str)
    assert "https://other.example/v1/" in failure.message
    assert "abc" not in failure.message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({b"retry-after": b"20"}, 20.0),
        ({b"retry-after": b"1.5"}, 1.5),
        ({b"retry-after-ms": b"250", b"retry-after": b"1"}, 0.25),
        ({b"retry-after": b"Thu, 01 Jan 1970 00:02:00 GMT"}, 60.0),
        ({b"retry-after": b"Thu, 01 Jan 1970 00:00:01 GMT"}, 0.0),
        ({b"retry-after": b"soon"}, None),
        ({b"retry-after": b"-5"}, None),
    ],
    ids=str,
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[bytes, bytes], seconds: float | None) -> None:
    """Milliseconds, seconds, an HTTP date; a date in the past means now, nonsense means nothing."""
    assert retry_after_s(headers, now_s=lambda: 60.0) == seconds


@pytest.mark.parametrize(
    ("error", "status", "sort"),
    [
        ({"code": 429, "message": "slow down"}, 429, "busy"),
        ({"code": "502", "message": "upstream"}, 502, "busy"),
        ({"type": "overloaded_error", "message": "Overloaded"}, 502, "busy"),
        ({"code": "rate_limit_exceeded", "message": "tokens per minute"}, 429, "busy"),
        ({"type": "invalid_request_error", "message": "bad tool"}, 400, "final"),
        ("it broke", 502, "busy"),
        ({"code": 401, "message": "no"}, 401, "final"),
    ],
    ids=str,
)
def test_an_error_inside_a_reply_is_read_like_a_status(error: object, status: int, sort: str) -> None:
    """Routers answer 200 first and fail afterwards; what had been generated by then is billed."""
    failure = from_provider_error(error, "`m`", str)
    assert (failure.status, failure.sort, failure.is_billable) == (status, sort, True)


def test_a_gateway_that_gave_up_waiting_may_have_to_be_paid() -> None:
    """Behind a 504 the model went on generating; behind a 503 it never began."""
    assert failure_of(504, "upstream timed out").is_billable
    assert not failure_of(503, "no capacity").is_billable
