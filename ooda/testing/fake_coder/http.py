"""A small HTTP/1.1 server for fakes: one handler, keep-alive, and every way to fail that a network has.

Knows bytes and connections, nothing of Coder. An answer may be late, slow, cut off or missing; what a handler wants
of the connection it says in its `Response`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import h11
import msgspec

__all__ = ["HttpServer", "Request", "Response"]

_READ = 1 << 16
_CLOSING_S = 2.0


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request, whole."""

    method: str
    path: str
    """Decoded, without the query."""
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """One answer, and how it leaves."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = {}
    fate: Literal["sent", "silence", "reset", "truncated", "dripped"] = "sent"
    """sent whole; never sent while the client waits; connection closed without it; cut off half-way; slowly."""


Handler = Callable[[Request], Awaitable[Response]]


class HttpServer:
    """Serves on a free port of the loopback interface."""

    def __init__(self, handler: Handler, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._handler = handler
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None, "the server has not been started"
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, self._host, self._port, limit=1 << 20)

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=_CLOSING_S)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._converse(reader, writer)
        except (ConnectionError, h11.RemoteProtocolError, asyncio.CancelledError):
            pass  # the client is gone, talks nonsense, or the server is closing: in each case there is nobody to tell
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = h11.Connection(h11.SERVER)
        while (request := await _request(wire, reader)) is not None:
            response = await self._handler(request)
            if response.fate == "silence":
                await reader.read()  # until the client has had enough
                return
            if response.fate == "reset":
                writer.transport.abort()
                return
            await _send(wire, writer, request, response)
            if response.fate == "truncated" or wire.our_state is not h11.DONE:
                return
            wire.start_next_cycle()


async def _request(wire: h11.Connection, reader: asyncio.StreamReader) -> Request | None:
    head: h11.Request | None = None
    body = []
    while True:
        event = wire.next_event()
        if event is h11.NEED_DATA:
            wire.receive_data(await reader.read(_READ))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            target = urlsplit(head.target.decode())
            return Request(
                method=head.method.decode(),
                path=unquote(target.path),
                query=dict(parse_qsl(target.query, keep_blank_values=True)),
                headers={name.decode().lower(): value.decode("latin-1") for name, value in head.headers},
                body=b"".join(body),
            )
        else:
            return None


async def _send(wire: h11.Connection, writer: asyncio.StreamWriter, request: Request, response: Response) -> None:
    headers = {"content-length": str(len(response.body)), **response.headers}
    if response.status in (204, 304):
        del headers["content-length"]
    writer.write(wire.send(h11.Response(status_code=response.status, headers=list(headers.items()))) or b"")
    sent = response.body if request.method != "HEAD" else b""
    if response.fate == "truncated":
        writer.write(wire.send(h11.Data(data=sent[: len(sent) // 2])) or b"")
        await writer.drain()
        return
    pieces = [sent[at : at + 512] for at in range(0, len(sent), 512)] if response.fate == "dripped" else [sent]
    for piece in pieces:
        writer.write(wire.send(h11.Data(data=piece)) or b"")
        await writer.drain()
        if response.fate == "dripped":
            await asyncio.sleep(0.002)
    writer.write(wire.send(h11.EndOfMessage()) or b"")
    await writer.drain()
