"""A provider for measurements: drives an agent through exactly N tool calls, then ends the conversation.

    python benchmarks/provider.py PORTFILE

Stateless: the step is the number of tool results in the request, so any number of conversations run at once. The
user's message says how many steps: `Do 20 steps.` `GET /stats` gives the requests served. Its own cost is a few
hundred microseconds a request and never the limit.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

CALL = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"bench","choices":[{"index":0,"message":{"role":'
    b'"assistant","content":null,"tool_calls":[{"id":"call_%d","type":"function","function":{"name":"act",'
    b'"arguments":"{\\"command\\":\\"step %d\\"}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":%d,'
    b'"completion_tokens":12,"total_tokens":%d}}'
)
DONE = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"bench","choices":[{"index":0,"message":{"role":'
    b'"assistant","content":"Done."},"finish_reason":"stop"}],"usage":{"prompt_tokens":%d,"completion_tokens":2,'
    b'"total_tokens":%d}}'
)


class Provider(asyncio.Protocol):
    served = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:end]).lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 : head.find(b"\r", at) if head.find(b"\r", at) > 0 else None]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body = bytes(self.buffer[end + 4 : end + 4 + length])
            del self.buffer[: end + 4 + length]
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"get /stats"):
            self.send(json.dumps({"served": Provider.served}).encode())
            return
        Provider.served += 1
        steps = int(body.split(b'"Do ', 1)[1].split(b" ", 1)[0])
        done = body.count(b'"role":"tool"')
        tokens = len(body) // 4
        self.send(CALL % (done, done, tokens, tokens + 12) if done < steps else DONE % (tokens, tokens + 2))

    def send(self, body: bytes) -> None:
        self.transport.write(  # type: ignore[attr-defined]
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        )


async def main(ready: str) -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", 0)
    with open(ready + ".tmp", "w") as file:
        file.write(str(server.sockets[0].getsockname()[1]))
    os.replace(ready + ".tmp", ready)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
