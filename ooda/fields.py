"""Field types of what people write: task specs and settings.

Sits on the ground floor beside `amounts`, so that tasks, settings and tool arguments accept and refuse the same
spellings. Each type carries, as `Says`, what it accepts in words (for error messages and the reference pages) and
as JSON Schema (for the published schema). It knows pydantic; it knows no task and no setting.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from ooda.amounts import parse_bytes, parse_duration, parse_usd

__all__ = ["BaseUrl", "Bytes", "Command", "Count", "Host", "Line", "Number", "Says", "Seconds", "Text", "Usd"]


class Says(msgspec.Struct, frozen=True, eq=False):
    """What a field accepts."""

    phrase: str
    """Completes "expected …"."""
    schema: dict[str, Any] | None = None
    """Replaces pydantic's own JSON Schema."""
    unit: Literal["", "seconds", "bytes", "USD"] = ""
    """Of the value once read."""

    def __get_pydantic_json_schema__(self, core: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        inner = handler(core)
        return inner if self.schema is None else dict(self.schema)


def _no_bool(value: object) -> object:
    # pydantic reads `true` as the number 1; `steps: true` is a slip, so it becomes a word that is no number.
    return str(value) if isinstance(value, bool) else value


def _text_or(number: dict[str, Any], pattern: str) -> dict[str, Any]:
    return {"anyOf": [number, {"type": "string", "pattern": pattern}]}


Count = Annotated[int, BeforeValidator(_no_bool)]
"""A whole number; its bounds stand at the field."""
Number = Annotated[float, BeforeValidator(_no_bool)]
"""A finite number; its bounds stand at the field."""
Seconds = Annotated[
    int,
    BeforeValidator(parse_duration),
    Says(
        "a duration such as `90s`, `15m`, `24h` or whole seconds",
        _text_or({"type": "integer", "minimum": 1}, r"^\s*([0-9]{1,12}|([0-9]{1,12}\s*[smhdwSMHDW]\s*)+)\s*$"),
        "seconds",
    ),
]
"""Whole seconds, written as such or as `24h`."""
Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    Says(
        "a size such as `16KiB`, `2GiB` or whole bytes",
        _text_or({"type": "integer", "minimum": 1}, r"^\s*[0-9]{1,15}\s*[A-Za-z]{0,3}\s*$"),
        "bytes",
    ),
]
"""A size in bytes, written as such or as `16KiB`."""
Usd = Annotated[
    Decimal,
    BeforeValidator(parse_usd),
    PlainSerializer(lambda amount: f"{amount:f}", return_type=str, when_used="json"),
    Says(
        "an amount in USD such as 0.50, at most 9 decimals",
        _text_or({"type": "number", "exclusiveMinimum": 0}, r"^\s*[0-9]{1,12}(\.[0-9]+)?\s*$"),
        "USD",
    ),
]
"""An exact amount of USD; `ooda.amounts.usd_to_nano` makes it an integer."""
Line = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\r\n]*[^\s][^\r\n]*$"), Says("one line of text")]
"""One line, not blank."""
Text = Annotated[str, Field(max_length=200_000), Says("text")]
Command = Annotated[str, Field(min_length=1, max_length=20_000, pattern=r"\S"), Says("a shell command")]

_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(\*\.{_LABEL}\.)?{_LABEL}(\.{_LABEL})*(:[0-9]{{1,5}})?", re.ASCII)
_HOST_SAYS = "a host name such as `pypi.org`, `*.example.com` or `localhost:8080` (no scheme, no path)"


def _host(value: str) -> str:
    host = value.strip().lower()
    _, _, port = host.partition(":")
    if len(host) > 259 or not _HOST.fullmatch(host) or int(port or 1) not in range(1, 65_536):
        raise ValueError(_HOST_SAYS)
    return host


Host = Annotated[str, AfterValidator(_host), Says(_HOST_SAYS)]
"""A host the sandbox may reach; `*.` covers every name below at least two labels, never a whole top level."""


def _base_url(value: str) -> str:
    url = value.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a bracket or a port that is none
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise ValueError("an http or https URL such as `http://127.0.0.1:8000/v1`")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("a URL without user name, query or fragment; keys belong in their own setting")
    return url


BaseUrl = Annotated[
    str,
    AfterValidator(_base_url),
    Says("an http or https URL", {"type": "string", "pattern": r"^\s*https?://"}),
]
"""An http(s) URL without credentials, query or trailing slash."""
