"""Calendar text from a file or an https address. Reads, and understands nothing of it.

The address of a private calendar is a secret (it holds a key), so messages name its host alone.
"""

from __future__ import annotations

import asyncio
import ssl
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from ooda.errors import ConfigError, IntegrationError

__all__ = ["calendar_text"]

_MOST_BYTES = 10 << 20
_TIMEOUT_S = 30.0


async def calendar_text(source: str, *, ca_file: str = "") -> str:
    """The text of an iCalendar file, by path or https URL; plain http is for this machine only.

    Args:
        ca_file: certificate authorities instead of the usual ones.

    Raises:
        ConfigError: the file cannot be read, or the address is none for this (http, credentials in it).
        IntegrationError: the address does not answer with a calendar's text.
    """
    if "://" not in source:
        return _from_file(source)
    try:
        parts = urlsplit(source)
        host = parts.hostname or ""
        is_good = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))
    except ValueError:  # a bracket or a port that is none
        is_good, host = False, ""
    if not is_good or not host or "@" in parts.netloc:
        raise ConfigError(
            f"calendars are read from files and https addresses without user names, not from that at {host!r} "
            "(`steward.policy.holidays`)"
        )
    return await _from_address(source, host, ca_file)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _from_file(source: str) -> str:
    path = Path(source).expanduser()
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"calendar {str(path)!r} cannot be read ({error.strerror}); see `steward.policy.holidays`"
        ) from error
    return _text(data, str(path))


async def _from_address(url: str, host: str, ca_file: str) -> str:
    import httpx

    data = bytearray()
    try:
        async with (
            asyncio.timeout(_TIMEOUT_S),
            httpx.AsyncClient(follow_redirects=False, verify=_tls(ca_file)) as client,
            client.stream("GET", url) as response,
        ):
            status = response.status_code
            async for part in response.aiter_bytes():
                data += part
                if len(data) > _MOST_BYTES:
                    break
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        raise _failed(host, type(error).__name__, 0) from None  # the error's own text holds the address
    if status != 200:
        raise _failed(host, f"it answers {status}" + (", a redirect" if 300 <= status < 400 else ""), status)
    return _text(bytes(data), host)


def _tls(ca_file: str) -> ssl.SSLContext:
    if not ca_file:
        import certifi

        ca_file = certifi.where()
    return ssl.create_default_context(cafile=ca_file)


def _text(data: bytes, source: str) -> str:
    if len(data) > _MOST_BYTES:
        raise ConfigError(f"calendar {source!r} is longer than {_MOST_BYTES >> 20} MiB")
    return data.decode("utf-8-sig", errors="replace")


def _failed(host: str, why: str, status: int) -> IntegrationError:
    return IntegrationError(
        f"the calendar at {host} cannot be fetched: {why}",
        service="calendar",
        operation="fetch a calendar",
        status=status,
        retryable=status == 0 or status >= 500,
    )
