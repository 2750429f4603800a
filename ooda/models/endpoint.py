"""Where a model is asked: URL, key, name on the wire and way there, as one value that never shows the key."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import NoReturn
from urllib.parse import unquote, urlsplit

import msgspec

from ooda.errors import ConfigError

__all__ = ["ApiKey", "Endpoint", "Proxy", "Url", "is_loopback", "parse_url", "proxy_for"]

_HIDDEN = "**********"


class ApiKey:
    """A key that shows itself only when asked: not in repr, str, formatting, comparison output or pickles."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        value = value.strip()
        if not value.isascii() or not value.isprintable():
            raise ConfigError(
                "the model's API key holds characters that cannot stand in an HTTP header; "
                "copy it again, without line breaks or typographic quotes"
            )
        self._value = value

    def get_secret_value(self) -> str:
        """The key itself: for the header, nowhere else."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return f"ApiKey({_HIDDEN!r})" if self._value else "ApiKey('')"

    __str__ = __repr__

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("an ApiKey cannot be copied or pickled: it would be a second place that holds the key")


class Url(msgspec.Struct, frozen=True):
    """A base URL taken apart."""

    is_tls: bool
    host: str
    port: int
    path: str
    query: str

    def __str__(self) -> str:
        """Without the query, which may hold what only the server should see."""
        return f"{'https' if self.is_tls else 'http'}://{self.host_header}{self.path}"

    @property
    def authority(self) -> str:
        """`host:port`, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_header(self) -> str:
        """The authority without the scheme's own port."""
        return self.authority.removesuffix(":443" if self.is_tls else ":80")

    def target(self, path: str) -> str:
        """The request target of `path` below this URL."""
        return self.path + path + (f"?{self.query}" if self.query else "")


class Proxy(msgspec.Struct, frozen=True):
    """An HTTP proxy that opens tunnels by CONNECT (RFC 9110 section 9.3.6)."""

    host: str
    port: int
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Proxy({self.host}:{self.port})"

    __str__ = __repr__


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a back end needs to reach one model."""

    url: Url
    wire_model: str
    """The model's name as this server knows it."""
    key: ApiKey
    key_source: str = ""
    """Where the key came from, for people: `OPENROUTER_API_KEY`, `task`."""
    url_source: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    """Beyond authorisation and content type; no secrets here."""
    key_header: str = "authorization"
    """`authorization` (Bearer) or the name of a header that takes the bare key."""
    proxy: Proxy | None = None
    ca_file: str = ""

    def __repr__(self) -> str:
        return f"Endpoint({self.url}, {self.wire_model!r}, {self.key!r})"

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine: no key needed, priced 0."""
        return is_loopback(self.url.host)

    def request_headers(self) -> list[tuple[str, str]]:
        """All headers of a request, the key among them."""
        headers = [
            ("content-type", "application/json"),
            ("accept-encoding", "identity"),
            ("user-agent", "ooda"),
        ]
        headers.extend(self.headers)
        if self.key:
            bearer = "Bearer " if self.key_header == "authorization" else ""
            headers.append((self.key_header, bearer + self.key.get_secret_value()))
        return headers

    def scrub(self, text: str) -> str:
        """`text` without the key: some providers quote it back."""
        value = self.key.get_secret_value()
        return text.replace(value, _HIDDEN) if value else text


def parse_url(text: str) -> Url:
    """A base URL such as `https://openrouter.ai/api/v1`; a trailing `/chat/completions` is taken off.

    Raises:
        ConfigError: no http(s) URL, or one with a user name or password in it (never shown in the message).
    """
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"the model's base URL cannot be read ({error}); expected https://host/v1") from None
    if parts.username or parts.password:
        raise ConfigError("the model's base URL holds a user name or password; give the key as OODA_MODEL__API_KEY")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"the model's base URL {text!r} is no http(s) URL; expected for instance https://host/v1")
    if re.search(r"[\x00-\x20\x7f]", parts.path + parts.query) or not (parts.path + parts.query).isascii():
        raise ConfigError(f"the model's base URL {text!r} holds spaces or non-ASCII characters; percent-encode them")
    is_tls = parts.scheme == "https"
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return Url(is_tls, parts.hostname, port or (443 if is_tls else 80), path, parts.query)


def is_loopback(host: str) -> bool:
    """Whether `host` names this machine itself."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_for(url: Url, environ: Mapping[str, str]) -> Proxy | None:
    """The HTTPS proxy that `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` name for `url`.

    Lower-case names win, as in curl. Plain-HTTP URLs and loopback are reached directly.

    Raises:
        ConfigError: no http:// URL; the message does not show it, for it may hold a password.
    """

    def read(name: str) -> str:
        return environ.get(name.lower()) or environ.get(name, "")

    text = read("HTTPS_PROXY") or read("ALL_PROXY")
    if not text or not url.is_tls or is_loopback(url.host):
        return None
    if any(_matches(url, entry) for entry in re.split(r"[,\s]+", read("NO_PROXY")) if entry):
        return None
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or parts.scheme != "http":
        raise ConfigError("HTTPS_PROXY must look like http://host:port (the way to the proxy itself is plain HTTP)")
    return Proxy(host, port or 80, unquote(parts.username or ""), unquote(parts.password or ""))


def _matches(url: Url, entry: str) -> bool:
    """Whether one entry of NO_PROXY (a host, a domain, a network, each perhaps with a port) covers `url`."""
    with_port = re.fullmatch(r"([^:]+|\[.+\]):(\d+)", entry)
    name = with_port[1] if with_port else entry
    if with_port and int(with_port[2]) != url.port:
        return False
    if name == "*":
        return True
    try:
        return ipaddress.ip_address(url.host) in ipaddress.ip_network(name.strip("[]"), strict=False)
    except ValueError:
        name = name.lstrip("*").lstrip(".").lower()
        return bool(name) and (url.host == name or url.host.endswith("." + name))
