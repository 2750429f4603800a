"""The host's end of the connection, over a channel in memory: how long it waits, and for what."""

from __future__ import annotations

import asyncio

import pytest

from ooda.errors import SandboxError
from ooda.sandbox.client import HelperClient
from ooda.sandbox.guest.frames import reply


class Memory:
    """A channel whose helper says what is put into it."""

    def __init__(self) -> None:
        self.says: asyncio.Queue[bytes] = asyncio.Queue()
        self.heard = asyncio.Event()

    async def receive(self) -> bytes:
        return await self.says.get()

    async def send(self, data: bytes) -> None:
        self.heard.set()

    async def last_words(self) -> str:
        return ""

    async def close(self) -> None:
        self.says.put_nowait(b"")


async def test_an_answer_behind_a_long_one_is_waited_for_while_anything_comes() -> None:
    """A large file trickles in before it: the helper lives, so its silence is counted from the last piece."""
    channel = Memory()
    client = HelperClient(channel)
    waiting = asyncio.create_task(client.request("read", {}, deadline_s=0.2))
    await channel.heard.wait()
    large = reply(99, {"data": "x" * 400})
    for at in range(0, len(large), 40):
        channel.says.put_nowait(large[at : at + 40])
        assert not (await asyncio.wait({waiting}, timeout=0.06))[0]
    channel.says.put_nowait(reply(1, {"data": "mine"}))
    assert await waiting == {"data": "mine"}
    await client.close()


async def test_silence_breaks_the_connection_for_everybody() -> None:
    """Who waits is told, and who comes later."""
    client = HelperClient(Memory())
    with pytest.raises(SandboxError, match="did not answer `read` within"):
        await client.request("read", {}, deadline_s=0.05)
    with pytest.raises(SandboxError, match="did not answer `read`"):
        await client.request("stats", {}, deadline_s=5)
    await client.close()


async def test_chatter_is_not_waited_behind_for_ever() -> None:
    """A helper that says everything but the answer is given up on after twenty times the patience."""
    channel = Memory()
    client = HelperClient(channel)

    async def chatter() -> None:
        while True:
            channel.says.put_nowait(reply(99, {}))
            await asyncio.sleep(0.005)

    talking = asyncio.create_task(chatter())
    with pytest.raises(SandboxError, match="did not answer `read` within"):
        await asyncio.wait_for(client.request("read", {}, deadline_s=0.02), 5)
    talking.cancel()
    await client.close()
