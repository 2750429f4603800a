"""`/metrics` and `/health` of the daemon on this machine: two texts over HTTP/1.1, one request a connection.

Answers GET and HEAD only, reads at most 8 KiB for five seconds, and listens on the loopback interface.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from ooda.errors import ConfigError

__all__ = ["serve_texts"]

_HOST = "127.0.0.1"
_MOST_BYTES = 8_192
_PATIENCE_S = 5.0
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed"}


@asynccontextmanager
async def serve_texts(port: int, texts: Mapping[str, Callable[[], str]]) -> AsyncIterator[int]:
    """Serve each text at its path; gives the port.

    Args:
        port: 0 for any that is free.

    Raises:
        ConfigError: the port is taken.
    """

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_answer(head, texts))
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # no request came, or nobody waits for the answer: there is nobody to tell
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    try:
        server = await asyncio.start_server(accept, _HOST, port, limit=_MOST_BYTES)
    except OSError as error:
        raise ConfigError(f"metrics cannot be served on {_HOST}:{port}: {error.strerror}; name another port") from error
    async with server:
        yield int(server.sockets[0].getsockname()[1])


def _answer(head: bytes, texts: Mapping[str, Callable[[], str]]) -> bytes:
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
    status = 405 if method not in (b"GET", b"HEAD") else 200 if path in texts else 404
    body = (texts[path]() if status == 200 else _REASONS[status] + "\n").encode()
    lines = (
        f"HTTP/1.1 {status} {_REASONS[status]}",
        "Content-Type: text/plain; version=0.0.4; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode() + (b"" if method == b"HEAD" else body)
