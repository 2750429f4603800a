"""One HTTP request through the egress proxy: sent on in origin form, its answer brought back.

Knows HTTP/1.1 and bytes; whether a request may go out is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from urllib.parse import urlsplit

import h11

from ooda.sandbox.substitution import Masker, reveal_headers

__all__ = ["PIECE_BYTES", "forward", "next_request", "pump"]

PIECE_BYTES = 1 << 16
_MAX_HEAD_BYTES = 64 << 10
_IDLE_S = 300.0
# RFC 9110 7.6.1, and what belongs to the hop between client and proxy.
_HOP_BY_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Secrets = Sequence[tuple[bytes, bytes]]


async def next_request(http: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """The next request on a server's connection, None when the client went away instead."""
    event = await _next_event(http, reader)
    return event if isinstance(event, h11.Request) else None


async def _next_event(http: h11.Connection, reader: asyncio.StreamReader) -> object:
    while (event := http.next_event()) is h11.NEED_DATA:
        async with asyncio.timeout(_IDLE_S):
            http.receive_data(await reader.read(PIECE_BYTES))
    return event


async def forward(
    http: h11.Connection,
    request: h11.Request,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    outer: Streams,
    host: str,
    secrets: Secrets,
) -> None:
    """Send one request on and its answer back; the connection ends with it.

    With `secrets` (placeholder, secret) the former are replaced in the request's headers, and the latter are
    masked in the answer, which therefore must not be compressed.
    """
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
    outer[1].write(client.send(_outgoing(request, host, secrets)) or b"")
    # Both at once: an answer may come before the whole of the body has been sent.
    sending = asyncio.create_task(_send_body(http, client, reader, outer[1]))
    answering = asyncio.create_task(_bring_back(http, client, writer, outer[0], Masker(secrets), secrets))
    try:
        done, _ = await asyncio.wait({sending, answering}, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in (sending, answering):
            task.cancel()
        await asyncio.wait({sending, answering})


def _outgoing(request: h11.Request, host: str, secrets: Secrets) -> h11.Request:
    parts = urlsplit(request.target.decode("ascii", "replace"))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    dropped = _HOP_BY_HOP | {b"host"} | _named_by_connection(request)
    headers = [(name, value) for name, value in request.headers if name not in dropped]
    if secrets:
        headers = [(name, value) for name, value in headers if name != b"accept-encoding"]
        headers = [*reveal_headers(headers, secrets), (b"accept-encoding", b"identity")]
    headers += [(b"host", host.encode()), (b"connection", b"close")]
    if any(name == b"transfer-encoding" for name, _ in request.headers):
        headers.append((b"transfer-encoding", b"chunked"))
    return h11.Request(method=request.method, target=path.encode("ascii", "replace"), headers=headers)


def _named_by_connection(request: h11.Request) -> set[bytes]:
    named = set()
    for name, value in request.headers:
        if name == b"connection":
            named |= {token.strip().lower() for token in value.split(b",")}
    return named


async def _send_body(
    http: h11.Connection, client: h11.Connection, reader: asyncio.StreamReader, outer: asyncio.StreamWriter
) -> None:
    while True:
        event = await _next_event(http, reader)
        if isinstance(event, h11.Data | h11.EndOfMessage):
            outer.write(client.send(event) or b"")
            await outer.drain()
        if not isinstance(event, h11.Data):
            return


async def _bring_back(
    http: h11.Connection,
    client: h11.Connection,
    writer: asyncio.StreamWriter,
    outer: asyncio.StreamReader,
    masker: Masker,
    secrets: Secrets,
) -> None:
    while True:
        event = await _next_event(client, outer)
        if isinstance(event, h11.Response):
            writer.write(http.send(_answer(event, secrets)) or b"")
        elif isinstance(event, h11.Data):
            data = masker.mask(bytes(event.data))
            if data:
                writer.write(http.send(h11.Data(data=data)) or b"")
        elif isinstance(event, h11.EndOfMessage):
            rest = masker.mask(b"", last=True)
            if rest:
                writer.write(http.send(h11.Data(data=rest)) or b"")
            writer.write(http.send(h11.EndOfMessage()) or b"")
        elif not isinstance(event, h11.InformationalResponse):
            return
        await writer.drain()
        if isinstance(event, h11.EndOfMessage):
            return


def _answer(response: h11.Response, secrets: Secrets) -> h11.Response:
    """The answer's head for the client. A masked body may change its length, so it is framed anew."""
    dropped = _HOP_BY_HOP | ({b"content-length"} if secrets else set())
    back = [(secret, placeholder) for placeholder, secret in secrets if secret]
    headers = [(name, value) for name, value in response.headers if name not in dropped]
    return h11.Response(
        status_code=response.status_code,
        headers=[*reveal_headers(headers, back), (b"connection", b"close")],
        reason=response.reason,
    )


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end, or until nothing came for five minutes; then say our last to the other side."""
    with contextlib.suppress(TimeoutError, OSError):
        while True:
            async with asyncio.timeout(_IDLE_S):
                data = await reader.read(PIECE_BYTES)
            if not data:
                break
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()
