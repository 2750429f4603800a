"""What a failed attempt means: who has to act, whether another try helps, and when.

An answer of a provider that is no reply becomes an `AttemptFailure` here, once for all back ends; `retry` decides
on it. The provider's own sentence is kept, cut short and without the key.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from ooda.errors import (
    ConfigError,
    ContextOverflowError,
    CredentialError,
    ModelOutputError,
    ModelUnavailableError,
    OodaError,
)
from ooda.events import Usage

__all__ = [
    "AttemptFailure",
    "from_provider_error",
    "from_status",
    "output_failure",
    "retry_after_s",
    "unreachable",
]

Sort = Literal["final", "unreachable", "busy", "output"]
"""No further try; not connected; try later; answered with something that is not a reply."""

_OVERFLOW = re.compile(
    r"context_length_exceeded|exceed_context_size|context_window_exceeded|string_above_max_length"
    r"|maximum (context|prompt|model) length|max(imum)? (input )?(tokens|length) (allowed|limit)"
    r"|exceed(s|ed)? (the |your |model'?s? )*(maximum |available |max )?"
    r"(context|number of tokens allowed|number of input tokens|token limit|model token limit|max length)"
    r"|(prompt|input|request)( token length| tokens?)? (is )?too (long|large)"
    r"|input is too long|input length and `?max_tokens`? exceed|longer than the (maximum )?(context|model)"
    r"|(greater|larger|longer) than the context|context (window|size|length) (is )?(exceed|overflow|full|too)"
    r"|context the overflows|too large for model with|prompt exceeds max length"
    r"|reduce the length of (the|your) (messages|prompt|input)"
    r"|range of input length should be|inputs`? tokens \+ .{0,30}must be <=|prompt token count of \d+ exceeds",
    re.IGNORECASE,
)
"""How OpenAI, Anthropic, Gemini, OpenRouter, xAI, DeepSeek, Mistral, Moonshot, GLM, Qwen, Bedrock, Groq, Together,
vLLM, llama.cpp, LM Studio and Ollama say that a request is longer than the window."""

_BAD_KEY = re.compile(r"api[ _-]?key (is )?(not valid|invalid|expired|missing)|invalid[ _-]api[ _-]?key", re.IGNORECASE)
_NO_CREDIT = re.compile(
    r"insufficient[ _](quota|credits?|balance|funds)|exceeded your current quota|credit balance is too low"
    r"|billing_hard_limit|requires more credits|account.{0,20}(suspended|in arrears)",
    re.IGNORECASE,
)
_TRANSIENT = frozenset({408, 409, 425, 429})
_GATEWAY_TIMEOUTS = frozenset({504, 524})
"""A gateway gave up waiting; what stands behind it may have generated, and billed, to the end."""
_LONGEST = 400


class AttemptFailure(Exception):
    """One attempt that gave no reply, and what is to be thought of it."""

    def __init__(
        self,
        error: type[OodaError],
        message: str,
        *,
        sort: Sort,
        sent: bool = True,
        is_billable: bool = False,
        status: int = 0,
        wait_s: float | None = None,
        usage: Usage | None = None,
        code: str = "",
    ) -> None:
        super().__init__(message)
        self.error = error
        self.message = message
        self.sort = sort
        self.sent = sent
        self.is_billable = is_billable
        self.status = status
        self.wait_s = wait_s
        """Seconds the provider asks to wait; None when it does not say."""
        self.usage = usage
        self.code = code

    def to_error(self, after: str = "") -> OodaError:
        """The error for the caller; `after` says how often and how long it was tried."""
        facts: dict[str, object] = {"status": self.status, "retry_after_s": self.wait_s}
        if self.code:
            facts["code"] = self.code
        return self.error(self.message + after, **facts)


def from_status(
    status: int,
    headers: Mapping[bytes, bytes],
    body: bytes | bytearray,
    who: str,
    scrub: Callable[[str], str],
) -> AttemptFailure:
    """The failure that an HTTP error response stands for.

    Args:
        who: whom was asked for what, for the message: "`gpt-4o` at https://…".
        scrub: takes secrets out of the provider's own words.
    """
    if 300 <= status < 400:
        to = headers.get(b"location", b"").decode("latin-1").partition("?")[0]
        message = f"{who} answered {status}, a redirect to {to[:200]!r}; set that URL, it is not followed with a key"
        return AttemptFailure(ConfigError, message, sort="final", status=status)
    said, code = _provider_sentence(body)
    failure = _failure(status, scrub(said), code, f"{who} answered {status}", retry_after_s(headers))
    failure.is_billable = status in _GATEWAY_TIMEOUTS
    return failure


def from_provider_error(error: object, who: str, scrub: Callable[[str], str]) -> AttemptFailure:
    """The failure in an `error` member of a body or stream that began with status 200."""
    said, code = _sentence_of(error)
    if code.isdecimal() and 400 <= int(code) < 600:
        status = int(code)
    else:  # words: what they blame tells whether another try helps
        status = 400 if "invalid_request" in code else 429 if "rate_limit" in code else 502
    failure = _failure(status, scrub(said), code, f"{who} ended its reply with an error", None)
    failure.is_billable = True  # generation had begun, as far as anybody can tell
    return failure


def unreachable(problem: str, who: str, *, sent: bool, sort: Sort = "unreachable") -> AttemptFailure:
    """No response at all. What was sent may have been generated, and billed, unseen."""
    message = f"{who} gave no reply: {problem}"
    return AttemptFailure(ModelUnavailableError, message, sort=sort, sent=sent, is_billable=sent)


def output_failure(problem: str, who: str, *, usage: Usage | None = None, sort: Sort = "output") -> AttemptFailure:
    """A response that is not a reply; generated and billed all the same."""
    message = f"{who} answered with {problem}"
    return AttemptFailure(ModelOutputError, message, sort=sort, is_billable=True, status=200, usage=usage)


def retry_after_s(headers: Mapping[bytes, bytes], now_s: Callable[[], float] = time.time) -> float | None:
    """How long the provider asks to wait, in seconds, never negative.

    `retry-after-ms` (OpenAI, Azure) first, then `Retry-After` as seconds or as an HTTP date (RFC 9110 section 10.2.3).
    """
    exact = headers.get(b"retry-after-ms", b"").decode("latin-1")
    if re.fullmatch(r"\d{1,12}(\.\d+)?", exact):
        return float(exact) / 1000
    text = headers.get(b"retry-after", b"").decode("latin-1").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now_s()) if text else None
    except ValueError:
        return None


def _failure(status: int, said: str, code: str, what: str, wait_s: float | None) -> AttemptFailure:
    message = f"{what}, saying {said!r}" if said else f"{what} and no explanation"

    def final(error: type[OodaError], advice: str) -> AttemptFailure:
        return AttemptFailure(error, f"{message}; {advice}", sort="final", status=status, wait_s=wait_s, code=code)

    words = f"{code} {said}"
    if status in (401, 403) or (status == 400 and _BAD_KEY.search(words)):
        return final(CredentialError, "check the key and that it may use this model")
    if status == 413 or (status != 429 and _OVERFLOW.search(words)):
        return final(ContextOverflowError, "shorten the context and ask again")
    if status == 402 or _NO_CREDIT.search(words):
        return final(ModelUnavailableError, "add credit, or name a fallback model")
    if status in _TRANSIENT or status >= 500:
        asks = f"; it asks to wait {wait_s:.0f} s" if wait_s else ""
        return AttemptFailure(
            ModelUnavailableError, message + asks, sort="busy", status=status, wait_s=wait_s, code=code
        )
    if status in (404, 405):
        return final(ConfigError, "check the base URL and the model's name")
    return final(ModelOutputError, "the same request would be rejected again")


def _provider_sentence(body: bytes | bytearray) -> tuple[str, str]:
    """What the provider said in an error body of any shape, and its code."""
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", body[:65536].decode("utf-8", "replace"), flags=re.S)
        return _short(text), ""
    if isinstance(decoded, list) and decoded:  # Gemini wraps the error into a list
        decoded = decoded[0]
    if isinstance(decoded, dict) and decoded.get("error"):
        decoded = decoded["error"]
    return _sentence_of(decoded)


def _sentence_of(error: object) -> tuple[str, str]:
    if not isinstance(error, Mapping):
        return _short(error if isinstance(error, str) else ""), ""
    said = next((text for name in ("message", "detail", "error") if (text := _text(error.get(name)))), "")
    raw = error.get("metadata")
    if isinstance(raw, Mapping) and (cause := _text(raw.get("raw"))):  # OpenRouter: what its upstream said
        said = f"{said}: {cause}"
    code = next((str(value) for name in ("code", "type", "status") if (value := error.get(name))), "")
    return _short(said), code[:80]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode() if isinstance(value, Mapping | list) and value else ""


def _short(text: str) -> str:
    """One line of at most 400 characters, without control characters: it is shown in terminals."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: _LONGEST * 20]).split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
