"""The HTTP client against a real server on loopback: framing, connections, TLS, proxy, deadlines, caps."""

from __future__ import annotations

import asyncio
import base64
import random
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from ooda.models.endpoint import Proxy, parse_url
from ooda.models.http1 import HttpClient, HttpFailure, Timeouts, tls_context


class Client:
    """One HttpClient and a short way to post with it."""

    def __init__(self, url: str, **members: Any) -> None:
        self.http = HttpClient(parse_url(url), **members)
        self.sends = 0

    async def post(self, *buffers: bytes | bytearray, deadline_s: float = 5.0) -> tuple[int, bytes]:
        response = await self.http.post(
            "/v1/x",
            [("content-type", "application/json")],
            buffers or (b"{}",),
            deadline=asyncio.get_running_loop().time() + deadline_s,
            on_send=self._count,
        )
        try:
            return response.status, bytes(await response.read())
        finally:
            response.close()

    def _count(self) -> None:
        self.sends += 1


@pytest.fixture
async def opened() -> AsyncIterator[list[Client]]:
    clients: list[Client] = []
    yield clients
    for client in clients:
        await client.http.close()


@pytest.fixture
def client(server: Any, opened: list[Client]) -> Client:
    opened.append(Client(server.url))
    return opened[-1]


async def test_head_and_buffers_arrive_as_one_body(server: Any, client: Client, wire: Any) -> None:
    """Small and large buffers, bytes and bytearrays, in order, under one length."""
    server.script = [wire.http(b"ok")]
    history = bytearray(b"x" * 300_000)
    assert await client.post(b"[", history, b"]") == (200, b"ok")
    assert server.seen[0].body == b"[" + bytes(history) + b"]"
    assert server.seen[0].headers == {
        "host": f"127.0.0.1:{server.port}",
        "content-type": "application/json",
        "content-length": "300002",
    }
    history += b"y"  # the transport holds on to nothing: a locked buffer would raise BufferError


async def test_a_connection_is_kept_and_used_again(server: Any, client: Client, wire: Any) -> None:
    """Ten exchanges, one connection; chunked and counted bodies alike."""
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + wire.chunked(b"hello", 2)
    server.script = [wire.http(b"ok"), chunked] * 5
    replies = [await client.post() for _ in range(10)]
    assert replies == [(200, b"ok"), (200, b"hello")] * 5
    assert server.connections == 1


async def test_calls_at_once_get_connections_of_their_own(server: Any, client: Client, wire: Any) -> None:
    """And give them back: the next round opens none."""
    barrier = asyncio.Barrier(3)

    async def together(exchange: Any) -> None:
        await barrier.wait()
        await exchange.send(wire.http(b"ok"))

    server.script = [together]
    for _ in range(2):
        await asyncio.gather(*(client.post() for _ in range(3)))
    assert server.connections == 3


async def test_a_reply_cut_at_every_byte_is_the_same_reply(server: Any, client: Client, wire: Any) -> None:
    """One byte at a time, head and chunk frames included."""
    body = '{"content":"fünf €"}'.encode()
    text = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + wire.chunked(body, 7)

    async def trickle(exchange: Any) -> None:
        await exchange.send(*(text[at : at + 1] for at in range(len(text))))

    server.script = [trickle]
    assert await client.post() == (200, body)


async def test_a_reply_cut_anywhere_is_the_same_reply(server: Any, client: Client, wire: Any) -> None:
    """Random chunk sizes and random cuts, on one kept connection."""
    draw = random.Random(7)
    body = bytes(range(256)) * 4

    async def cut(exchange: Any) -> None:
        text = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + wire.chunked(body, draw.randint(1, 300))
        cuts = sorted(draw.sample(range(1, len(text)), 5))
        await exchange.send(*(text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)))

    server.script = [cut]
    for _ in range(40):
        assert await client.post() == (200, body)
    assert server.connections == 1


async def test_interim_responses_are_passed_over(server: Any, client: Client, wire: Any) -> None:
    """100 and 103 may precede the response (RFC 9110 section 15.2)."""
    server.script = [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + wire.http(b"ok")]
    assert await client.post() == (200, b"ok")


async def test_a_body_that_ends_with_the_connection_is_read_whole(server: Any, client: Client) -> None:
    """Without a length the end of the connection is the end; the next exchange opens another."""

    async def until_close(exchange: Any) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\n\r\nall ", b"of it")
        exchange.close()

    server.script = [until_close]
    assert await client.post() == (200, b"all of it")
    assert await client.post() == (200, b"all of it")
    assert server.connections == 2


async def test_a_kept_connection_the_server_closed_is_replaced_unseen(server: Any, client: Client, wire: Any) -> None:
    """Closed between two exchanges: noticed before sending, or at once after; the caller sees neither."""
    closed = asyncio.Event()

    async def answer_and_close(exchange: Any) -> None:
        await exchange.send(wire.http(b"ok"))
        exchange.close()
        closed.set()

    server.script = [answer_and_close, answer_and_close, wire.http(b"again")]
    assert await client.post() == (200, b"ok")
    assert await client.post() == (200, b"ok")
    await closed.wait()
    assert await client.post() == (200, b"again")


async def test_a_kept_connection_that_dies_unanswered_is_replaced_once(server: Any, client: Client, wire: Any) -> None:
    """The server read the request on a kept connection and reset it: sent again on a fresh one, but only once."""

    async def reset(exchange: Any) -> None:
        exchange.reset()

    server.script = [wire.http(b"ok"), reset, wire.http(b"fresh"), reset, reset]
    assert await client.post() == (200, b"ok")
    assert await client.post() == (200, b"fresh")
    assert (client.sends, len(server.seen)) == (3, 3)
    with pytest.raises(HttpFailure, match="closed before a reply came"):
        await client.post()
    assert len(server.seen) == 5


async def test_a_fresh_connection_that_dies_is_not_replaced(server: Any, client: Client) -> None:
    """The request may be at work already: whether to repeat it is for the caller's policy."""

    async def reset(exchange: Any) -> None:
        exchange.reset()

    server.script = [reset]
    with pytest.raises(HttpFailure) as caught:
        await client.post()
    assert (caught.value.stage, caught.value.sent, len(server.seen)) == ("head", True, 1)


async def test_a_reply_that_had_begun_is_never_asked_for_twice(server: Any, client: Client, wire: Any) -> None:
    """Even on a kept connection: something of the response was read."""

    async def half_a_head(exchange: Any) -> None:
        await exchange.send(b"HTTP/1.1 200 O")
        exchange.reset()

    server.script = [wire.http(b"ok"), half_a_head]
    await client.post()
    with pytest.raises(HttpFailure) as caught:
        await client.post()
    assert (caught.value.stage, len(server.seen)) == ("head", 2)


CUT = {
    "counted": b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
    "chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
}


@pytest.mark.parametrize("text", CUT.values(), ids=CUT.keys())
@pytest.mark.parametrize("is_rude", [False, True], ids=["closed", "reset"])
async def test_a_body_cut_short_is_a_failure(server: Any, client: Client, text: bytes, is_rude: bool) -> None:
    """Never half a body, whichever way the connection ends."""

    async def cut(exchange: Any) -> None:
        await exchange.send(text)
        if is_rude:
            exchange.reset()
        else:
            exchange.close()

    server.script = [cut]
    with pytest.raises(HttpFailure, match="before the reply was complete") as caught:
        await client.post()
    assert (caught.value.stage, caught.value.sent) == ("body", True)


async def test_something_else_than_http_is_named(server: Any, client: Client) -> None:
    """A port may speak anything."""
    server.script = [b"220 mail.example ESMTP ready\r\n\r\n"]
    with pytest.raises(HttpFailure) as caught:
        await client.post()
    assert caught.value.stage == "protocol"


async def test_a_body_beyond_the_cap_is_dropped(server: Any, opened: list[Client], wire: Any) -> None:
    """Memory stays bounded whatever a server sends; the connection is not kept."""
    opened.append(client := Client(server.url, max_bytes=100_000))
    server.script = [wire.http(b"x" * 2_000_000), wire.http(b"x" * 100_000)]
    with pytest.raises(HttpFailure) as caught:
        await client.post()
    assert caught.value.stage == "too_large"
    assert (await client.post())[1] == b"x" * 100_000
    assert server.connections == 2


async def test_an_endless_head_is_a_failure(server: Any, client: Client) -> None:
    """h11's bound on heads holds."""
    server.script = [b"HTTP/1.1 200 OK\r\n" + b"x-filler: " + b"y" * 200_000]
    with pytest.raises(HttpFailure) as caught:
        await client.post()
    assert caught.value.stage == "protocol"


async def test_bytes_between_exchanges_spoil_a_connection(server: Any, client: Client, wire: Any) -> None:
    """An answer to no question would be taken for the next answer; it may come with the first one or later."""
    may_go_on = asyncio.Event()

    async def answer_twice_later(exchange: Any) -> None:
        await exchange.send(wire.http(b"ok"))
        await may_go_on.wait()
        await exchange.send(wire.http(b"stray"))

    server.script = [wire.http(b"ok") + wire.http(b"stray"), answer_twice_later, wire.http(b"third")]
    assert await client.post() == (200, b"ok")
    assert await client.post() == (200, b"ok")
    (kept,) = client.http._idle
    may_go_on.set()
    await kept.closed
    assert await client.post() == (200, b"third")
    assert server.connections == 3


@pytest.mark.parametrize(
    ("timeouts", "deadline_s", "text", "stage", "problem"),
    [
        (Timeouts(first_byte_s=0.02), 5.0, b"", "head", "no reply began"),
        (Timeouts(), 0.02, b"", "head", "no reply began"),
        (Timeouts(stall_s=0.02), 5.0, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal", "body", "stalled"),
        (Timeouts(), 0.05, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal", "body", "stalled"),
    ],
    ids=["first byte", "deadline before head", "stall", "deadline in body"],
)
async def test_every_wait_ends(
    server: Any,
    opened: list[Client],
    timeouts: Timeouts,
    deadline_s: float,
    text: bytes,
    stage: str,
    problem: str,
) -> None:
    """A silent server costs the time it was given, no more, and the failure says which wait it was."""

    async def silent(exchange: Any) -> None:
        await exchange.send(text)
        await server.never.wait()

    opened.append(client := Client(server.url, timeouts=timeouts))
    server.script = [silent]
    began = time.monotonic()
    with pytest.raises(HttpFailure, match=problem) as caught:
        await client.post(deadline_s=deadline_s)
    assert (caught.value.stage, caught.value.timed_out) == (stage, True)
    assert time.monotonic() - began < 2.0


async def test_nobody_there_is_known_at_once(opened: list[Client], unused_tcp_port: int) -> None:
    """Nothing was sent, and the reason is the system's own."""
    opened.append(client := Client(f"http://127.0.0.1:{unused_tcp_port}/v1"))
    with pytest.raises(HttpFailure, match="no connection") as caught:
        await client.post()
    assert (caught.value.stage, caught.value.sent, client.sends) == ("connect", False, 0)


async def test_a_name_that_does_not_resolve_is_no_connection(opened: list[Client]) -> None:
    """`.invalid` never resolves (RFC 6761 section 6.4)."""
    opened.append(client := Client("http://models.invalid/v1"))
    with pytest.raises(HttpFailure, match="no connection") as caught:
        await client.post()
    assert caught.value.stage == "connect"


async def test_a_connection_that_is_never_accepted_times_out(opened: list[Client]) -> None:
    """A TLS handshake that nobody answers counts as connecting."""
    held = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await held.wait()
        writer.transport.abort()

    silent = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    opened.append(client := Client(f"https://127.0.0.1:{port}/v1", timeouts=Timeouts(connect_s=0.05)))
    with pytest.raises(HttpFailure, match="within") as caught:
        await client.post()
    assert (caught.value.stage, caught.value.timed_out, caught.value.sent) == ("connect", True, False)
    held.set()
    silent.close()
    await silent.wait_closed()


async def test_cancelling_drops_the_connection(server: Any, client: Client, wire: Any) -> None:
    """A cancelled exchange leaves no half-read connection behind."""
    arrived = asyncio.Event()

    async def silent(exchange: Any) -> None:
        arrived.set()
        await server.never.wait()

    server.script = [silent, wire.http(b"ok")]
    task = asyncio.create_task(client.post())
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await client.post() == (200, b"ok")
    assert server.connections == 2


def test_a_client_may_be_used_by_one_event_loop_after_another() -> None:
    """A connection of a closed loop is left alone: `asyncio.run` twice is what a REPL does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await reader.read()
        writer.transport.abort()

    async def once(client: Client | None) -> tuple[Client, tuple[int, bytes]]:
        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        if client is None:
            client = Client(url)
        else:
            client.http.server = parse_url(url)
        answer = await client.post()
        kept = list(client.http._idle)
        listening.close()
        for connection in kept:
            connection.transport.abort()
            await connection.closed
        return client, answer

    client, first = asyncio.run(once(None))
    _, second = asyncio.run(once(client))
    assert first == second == (200, b"ok")


# TLS and proxies.


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


async def test_tls_with_a_trusted_authority(tls_server: Any, opened: list[Client], wire: Any, ca_file: str) -> None:
    """Bodies larger than the socket's buffer go through, and connections are kept."""
    opened.append(client := Client(tls_server.url, ca_file=ca_file))
    tls_server.script = [wire.http(b"y" * 500_000)]
    body = b"x" * 3_000_000
    assert await client.post(body) == (200, b"y" * 500_000)
    assert await client.post(body) == (200, b"y" * 500_000)
    assert tls_server.seen[1].body == body
    assert tls_server.connections == 1


async def test_an_untrusted_certificate_is_refused_before_anything_is_sent(
    tls_server: Any, opened: list[Client]
) -> None:
    """No key ever reaches a server that cannot prove its name."""
    opened.append(client := Client(tls_server.url))
    with pytest.raises(HttpFailure, match="not trusted") as caught:
        await client.post()
    assert (caught.value.stage, caught.value.sent, tls_server.seen) == ("tls", False, [])


async def test_a_certificate_for_another_name_is_refused(tls_server: Any, opened: list[Client], ca_file: str) -> None:
    """The authority is trusted, the name is wrong."""
    opened.append(client := Client(f"https://localhost:{tls_server.port}/v1", ca_file=ca_file))
    with pytest.raises(HttpFailure, match="not trusted"):
        await client.post()
    assert tls_server.seen == []


async def test_plain_http_behind_an_https_url_is_a_tls_failure(opened: list[Client]) -> None:
    """The commonest slip with a local server."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as plain:
        port = plain.sockets[0].getsockname()[1]
        opened.append(client := Client(f"https://127.0.0.1:{port}/v1"))
        with pytest.raises(HttpFailure) as caught:
            await client.post()
    assert (caught.value.stage, caught.value.sent) == ("tls", False)


def test_the_tls_context_is_made_once_per_process(ca_file: str) -> None:
    """Loading authorities costs 20 ms; agents share the result."""
    assert tls_context(ca_file) is tls_context(ca_file)
    assert tls_context(ca_file).verify_mode is ssl.CERT_REQUIRED


class ConnectProxy:
    """An HTTP proxy that opens tunnels to one place, whatever name it is asked for."""

    def __init__(self, port: int, status: str = "200 Connection established") -> None:
        self.target_port = port
        self.status = status
        self.heads: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> ConnectProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(f"HTTP/1.1 {self.status}\r\n\r\n".encode())
        if not self.status.startswith("200"):
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, far_writer))
                group.create_task(self._pump(far_reader, writer))
        finally:
            writer.transport.abort()
            far_writer.transport.abort()

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)


async def test_an_https_server_is_reached_through_a_proxy(
    tls_server: Any, opened: list[Client], wire: Any, ca_file: str
) -> None:
    """CONNECT with the proxy's credentials, then TLS with the server itself; the proxy never sees the request."""
    tls_server.script = [wire.http(b"ok")]
    async with ConnectProxy(tls_server.port) as proxy:
        client = Client(
            "https://models.example/v1", ca_file=ca_file, proxy=Proxy("127.0.0.1", proxy.port, "me", "pass:word")
        )
        opened.append(client)
        assert await client.post(b"x" * 200_000) == (200, b"ok")
        assert await client.post() == (200, b"ok")
        await client.http.close()
    token = base64.b64encode(b"me:pass:word").decode()
    assert proxy.heads == [
        f"CONNECT models.example:443 HTTP/1.1\r\nhost: models.example:443\r\nproxy-authorization: Basic {token}\r\n\r\n"
    ]
    assert [seen.headers["host"] for seen in tls_server.seen] == ["models.example", "models.example"]


async def test_a_proxy_that_refuses_is_named(opened: list[Client]) -> None:
    """With its status, and without its password."""
    async with ConnectProxy(0, "407 Proxy Authentication Required") as proxy:
        opened.append(client := Client("https://models.example/v1", proxy=Proxy("127.0.0.1", proxy.port, "me", "pw1")))
        with pytest.raises(HttpFailure, match="answered 407 to CONNECT") as caught:
            await client.post()
    assert (caught.value.stage, caught.value.sent) == ("proxy", False)
    assert f"127.0.0.1:{proxy.port}" in caught.value.problem
    assert "pw1" not in caught.value.problem
