"""A model provider in a process of its own: scripted by what a request holds, counting what it was asked.

    python tests/durability/provider.py PORTFILE

The path names the case: `/CASE/v1/chat/completions`. `PUT /CASE` sets its script, a JSON list of replies, each
`{"tool": …, "arguments": {…}}`, with `"slow_s"` and `"fails"` where wanted; `GET /CASE` gives the requests that
came in whole, in order. The next reply follows from the request alone (the last of the script's calls that it shows
as answered), so a request that is asked again gets the same reply: what a resumed run needs and a real model gives.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

INPUT_NANO, OUTPUT_NANO = 3_000, 15_000
"""Price of a token in nano-USD: 3 and 15 USD per million."""
OUTPUT_TOKENS = 21


@dataclass
class Case:
    """One run's conversation."""

    script: list[dict[str, Any]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[int, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


CASES: dict[str, Case] = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        CASES[self.path.strip("/")] = Case(json.loads(self._body()))
        self._send({})

    def do_GET(self) -> None:
        case = CASES.get(self.path.strip("/"))
        self._send(case.asked if case else [])

    def do_POST(self) -> None:
        case = CASES[self.path.split("/")[1]]
        body = self._body()
        request = json.loads(body)
        at = answered(request["messages"])
        step = case.script[min(at, len(case.script) - 1)]
        with case.lock:
            entry = {"step": at, "cost_nano": 0, "key": self.headers.get("idempotency-key", "")}
            case.asked.append(entry)
            number = len(case.asked)
            fails = case.failures.get(at, step.get("fails", 0))
            case.failures[at] = max(0, fails - 1)
        if step.get("slow_s"):
            time.sleep(step["slow_s"])  # a model that thinks: the request is in, the answer is not out
        if fails:
            self.close_connection = True
            self.connection.close()  # taken, perhaps billed, never answered
            return
        tokens = len(body) // 4
        entry["cost_nano"] = tokens * INPUT_NANO + OUTPUT_TOKENS * OUTPUT_NANO
        self._send(completion(step, number, at, tokens))

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", "0")))

    def _send(self, value: object) -> None:
        data = json.dumps(value).encode()
        try:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            self.close_connection = True  # whoever asked is gone

    def log_message(self, *_: object) -> None:
        pass


def answered(messages: list[dict[str, Any]]) -> int:
    """How many of the script's calls have had their effect: a call answered by something else than a restart has.

    Each call carries its place in the script in its id, as a compaction takes old ones out of the request.
    """
    reached = 0
    for message in messages:
        if message["role"] == "tool":
            step = int(message["tool_call_id"].rpartition("_")[2])
            was_interrupted = "interrupted by a restart" in message["content"].partition("\n")[0]
            reached = max(reached, step if was_interrupted else step + 1)
    return reached


def completion(step: dict[str, Any], number: int, at: int, tokens: int) -> dict[str, Any]:
    call = {
        "id": f"call_{number}_{at}",
        "type": "function",
        "function": {"name": step["tool"], "arguments": json.dumps(step["arguments"])},
    }
    return {
        "id": f"chat_{number}",
        "object": "chat.completion",
        "created": 1,
        "model": "lab-1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": step.get("says"), "tool_calls": [call]},
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {
            "prompt_tokens": tokens,
            "completion_tokens": OUTPUT_TOKENS,
            "total_tokens": tokens + OUTPUT_TOKENS,
        },
    }


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed in the middle of a word is what this is for."""


def main(ready: str) -> None:
    server = Server(("127.0.0.1", 0), Handler)
    with open(ready + ".new", "w") as file:
        file.write(str(server.server_address[1]))
    os.replace(ready + ".new", ready)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
