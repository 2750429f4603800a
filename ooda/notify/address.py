"""Where a channel may lead: URLs and mail addresses checked before anything is sent, addresses before connecting.

A URL comes from the operator's settings, never from a task's text or a model. What its name resolves to comes from
outside, so a public name must not lead into our own network (a webhook that answers "127.0.0.1" for its host).
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

import msgspec

from ooda.errors import ConfigError

__all__ = ["Url", "checked_url", "is_address", "is_allowed", "is_private", "mail_address"]

_MAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?", re.ASCII)


class Url(msgspec.Struct, frozen=True, kw_only=True):
    """A checked URL. Its `target` may be a secret: Slack's and Teams' are."""

    is_tls: bool
    host: str
    port: int
    target: str
    """Path and query."""
    may_be_private: bool
    """The operator wrote a private address, or listed the name as private."""

    @property
    def netloc(self) -> str:
        """For the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"

    def __repr__(self) -> str:
        return f"Url({self.host!r})"


def checked_url(text: str, setting: str, private_hosts: tuple[str, ...] = ()) -> Url:
    """A URL of the settings.

    Raises:
        ConfigError: it is none, carries a user name, or would send in clear to another machine; the message names
            the setting and never the URL.
    """
    parts = _parts(text.strip())
    if parts is None:
        raise ConfigError(f"`{setting}` is no http(s) URL (its value is not shown); set it to the whole URL")
    if "@" in parts.netloc:
        raise ConfigError(f"`{setting}` holds a user name or password; use the URL without them")
    host, is_tls = (parts.hostname or "").lower(), parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    listed = host in private_hosts or f"{host}:{port}" in private_hosts
    may_be_private = listed or host == "localhost" or host.endswith(".localhost") or is_private(host)
    if not is_tls and not may_be_private:
        raise ConfigError(
            f"`{setting}` would send to `{host}` in clear; use https (http is for this machine, and for names in "
            "`notify.private_hosts`)"
        )
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Url(is_tls=is_tls, host=host, port=port, target=target, may_be_private=may_be_private)


def _parts(text: str) -> SplitResult | None:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a bracket or a port that is none
        return None
    return parts if usable and text.isascii() and text.isprintable() and " " not in text else None


def is_address(host: str) -> bool:
    """Whether a host is written as an IP address, so that there is nothing to look up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_private(address: str) -> bool:
    """Whether an IP address is not a public one: this machine, a local network, link-local, reserved, multicast.

    False for what is no address at all.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        # An IPv4 address in an IPv6 coat is judged as what it is.
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return not inner.is_global or inner.is_multicast
    return not ip.is_global or ip.is_multicast


def is_allowed(url: Url, address: str) -> bool:
    """Whether the address a name resolved to may be connected to."""
    return url.may_be_private or not is_private(address)


def mail_address(text: str) -> str | None:
    """The address, if it is one that can stand in a header and an SMTP command without harm; else None."""
    text = text.strip()
    return text if len(text) <= 254 and _MAIL.fullmatch(text) and ".." not in text else None
