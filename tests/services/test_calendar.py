"""Calendars over the wire: https with a checked certificate, a limit of size and time, no redirect, no leak."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from ooda.errors import ConfigError, IntegrationError
from ooda.services.calendar import calendar_text

TEXT = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nEND:VCALENDAR\r\n"
KEY = "private-0123456789abcdef"


@asynccontextmanager
async def serving(answer: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        try:
            await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    async with server:
        scheme = "https" if context else "http"
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/{KEY}/basic.ics"


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def test_a_calendar_is_fetched_over_https_with_a_checked_certificate(tmp_path: Path) -> None:
    """An unknown authority is refused."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with serving(ok(TEXT.encode()), context) as url:
        assert await calendar_text(url, ca_file=str(tmp_path / "ca.pem")) == TEXT
        with pytest.raises(IntegrationError, match="ConnectError"):
            await calendar_text(url)


async def test_plain_http_is_for_this_machine() -> None:
    """To anywhere else it is refused before anything is sent."""
    async with serving(ok(b"\xef\xbb\xbf" + TEXT.encode())) as url:
        assert await calendar_text(url) == TEXT
    for source in (
        f"http://calendar.example.com/{KEY}",
        f"ftp://calendar.example.com/{KEY}",
        f"https://ada:{KEY}@calendar.example.com/x",
        f"https:///{KEY}",
        f"https://[{KEY}/x",
    ):
        with pytest.raises(ConfigError) as caught:
            await calendar_text(source)
        assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "302, a redirect"),
        (b"not HTTP at all\r\n\r\n", "RemoteProtocolError"),
        (b"", "RemoteProtocolError"),
    ],
)
async def test_what_is_no_calendar_names_its_host_alone(answer: bytes, says: str) -> None:
    """The address of a private calendar is its key."""
    async with serving(answer) as url:
        with pytest.raises(IntegrationError, match=says) as caught:
            await calendar_text(url)
    assert KEY not in f"{caught.value}{caught.value.__cause__!r}" and "127.0.0.1" in str(caught.value)


async def test_a_calendar_that_is_too_long_is_not_read_to_its_end() -> None:
    """Nor is a file."""
    async with serving(ok(b"x" * (11 << 20))) as url:
        with pytest.raises(ConfigError, match="longer than 10 MiB"):
            await calendar_text(url)


async def test_a_file_is_read_and_a_missing_one_is_named(tmp_path: Path) -> None:
    """With the setting it comes from."""
    (tmp_path / "holidays.ics").write_text(TEXT, newline="")
    assert await calendar_text(str(tmp_path / "holidays.ics")) == TEXT
    with pytest.raises(ConfigError, match=r"steward\.policy\.holidays"):
        await calendar_text(str(tmp_path / "none.ics"))
