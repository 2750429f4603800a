"""Every provider's usage block lands in the same four buckets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooda.events import Usage
from ooda.models.usage import normalise_usage

GOLDEN = {
    "openai": (
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 256, "audio_tokens": 0},
        },
        Usage(2006, 1920, 0, 300, 256),
    ),
    "openai responses": (
        {
            "input_tokens": 75,
            "input_tokens_details": {"cached_tokens": 50},
            "output_tokens": 1186,
            "output_tokens_details": {"reasoning_tokens": 1024},
            "total_tokens": 1261,
        },
        Usage(75, 50, 0, 1186, 1024),
    ),
    "openrouter with cache write": (
        {
            "prompt_tokens": 10339,
            "completion_tokens": 60,
            "total_tokens": 10399,
            "prompt_tokens_details": {"cached_tokens": 10318, "cache_write_tokens": 16, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 20},
            "cost": 0.0127,
            "cost_details": {"upstream_inference_cost": None},
        },
        Usage(10339, 10318, 16, 60, 20),
    ),
    "anthropic counts the cache beside the input": (
        {
            "input_tokens": 50,
            "cache_read_input_tokens": 100_000,
            "cache_creation_input_tokens": 2_000,
            "output_tokens": 393,
        },
        Usage(102_050, 100_000, 2_000, 393, 0),
    ),
    "anthropic through litellm's proxy": (
        {
            "prompt_tokens": 102_050,
            "completion_tokens": 393,
            "total_tokens": 102_443,
            "prompt_tokens_details": {"cached_tokens": 100_000, "cache_creation_tokens": 2_000},
            "cache_read_input_tokens": 100_000,
            "cache_creation_input_tokens": 2_000,
        },
        Usage(102_050, 100_000, 2_000, 393, 0),
    ),
    "anthropic renamed but not added up": (
        {
            "prompt_tokens": 50,
            "completion_tokens": 393,
            "total_tokens": 102_443,
            "cache_read_input_tokens": 100_000,
            "cache_creation_input_tokens": 2_000,
        },
        Usage(102_050, 100_000, 2_000, 393, 0),
    ),
    "deepseek": (
        {
            "prompt_tokens": 3000,
            "completion_tokens": 500,
            "total_tokens": 3500,
            "prompt_cache_hit_tokens": 2560,
            "prompt_cache_miss_tokens": 440,
            "completion_tokens_details": {"reasoning_tokens": 350},
        },
        Usage(3000, 2560, 0, 500, 350),
    ),
    "gemini compatible leaves thoughts out of completion tokens": (
        {"prompt_tokens": 40, "completion_tokens": 12, "total_tokens": 652},
        Usage(40, 0, 0, 612, 600),
    ),
    "gemini native": (
        {
            "promptTokenCount": 4000,
            "cachedContentTokenCount": 3000,
            "candidatesTokenCount": 90,
            "thoughtsTokenCount": 210,
            "totalTokenCount": 4300,
        },
        Usage(4000, 3000, 0, 300, 210),
    ),
    "xai leaves reasoning out of completion tokens": (
        {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 135,
            "prompt_tokens_details": {"cached_tokens": 6},
            "completion_tokens_details": {"reasoning_tokens": 94},
        },
        Usage(32, 6, 0, 103, 94),
    ),
    "moonshot": (
        {"prompt_tokens": 800, "completion_tokens": 20, "total_tokens": 820, "cached_tokens": 768},
        Usage(800, 768, 0, 20, 0),
    ),
    "a local server without details": (
        {"prompt_tokens": 26, "completion_tokens": 298, "total_tokens": 324, "prompt_tokens_details": None},
        Usage(26, 0, 0, 298, 0),
    ),
    "floats from a proxy": (
        {"prompt_tokens": 26.0, "completion_tokens": 3.0, "total_tokens": 29.0},
        Usage(26, 0, 0, 3, 0),
    ),
}


@pytest.mark.parametrize(("raw", "usage"), GOLDEN.values(), ids=GOLDEN.keys())
def test_a_providers_block_becomes_four_buckets(raw: dict[str, object], usage: Usage) -> None:
    """Cached and written tokens are parts of the input, reasoning is a part of the output, for everybody."""
    assert normalise_usage(raw) == usage


@pytest.mark.parametrize(
    "raw",
    [None, {}, [], "12", {"tokens": 5}, {"prompt_tokens": 0, "completion_tokens": 0}, {"prompt_tokens": "many"}],
    ids=repr,
)
def test_what_cannot_be_counted_is_unknown_and_not_free(raw: object) -> None:
    """None makes the caller settle at the reservation; zeros would make a call free of charge."""
    assert normalise_usage(raw) is None


_NAMES = st.sampled_from(
    [
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "prompt_cache_hit_tokens",
        "promptTokenCount",
        "thoughtsTokenCount",
        "cached_tokens",
    ]
)
_COUNTS = st.none() | st.integers(-10, 10**7) | st.floats() | st.booleans() | st.sampled_from(["", "12"])
_DETAILS = st.dictionaries(st.sampled_from(["cached_tokens", "cache_write_tokens", "reasoning_tokens"]), _COUNTS)


@given(
    st.dictionaries(_NAMES, _COUNTS),
    st.dictionaries(st.sampled_from(["prompt_tokens_details", "completion_tokens_details"]), _DETAILS | _COUNTS),
)
def test_parts_never_exceed_their_whole(counts: dict[str, object], details: dict[str, object]) -> None:
    """Whatever a server sends, no bucket is negative and no part is larger than what it is a part of."""
    usage = normalise_usage({**counts, **details})
    if usage is not None:
        assert 0 <= usage.cached_input_tokens + usage.cache_write_tokens <= usage.input_tokens
        assert 0 <= usage.reasoning_tokens <= usage.output_tokens
        assert usage.total_tokens > 0
