"""The host's end of the connection to the helper: one request, one reply, many at once.

Knows frames and asyncio streams; nothing of engines, walls or what the operations mean.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable
from typing import Any, Protocol

from ooda.errors import SandboxError, ToolArgumentsError, ToolFailedError
from ooda.sandbox.guest.frames import VERSION, Decoder, FrameError, encode

__all__ = ["Channel", "HelperClient"]

_ARGUMENT_CODES = frozenset(
    {
        "bad_cwd",
        "bad_path",
        "bad_pattern",
        "bad_request",
        "changed",
        "denied",
        "is_directory",
        "is_link",
        "missing",
        "no_such_handle",
        "not_a_directory",
        "not_regular",
        "outside",
        "too_large",
    }
)
_PATIENCE = 20
_FAILURE_CODES = frozenset({"busy", "ended", "failed", "no_process", "no_space", "timeout", "too_many"})


class Channel(Protocol):
    """A byte stream to the helper's standard input and from its standard output."""

    async def receive(self) -> bytes:
        """The next bytes; empty when the helper is gone."""
        ...

    async def send(self, data: bytes) -> None: ...

    async def last_words(self) -> str:
        """What the helper or its launcher wrote to standard error, for the message when it ends unexpectedly."""
        ...

    async def close(self) -> None: ...


class _Waiting:
    def __init__(self, future: asyncio.Future[dict[str, Any]], chunk: Callable[[bytes], None] | None) -> None:
        self.future = future
        self.chunk = chunk


class HelperClient:
    """Requests to one helper. Errors of the helper come back typed: ToolArgumentsError for what the caller
    can correct, ToolFailedError for what he cannot, SandboxError when the enclosure itself is broken."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: dict[int, _Waiting] = {}
        self._next = 0
        self._broken: SandboxError | None = None
        self._heard = 0.0
        """When the last bytes came, on the loop's clock."""
        self._sending = asyncio.Lock()
        self._reader = asyncio.create_task(self._read(), name="sandbox-helper-reader")

    async def request(
        self,
        op: str,
        arguments: dict[str, Any],
        *,
        deadline_s: float,
        chunk: Callable[[bytes], None] | None = None,
        on_cancel: Callable[[int], dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """The reply to one request.

        Args:
            deadline_s: how long the helper may be silent before the enclosure counts as broken.
            chunk: takes pieces of a spooled output as they come.
            on_cancel: gives the `stop` request to send when the caller is cancelled; its effect is awaited.
        """
        if self._broken is not None:
            raise self._broken
        self._next += 1
        number = self._next
        waiting = _Waiting(asyncio.get_running_loop().create_future(), chunk)
        self._waiting[number] = waiting
        try:
            await self._send({"v": VERSION, "id": number, "op": op, **arguments})
            if not await self._answered(waiting.future, deadline_s):
                self._fail(SandboxError(f"the sandbox helper did not answer `{op}` within {deadline_s:.0f} s", op=op))
            return _unwrap(await waiting.future)
        except asyncio.CancelledError:
            if on_cancel is not None:
                await asyncio.shield(self._stop(number, waiting, on_cancel))
            raise
        finally:
            self._waiting.pop(number, None)
            if waiting.future.done() and not waiting.future.cancelled():
                waiting.future.exception()  # seen, even when the caller was cancelled before it came

    async def _answered(self, future: asyncio.Future[dict[str, Any]], deadline_s: float) -> bool:
        """Wait for an answer for as long as the helper says anything at all: a request may stand in a queue behind
        others that are large. False when it has been silent for `deadline_s`, or had twenty times that."""
        clock = asyncio.get_running_loop().time
        began = now = clock()
        until = began + deadline_s
        while until > now:
            if (await asyncio.wait({future}, timeout=until - now))[0]:
                return True
            now = clock()
            until = min(max(until, self._heard + deadline_s), began + _PATIENCE * deadline_s)
        return False

    async def _stop(self, number: int, waiting: _Waiting, on_cancel: Callable[[int], dict[str, Any]]) -> None:
        """A cancelled command is ended inside before the cancellation goes on; at most 2 s."""
        with contextlib.suppress(TimeoutError, SandboxError):
            async with asyncio.timeout(2):
                self._next += 1
                await self._send({"v": VERSION, "id": self._next, "op": "stop", **on_cancel(number)})
                await asyncio.wait({waiting.future})

    async def _send(self, message: dict[str, Any]) -> None:
        try:
            frame = encode(message)
        except FrameError as error:
            raise ToolArgumentsError(f"the request is too large for the sandbox: {error}") from error
        async with self._sending:  # frames of two requests must not interleave
            try:
                await self._channel.send(frame)
            except (ConnectionError, OSError) as error:
                await asyncio.wait({self._reader}, timeout=1)
                raise self._broken or SandboxError(f"the sandbox helper cannot be reached: {error}") from error

    async def _read(self) -> None:
        decoder = Decoder()
        try:
            while data := await self._channel.receive():
                self._heard = asyncio.get_running_loop().time()
                for message in decoder.feed(data):
                    self._dispatch(message)
        except (FrameError, ConnectionError, OSError) as error:
            self._fail(SandboxError(f"the connection to the sandbox helper broke: {error}"))
            return
        words = (await self._channel.last_words()).strip()
        self._fail(SandboxError("the sandbox helper ended" + (f": {words[-2000:]}" if words else " without a word")))

    def _dispatch(self, message: dict[str, Any]) -> None:
        waiting = self._waiting.get(message.get("id", -1))
        if waiting is None:
            return  # its caller has given up, or it answers a `stop` sent on cancellation
        if "chunk" in message:
            if waiting.chunk is not None:
                waiting.chunk(base64.b64decode(message["chunk"]))
        elif not waiting.future.done():
            waiting.future.set_result(message)

    def _fail(self, error: SandboxError) -> None:
        self._broken = self._broken or error
        for waiting in self._waiting.values():
            if not waiting.future.done():
                waiting.future.set_exception(self._broken)

    async def close(self) -> None:
        """Close the connection; requests still open fail. Idempotent."""
        self._fail(SandboxError("the sandbox is closed"))
        await self._channel.close()
        self._reader.cancel()
        await asyncio.wait({self._reader})


def _unwrap(message: dict[str, Any]) -> dict[str, Any]:
    error = message.get("error")
    if error is None:
        result = message.get("ok")
        if not isinstance(result, dict):
            raise SandboxError("the sandbox helper sent a reply that is neither a result nor an error")
        return result
    code, text = str(error.get("code")), str(error.get("message"))
    if code in _ARGUMENT_CODES:
        raise ToolArgumentsError(text, code=code)
    if code in _FAILURE_CODES:
        raise ToolFailedError(text, code=code)
    raise SandboxError(f"the sandbox helper refused: {text}", code=code)
