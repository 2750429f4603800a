"""The address of a Coder deployment: checked before the token goes anywhere. Pure."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from ooda.errors import ConfigError

__all__ = ["checked_url", "is_loopback"]


def checked_url(url: str) -> str:
    """The base URL without a trailing slash or `/api/v2`.

    Raises:
        ConfigError: no http(s) URL, credentials in it, or plain http to another machine.
    """
    text = url.strip().rstrip("/").removesuffix("/api/v2")
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or a bracket that is none
        usable = False
    if not usable or not text.isprintable() or " " in text:
        raise ConfigError(
            "the Coder address is no http(s) URL; set `CODER_URL` to one such as https://coder.example.com"
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError("the Coder address holds more than an address; the token belongs in `CODER_TOKEN` alone")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ConfigError(
            f"`{parts.scheme}://{parts.netloc}` would send the token in clear; "
            "use https (http is for this machine only)"
        )
    return text


def is_loopback(host: str) -> bool:
    """Whether a host name means this machine, without asking anybody."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
