"""A small HTTP/1.1 client: one server, keep-alive connections, request bodies as lists of buffers.

The protocol itself is h11's, but for the plain case (`plain_response`); this module adds sockets, TLS, an HTTPS
proxy by CONNECT, deadlines and a cap on
what is read. It exists because general clients cost ten times the exchange itself. It follows no redirect, asks
for no compression, keeps no cookies and knows nothing of models.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import re
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Literal

import h11
import msgspec

from ooda.models.endpoint import Proxy, Url
from ooda.models.plain_response import Head, PlainResponse

__all__ = ["HttpClient", "HttpFailure", "HttpResponse", "Timeouts", "tls_context"]

Stage = Literal["connect", "tls", "proxy", "head", "body", "protocol", "too_large"]

_IDLE_S = 50.0
"""Connections idle for longer are not used again: common servers and balancers close at 60 s and later."""
_IDLE_CONNECTIONS = 8
_LARGE_BYTES = 64 * 1024
"""From here on a copy costs more than a system call (measured: sending 20 KB in three writes took 30 us longer)."""
_RECONNECTABLE = (ConnectionError, h11.RemoteProtocolError)


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds; each also ends at the deadline of the exchange."""

    connect_s: float = 5.0
    """TCP, proxy and TLS together."""
    first_byte_s: float = 300.0
    """From the sent request to the response's head: a model without streaming thinks here."""
    stall_s: float = 120.0
    """Between two pieces of the body."""


class HttpFailure(Exception):
    """An exchange that did not end with a whole response."""

    def __init__(self, problem: str, *, stage: Stage, sent: bool, timed_out: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.stage = stage
        self.sent = sent
        """Whether any part of the request may have left."""
        self.timed_out = timed_out


@functools.cache
def tls_context(ca_file: str = "") -> ssl.SSLContext:
    """The process's TLS context for `ca_file` (empty: certifi's roots). Loading costs 20 ms, hence once."""
    if not ca_file:
        import certifi

        ca_file = certifi.where()
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


class _Connection(asyncio.Protocol):
    """One socket and its h11 state. Bytes go straight into h11; the owner of the exchange pulls events out."""

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.h11 = h11.Connection(h11.CLIENT)
        self._plain: PlainResponse | None = None
        """Reads the current response; None once it turned out to need h11."""
        self.idle_since: float | None = None
        self.received = False
        """Whether a byte of the current response has come."""
        self.is_lost = False
        self.lost_by: Exception | None = None
        self.closed: asyncio.Future[None] = loop.create_future()
        self._waiter: asyncio.Future[None] | None = None

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # stream transports are asyncio.Transport

    def data_received(self, data: bytes) -> None:
        if self.idle_since is not None:  # an answer to no question: nothing on this connection can be trusted
            self.abort()
            return
        self.received = True
        if self._plain is not None:
            self._plain.received += data
        else:
            self.h11.receive_data(data)
        self._wake()

    def eof_received(self) -> None:
        if self._plain is not None:
            self._plain.cut()
            if self._plain.is_refused:
                self._to_h11()
        if self._plain is None:
            self.h11.receive_data(b"")
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost, self.lost_by = True, exc
        if not self.closed.done():
            self.closed.set_result(None)
        self._wake()

    # Called by the owner of the exchange.

    def send(self, head: bytes, buffers: Sequence[bytes | bytearray]) -> None:
        """Write head and body: small buffers joined into one system call, large ones as they are, never copied here."""
        self.idle_since, self.received = None, False
        self._plain = PlainResponse()
        small: list[bytes | bytearray] = []
        for piece in (head, *buffers):
            if len(piece) < _LARGE_BYTES:
                small.append(piece)
                continue
            if small:
                self.transport.write(b"".join(small))
                small.clear()
            self.transport.write(piece)
        if small:
            self.transport.write(b"".join(small))

    async def next_event(self, deadline: float) -> Any:
        """The next h11 event, no later than `deadline` on the loop's clock.

        Raises:
            TimeoutError: the deadline passed.
            ConnectionError: the connection was reset.
            h11.RemoteProtocolError: malformed, or closed before the end of the message.
        """
        while True:
            event = self._plain.next_event() if self._plain is not None else self.h11.next_event()
            if self._plain is not None and self._plain.is_refused:
                self._to_h11()
                continue
            if event is not None and event is not h11.NEED_DATA:
                return event
            if self.is_lost:
                raise self.lost_by if isinstance(self.lost_by, ConnectionError) else ConnectionResetError()
            self._waiter = self.loop.create_future()
            alarm = self.loop.call_at(deadline, self._expire, self._waiter)
            try:
                await self._waiter
            finally:
                alarm.cancel()
                self._waiter = None

    def abort(self) -> None:
        """Close at once and drop unsent bytes: the history's buffer is free for its owner again."""
        self.transport.abort()

    @property
    def is_reusable(self) -> bool:
        return (
            (self._plain.is_done if self._plain is not None else self._is_h11_done)
            and not self.transport.is_closing()
            and self.transport.get_write_buffer_size() == 0
        )

    @property
    def _is_h11_done(self) -> bool:
        state = self.h11
        return state.our_state is h11.DONE and state.their_state is h11.DONE and state.trailing_data == (b"", False)

    def _to_h11(self) -> None:
        """Let h11 read the response from its first byte: it is not a plain one, or it breaks off."""
        if self._plain is None:
            return
        plain, self._plain = self._plain, None
        self.h11 = h11.Connection(h11.CLIENT)
        # What was asked matters to h11 only as "a POST that is sent": its bytes have left already.
        self.h11.send(h11.Request(method="POST", target="/", headers=[("host", "-"), ("content-length", "0")]))
        self.h11.send(h11.EndOfMessage())
        if plain.received:
            self.h11.receive_data(bytes(plain.received))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @staticmethod
    def _expire(waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_exception(TimeoutError())


class HttpResponse:
    """A response whose head has come. Whoever got it calls `close`, whatever happens."""

    def __init__(self, client: HttpClient, connection: _Connection, head: Head | h11.Response, deadline: float) -> None:
        self.status = head.status_code
        self.headers: dict[bytes, bytes] = dict(head.headers)
        """Lower-case names; of a repeated header the last."""
        self._client = client
        self._connection = connection
        self._deadline = deadline
        self._size = 0
        self._is_complete = False

    def header(self, name: str) -> str:
        """The header's value, or an empty string."""
        return self.headers.get(name.encode(), b"").decode("latin-1")

    async def receive(self, stall_s: float | None = None) -> bytes | bytearray:
        """The next piece of the body; empty at its end.

        Raises:
            HttpFailure: stage `body` when it stalls or breaks off, `too_large` beyond the client's cap.
        """
        if self._is_complete:
            return b""
        now = self._connection.loop.time()
        limit = min(self._deadline, now + (self._client.timeouts.stall_s if stall_s is None else stall_s))
        try:
            event = await self._connection.next_event(limit)
        except TimeoutError as error:
            raise HttpFailure("the reply stalled", stage="body", sent=True, timed_out=True) from error
        except _RECONNECTABLE as error:
            problem = "the connection closed before the reply was complete"
            raise HttpFailure(problem, stage="body", sent=True) from error
        if type(event) is not h11.Data:
            self._is_complete = True
            return b""
        self._size += len(event.data)
        if self._size > self._client.max_bytes:
            problem = f"the reply is longer than {self._client.max_bytes} bytes"
            raise HttpFailure(problem, stage="too_large", sent=True)
        return event.data

    async def read(self) -> bytes | bytearray:
        """The whole rest of the body; raises as `receive`."""
        body = await self.receive()
        while piece := await self.receive():
            body += piece
        return body

    async def finish(self, grace_s: float) -> None:
        """Read to the end of a body whose content is known to be complete, so that the connection can be kept.

        A server that takes longer than `grace_s`, or breaks off here, only loses the connection.
        """
        try:
            while await self.receive(grace_s):
                pass
        except HttpFailure:
            self._is_complete = False

    def close(self) -> None:
        """Give the connection back when the response was read whole, else drop it."""
        self._client._release(self._connection, is_complete=self._is_complete)


class HttpClient:
    """Keep-alive connections to one server, for one agent.

    A pool shared by many agents costs more with every connection in it; a handful per agent costs nothing.
    """

    def __init__(
        self,
        server: Url,
        *,
        proxy: Proxy | None = None,
        ca_file: str = "",
        timeouts: Timeouts | None = None,
        max_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        self.server = server
        self.proxy = proxy if server.is_tls else None
        self.ca_file = ca_file
        self.timeouts = timeouts or Timeouts()
        self.max_bytes = max_bytes
        self._idle: list[_Connection] = []
        self._head: tuple[str, Sequence[tuple[str, str]], bytes] = ("", (), b"")

    async def post(
        self,
        target: str,
        headers: Sequence[tuple[str, str]],
        buffers: Sequence[bytes | bytearray],
        *,
        deadline: float,
        on_send: Callable[[], None],
        key: str = "",
    ) -> HttpResponse:
        """Send a POST and wait for the response's head.

        A kept connection that turns out to be closed, with no byte of the response read, is replaced once by a
        fresh one: the server gave it up while nobody was looking.

        Args:
            target: path and query.
            headers: beyond `Host` and `Content-Length`.
            buffers: the body in order; none may change until the response is closed.
            deadline: on the running loop's clock, for the whole exchange.
            on_send: called just before the first byte leaves.
            key: value of the `Idempotency-Key` header, which differs from call to call; none when empty.

        Raises:
            HttpFailure: no response came.
        """
        size = sum(map(len, buffers))
        head = b"%scontent-length: %d\r\n\r\n" % (self._fixed_head(target, headers) + _key_line(key), size)
        kept = self._take()
        if kept is not None:
            on_send()
            try:
                return await self._exchange(kept, head, buffers, deadline)
            except _RECONNECTABLE as error:
                if kept.received:
                    raise _broken(error) from error
        connection = await self._connect(deadline)
        on_send()
        try:
            return await self._exchange(connection, head, buffers, deadline)
        except _RECONNECTABLE as error:
            raise _broken(error) from error

    def _fixed_head(self, target: str, headers: Sequence[tuple[str, str]]) -> bytes:
        """The head of a POST up to the length of its body; built once, as an agent sends the same again and again."""
        known_target, known_headers, head = self._head
        if target != known_target or headers != known_headers:
            head = _head("POST", target, [("host", self.server.host_header), *headers])
            self._head = (target, tuple(headers), head)
        return head

    async def close(self) -> None:
        """Close idle connections and wait until they are."""
        loop = asyncio.get_running_loop()
        connections, self._idle = self._idle, []
        for connection in connections:
            if connection.loop is loop:
                connection.abort()
                await connection.closed

    async def _exchange(
        self,
        connection: _Connection,
        head: bytes,
        buffers: Sequence[bytes | bytearray],
        deadline: float,
    ) -> HttpResponse:
        limit = min(deadline, connection.loop.time() + self.timeouts.first_byte_s)
        try:
            connection.send(head, buffers)
            event = await connection.next_event(limit)
            while type(event) is h11.InformationalResponse:
                event = await connection.next_event(limit)
        except TimeoutError as error:
            connection.abort()
            raise HttpFailure("no reply began in time", stage="head", sent=True, timed_out=True) from error
        except BaseException:
            connection.abort()
            raise
        return HttpResponse(self, connection, event, deadline)

    def _take(self) -> _Connection | None:
        loop = asyncio.get_running_loop()
        while self._idle:
            connection = self._idle.pop()
            if connection.loop is not loop:  # a former asyncio.run left it behind; its loop is gone
                continue
            if not connection.transport.is_closing():
                if loop.time() - (connection.idle_since or 0.0) < _IDLE_S:
                    return connection
                connection.abort()
        return None

    def _release(self, connection: _Connection, *, is_complete: bool) -> None:
        if is_complete and connection.is_reusable and len(self._idle) < _IDLE_CONNECTIONS:
            connection.idle_since = connection.loop.time()
            self._idle.append(connection)
        else:
            connection.abort()

    async def _connect(self, deadline: float) -> _Connection:
        loop = asyncio.get_running_loop()
        stage: Stage = "connect"
        connection = _Connection(loop)
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + self.timeouts.connect_s)) as timer:
                if self.proxy is not None:
                    await loop.create_connection(lambda: connection, self.proxy.host, self.proxy.port)
                    stage = "proxy"
                    await self._tunnel(connection, self.proxy, timer.when() or deadline)
                    stage = "tls"
                    await self._start_tls(connection)
                else:
                    await loop.create_connection(
                        lambda: connection,
                        self.server.host,
                        self.server.port,
                        ssl=tls_context(self.ca_file) if self.server.is_tls else None,
                        happy_eyeballs_delay=0.25,
                    )
        except (TimeoutError, OSError, h11.RemoteProtocolError) as error:
            if hasattr(connection, "transport"):
                connection.abort()
            raise self._unreachable(error, stage) from error
        except BaseException:
            if hasattr(connection, "transport"):
                connection.abort()
            raise
        return connection

    def _unreachable(self, error: Exception, stage: Stage) -> HttpFailure:
        if isinstance(error, ssl.SSLCertVerificationError):
            problem = f"its TLS certificate is not trusted ({error.verify_message})"
            return HttpFailure(problem, stage="tls", sent=False)
        if isinstance(error, ssl.SSLError):
            return HttpFailure(f"TLS failed ({error.reason or 'no reason given'})", stage="tls", sent=False)
        through = f" through the proxy {self.proxy.host}:{self.proxy.port}" if self.proxy else ""
        if isinstance(error, TimeoutError):
            problem = f"no connection{through} within {self.timeouts.connect_s:g} s"
            return HttpFailure(problem, stage=stage, sent=False, timed_out=True)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return HttpFailure(f"no connection{through} ({reason})", stage=stage, sent=False)

    async def _tunnel(self, connection: _Connection, proxy: Proxy, deadline: float) -> None:
        target = self.server.authority
        headers = [("host", target)]
        if proxy.user:
            token = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
            headers.append(("proxy-authorization", f"Basic {token}"))
        connection.h11.send(h11.Request(method="CONNECT", target=target, headers=headers))
        connection.h11.send(h11.EndOfMessage())
        connection.transport.write(_head("CONNECT", target, headers) + b"\r\n")
        response = await connection.next_event(deadline)
        if response.status_code // 100 != 2:
            raise OSError(0, f"it answered {response.status_code} to CONNECT")

    async def _start_tls(self, connection: _Connection) -> None:
        transport = await connection.loop.start_tls(
            connection.transport, connection, tls_context(self.ca_file), server_hostname=self.server.host
        )
        if transport is None:
            raise OSError(0, "the proxy closed the tunnel")
        connection.transport = transport
        connection.h11 = h11.Connection(h11.CLIENT)


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*\Z")
_TARGET = re.compile(r"[\x21-\x7e]+\Z")


def _head(method: str, target: str, headers: Sequence[tuple[str, str]]) -> bytes:
    """A request's head without its empty last line. Raises ValueError for what could be read as more than one."""
    if not _TARGET.match(target):
        raise ValueError(f"the target {target!r} holds a character that URLs do not")
    lines = [f"{method} {target} HTTP/1.1"]
    for name, value in headers:
        if not _TOKEN.match(name) or not _VALUE.match(value):
            raise ValueError(f"header {name!r} is no header: its name or value holds a control character")
        lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n").encode("latin-1")


def _key_line(key: str) -> bytes:
    """Raises ValueError for a key that is no header value."""
    if not _TOKEN.match(key or "-"):
        raise ValueError(f"the idempotency key {key!r} holds a character that header values do not")
    return b"idempotency-key: %s\r\n" % key.encode() if key else b""


def _broken(error: Exception) -> HttpFailure:
    if isinstance(error, h11.RemoteProtocolError) and "closed" not in str(error).lower():
        return HttpFailure(f"the answer is not HTTP/1.1 ({error})", stage="protocol", sent=True)
    return HttpFailure("the connection closed before a reply came", stage="head", sent=True)
