"""The way out of a sandbox with an allow-list: an HTTP proxy on a unix socket of the host.

The sandbox has no route and no resolver. It asks this proxy for a host by name; the proxy looks the name up
itself, so nothing inside can point an allowed name elsewhere, refuses internal addresses, and connects to the
very address it judged. Over TLS the name in the client's greeting must be the host that was asked for. Every
decision goes to the audit callback.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import h11

from ooda.errors import SandboxError
from ooda.sandbox.egress_rules import Address, AllowList
from ooda.sandbox.forwarding import PIECE_BYTES, forward, next_request, pump
from ooda.sandbox.protocol import Credential
from ooda.sandbox.tls_greeting import server_name

__all__ = ["Audit", "EgressProxy", "Resolver", "resolve"]

Audit = Callable[[str, Mapping[str, object]], None]
Resolver = Callable[[str, int], Awaitable[list[str]]]

_CONNECT_S = 20.0
_HEAD_S = 30.0
_MAX_HEAD_BYTES = 64 << 10
_MAX_CONNECTIONS = 128


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, as this machine's resolver gives them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=1)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class _RefusedError(Exception):
    """The request is not let out; the words go to the client and to the audit."""

    def __init__(self, reason: str, status: int = 403) -> None:
        super().__init__(reason)
        self.status = status


class EgressProxy:
    """One proxy for one sandbox. `start` before the sandbox, `close` after it."""

    def __init__(
        self,
        allow: AllowList,
        *,
        audit: Audit,
        facts: Mapping[str, object],
        resolver: Resolver = resolve,
        tls_ports: tuple[int, ...] = (443,),
        credentials: tuple[Credential, ...] = (),
        inner_tls: ssl.SSLContext | None = None,
        outer_tls: ssl.SSLContext | None = None,
    ) -> None:
        """The proxy, not yet listening.

        Args:
            facts: run and sandbox, added to every audit entry.
            tls_ports: where a tunnel must begin with TLS.
            credentials: replaced in requests to their hosts, whose tunnels end here instead of being passed on.
            inner_tls: how those hosts are impersonated towards the sandbox; needed with `credentials`.
            outer_tls: how the true hosts are checked; this machine's certificates by default.
        """
        self._allow = allow
        self._audit = audit
        self._facts = dict(facts)
        self._resolver = resolver
        self._tls_ports = tls_ports
        self._credentials = credentials
        self._inner_tls = inner_tls
        self._outer_tls = outer_tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, path: Path) -> None:
        """Listen on a new socket at `path`. Raises SandboxError."""
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            # Through the descriptor: a socket's address has room for 107 bytes only.
            self._server = await asyncio.start_unix_server(self._serve, f"/proc/self/fd/{folder}/{path.name}")
        except OSError as error:
            raise SandboxError(f"the egress proxy cannot listen on {path}: {error.strerror}") from error
        finally:
            os.close(folder)
        # The folder is ours alone; inside, the sandbox's user must be able to connect.
        os.chmod(path, 0o666)  # noqa: S103

    async def close(self) -> None:
        """Stop listening and drop every connection. Idempotent."""
        if self._server is None:
            return
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if len(self._tasks) <= _MAX_CONNECTIONS:
                await self._handle(reader, writer)
        except (OSError, TimeoutError, h11.ProtocolError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # a client or a host that went away ends its own connection and nothing else
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)
        async with asyncio.timeout(_HEAD_S):
            request = await next_request(http, reader)
        if request is None:
            return
        method = request.method.decode("ascii")
        target = request.target.decode("ascii", "replace")
        try:
            host, port = _destination(method, target)
            wanted = (host.lower().rstrip("."), port)
            keep = [one for one in self._credentials if (one.name, one.port) == wanted]
            ends_here = bool(keep) and method == "CONNECT"
            outer = await self._connect(host, port, method, tls=ends_here)
        except _RefusedError as refusal:
            body = f"refused by the sandbox's egress proxy: {refusal}\n".encode()
            headers = [("Content-Length", str(len(body))), ("Content-Type", "text/plain"), ("Connection", "close")]
            writer.write(http.send(h11.Response(status_code=refusal.status, headers=headers)) or b"")
            writer.write(http.send(h11.Data(data=body)) or b"")
            await writer.drain()
            return
        try:
            if ends_here:
                await self._intercept(http, reader, writer, outer, host if port == 443 else f"{host}:{port}", keep)
            elif method == "CONNECT":
                await self._tunnel(http, reader, writer, outer, host, port)
            else:
                await forward(http, request, reader, writer, outer, host if port == 80 else f"{host}:{port}", ())
        finally:
            outer[1].close()

    # -- deciding --------------------------------------------------------------------------------------

    async def _connect(
        self, host: str, port: int, method: str, *, tls: bool
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to an address that was judged; _RefusedError otherwise. Audited either way."""
        try:
            address = await self._judge(host, port)
            try:
                async with asyncio.timeout(_CONNECT_S):
                    context = self._outer_context() if tls else None
                    name = host.rstrip(".") if tls else None
                    streams = await asyncio.open_connection(str(address), port, ssl=context, server_hostname=name)
            except (OSError, TimeoutError) as error:
                raise _RefusedError(f"{host}:{port} cannot be reached: {error or 'timed out'}", 502) from error
        except _RefusedError as refusal:
            self._note(host, port, method, "refused", str(refusal))
            raise
        self._note(host, port, method, "allowed", str(address))
        return streams

    async def _judge(self, host: str, port: int) -> Address:
        if not self._allow.names_host(host, port):
            raise _RefusedError(
                f"{host}:{port} is not on the sandbox's list of hosts; add it to the task's network hosts to allow it"
            )
        try:
            async with asyncio.timeout(_CONNECT_S):
                found = await self._resolver(host.strip("[]"), port)
        except (OSError, TimeoutError, UnicodeError) as error:
            raise _RefusedError(f"{host} cannot be resolved: {error or 'timed out'}", 502) from error
        addresses = [ipaddress.ip_address(text.split("%", 1)[0]) for text in found]
        for address in addresses:
            if self._allow.permits_address(address, port):
                return address
        shown = ", ".join(str(address) for address in addresses) or "nothing"
        raise _RefusedError(
            f"{host} leads to {shown}, an internal address; list the address itself to allow it on purpose"
        )

    def _outer_context(self) -> ssl.SSLContext:
        if self._outer_tls is None:
            self._outer_tls = ssl.create_default_context()
            self._outer_tls.set_alpn_protocols(["http/1.1"])
        return self._outer_tls

    def _note(self, host: str, port: int, method: str, decision: str, detail: str) -> None:
        self._audit(
            "sandbox.egress",
            {**self._facts, "host": host, "port": port, "method": method, "decision": decision, "detail": detail},
        )

    # -- moving bytes ----------------------------------------------------------------------------------

    async def _tunnel(
        self,
        http: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        outer: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        host: str,
        port: int,
    ) -> None:
        http.next_event()
        writer.write(http.send(h11.Response(status_code=200, headers=[])) or b"")
        await writer.drain()
        early, _ = http.trailing_data
        if port in self._tls_ports:
            async with asyncio.timeout(_HEAD_S):
                early, name = await _greeting(early, reader)
            if name != host.lower().rstrip("."):
                shown = "no TLS name" if name is None else name
                self._note(host, port, "CONNECT", "refused", f"the tunnel was opened for {host} and greets {shown}")
                return
        outer[1].write(early)
        await _splice(reader, writer, *outer)

    async def _intercept(
        self,
        http: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        outer: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        host: str,
        credentials: list[Credential],
    ) -> None:
        """End the tunnel here, put the secrets into the one request it carries, and mask them in the answer."""
        assert self._inner_tls is not None
        http.next_event()
        writer.write(http.send(h11.Response(status_code=200, headers=[])) or b"")
        await writer.drain()
        async with asyncio.timeout(_HEAD_S):
            await writer.start_tls(self._inner_tls)
            inner = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)
            request = await next_request(inner, reader)
        if request is None:
            return
        secrets = tuple((one.placeholder.encode(), one.secret().encode()) for one in credentials)
        await forward(inner, request, reader, writer, outer, host, secrets)


def _destination(method: str, target: str) -> tuple[str, int]:
    try:
        if method == "CONNECT":
            parts = urlsplit(f"//{target}")
            host, port = parts.hostname, parts.port
        else:
            parts = urlsplit(target)
            if parts.scheme != "http":
                raise ValueError("not an http URL")
            host, port = parts.hostname, parts.port or 80
    except ValueError as error:
        raise _RefusedError(f"{target[:200]!r} names no destination: {error}", 400) from error
    if not host or not port:
        raise _RefusedError(f"{target[:200]!r} names no host and port", 400)
    return host, port


async def _greeting(early: bytes, reader: asyncio.StreamReader) -> tuple[bytes, str | None]:
    """The bytes of the TLS greeting and the name in it; None when it is not a greeting or has no name."""
    data = early
    while True:
        name, complete = server_name(data)
        if complete:
            return data, name
        piece = await reader.read(PIECE_BYTES)
        if not piece:
            return data, None
        data += piece


async def _splice(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    outer_reader: asyncio.StreamReader,
    outer_writer: asyncio.StreamWriter,
) -> None:
    """Copy both ways until both sides have said their last, or nothing came for five minutes."""
    async with asyncio.TaskGroup() as group:
        group.create_task(pump(reader, outer_writer))
        group.create_task(pump(outer_reader, writer))
