"""Calendar text from a file or an https address. Reads, and understands nothing of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ooda.errors import ConfigError, IntegrationError

__all__ = ["calendar_text"]

_MOST_BYTES = 10 << 20
_TIMEOUT_S = 30.0


async def calendar_text(source: str) -> str:
    """The text of an iCalendar file, by path or https URL.

    Raises:
        ConfigError: the file cannot be read, or the address is none for this (http, credentials in it).
        IntegrationError: the address does not answer with a calendar's text.
    """
    if "://" not in source:
        return _from_file(source)
    if not source.startswith("https://") or "@" in source.split("/")[2]:
        raise ConfigError(f"calendars are read from files and https addresses without credentials, not {source!r}")
    return await _from_address(source)


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


async def _from_address(url: str) -> str:
    try:
        import httpx
    except ImportError as error:
        raise ConfigError("calendars are fetched over httpx: `pip install 'ooda-agents[http]'`") from error
    data = bytearray()
    try:
        async with (
            asyncio.timeout(_TIMEOUT_S),
            httpx.AsyncClient(follow_redirects=False) as client,
            client.stream("GET", url) as response,
        ):
            status = response.status_code
            async for part in response.aiter_bytes():
                data += part
                if len(data) > _MOST_BYTES:
                    break
    except (httpx.HTTPError, TimeoutError) as error:
        raise _failed(url, type(error).__name__, 0) from error
    if status != 200:
        raise _failed(url, f"it answers {status}", status)
    return _text(bytes(data), url)


def _text(data: bytes, source: str) -> str:
    if len(data) > _MOST_BYTES:
        raise ConfigError(f"calendar {source!r} is longer than {_MOST_BYTES >> 20} MiB")
    return data.decode("utf-8-sig", errors="replace")


def _failed(url: str, why: str, status: int) -> IntegrationError:
    return IntegrationError(
        f"the calendar at {url} cannot be fetched: {why}",
        service="calendar",
        operation="fetch a calendar",
        status=status,
        retryable=status == 0 or status >= 500,
    )
