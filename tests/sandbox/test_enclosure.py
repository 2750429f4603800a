"""When the enclosure itself fails: it is said as that, at once, and never as the command's own output."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from ooda.errors import SandboxError
from ooda.sandbox.docker import connect
from ooda.sandbox.engine import Engine, EngineError, socket_path

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _break(opened) -> None:
    """End the enclosure from the host's side, as a crash of the engine or the machine's memory limit would."""
    if opened.backend == "docker":
        await connect().remove(opened.sandbox.id)
        return
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if command.startswith(b"/usr/bin/bwrap") and str(opened.workspace).encode() in command:
            os.kill(int(process.name), signal.SIGKILL)
    process = opened.sandbox._wall.inner._process
    if process.returncode is None:
        process.kill()


async def test_a_lost_enclosure_fails_what_waits_and_what_comes(backend, opener):
    """A command under way and every later call raise SandboxError; closing still works."""
    async with opener(backend) as opened:
        waiting = asyncio.create_task(opened.sandbox.exec("sleep 60"))
        while (await opened.sandbox.stats()).processes == 0:
            await asyncio.sleep(0.02)
        await _break(opened)
        with pytest.raises(SandboxError, match="helper ended"):
            await asyncio.wait_for(waiting, 10)
        with pytest.raises(SandboxError):
            await opened.sandbox.exec("true")
        with pytest.raises(SandboxError):
            await opened.sandbox.read("x", max_bytes=1)


async def test_a_helper_that_does_not_answer_is_not_waited_for(backend, opener):
    """Beyond its deadline the enclosure counts as broken."""
    async with opener(backend) as opened:
        handle = await opened.sandbox.start("sleep 60")
        with pytest.raises(SandboxError, match="did not answer `poll` within"):
            await opened.sandbox._client.request("poll", {"handle": handle, "wait_s": 60}, deadline_s=0.2)
        with pytest.raises(SandboxError, match="did not answer"):
            await opened.sandbox.stats()


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:2375", "ssh://me@there", "http://x"])
async def test_only_an_engine_of_this_machine_is_used(host):
    """The message says what to set instead."""
    with pytest.raises(SandboxError, match="unix://"):
        socket_path(host)
    assert socket_path(None) == Path("/var/run/docker.sock")
    assert socket_path("unix:///a/b.sock") == Path("/a/b.sock")


async def test_an_engine_that_answers_nonsense_is_an_error_of_the_engine(tmp_path):
    """Garbage, silence and closed connections all become EngineError, with the socket's name."""

    async def serve(reader, writer):
        line = await reader.readline()
        if b"/version" in line:
            writer.write(b"this is not HTTP\r\n\r\n")
        elif b"/info" in line:
            writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 20\r\n\r\n" + b'{"message": "broken"}'[:20])
        await writer.drain()
        writer.close()

    path = tmp_path / "engine.sock"
    async with await asyncio.start_unix_server(serve, path):
        engine = Engine(path, timeout_s=5)
        with pytest.raises(EngineError, match="broke"):
            await engine.ping()
        with pytest.raises(EngineError, match="refused GET /info") as caught:
            await engine.info()
        assert caught.value.status == 500
        with pytest.raises(EngineError, match="broke"):
            await engine.start("container")
    with pytest.raises(EngineError, match="no Docker Engine answers"):
        await Engine(tmp_path / "absent.sock").ping()


async def test_a_silent_engine_is_given_up_on(tmp_path):
    """An engine that hangs costs two seconds at most, here less."""

    async def serve(reader, writer):
        await reader.read()
        writer.close()

    path = tmp_path / "engine.sock"
    async with await asyncio.start_unix_server(serve, path):
        with pytest.raises(EngineError, match=r"did not answer within 0\.1 s"):
            await Engine(path).ping(0.1)
