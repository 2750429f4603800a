"""Real receivers on loopback: an HTTP server that answers by a script, with a record of all it was sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Posted:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers.get("webhook-id", "")


@dataclass(frozen=True)
class Answered:
    """What to answer; `cut` closes the connection instead."""

    status: int = 200
    body: str = "ok"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


Script = Callable[[Posted, int], Answered]
"""The request and its number, from 0."""


class HttpReceiver:
    """A server whose answers are a function of what comes."""

    def __init__(self, answer: Script = lambda posted, number: Answered()) -> None:
        self.answer = answer
        self.posted: list[Posted] = []
        self.arrived = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet: two would wait for each other's acknowledgement

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                names = {name.lower(): value for name, value in self.headers.items()}
                came = Posted(self.path, names, self.rfile.read(length))
                with receiver.arrived:
                    number = len(receiver.posted)
                    receiver.posted.append(came)
                    receiver.arrived.notify_all()
                answered = receiver.answer(came, number)
                if answered.cut:
                    self.close_connection = True
                    return
                data = answered.body.encode()
                self.send_response(answered.status)
                for name, value in {"Content-Length": str(len(data)), **answered.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
                self.wfile.flush()

            def log_message(self, format: str, *args: object) -> None:
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                return  # a sender that was killed

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def wait_for(self, count: int, timeout_s: float = 60.0) -> None:
        """Return when so many requests have come."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.posted) >= count, timeout_s), len(self.posted)

    def __enter__(self) -> HttpReceiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def receiving(answer: Script = lambda posted, number: Answered()) -> Iterator[HttpReceiver]:
    """A receiver that is up."""
    with HttpReceiver(answer) as receiver:
        yield receiver
