"""One POST and its answer: a fresh connection, a deadline over everything, no redirect, at most 64 KiB read.

The address is resolved here and looked at before it is connected to, so that a name cannot be one thing when it is
checked and another when it is used. A failure says whether the whole request may have left. h11 does the protocol;
TLS shows the host's name and checks its certificate. Proxies are not used.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import socket
import ssl
from collections.abc import Mapping

import h11
import msgspec

from ooda import __version__
from ooda.notify.address import Url, is_address, is_allowed
from ooda.notify.aside import aside

__all__ = ["Answer", "PostFailure", "Poster"]

_MOST_BYTES = 65_536


class Answer(msgspec.Struct, frozen=True):
    """What the server said."""

    status: int
    body: str
    """Its first 64 KiB."""
    retry_after: str = ""
    """The header, as it came."""


class PostFailure(Exception):
    """There was no answer."""

    def __init__(self, problem: str, *, is_sent: bool) -> None:
        super().__init__(problem)
        self.problem = problem
        self.is_sent = is_sent
        """Whether any of the request may have left."""


@functools.cache
def _tls(ca_file: str) -> ssl.SSLContext:
    if not ca_file:
        import certifi

        ca_file = certifi.where()
    return ssl.create_default_context(cafile=ca_file)


class Poster:
    """Posts to one URL."""

    def __init__(self, url: Url, *, ca_file: str = "") -> None:
        self.url = url
        self.digest = hashlib.sha256(f"{url.netloc}{url.target}".encode()).hexdigest()[:16]
        """Tells addresses apart without showing them."""
        self._ca_file = ca_file

    async def post(self, body: bytes, headers: Mapping[str, str], deadline_s: float) -> Answer:
        """Send `body`, and give the answer whatever its status is.

        Raises:
            PostFailure: no answer within `deadline_s` seconds, or none at all.
        """
        sent = [False]
        try:
            async with asyncio.timeout(deadline_s):
                return await self._exchange(body, headers, deadline_s, sent)
        except TimeoutError:
            raise PostFailure(f"no answer of {self.url.host} within {deadline_s:g} s", is_sent=sent[0]) from None
        except (OSError, EOFError, h11.ProtocolError) as error:
            what = _said(error)
            raise PostFailure(f"talking to {self.url.host} failed: {what}", is_sent=sent[0]) from None

    async def _exchange(self, body: bytes, headers: Mapping[str, str], deadline_s: float, sent: list[bool]) -> Answer:
        reader, writer = await self._connected(await self._resolved(deadline_s))
        try:
            connection = h11.Connection(h11.CLIENT)
            request = h11.Request(
                method="POST",
                target=self.url.target,
                headers=[
                    ("Host", self.url.netloc),
                    ("User-Agent", f"ooda/{__version__}"),
                    ("Accept", "*/*"),
                    ("Connection", "close"),
                    ("Content-Length", str(len(body))),
                    *headers.items(),
                ],
            )
            data = b"".join(
                part
                for part in (
                    connection.send(request),
                    connection.send(h11.Data(data=body)),
                    connection.send(h11.EndOfMessage()),
                )
                if part
            )
            sent[0] = True
            writer.write(data)
            with contextlib.suppress(ConnectionError):  # it may have answered before it hung up (413): the read tells
                await writer.drain()
            return await _answer(connection, reader)
        finally:
            writer.transport.abort()  # nothing is to be waited for: the answer is here, or it failed

    async def _connected(self, addresses: list[str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        tls = _tls(self._ca_file) if self.url.is_tls else None
        server_hostname = self.url.host if tls else None
        for last, address in enumerate(addresses, 1 - len(addresses)):
            try:
                return await asyncio.open_connection(address, self.url.port, ssl=tls, server_hostname=server_hostname)
            except OSError:
                if last == 0:
                    raise
        raise AssertionError("there is at least one address")

    async def _resolved(self, deadline_s: float) -> list[str]:
        """The addresses of the host that may be connected to, at least one."""
        url = self.url
        if is_address(url.host):
            return self._allowed([url.host])

        def look_up() -> list[str]:
            found = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
            return [str(entry[4][0]) for entry in found]

        try:
            addresses = await aside(look_up, deadline_s)
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            raise PostFailure(f"there is no address for {url.host}: {_said(error)}", is_sent=False) from None
        return self._allowed(addresses)

    def _allowed(self, addresses: list[str]) -> list[str]:
        allowed = [address for address in addresses if is_allowed(self.url, address)]
        if not allowed:
            raise PostFailure(
                f"{self.url.host} leads to a private address; if that is meant, list it in `notify.private_hosts`",
                is_sent=False,
            )
        return allowed


async def _answer(connection: h11.Connection, reader: asyncio.StreamReader) -> Answer:
    status, retry_after, body = 0, "", bytearray()
    while True:
        event = connection.next_event()
        match event:
            case h11.NEED_DATA:
                connection.receive_data(await reader.read(16_384))
            case h11.Response():
                status = event.status_code
                named = {bytes(name): bytes(value) for name, value in event.headers}
                retry_after = named.get(b"retry-after", b"").decode("latin-1")
            case h11.Data():
                body += event.data
                if len(body) >= _MOST_BYTES:
                    break
            case h11.EndOfMessage():
                break
            case h11.InformationalResponse():
                continue
            case _:
                raise EOFError("the connection was closed before an answer")
    return Answer(status, bytes(body[:_MOST_BYTES]).decode("utf-8", "replace"), retry_after)


def _said(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good ({error.verify_message})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
