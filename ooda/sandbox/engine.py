"""A small client of the Docker Engine API over its unix socket: what the docker backend needs and no more.

No SDK: a plain install can use Docker, and the attached stream of a container is ours to read without a
thread. Knows HTTP and the API's shapes; nothing of sandboxes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

import h11

from ooda.errors import SandboxError

__all__ = ["AttachedStream", "Engine", "EngineError", "socket_path"]

DEFAULT_SOCKET = "/var/run/docker.sock"
_API = "/v1.41"  # Engine 20.10, the oldest that is tested
_HEADER_BYTES = 8
_STDOUT, _STDERR = 1, 2
_KEPT_STDERR_BYTES = 8192


class EngineError(SandboxError):
    """The engine refused a request; fact: `status`."""


def socket_path(docker_host: str | None) -> Path:
    """The engine's socket from a `DOCKER_HOST` value, the usual place without one.

    Raises SandboxError for anything but `unix://`: a sandbox binds folders of this very machine.
    """
    if not docker_host:
        return Path(DEFAULT_SOCKET)
    if docker_host.startswith("unix://"):
        return Path(docker_host.removeprefix("unix://"))
    raise SandboxError(
        f"DOCKER_HOST is {docker_host!r}; the sandbox binds local folders and needs an engine on this machine: "
        "set it to unix:///path/to/docker.sock or unset it"
    )


class _Connection:
    """One HTTP exchange."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.http = h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=1 << 20)

    @classmethod
    async def open(cls, path: Path) -> Self:
        try:
            return cls(*await asyncio.open_unix_connection(str(path), limit=1 << 20))
        except OSError as error:
            raise EngineError(f"no Docker Engine answers on {path}: {error.strerror or error}", status=0) from error

    async def send(self, event: h11.Event) -> None:
        data = self.http.send(event)
        if data:
            self.writer.write(data)
            await self.writer.drain()

    async def next_event(self) -> Any:
        while True:
            event = self.http.next_event()
            if event is not h11.NEED_DATA:
                return event
            self.http.receive_data(await self.reader.read(1 << 18))

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


class Engine:
    """One Docker Engine. Every method raises EngineError with the engine's own words when it refuses."""

    def __init__(self, path: Path, *, timeout_s: float = 60.0) -> None:
        self.path = path
        self._timeout_s = timeout_s

    async def ping(self, timeout_s: float = 2.0) -> dict[str, Any]:
        """The engine's version facts; EngineError when it does not answer in time."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._json("GET", "/version")
        except TimeoutError as error:
            message = f"the Docker Engine on {self.path} did not answer within {timeout_s:g} s"
            raise EngineError(message, status=0) from error

    async def info(self) -> dict[str, Any]:
        """Runtimes, security options, cgroup driver and the rest of `docker info`."""
        return await self._json("GET", "/info")

    async def image(self, name: str) -> dict[str, Any] | None:
        """The facts of an image that is present, None otherwise; nothing is ever pulled."""
        return await self._json_or_none("GET", f"/images/{quote(name, safe=':@/')}/json")

    async def import_image(self, archive: bytes | Path, repo: str, tag: str, changes: list[str]) -> None:
        """Make an image of one layer from a tar archive."""
        query = urlencode(
            [("fromSrc", "-"), ("repo", repo), ("tag", tag), *(("changes", change) for change in changes)]
        )
        body = archive if isinstance(archive, bytes) else _pieces(archive)
        answer = await self._request("POST", f"/images/create?{query}", body, "application/x-tar", timeout_s=600)
        for line in answer.splitlines():  # one JSON object per progress step, errors included, all under status 200
            failure = json.loads(line).get("error") if line.strip() else None
            if failure:
                raise EngineError(f"the engine could not import {repo}:{tag}: {failure}", status=200)

    async def remove_image(self, name: str) -> None:
        """Remove an image; nothing happens when it is not there."""
        await self._json_or_none("DELETE", f"/images/{quote(name, safe=':@/')}?force=1")

    async def create(self, name: str, config: dict[str, Any]) -> str:
        """Create a container; gives its id."""
        return str((await self._json("POST", f"/containers/create?name={quote(name)}", config))["Id"])

    async def start(self, container: str) -> None:
        """Start a created container."""
        await self._request("POST", f"/containers/{container}/start")

    async def pause(self, container: str) -> None:
        """Freeze every process of a container."""
        await self._request("POST", f"/containers/{container}/pause")

    async def inspect(self, container: str) -> dict[str, Any] | None:
        """A container's facts, None when it is gone."""
        return await self._json_or_none("GET", f"/containers/{container}/json")

    async def containers(self, label: str) -> list[dict[str, Any]]:
        """All containers with a label, running or not."""
        filters = quote(json.dumps({"label": [label]}))
        answer = await self._request("GET", f"/containers/json?all=1&filters={filters}")
        found: list[dict[str, Any]] = json.loads(answer)
        return found

    async def remove(self, container: str) -> None:
        """Kill and remove a container and wait until it is gone; nothing happens when it is not there."""
        for _ in range(3):
            try:
                await self._request("DELETE", f"/containers/{container}?force=1&v=1")
                return
            except EngineError as error:
                if error.status == 404:
                    return
                if error.status != 409:
                    raise
            # It removes itself already (AutoRemove): wait for that instead.
            with contextlib.suppress(EngineError):
                await self._request("POST", f"/containers/{container}/wait?condition=removed")
        if await self.inspect(container) is not None:
            raise EngineError(f"container {container[:12]} could not be removed", status=409)

    async def attach(self, container: str) -> AttachedStream:
        """The standard streams of a container, before it is started."""
        connection = await _Connection.open(self.path)
        try:
            async with asyncio.timeout(self._timeout_s):
                await connection.send(
                    h11.Request(
                        method="POST",
                        target=f"{_API}/containers/{container}/attach?stream=1&stdin=1&stdout=1&stderr=1",
                        headers=[
                            ("Host", "docker"),
                            ("Connection", "Upgrade"),
                            ("Upgrade", "tcp"),
                            ("Content-Length", "0"),
                        ],
                    )
                )
                await connection.send(h11.EndOfMessage())
                event = await connection.next_event()
        except (TimeoutError, OSError, h11.ProtocolError) as error:
            await connection.close()
            raise EngineError(f"attaching to container {container[:12]} failed: {error}", status=0) from error
        if not isinstance(event, h11.InformationalResponse) or event.status_code != 101:
            await connection.close()
            raise EngineError(f"the engine did not attach to container {container[:12]}", status=0)
        early, _ = connection.http.trailing_data
        return AttachedStream(connection.reader, connection.writer, early)

    # -- HTTP ------------------------------------------------------------------------------------------

    async def _json(self, method: str, target: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        content = None if body is None else json.dumps(body).encode()
        answer = await self._request(method, target, content, "application/json")
        facts: dict[str, Any] = json.loads(answer)
        return facts

    async def _json_or_none(self, method: str, target: str) -> dict[str, Any] | None:
        try:
            answer = await self._request(method, target)
        except EngineError as error:
            if error.status == 404:
                return None
            raise
        facts = json.loads(answer) if answer else {}
        return facts if isinstance(facts, dict) else {}

    async def _request(
        self,
        method: str,
        target: str,
        body: bytes | AsyncIterator[bytes] | None = None,
        content_type: str = "application/json",
        *,
        timeout_s: float | None = None,
    ) -> bytes:
        connection = await _Connection.open(self.path)
        try:
            async with asyncio.timeout(self._timeout_s if timeout_s is None else timeout_s):
                status, answer = await self._exchange(connection, method, target, body, content_type)
        except TimeoutError as error:
            raise EngineError(
                f"the Docker Engine did not answer {method} {target.split('?')[0]} in time", status=0
            ) from error
        except (OSError, h11.ProtocolError) as error:
            raise EngineError(f"the connection to the Docker Engine on {self.path} broke: {error}", status=0) from error
        finally:
            await connection.close()
        if status >= 400:
            raise EngineError(
                f"the Docker Engine refused {method} {target.split('?')[0]}: {_words(answer)}", status=status
            )
        return answer

    async def _exchange(
        self,
        connection: _Connection,
        method: str,
        target: str,
        body: bytes | AsyncIterator[bytes] | None,
        content_type: str,
    ) -> tuple[int, bytes]:
        headers = [("Host", "docker"), ("Connection", "close"), ("Content-Type", content_type)]
        if isinstance(body, bytes) or body is None:
            headers.append(("Content-Length", str(len(body or b""))))
        else:
            headers.append(("Transfer-Encoding", "chunked"))
        await connection.send(h11.Request(method=method, target=_API + target, headers=headers))
        if isinstance(body, bytes):
            await connection.send(h11.Data(data=body))
        elif body is not None:
            async for piece in body:
                await connection.send(h11.Data(data=piece))
        await connection.send(h11.EndOfMessage())
        status, pieces = 0, []
        while True:
            event = await connection.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                return status, b"".join(pieces)


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, 1 << 20):
            yield piece


def _words(answer: bytes) -> str:
    try:
        return str(json.loads(answer).get("message", "")) or "no reason given"
    except (ValueError, AttributeError):
        return answer[:200].decode("utf-8", "replace") or "no reason given"


class AttachedStream:
    """A container's stdin and stdout; stderr is kept aside for the message when it ends unexpectedly."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, early: bytes) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = bytearray(early)
        self._errors = bytearray()

    async def receive(self) -> bytes:
        """The next bytes of stdout; empty at the end."""
        while True:
            if len(self._buffer) >= _HEADER_BYTES:
                stream = self._buffer[0]
                length = int.from_bytes(self._buffer[4:_HEADER_BYTES])
                if len(self._buffer) >= _HEADER_BYTES + length:
                    payload = bytes(self._buffer[_HEADER_BYTES : _HEADER_BYTES + length])
                    del self._buffer[: _HEADER_BYTES + length]
                    if stream == _STDOUT and payload:
                        return payload
                    if stream == _STDERR:
                        self._errors = (self._errors + payload)[-_KEPT_STDERR_BYTES:]
                    continue
            data = await self._reader.read(1 << 18)
            if not data:
                return b""
            self._buffer += data

    async def send(self, data: bytes) -> None:
        """Write to stdin."""
        self._writer.write(data)
        await self._writer.drain()

    async def last_words(self) -> str:
        """What came on stderr."""
        return self._errors.decode("utf-8", "replace")

    async def close(self) -> None:
        """Let go of the streams; the engine closes the container's stdin."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
