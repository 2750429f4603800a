"""What a model call costs: a bundled table of rates, names people use for the models, and a project's own file.

Rates are integers, pico-USD per token, because the cheapest models cost less than a micro-USD; a call's cost is
rounded up once, to nano-USD. A model nobody knows has no price: the caller refuses it under a money cap and shows
`PriceBook.example_line`. Knows numbers and names; what is reserved and when is the ledger's matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from ooda.errors import ConfigError, ModelOutputError
from ooda.events import Usage
from ooda.governance.settings_file import read_toml, refuse_unknown

__all__ = ["FREE", "MAX_TOKENS", "PriceBook", "PriceRow", "Rates", "Tier", "checked_usage"]

MAX_TOKENS: Final = 2**40
"""More tokens than this in one call is a provider's mistake, not a bill."""

_BUNDLED: Final = Path(__file__).with_name("prices.json")
_PICO_PER_NANO: Final = 1_000
_PICO_PER_USD_PER_MILLION: Final = 1_000_000
_MAX_RATE: Final = 10**12
"""One USD per token."""


class Rates(msgspec.Struct, frozen=True):
    """Pico-USD per token of the four buckets; reasoning tokens are output."""

    input: int
    cached_input: int
    cache_write: int
    output: int

    @property
    def dearest_input(self) -> int:
        """The rate no input token can pass: writing a cache may cost more than plain input."""
        return max(self.input, self.cached_input, self.cache_write)


class Tier(msgspec.Struct, frozen=True):
    """Rates of a whole call whose input is longer than `above` tokens."""

    above: int
    rates: Rates


class PriceRow(msgspec.Struct, frozen=True):
    """The price of one model, and the sizes its provider allows."""

    name: str
    """The table's name for the model, `vendor/model`; `loopback` for a server on this machine."""
    rates: Rates
    tiers: tuple[Tier, ...] = ()
    """Longer and dearer, in this order."""
    context_tokens: int | None = None
    """Longest input; None when unknown."""
    max_output_tokens: int | None = None
    source: str = "bundled"
    """Where the row comes from, with its date: stored with each charge."""

    def rates_for(self, input_tokens: int) -> Rates:
        """The rates of a call with this much input."""
        found = self.rates
        for tier in self.tiers:
            if input_tokens > tier.above:
                found = tier.rates
        return found

    def cost_nano(self, usage: Usage) -> int:
        """The cost of a call in nano-USD, rounded up.

        Raises:
            ModelOutputError: the counts cannot be true (see `checked_usage`); charge the reservation.
        """
        usage = checked_usage(usage)
        rates = self.rates_for(usage.input_tokens)
        plain = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
        pico = (
            plain * rates.input
            + usage.cached_input_tokens * rates.cached_input
            + usage.cache_write_tokens * rates.cache_write
            + usage.output_tokens * rates.output
        )
        return -(-pico // _PICO_PER_NANO)

    def worst_case_nano(self, input_tokens: int, max_output_tokens: int | None = None) -> int:
        """The most a call can cost in nano-USD: nothing cached, all output used; what a reservation holds.

        Args:
            input_tokens: An upper bound of what is sent.
            max_output_tokens: The request's `max_tokens`; None takes the model's limit.

        Raises:
            ConfigError: no output limit was given and the model's is unknown.
        """
        output = self.max_output_tokens if max_output_tokens is None else max_output_tokens
        if output is None:
            if self.rates.output == 0:
                return 0
            raise ConfigError(
                f"model {self.name!r} has no known output limit, so its worst case has no bound; send `max_tokens` "
                "or add `max_output_tokens` to its line in the price file",
                model=self.name,
            )
        checked_usage(Usage(input_tokens=input_tokens, output_tokens=output))
        rates = self.rates_for(input_tokens)
        return -(-(input_tokens * rates.dearest_input + output * rates.output) // _PICO_PER_NANO)

    def as_json(self) -> str:
        """The row as it is stored with a charge."""
        return msgspec.json.encode(self).decode()


def checked_usage(usage: Usage) -> Usage:
    """The usage itself, when its counts can be true.

    Raises:
        ModelOutputError: a count is no whole number, negative or above 2**40, or a part exceeds its whole.
    """
    for name in usage.__struct_fields__:
        count = getattr(usage, name)
        if type(count) is not int or not 0 <= count <= MAX_TOKENS:
            raise ModelOutputError(
                f"the provider reported {name} = {count!r}; expected a whole number from 0 to 2**40, so the call is "
                "charged at its reservation",
                usage=usage,
            )
    if usage.cached_input_tokens + usage.cache_write_tokens > usage.input_tokens:
        raise ModelOutputError(
            f"the provider reported {usage.cached_input_tokens} cached and {usage.cache_write_tokens} cache-write "
            f"tokens of {usage.input_tokens} input tokens; parts cannot exceed the whole, so the call is "
            "charged at its reservation",
            usage=usage,
        )
    if usage.reasoning_tokens > usage.output_tokens:
        raise ModelOutputError(
            f"the provider reported {usage.reasoning_tokens} reasoning tokens of {usage.output_tokens} output tokens; "
            "a part cannot exceed the whole, so the call is charged at its reservation",
            usage=usage,
        )
    return usage


FREE: Final = PriceRow("loopback", Rates(0, 0, 0, 0), source="a server on this machine costs nothing")
"""What a model on this machine costs, and a replay."""

_ROUTERS: Final = ("openrouter/", "litellm_proxy/", "vercel_ai_gateway/")
_VENDORS: Final[Mapping[str, tuple[str, ...]]] = {
    "openai": ("openai",),
    "azure": ("openai",),
    "anthropic": ("anthropic",),
    "vertex_ai": ("google", "anthropic"),
    "google-vertex": ("google", "anthropic"),
    "google": ("google",),
    "google-gla": ("google",),
    "gemini": ("google",),
    "z-ai": ("z-ai",),
    "zai": ("z-ai",),
    "zai-org": ("z-ai",),
    "zhipuai": ("z-ai",),
    "deepseek": ("deepseek",),
    "deepseek-ai": ("deepseek",),
    "qwen": ("qwen",),
    "dashscope": ("qwen",),
    "alibaba": ("qwen",),
    "moonshotai": ("moonshotai",),
    "moonshot": ("moonshotai",),
    "x-ai": ("x-ai",),
    "xai": ("x-ai",),
    "mistralai": ("mistralai",),
    "mistral": ("mistralai",),
    "minimax": ("minimax",),
    "meta-llama": ("meta-llama",),
    "meta": ("meta-llama",),
    "cohere": ("cohere",),
    "amazon": ("amazon",),
    "nvidia": ("nvidia",),
    "groq": ("meta-llama", "openai"),
}
"""What stands before a model's name, and whose models the table knows under it."""

_VARIANT: Final = re.compile(r":(?:exacto|floor)$")
"""Routing hints that do not raise the price. `:free`, `:batch`, `:nitro` and `:online` are priced otherwise."""
_DATE: Final = re.compile(r"(?:[-@](?:20\d{2}-?\d{2}-?\d{2})|-latest)$")


class PriceBook:
    """All known prices."""

    def __init__(self, rows: Mapping[str, PriceRow], aliases: Mapping[str, str] | None = None) -> None:
        """Rows by name, and further names for some of them; `.` and `-` are the same, case does not count."""
        self._aliases = {_key(name): _key(target) for name, target in (aliases or {}).items()}
        self._rows = {_key(name): row for name, row in rows.items()}
        self._own: set[str] = set()
        """Names priced by the project's file, which also knows what its own servers cost."""

    @classmethod
    def load(cls, override: Path | None = None) -> PriceBook:
        """The bundled table, with a project's file over it.

        Raises:
            ConfigError: the file cannot be read, or says something about a price that is not understood.
        """
        book = cls(*_bundled())
        if override is not None:
            rows, aliases = _read_override(override)
            book._aliases.update({_key(name): _key(target) for name, target in aliases.items()})
            for name, row in rows.items():
                # A name the table has for one of its rows replaces that row, under all its names.
                key = book._aliases.get(_key(name), _key(name))
                book._rows[key] = row
                book._own.add(key)
        return book

    def find(self, model: str, base_url: str | None = None) -> PriceRow | None:
        """The price of a model as people and settings name it, or None when nobody knows it.

        Understands `vendor/model` and `vendor:model`, a router in front (`openrouter/…`), routing hints behind
        (`:exacto`), dates (`-2025-08-07`), and dots for dashes. A server on this machine costs nothing, unless the
        project's file prices the model itself (a gateway that listens here and bills elsewhere).
        """
        keys = [self._aliases.get(name, name) for name in _spellings(model)]
        if base_url and _is_loopback(base_url):
            return next((self._rows[key] for key in keys if key in self._own), FREE)
        return next((self._rows[key] for key in keys if key in self._rows), None)

    def names(self) -> list[str]:
        """The names of all rows, sorted."""
        return sorted({row.name for row in self._rows.values()})

    @staticmethod
    def example_line(model: str) -> str:
        """A price file for a model nobody knows, to be filled in."""
        quoted = msgspec.json.encode(model).decode()
        return f"[models]\n{quoted} = {{ input = 0.60, cached_input = 0.11, output = 2.20 }}  # USD per million tokens"


def _key(name: str) -> str:
    """One spelling for `claude-sonnet-4.5` and `claude-sonnet-4-5`, whatever the case."""
    return name.strip().lower().replace(".", "-")


def _spellings(model: str) -> Iterator[str]:
    """The names to look a model up by, most exact first."""
    name = _key(model)
    vendor, colon, rest = name.partition(":")
    if colon and "/" not in vendor and (vendor in _VENDORS or f"{vendor}/" in _ROUTERS):
        name = f"{vendor}/{rest}"
    yield name
    for router in _ROUTERS:
        name = name.removeprefix(router)
    plain = _VARIANT.sub("", name)
    for spelled in (name, plain, _DATE.sub("", plain)):
        yield spelled
        vendor, slash, bare = spelled.partition("/")
        for owner in _VENDORS.get(vendor, ()) if slash else ():
            yield f"{owner}/{bare}"
            if bare.startswith(f"{owner}/"):  # a host that keeps the owner's name: groq/openai/gpt-oss-120b
                yield bare


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url if "//" in url else f"//{url}").hostname or ""
    except ValueError:
        return False
    return (
        host in ("localhost", "::1") or host.endswith(".localhost") or bool(re.fullmatch(r"127(?:\.\d{1,3}){3}", host))
    )


# -- the bundled table ---------------------------------------------------------------------------------------

_Buckets = tuple[int, int | None, int | None, int]


class _Line(msgspec.Struct, array_like=True, frozen=True):
    name: str
    input: int
    cached_input: int | None
    cache_write: int | None
    output: int
    context_tokens: int
    max_output_tokens: int
    tiers: tuple[tuple[int, _Buckets], ...] = ()
    also: tuple[str, ...] = ()


class _Table(msgspec.Struct, frozen=True):
    as_of: str
    rows: tuple[_Line, ...]


def _bundled() -> tuple[dict[str, PriceRow], dict[str, str]]:
    table = msgspec.json.decode(_BUNDLED.read_bytes(), type=_Table)
    rows: dict[str, PriceRow] = {}
    aliases: dict[str, str] = {}
    for line in table.rows:
        rows[line.name] = PriceRow(
            line.name,
            _rates(line.input, line.cached_input, line.cache_write, line.output),
            tuple(Tier(above, _rates(*rates)) for above, rates in line.tiers),
            line.context_tokens,
            line.max_output_tokens,
            f"bundled {table.as_of}",
        )
        vendor, _, bare = line.name.partition("/")
        for name in (bare, *line.also):
            aliases[name] = line.name
            aliases[f"{vendor}/{name}"] = line.name
    return rows, aliases


def _rates(input: int, cached_input: int | None, cache_write: int | None, output: int) -> Rates:
    """A bucket without a rate of its own costs what plain input costs."""
    return Rates(
        input, input if cached_input is None else cached_input, input if cache_write is None else cache_write, output
    )


# -- a project's file ----------------------------------------------------------------------------------------

_RATE_KEYS: Final = ("input", "cached_input", "cache_write", "output")
_SIZE_KEYS: Final = ("context_tokens", "max_output_tokens")


def _read_override(path: Path) -> tuple[dict[str, PriceRow], dict[str, str]]:
    where = f"price file `{path}`"
    document = read_toml(path, where)
    refuse_unknown(document, ("models", "aliases"), where)
    aliases = _mapping(document.get("aliases", {}), f"{where}, `aliases`")
    for name, target in aliases.items():
        if not isinstance(target, str):
            raise ConfigError(f"{where}: alias {name!r} is {target!r}; expected the name of a model, in quotes")
    models = _mapping(document.get("models", {}), f"{where}, `models`")
    rows = {
        name: _override_row(name, _mapping(fields, f"{where}, model {name!r}"), f"{where}, model {name!r}", str(path))
        for name, fields in models.items()
    }
    return rows, dict(aliases)


def _override_row(name: str, fields: Mapping[str, Any], where: str, source: str) -> PriceRow:
    refuse_unknown(fields, (*_RATE_KEYS, *_SIZE_KEYS, "tiers"), where)
    tiers = []
    above, before = 0, _override_rates(fields, where)
    first = before
    entries = fields.get("tiers", [])
    if not isinstance(entries, list):
        raise ConfigError(
            f"{where}: `tiers` is {entries!r}; expected a list such as [{{ above = 200000, input = 2.0, … }}]"
        )
    for number, entry in enumerate(entries):
        place = f"{where}, `tiers[{number}]`"
        tier = _mapping(entry, place)
        refuse_unknown(tier, ("above", *_RATE_KEYS), place)
        threshold, rates = _size(tier, "above", place), _override_rates(tier, place)
        if threshold is None or threshold <= above:
            raise ConfigError(f"{place}: `above` is {tier.get('above')!r}; expected more tokens than {above}")
        if rates.dearest_input < before.dearest_input or rates.output < before.output:
            raise ConfigError(
                f"{place}: a longer call must not cost less a token than a shorter one; reorder the tiers"
            )
        tiers.append(Tier(threshold, rates))
        above, before = threshold, rates
    return PriceRow(
        name,
        first,
        tuple(tiers),
        _size(fields, "context_tokens", where),
        _size(fields, "max_output_tokens", where),
        f"price file {source}",
    )


def _override_rates(fields: Mapping[str, Any], where: str) -> Rates:
    found = {key: _pico(fields[key], key, where) for key in _RATE_KEYS if key in fields}
    for key in ("input", "output"):
        if key not in found:
            raise ConfigError(f"{where}: `{key}` is missing; give USD per million tokens, for example `{key} = 0.60`")
    return _rates(found["input"], found.get("cached_input"), found.get("cache_write"), found["output"])


def _pico(value: object, key: str, where: str) -> int:
    """USD per million tokens as pico-USD per token."""
    try:
        amount = Decimal(str(value)) if isinstance(value, (int, Decimal, str)) and value is not True else None
    except InvalidOperation:
        amount = None
    pico = amount * _PICO_PER_USD_PER_MILLION if amount is not None and amount.is_finite() else None
    if pico is None or pico < 0 or pico > _MAX_RATE or pico != int(pico):
        raise ConfigError(
            f"{where}: `{key}` is {value!r}; expected USD per million tokens, not negative, with at most six decimals"
        )
    return int(pico)


def _size(
    fields: Mapping[str, Any], key: Literal["context_tokens", "max_output_tokens", "above"], where: str
) -> int | None:
    value = fields.get(key)
    if value is not None and (type(value) is not int or not 0 < value <= MAX_TOKENS):
        raise ConfigError(f"{where}: `{key}` is {value!r}; expected a whole number of tokens above 0")
    return value


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} is {value!r}; expected a table of keys and values")
    return value
