"""URLs, keys and proxies: read leniently, shown never more than needed."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from ooda.errors import ConfigError
from ooda.models.endpoint import ApiKey, Endpoint, Proxy, Url, is_loopback, parse_url, proxy_for

KEY = "sk-very-secret"


@pytest.mark.parametrize(
    ("text", "url", "shown"),
    [
        (
            "https://openrouter.ai/api/v1",
            Url(True, "openrouter.ai", 443, "/api/v1", ""),
            "https://openrouter.ai/api/v1",
        ),
        ("http://localhost:11434/v1/", Url(False, "localhost", 11434, "/v1", ""), "http://localhost:11434/v1"),
        ("http://[::1]:8000/v1", Url(False, "::1", 8000, "/v1", ""), "http://[::1]:8000/v1"),
        ("https://h/v1/chat/completions", Url(True, "h", 443, "/v1", ""), "https://h/v1"),
        ("https://h/v1?api-version=2", Url(True, "h", 443, "/v1", "api-version=2"), "https://h/v1"),
        ("  http://h  ", Url(False, "h", 80, "", ""), "http://h"),
    ],
    ids=str,
)
def test_a_base_url_is_read_as_people_write_it(text: str, url: Url, shown: str) -> None:
    """Slashes and the path people copy from docs are taken off; the query is kept but not shown."""
    assert parse_url(text) == url
    assert str(url) == shown


def test_the_query_stands_behind_the_path() -> None:
    """Azure wants its version there."""
    assert parse_url("https://h/v1?api-version=2").target("/chat/completions") == "/v1/chat/completions?api-version=2"


@pytest.mark.parametrize(
    "text",
    ["", "localhost:8000", "ftp://h/v1", "https://", "http://h:99999/", "http://h/a b", "http://h/ü", "http://[::1"],
)
def test_what_is_no_url_is_a_setting_to_mend(text: str) -> None:
    """With an example of what is expected."""
    with pytest.raises(ConfigError, match="base URL"):
        parse_url(text)


def test_credentials_in_a_url_are_refused_without_being_shown() -> None:
    """URLs end up in logs; keys have a place of their own."""
    with pytest.raises(ConfigError, match="OODA_MODEL__API_KEY") as caught:
        parse_url(f"https://me:{KEY}@h/v1")
    assert KEY not in str(caught.value)


def test_a_key_is_shown_by_nothing_but_its_own_method() -> None:
    """Not by printing, formatting or describing what holds it, and it cannot be copied away."""
    key = ApiKey(f" {KEY}\n")
    endpoint = Endpoint(url=parse_url("https://h/v1"), wire_model="m", key=key, proxy=Proxy("p", 1, "me", KEY))
    for shown in (
        repr(key),
        str(key),
        f"{key}",
        repr(endpoint),
        str(endpoint),
        repr(endpoint.proxy),
        f"{endpoint.proxy}",
    ):
        assert KEY not in shown
    assert key.get_secret_value() == KEY
    for copier in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be copied"):
            copier(key)


@pytest.mark.parametrize("value", ["sk-a\nb: c", "sk-“quoted”", "sk-\x00"], ids=repr)
def test_a_key_that_no_header_can_carry_is_refused(value: str) -> None:
    """A line break in a key would be a second header; the message does not repeat it."""
    with pytest.raises(ConfigError, match="API key") as caught:
        ApiKey(value)
    assert value not in str(caught.value)


def test_a_bare_key_header_takes_the_key_without_bearer() -> None:
    """Azure's way."""
    endpoint = Endpoint(url=parse_url("https://h/v1"), wire_model="m", key=ApiKey(KEY), key_header="api-key")
    assert ("api-key", KEY) in endpoint.request_headers()


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("localhost", True),
        ("models.localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
    ],
)
def test_loopback_is_this_machine_and_nothing_else(host: str, is_local: bool) -> None:
    """A model there needs no key and costs nothing, so a look-alike must not pass."""
    assert is_loopback(host) is is_local


PROXY = {"HTTPS_PROXY": "http://proxy.example:3128"}
THERE = Proxy("proxy.example", 3128)


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("https://h.example/v1", {}, None),
        ("https://h.example/v1", PROXY, THERE),
        ("https://h.example/v1", {"https_proxy": "proxy.example:3128"}, THERE),
        ("https://h.example/v1", {"ALL_PROXY": "http://proxy.example:3128"}, THERE),
        (
            "https://h.example/v1",
            {"HTTPS_PROXY": "http://me:p%40ss@proxy.example"},
            Proxy("proxy.example", 80, "me", "p@ss"),
        ),
        ("http://h.example/v1", PROXY, None),
        ("https://localhost/v1", PROXY, None),
        ("https://h.example/v1", {**PROXY, "NO_PROXY": "*"}, None),
        ("https://h.example/v1", {**PROXY, "NO_PROXY": "other, .example"}, None),
        ("https://h.example/v1", {**PROXY, "no_proxy": "h.example"}, None),
        ("https://h.example/v1", {**PROXY, "NO_PROXY": "h.example:443"}, None),
        ("https://h.example/v1", {**PROXY, "NO_PROXY": "h.example:8443"}, THERE),
        ("https://notexample/v1", {**PROXY, "NO_PROXY": "example"}, THERE),
        ("https://10.1.2.3/v1", {**PROXY, "NO_PROXY": "10.0.0.0/8"}, None),
        ("https://11.1.2.3/v1", {**PROXY, "NO_PROXY": "10.0.0.0/8"}, THERE),
    ],
    ids=str,
)
def test_the_usual_proxy_variables_are_honoured(url: str, environ: dict[str, str], proxy: Any) -> None:
    """As curl reads them: hosts, domains, networks, ports; never for this machine itself."""
    assert proxy_for(parse_url(url), environ) == proxy


@pytest.mark.parametrize("text", ["https://me:pw1@proxy:1", "socks5://me:pw1@proxy:1", "http://me:pw1@proxy:x"])
def test_a_proxy_we_cannot_use_is_a_setting_to_mend(text: str) -> None:
    """Said without its password."""
    with pytest.raises(ConfigError, match="HTTPS_PROXY") as caught:
        proxy_for(parse_url("https://h.example/v1"), {"HTTPS_PROXY": text})
    assert "pw1" not in str(caught.value)
