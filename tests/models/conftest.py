"""A real HTTP server on loopback that misbehaves as told, and what every test needs to ask a model."""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
import trustme

from ooda.governance.grant import Grant, Mint
from ooda.models.chat import ChatModel
from ooda.models.endpoint import ApiKey, Endpoint, parse_url
from ooda.models.http1 import Timeouts
from ooda.models.request import ModelRequest
from ooda.models.retry import RetryPolicy

MODEL = "test-model"
FAST = RetryPolicy(first_wait_s=0.001, max_wait_s=0.01)


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Exchange:
    """What a behaviour acts on."""

    seen: Seen
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *pieces: bytes) -> None:
        """Write each piece on its own, giving the client a turn after each."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """End the connection the rude way."""
        self.writer.transport.abort()


Behaviour = bytes | Callable[[Exchange], Awaitable[None]]


@dataclass
class Server:
    """Plays `script` request by request; the last entry is repeated."""

    script: list[Behaviour] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    scheme: str = "http"
    never: asyncio.Event = field(default_factory=asyncio.Event)
    """Waited for by behaviours that keep the client waiting; set when the test ends."""
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/v1"

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]
        self.scheme = "https" if context else "http"

    async def stop(self) -> None:
        self.never.set()
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        number = self.connections
        try:
            while (seen := await _read_request(reader, number)) is not None:
                self.seen.append(seen)
                behaviour = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                exchange = Exchange(seen, reader, writer)
                if isinstance(behaviour, bytes):
                    await exchange.send(behaviour)
                else:
                    await behaviour(exchange)
                if writer.is_closing():
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()


async def _read_request(reader: asyncio.StreamReader, connection: int) -> Seen | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(method, target, headers, body, connection)


# Replies on the wire.


def http(body: bytes | Any, status: str = "200 OK", content_type: str = "application/json", headers: str = "") -> bytes:
    """A whole response with a length."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\n{headers}content-length: {len(payload)}\r\n\r\n"
    return head.encode() + payload


def completion(content: str | None = "done", calls: Iterable[dict[str, Any]] = (), **members: Any) -> dict[str, Any]:
    """A chat completion as OpenAI writes it."""
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if calls := list(calls):
        message["tool_calls"] = calls
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "test-model-0613",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
        **members,
    }


def call(call_id: str = "call_1", name: str = "read_file", arguments: str = '{"path":"a.py"}') -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **members: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"object": "chat.completion.chunk", "model": "test-model-0613", "choices": choices, **members}


USAGE_CHUNK = chunk(usage={"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110})


def events(*chunks: Any, done: bool = True) -> bytes:
    """Server-sent events."""
    data = [chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode() for chunk in chunks]
    return b"".join(b"data: " + entry + b"\n\n" for entry in (*data, *([b"[DONE]"] if done else [])))


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunked(body: bytes, size: int = 64, end: bool = True) -> bytes:
    """`body` in HTTP chunks."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return framed + (b"0\r\n\r\n" if end else b"")


# Fixtures.


@dataclass
class Wire:
    """The helpers above, handed to tests as one fixture."""

    http = staticmethod(http)
    completion = staticmethod(completion)
    call = staticmethod(call)
    chunk = staticmethod(chunk)
    events = staticmethod(events)
    chunked = staticmethod(chunked)
    usage_chunk = USAGE_CHUNK
    stream_head = STREAM_HEAD


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    running = Server()
    await running.start()
    yield running
    await running.stop()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority nobody trusts by default."""
    return trustme.CA()


@pytest.fixture
async def tls_server(authority: trustme.CA) -> AsyncIterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "models.example").configure_cert(context)
    running = Server()
    await running.start(context)
    yield running
    await running.stop()


class Asking:
    """Grants, requests and models for one test; closes what it opened."""

    model = MODEL
    fast = FAST

    def __init__(self) -> None:
        self._mint = Mint()
        self._numbers = itertools.count(1)
        self.opened: list[ChatModel] = []

    def grant(self, model: str = MODEL) -> Grant:
        number = next(self._numbers)
        return self._mint.grant(
            kind="model",
            run="run-1",
            seq=number,
            call=f"ask-{number}",
            tool=model,
            definition=model,
            arguments="",
            operation=None,
            effect="keyed",
            key=f"key-{number}",
            fence=1,
            deadline_ns=0,
        )

    def request(self, **members: Any) -> ModelRequest:
        members.setdefault("messages", b'{"role":"user","content":"Do it."}')
        return ModelRequest(**{"model": MODEL, "reply_tokens": 256, "deadline_s": 5.0, **members})

    def endpoint(self, url: str, key: str = "", **members: Any) -> Endpoint:
        return Endpoint(url=parse_url(url), wire_model=MODEL, key=ApiKey(key), **members)

    def chat(
        self,
        url: str,
        *,
        key: str = "",
        policy: RetryPolicy = FAST,
        timeouts: Timeouts | None = None,
        max_reply_bytes: int = 1 << 20,
        **members: Any,
    ) -> ChatModel:
        model = ChatModel(
            MODEL,
            self.endpoint(url, key, **members),
            policy=policy,
            timeouts=timeouts,
            max_reply_bytes=max_reply_bytes,
        )
        self.opened.append(model)
        return model


@pytest.fixture
async def asking() -> AsyncIterator[Asking]:
    helper = Asking()
    yield helper
    for model in helper.opened:
        await model.close()
