"""Field types shared by tasks and settings accept the same spellings and say what they accept."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from ooda.fields import BaseUrl, Bytes, Count, Host, Line, Number, Seconds, Usd
from ooda.problems import allowed


@pytest.mark.parametrize("host", ["pypi.org", "*.example.com", "localhost:8080", "127.0.0.1", "PyPI.org", "a-b.c"])
def test_a_host_is_a_name_with_an_optional_port(host: str) -> None:
    """Names are kept in lower case."""
    assert TypeAdapter(Host).validate_python(host) == host.lower()


@pytest.mark.parametrize(
    "host", ["", "https://pypi.org", "pypi.org/simple", "*.com", "*", "a..b", "-a.com", "a.com:0", "a.com:99999", "a b"]
)
def test_what_is_no_host_is_refused(host: str) -> None:
    """No scheme, no path, no wildcard over a whole top level, no impossible port."""
    with pytest.raises(ValidationError, match="a host name such as"):
        TypeAdapter(Host).validate_python(host)


def test_a_base_url_loses_its_trailing_slash() -> None:
    """Paths are appended to it, so one spelling is kept."""
    assert TypeAdapter(BaseUrl).validate_python(" http://127.0.0.1:8000/v1/ ") == "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "ftp://x",
        "http://",
        "http://x:port",
        "http://[",
        "https://u:p@x/v1",
        "http://x/?key=1",
        "http://x y",
    ],
)
def test_what_is_no_base_url_is_refused(url: str) -> None:
    """Credentials and queries do not belong into an address that is logged."""
    with pytest.raises(ValidationError):
        TypeAdapter(BaseUrl).validate_python(url)


@pytest.mark.parametrize("kind", [Count, Number, Seconds, Bytes, Usd], ids=["count", "number", "time", "size", "usd"])
def test_a_boolean_is_never_a_number(kind: Any) -> None:
    """`steps: true` is a slip, not one step."""
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(True)


@pytest.mark.parametrize("text", ["", " ", "a\nb", "x" * 301])
def test_a_line_is_one_line_and_not_blank(text: str) -> None:
    """Titles end up in commit subjects and branch names."""
    with pytest.raises(ValidationError):
        TypeAdapter(Line).validate_python(text)


class _Shown(BaseModel):
    steps: Count = Field(1, ge=1, le=100_000)
    time: Annotated[Seconds | None, Field(ge=1, le=86_400)] = None
    size: Bytes = Field(1, ge=256, le=1 << 20)
    usd: Usd = Field(Decimal(1), gt=0, le=1_000)
    names: tuple[Line, ...] = ()
    flag: bool = False


def test_every_type_says_what_it_accepts_with_its_range_in_its_unit() -> None:
    """The same words serve error messages and the reference."""
    assert {name: allowed(field) for name, field in _Shown.model_fields.items()} == {
        "steps": "a whole number, from 1 to 100,000",
        "time": "a duration such as `90s`, `15m`, `24h` or whole seconds, from 1s to 24h",
        "size": "a size such as `16KiB`, `2GiB` or whole bytes, from 256B to 1MiB",
        "usd": "an amount in USD such as 0.50, at most 9 decimals, more than 0, at most 1,000",
        "names": "a list, each one line of text",
        "flag": "`true` or `false`",
    }
