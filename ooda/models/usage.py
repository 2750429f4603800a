"""Token usage of every provider in our four buckets.

The field names agree only in part, and where they agree they mean different things: what OpenAI calls
`prompt_tokens` includes cached tokens, Anthropic's `input_tokens` does not; OpenAI's `completion_tokens` includes
reasoning, Gemini's and xAI's do not. A cap that is judged on wrong buckets never fires, or fires ten times too
early, so each shape has a golden test (tests/models/test_usage.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ooda.events import Usage

__all__ = ["normalise_usage"]

_PLAIN = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})
_CACHED = (
    "prompt_tokens_details.cached_tokens",  # OpenAI chat, OpenRouter, xAI, GLM, Gemini's compatible endpoint
    "input_tokens_details.cached_tokens",  # OpenAI responses
    "cache_read_input_tokens",  # Anthropic, and proxies in front of it
    "prompt_cache_hit_tokens",  # DeepSeek
    "cached_tokens",  # Moonshot
    "cachedContentTokenCount",  # Gemini
)
_WRITTEN = (
    "prompt_tokens_details.cache_write_tokens",  # OpenRouter
    "prompt_tokens_details.cache_creation_tokens",  # LiteLLM's proxy
    "cache_creation_input_tokens",  # Anthropic
)
_REASONING = (
    "completion_tokens_details.reasoning_tokens",
    "output_tokens_details.reasoning_tokens",
    "reasoning_tokens",  # Perplexity
    "thoughtsTokenCount",  # Gemini
)


def normalise_usage(raw: object) -> Usage | None:
    """The usage block of a reply as `Usage`; None when it is missing, all zero or of a shape never seen.

    Cached and written tokens never exceed the input, reasoning never the output: where a provider's own figures
    contradict each other the larger total stands, because usage is what a cap is judged on.
    """
    if not isinstance(raw, Mapping):
        return None
    if raw.keys() <= _PLAIN and (plain := _plain(raw)) is not None:
        return plain
    cached, written, reasoning = _first(raw, _CACHED), _first(raw, _WRITTEN), _first(raw, _REASONING)
    if "prompt_tokens" in raw or "completion_tokens" in raw:
        sent, generated = _count(raw, "prompt_tokens"), _count(raw, "completion_tokens")
        if cached + written > sent:  # a proxy that renamed Anthropic's fields without adding them up
            sent += cached + written
        # Gemini and xAI leave reasoning out of `completion_tokens` but not out of the total.
        hidden = max(0, _count(raw, "total_tokens") - sent - generated)
        generated, reasoning = generated + hidden, max(reasoning, hidden)
    elif "input_tokens" in raw or "output_tokens" in raw:
        sent, generated = _count(raw, "input_tokens"), _count(raw, "output_tokens")
        if "cache_read_input_tokens" in raw or "cache_creation_input_tokens" in raw:
            sent += cached + written  # Anthropic counts the cache beside the input, not in it
    elif "promptTokenCount" in raw:
        sent = _count(raw, "promptTokenCount") + _count(raw, "toolUsePromptTokenCount")
        generated = _count(raw, "candidatesTokenCount") + reasoning
    else:
        return None
    if not (sent or cached or written or generated or reasoning):
        return None  # zeros mean "not counted" in the servers that send them, not "free"
    return Usage(
        input_tokens=max(sent, cached + written),
        cached_input_tokens=cached,
        cache_write_tokens=written,
        output_tokens=max(generated, reasoning),
        reasoning_tokens=reasoning,
    )


def _plain(raw: Mapping[str, Any]) -> Usage | None:
    """The commonest shape, three whole numbers that add up; None for anything that wants a closer look."""
    sent, generated, total = raw.get("prompt_tokens"), raw.get("completion_tokens"), raw.get("total_tokens")
    if (
        type(sent) is int
        and type(generated) is int
        and 0 < sent < 2**53
        and generated >= 0
        and total == sent + generated
    ):
        return Usage(input_tokens=sent, output_tokens=generated)
    return None


def _first(raw: Mapping[str, Any], paths: tuple[str, ...]) -> int:
    """The first of `paths` that counts anything: proxies send both their own field and the provider's."""
    for path in paths:
        outer, _, inner = path.rpartition(".")
        holder = raw.get(outer) if outer else raw
        if isinstance(holder, Mapping) and (found := _count(holder, inner)):
            return found
    return 0


def _count(raw: Mapping[str, Any], name: str) -> int:
    value = raw.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return max(0, int(value)) if value == value and abs(value) < 2**53 else 0
