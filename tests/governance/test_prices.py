"""Prices: the bundled table, names, a project's file, and arithmetic that never rounds down."""

import itertools
import json
import math
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooda.errors import ConfigError, ModelOutputError
from ooda.events import Usage
from ooda.governance import prices
from ooda.governance.prices import MAX_TOKENS, PriceBook, PriceRow, Rates, Tier, checked_usage

BOOK = PriceBook.load()


def row(model: str) -> PriceRow:
    found = BOOK.find(model)
    assert found is not None, model
    return found


GOLDEN = [
    # model, usage, cost in nano-USD worked out by hand from the providers' price pages
    ("gpt-5", Usage(10_000, 8_000, 0, 1_000, 600), 2_000 * 1_250 + 8_000 * 125 + 1_000 * 10_000),
    ("gpt-5-nano", Usage(1, 0, 0, 0), 50),
    ("gpt-6.1-sol", Usage(100_000, 90_000, 5_000, 1_000), 5_000 * 2_000 + 90_000 * 100 + 5_000 * 2_500 + 10_000_000),
    ("gpt-5.5", Usage(272_000, 0, 0, 10), 272_000 * 5_000 + 10 * 30_000),
    ("gpt-5.5", Usage(272_001, 0, 0, 10), 272_001 * 10_000 + 10 * 45_000),
    ("o3", Usage(1_000, 0, 0, 1_000, 1_000), 1_000 * 2_000 + 1_000 * 8_000),
    (
        "claude-sonnet-4.5",
        Usage(100_000, 60_000, 30_000, 2_000),
        3_000 * 10_000 + 300 * 60_000 + 3_750 * 30_000 + 30_000_000,
    ),
    ("claude-sonnet-4.5", Usage(200_001, 200_000, 0, 1), 6_000 + 200_000 * 600 + 22_500),
    ("claude-haiku-5.5", Usage(100_001, 0, 0, 0), 100_001 * 500),
    ("claude-opus-5.5", Usage(3, 1, 1, 1), 4_000 + 200 + 5_000 + 20_000),
    ("gemini-2.5-pro", Usage(200_000, 0, 0, 100), 200_000 * 1_250 + 100 * 10_000),
    ("gemini-2.5-pro", Usage(200_001, 100_000, 0, 100), 100_001 * 2_500 + 100_000 * 250 + 100 * 15_000),
    ("z-ai/glm-4.6:exacto", Usage(50_000, 40_000, 0, 4_000), 10_000 * 600 + 40_000 * 110 + 4_000 * 2_200),
    ("deepseek-v4-flash", Usage(7, 6, 0, 1), math.ceil(300 + 6 * 6 + 1_200)),
    ("qwen3-coder-plus", Usage(4, 1, 1, 1), math.ceil(Fraction(2 * 650_000 + 130_000 + 812_500 + 3_250_000, 1_000))),
    ("kimi-k2.6", Usage(10, 5, 0, 2), 5 * 950 + 5 * 160 + 2 * 4_000),
    ("grok-4.5", Usage(199_999, 0, 0, 0), 199_999 * 2_000),
    ("grok-4.5", Usage(200_000, 0, 0, 0), 200_000 * 4_000),
    ("mistral-large-2512", Usage(1_000, 500, 0, 100), 500 * 500 + 500 * 50 + 100 * 1_500),
    ("minimax-m3", Usage(512_001, 0, 0, 1), 512_001 * 600 + 2_400),
    ("llama-3.3-70b-versatile", Usage(100, 0, 0, 100), 100 * 590 + 100 * 790),
    ("qwen3.7-plus", Usage(256_000, 0, 0, 10), 256_000 * 320 + 10 * 1_280),
    ("qwen3.7-plus", Usage(256_001, 200_000, 1, 10), 56_000 * 960 + 200_000 * 192 + 1_200 + 10 * 3_840),
    ("cohere/command-a", Usage(1_000, 400, 0, 100), 1_000 * 2_500 + 100 * 10_000),
    ("amazon/nova-pro-v1", Usage(10, 0, 0, 10), 10 * 800 + 10 * 3_200),
    ("amazon/nova-premier-v1", Usage(100, 60, 0, 1), 40 * 2_500 + 60 * 625 + 12_500),
    ("nvidia/nemotron-3-super-120b-a12b", Usage(3, 0, 0, 1), 3 * 80 + 450),
]


@pytest.mark.parametrize(("model", "usage", "cost"), GOLDEN, ids=lambda value: str(value)[:60])
def test_a_call_costs_what_its_provider_says(model: str, usage: Usage, cost: int) -> None:
    """Four buckets, no bucket billed twice, the tier by the whole input; reasoning is part of the output."""
    assert row(model).cost_nano(usage) == cost


def test_every_provider_and_every_providers_tiers_have_a_worked_out_call() -> None:
    """A provider that is added to the table brings its own; of tiers a call above the first threshold."""
    document = json.loads((Path(prices.__file__).with_name("prices.json")).read_text())
    rows = [row(entry[0]) for entry in document["rows"]]
    known = [(row(model), usage) for model, usage, _ in GOLDEN]
    assert {price.name.partition("/")[0] for price in rows} == {price.name.partition("/")[0] for price, _ in known}
    assert {price.name.partition("/")[0] for price in rows if price.tiers} == {
        price.name.partition("/")[0]
        for price, usage in known
        if price.tiers and usage.input_tokens > price.tiers[0].above
    }


def test_a_cost_is_rounded_up_once_for_the_whole_call() -> None:
    """Not per bucket and never down: two halves of a nano make one, a third of one makes one."""
    half = PriceRow("x", Rates(500, 500, 500, 500))
    assert half.cost_nano(Usage(1, 0, 0, 1)) == 1
    assert PriceRow("x", Rates(1, 1, 1, 1)).cost_nano(Usage(1)) == 1
    assert half.cost_nano(Usage()) == 0


ROWS = st.sampled_from([row(name) for name in BOOK.names()])
COUNTS = st.integers(0, 2_000_000)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    total, output = draw(COUNTS), draw(COUNTS)
    cached = draw(st.integers(0, total))
    return Usage(total, cached, draw(st.integers(0, total - cached)), output, draw(st.integers(0, output)))


@given(ROWS, usages(), st.integers(0, 10_000), st.integers(0, 10_000))
def test_no_call_costs_more_than_its_worst_case(price: PriceRow, usage: Usage, more_in: int, more_out: int) -> None:
    """What the reservation holds covers any use of at most that input and output, in every tier and bucket."""
    bound = price.worst_case_nano(usage.input_tokens + more_in, usage.output_tokens + more_out)
    assert price.cost_nano(usage) <= bound


@given(ROWS, usages(), usages())
def test_costs_never_add_up_to_less_than_the_whole(price: PriceRow, one: Usage, other: Usage) -> None:
    """Splitting a call cannot save by rounding (the cheaper tier of a shorter input left aside)."""
    flat = PriceRow(price.name, price.rates)
    assert flat.cost_nano(one) + flat.cost_nano(other) >= flat.cost_nano(one + other)


def test_the_worst_case_takes_the_models_limit_when_no_limit_is_sent() -> None:
    """A request without `max_tokens` may use all the model has."""
    price = row("gpt-4o")
    assert price.worst_case_nano(1_000) == price.worst_case_nano(1_000, 16_384) == 1_000 * 2_500 + 16_384 * 10_000


def test_the_worst_case_holds_cache_writes_where_they_are_dearer() -> None:
    """Anthropic bills writing a cache at 1.25 of the input rate."""
    assert row("claude-sonnet-4.6").worst_case_nano(1_000, 0) == 1_000 * 3_750


def test_without_any_output_limit_there_is_no_worst_case() -> None:
    """An unbounded call is refused rather than guessed."""
    with pytest.raises(ConfigError, match="send `max_tokens`"):
        PriceRow("x", Rates(1, 1, 1, 1)).worst_case_nano(1)


@pytest.mark.parametrize(
    "usage",
    [
        Usage(-1),
        Usage(0, 0, 0, -1),
        Usage(MAX_TOKENS + 1),
        Usage(float("nan")),  # type: ignore[arg-type]
        Usage(1.0),  # type: ignore[arg-type]
        Usage(True),
        Usage("7"),  # type: ignore[arg-type]
        Usage(None),  # type: ignore[arg-type]
        Usage(10, 11),
        Usage(10, 6, 5),
        Usage(10, 0, 0, 5, 6),
    ],
    ids=repr,
)
def test_counts_that_cannot_be_are_refused(usage: Usage) -> None:
    """Negative, NaN, absurd, of another type, or a part above its whole; the message says what is charged instead."""
    with pytest.raises(ModelOutputError, match="charged at its reservation") as caught:
        row("gpt-5").cost_nano(usage)
    assert caught.value.usage is usage


def test_the_largest_counts_that_can_be_are_computed_exactly() -> None:
    """Python integers do not overflow; the edge of the range is inside."""
    usage = Usage(MAX_TOKENS, 0, 0, MAX_TOKENS)
    assert checked_usage(usage) is usage
    assert PriceRow("x", Rates(10**12, 0, 0, 10**12)).cost_nano(usage) == 2 * MAX_TOKENS * 10**9


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("z-ai/glm-4.6:exacto", "z-ai/glm-4.6"),
        ("openrouter/z-ai/glm-4.6:exacto", "z-ai/glm-4.6"),
        ("openrouter:z-ai/glm-4.6", "z-ai/glm-4.6"),
        ("zai/glm-4.6", "z-ai/glm-4.6"),
        ("GLM-4.6", "z-ai/glm-4.6"),
        (" gpt-5 ", "openai/gpt-5"),
        ("openai:gpt-5", "openai/gpt-5"),
        ("openai/gpt-5-2025-08-07", "openai/gpt-5"),
        ("azure/gpt-5-mini", "openai/gpt-5-mini"),
        ("gpt-4o-2024-11-20", "openai/gpt-4o"),
        ("gpt-4o-2024-05-13", "openai/gpt-4o-2024-05-13"),
        ("gpt-5.6", "openai/gpt-5.6-sol"),
        ("anthropic/claude-sonnet-4.5", "anthropic/claude-sonnet-4.5"),
        ("anthropic:claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4.5"),
        ("claude-opus-4-1-20250805", "anthropic/claude-opus-4.1"),
        ("vertex_ai/claude-haiku-4-5@20251001", "anthropic/claude-haiku-4.5"),
        ("openrouter/anthropic/claude-haiku-4.5", "anthropic/claude-haiku-4.5"),
        ("gemini/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("google-gla:gemini-2.5-flash-lite", "google/gemini-2.5-flash-lite"),
        ("xai/grok-4.5-latest", "x-ai/grok-4.5"),
        ("mistral/mistral-large-latest", "mistralai/mistral-large-3"),
        ("groq/openai/gpt-oss-120b", "openai/gpt-oss-120b"),
        ("moonshot/kimi-k2.6", "moonshotai/kimi-k2.6"),
        ("deepseek-chat", "deepseek/deepseek-v3.2"),
        ("litellm_proxy/gpt-5", "openai/gpt-5"),
    ],
)
def test_a_model_is_found_by_every_name_people_use(asked: str, name: str) -> None:
    """Vendors, routers, hints, dates, dots and dashes."""
    assert row(asked).name == name


@pytest.mark.parametrize(
    "asked",
    ["", "gpt-9", "nobody/gpt-5", "z-ai/glm-4.6:free", "z-ai/glm-4.6:nitro", "gpt-5:online", "anthropic/gpt-5",
     "anthropic/claude-sonnet-4.5:batch", "glm", "bedrock/claude-sonnet-4.5"],
)  # fmt: skip
def test_a_model_that_may_cost_otherwise_is_not_guessed(asked: str) -> None:
    """An unknown model, host or variant has no price: the caller refuses it under a money cap."""
    assert BOOK.find(asked) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:11434/v1",
        "http://127.0.0.1:8000",
        "http://[::1]:1234/v1",
        "127.0.0.53:80",
        "http://a.localhost",
    ],
)
def test_a_server_on_this_machine_costs_nothing_whatever_its_model(url: str) -> None:
    """And the row says so by its name."""
    found = BOOK.find("whatever:7b", url)
    assert found is not None
    assert (found.name, found.cost_nano(Usage(10**6, 0, 0, 10**6)), found.worst_case_nano(10**6)) == ("loopback", 0, 0)


def test_a_project_may_price_its_own_server_on_this_machine(tmp_path: Path) -> None:
    """A gateway may listen on loopback and bill elsewhere: only the model its file names costs something."""
    file = tmp_path / "prices.toml"
    file.write_text('[models]\n"gateway/large" = { input = 3.0, output = 15.0 }\n')
    book = PriceBook.load(file)

    priced = book.find("gateway/large", "http://127.0.0.1:4000/v1")
    others = book.find("gpt-5", "http://127.0.0.1:4000/v1")

    assert priced is not None
    assert (priced.name, priced.cost_nano(Usage(10**6, 0, 0, 0))) == ("gateway/large", 3_000_000_000)
    assert others is not None
    assert others.name == "loopback"


@pytest.mark.parametrize(
    "url",
    [
        "https://openrouter.ai/api/v1",
        "http://127.evil.test",
        "http://localhost.evil.test",
        "http://10.0.0.1",
        "http://[",
        "",
        None,
    ],
)
def test_another_machine_is_not_free(url: str | None) -> None:
    """A name that only begins like loopback is another machine."""
    assert BOOK.find("gpt-5", url) == row("gpt-5")
    assert BOOK.find("whatever:7b", url) is None


def test_the_table_is_sound() -> None:
    """Rates and sizes are positive, a cached token is never dearer, a longer call never cheaper."""
    for name in BOOK.names():
        price = row(name)
        assert price.name == name
        assert "/" in name
        assert price.context_tokens
        assert price.max_output_tokens
        assert price.source.startswith("bundled 20")
        steps = [price.rates, *(tier.rates for tier in price.tiers)]
        assert all(0 < rates.cached_input <= rates.input <= rates.cache_write * 1.0 for rates in steps)
        assert all(
            a.input <= b.input
            and a.cached_input <= b.cached_input
            and a.cache_write <= b.cache_write
            and a.output <= b.output
            for a, b in itertools.pairwise(steps)
        )


def test_the_table_is_small_and_loads_in_milliseconds() -> None:
    """It ships in the wheel and is read at the first model call."""
    start = time.process_time()
    PriceBook.load()
    assert time.process_time() - start < 0.05
    assert len(BOOK.names()) >= 60
    assert (Path(__file__).parents[2] / "ooda/governance/prices.json").stat().st_size < 16_000


def test_the_row_is_stored_with_the_charge() -> None:
    """Years later a charge still says by which rates it was made."""
    stored = json.loads(row("gpt-5").as_json())
    assert stored["name"] == "openai/gpt-5"
    assert stored["rates"] == {"input": 1250000, "cached_input": 125000, "cache_write": 1250000, "output": 10000000}


def loaded(tmp_path: Path, text: str) -> PriceBook:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    return PriceBook.load(path)


def test_a_projects_file_adds_models_and_names(tmp_path: Path) -> None:
    """USD per million tokens as people read them on price pages; buckets left out cost what input costs."""
    book = loaded(
        tmp_path,
        """
        [models]
        "acme/coder" = { input = 0.6, output = "2.20", context_tokens = 100000, max_output_tokens = 8000 }
        "acme/long" = { input = 1, cached_input = 0.1, output = 2, tiers = [{ above = 200000, input = 2, output = 4 }] }
        [aliases]
        "our-coder" = "acme/coder"
        """,
    )
    path = tmp_path / "prices.toml"
    coder = PriceRow(
        "acme/coder", Rates(600_000, 600_000, 600_000, 2_200_000), (), 100_000, 8_000, f"price file {path}"
    )
    assert book.find("our-coder") == coder
    assert book.find("openrouter/acme/coder") == coder
    long = book.find("acme/long")
    assert long is not None
    assert long.tiers == (Tier(200_000, Rates(2_000_000, 2_000_000, 2_000_000, 4_000_000)),)
    assert book.find("gpt-5") == row("gpt-5")


def test_a_projects_price_replaces_the_tables_under_all_its_names(tmp_path: Path) -> None:
    """A negotiated price counts however the model is called."""
    book = loaded(tmp_path, '[models]\n"gpt-5" = { input = 1.0, output = 8.0 }\n')
    found = book.find("gpt-5")
    assert found is not None
    assert found.rates == Rates(1_000_000, 1_000_000, 1_000_000, 8_000_000)
    assert book.find("openrouter/openai/gpt-5-2025-08-07") == found


def test_the_line_to_add_is_a_price_file(tmp_path: Path) -> None:
    """What the refusal of an unknown model shows can be pasted as it stands."""
    name = 'odd "name"/x'
    book = loaded(tmp_path, PriceBook.example_line(name))
    assert book.find(name) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models = 3", "`models` is 3; expected a table"),
        ("[modls]", "unknown key `modls`; did you mean `models`"),
        ('[models]\n"x" = { inptu = 1, output = 1 }', "unknown key `inptu`; did you mean `input`"),
        ('[models]\n"x" = { output = 1 }', "`input` is missing; give USD per million tokens"),
        ('[models]\n"x" = { input = -1, output = 1 }', "`input` is -1; expected USD per million"),
        ('[models]\n"x" = { input = nan, output = 1 }', "expected USD per million"),
        ('[models]\n"x" = { input = inf, output = 1 }', "expected USD per million"),
        ('[models]\n"x" = { input = true, output = 1 }', "`input` is True; expected USD"),
        ('[models]\n"x" = { input = "much", output = 1 }', "`input` is 'much'"),
        ('[models]\n"x" = { input = 0.0000001, output = 1 }', "at most six decimals"),
        ('[models]\n"x" = { input = 1e30, output = 1 }', "expected USD per million"),
        ('[models]\n"x" = { input = 1, output = 1, max_output_tokens = 0 }', "expected a whole number of tokens"),
        ('[models]\n"x" = { input = 1, output = 1, tiers = 5 }', "`tiers` is 5; expected a list"),
        (
            '[models]\n"x" = { input = 2, output = 2, tiers = [{ above = 9, input = 1, output = 3 }] }',
            "must not cost less",
        ),
        ('[models]\n"x" = { input = 1, output = 1, tiers = [{ input = 2, output = 3 }] }', "`above` is None"),
        ('[models]\n"x" = 7', "model 'x' is 7; expected a table"),
        ('[aliases]\n"x" = 7', "alias 'x' is 7; expected the name"),
        ("[models", "is no TOML"),
    ],
)
def test_a_mistake_in_a_projects_file_is_named_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    """What was found, what is allowed, the nearest word."""
    with pytest.raises(ConfigError, match=r"price file `.*prices\.toml`") as caught:
        loaded(tmp_path, text)
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """A price file that was named and is missing must not mean the bundled prices."""
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        PriceBook.load(tmp_path / "absent.toml")
