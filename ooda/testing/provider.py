"""A model provider on loopback whose answers are written down beforehand: the double of the wire.

    with ScriptedProvider([say("I look.", ("read_file", {"path": "a.py"})), busy(1), say("Done.")]) as there:
        ...  # ask an OpenAI-compatible client at there.url

Where `ScriptedModel` stands in for the model, this stands in for its provider: a real server, asked over real HTTP,
streaming or not as the request says, that misbehaves in the ways providers do. It lives in a thread of its own, so
that whole processes can be tested against it. Knows the shapes of chat completions; must not know runs or tools.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

import msgspec

from ooda.models.request import ModelReply
from ooda.models.scripted import say

__all__ = [
    "Behaviour",
    "ScriptedProvider",
    "Wire",
    "broken",
    "busy",
    "cut_off",
    "declined",
    "empty",
    "garbled",
    "held",
    "hung_up",
    "silent",
    "twin_calls",
]

_PIECE = 12
"""Characters of text in one streamed piece."""
_SILENCE_S = 60.0
"""How long a silent answer keeps its client waiting at most, when nobody closes the server."""


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is more, or less, than a reply: how the provider fails."""

    reply: ModelReply | None = None
    """What is answered, or begun."""
    status: int = 200
    message: str = ""
    """What an error status says."""
    headers: Mapping[str, str] = {}
    fate: Literal["sent", "cut", "garbled", "silence", "hung_up"] = "sent"
    """Sent whole; the connection ends half-way; JSON that ends half-way; nothing ever comes; closed unanswered."""
    ids: tuple[str, ...] = ()
    """Ids of the calls, instead of fresh ones."""
    gate: threading.Event | None = None
    """Waited for once the first piece is out (before everything, where the client does not stream)."""


Script = ModelReply | Wire
Behaviour = Script | Callable[[Mapping[str, Any]], Script]
"""A reply, a failure, or a function of the request's JSON that gives one of them."""


def busy(retry_after_s: float = 0.0) -> Wire:
    """429, asking to wait."""
    return Wire(status=429, message="Rate limit reached", headers={"retry-after": f"{retry_after_s:g}"})


def broken(status: int = 500, message: str = "The server had an error") -> Wire:
    """An error status."""
    return Wire(status=status, message=message)


def silent() -> Wire:
    """No answer, until the server closes."""
    return Wire(fate="silence")


def hung_up() -> Wire:
    """The connection is closed without an answer."""
    return Wire(fate="hung_up")


def cut_off(reply: ModelReply) -> Wire:
    """The connection ends in the middle of the reply."""
    return Wire(reply=reply, fate="cut")


def garbled(reply: ModelReply) -> Wire:
    """A whole response whose JSON ends in the middle."""
    return Wire(reply=reply, fate="garbled")


def empty() -> ModelReply:
    """A reply that says nothing and calls nothing."""
    return say("")


def declined(text: str) -> ModelReply:
    """A refusal of the model, in the member that OpenAI has for it."""
    return msgspec.structs.replace(say(""), refusal=text)


def held(reply: ModelReply, gate: threading.Event) -> Wire:
    """A reply that begins, and goes on when the gate is set."""
    return Wire(reply=reply, gate=gate)


def twin_calls(reply: ModelReply, call_id: str = "call_twin") -> Wire:
    """A reply whose calls all carry the same id."""
    return Wire(reply=reply, ids=(call_id,) * len(reply.calls))


class ScriptedProvider:
    """Serves `POST /v1/chat/completions` from a script, and lists its model at `GET /v1/models`.

    Use it as a context. Asked once more than its script holds, it answers 400 and says so.

    Args:
        script: Answers in the order in which they are asked for.
        model: The name it lists and answers under.
        port: 0 takes a free one.
    """

    def __init__(self, script: Iterable[Behaviour] = (), *, model: str = "scripted", port: int = 0) -> None:
        self.model = model
        self.requests: list[dict[str, Any]] = []
        """The JSON of every completion asked for, in order."""
        self.authorizations: list[str] = []
        """The `Authorization` header of each of them."""
        self._script = list(script)
        self._lock = threading.Condition()
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="scripted provider")

    @property
    def url(self) -> str:
        """The base URL, `http://127.0.0.1:PORT/v1`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def then(self, *script: Behaviour) -> None:
        """Append to the script."""
        with self._lock:
            self._script.extend(script)

    def wait_for(self, requests: int, timeout_s: float = 30.0) -> None:
        """Block until so many completions have been asked for.

        Raises:
            TimeoutError: they were not.
        """
        with self._lock:
            if not self._lock.wait_for(lambda: len(self.requests) >= requests, timeout_s):
                raise TimeoutError(
                    f"the provider was asked {len(self.requests)} times in {timeout_s:g} s, not {requests}"
                )

    def close(self) -> None:
        """Stop serving; whoever still waits for an answer is let go."""
        self._closing.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, request: dict[str, Any], authorization: str) -> Wire:
        """The answer to this request, which is kept."""
        with self._lock:
            self.requests.append(request)
            self.authorizations.append(authorization)
            number = len(self.requests)
            behaviour = self._script.pop(0) if self._script else None
            self._lock.notify_all()
        if behaviour is None:
            return broken(400, f"the script holds {number - 1} answers and was asked for one more")
        answer = behaviour(request) if callable(behaviour) else behaviour
        if isinstance(answer, ModelReply):
            answer = Wire(reply=answer)
        if answer.reply is not None and not answer.ids:
            ids = tuple(f"call_{number}_{i}" for i in range(len(answer.reply.calls)))
            answer = msgspec.structs.replace(answer, ids=ids)
        return answer

    def rest(self, gate: threading.Event | None = None) -> None:
        """Wait for the gate, or for the server to close."""
        if gate is None:
            self._closing.wait(_SILENCE_S)
        else:
            while not gate.wait(0.05) and not self._closing.is_set():
                pass


def _handler(provider: ScriptedProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            listed = {"object": "list", "data": [{"id": provider.model, "object": "model"}]}
            self._whole(200, listed if self.path.endswith("/models") else {"error": {"message": "not here"}})

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
            try:
                self._answer(provider.take(request, self.headers.get("authorization", "")), bool(request.get("stream")))
            except ConnectionError:
                self.close_connection = True  # the client has had enough: a test of just that

        def _answer(self, wire: Wire, stream: bool) -> None:
            if wire.fate in ("silence", "hung_up"):
                self.close_connection = True
                if wire.fate == "silence":
                    provider.rest()
            elif wire.reply is None:
                self._whole(wire.status, {"error": {"message": wire.message, "code": None}}, wire.headers)
            elif stream:
                self._stream(wire, wire.reply)
            else:
                if wire.gate is not None:
                    provider.rest(wire.gate)
                self._whole(200, _completion(wire.reply, wire.ids, provider.model), fate=wire.fate)

        def _whole(
            self, status: int, value: object, headers: Mapping[str, str] | None = None, fate: str = "sent"
        ) -> None:
            body = json.dumps(value).encode()
            if fate == "garbled":
                body = body[: len(body) // 2]
            self.send_response(status)
            for name, text in {"content-type": "application/json", **(headers or {})}.items():
                self.send_header(name, text)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if fate == "cut" else body)
            self.close_connection = self.close_connection or fate == "cut"

        def _stream(self, wire: Wire, reply: ModelReply) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            chunks = _chunks(reply, wire.ids, provider.model)
            for number, chunk in enumerate(chunks):
                data = json.dumps(chunk)
                if number == len(chunks) // 2 and wire.fate in ("cut", "garbled"):
                    self.close_connection = True
                    if wire.fate == "cut":
                        return
                    self._chunk(f"data: {data[: len(data) // 2]}\n\n")
                    break
                self._chunk(f"data: {data}\n\n")
                if number == 0 and wire.gate is not None:
                    provider.rest(wire.gate)
            self._chunk("data: [DONE]\n\n")
            self._chunk("")

        def _chunk(self, text: str) -> None:
            data = text.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:
            pass  # whoever tests wants to see their own program's words

    return Handler


def _message(reply: ModelReply, ids: tuple[str, ...]) -> dict[str, Any]:
    calls = [
        {"id": call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call_id, call in zip(ids, reply.calls, strict=True)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": reply.content or None}
    if reply.refusal:
        message["refusal"] = reply.refusal
    return message | ({"tool_calls": calls} if calls else {})


def _usage(reply: ModelReply) -> dict[str, int]:
    assert reply.usage is not None, "`say` gives every reply a usage"
    sent, made = reply.usage.input_tokens, reply.usage.output_tokens
    return {"prompt_tokens": sent, "completion_tokens": made, "total_tokens": sent + made}


def _completion(reply: ModelReply, ids: tuple[str, ...], model: str) -> dict[str, Any]:
    choice = {"index": 0, "message": _message(reply, ids), "finish_reason": reply.finish}
    return {"object": "chat.completion", "model": model, "choices": [choice], "usage": _usage(reply)}


def _chunks(reply: ModelReply, ids: tuple[str, ...], model: str) -> list[dict[str, Any]]:
    """The reply in pieces: its text, then each call, the finish reason, the usage."""
    message = _message(reply, ids)
    text = message.pop("content") or ""
    deltas: list[dict[str, Any]] = [{"content": text[at : at + _PIECE]} for at in range(0, len(text), _PIECE)]
    deltas += [{"tool_calls": [{"index": i, **call}]} for i, call in enumerate(message.pop("tool_calls", ()))]
    deltas.append(message)
    choices: list[list[dict[str, Any]]] = [[{"index": 0, "delta": delta}] for delta in deltas]
    choices.append([{"index": 0, "delta": {}, "finish_reason": reply.finish}])
    frame = {"object": "chat.completion.chunk", "model": model}
    return [*({**frame, "choices": choice} for choice in choices), {**frame, "choices": [], "usage": _usage(reply)}]
