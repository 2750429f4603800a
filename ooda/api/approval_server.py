"""A small web server behind which questions are answered by signed links. GET shows, POST answers, nothing else.

It listens on this machine; whoever wants it reachable puts a proxy with TLS in front. There are no cookies and no
sessions, so nothing a browser sends by itself answers anything: an answer is a token out of the page, and the page is
shown to nobody without the link. Knows HTTP and HTML; what a token is worth is `approval_links`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape as html
from typing import Final
from urllib.parse import parse_qs, urlsplit

import h11

from ooda.api.approval_links import Opened, answer_by_link, opened_link
from ooda.api.session import Session
from ooda.clock import to_rfc3339
from ooda.errors import ConfigError, OodaError, RefusedError
from ooda.governance.approval import escape

__all__ = ["PATH", "answering"]

PATH: Final = "/approvals/"
_MOST_BYTES: Final = 16_384
_PATIENCE_S: Final = 10.0
_AT_ONCE: Final = 32
_HEADERS: Final = [
    ("content-type", "text/html; charset=utf-8"),
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    (
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("connection", "close"),
]
_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f4f4f4;padding:1rem;border-radius:.4rem}"
    "button{font:inherit;padding:.5rem 1.2rem;margin-right:.6rem}input{font:inherit;width:100%;margin:.6rem 0}"
)
_WORDS: Final = {"approve": "Approve", "reject": "Reject", "stop": "Stop the run"}


@asynccontextmanager
async def answering(session: Session, host: str, port: int, names: tuple[str, ...] = ()) -> AsyncIterator[str]:
    """Serve until left; gives the address.

    Args:
        names: Further host names under which a proxy passes requests on.

    Raises:
        ConfigError: nothing can listen there.
    """
    desk = _Desk(session, {"localhost", "127.0.0.1", "[::1]", host, *names})
    try:
        server = await asyncio.start_server(desk.serve, host, port, limit=_MOST_BYTES)
    except OSError as error:
        raise ConfigError(f"nothing can listen on {host}:{port}: {error.strerror or error}; choose another") from error
    shown = f"[{host}]" if ":" in host else host
    async with server:
        yield f"http://{shown}:{server.sockets[0].getsockname()[1]}"


class _Desk:
    def __init__(self, session: Session, hosts: set[str]) -> None:
        self._session = session
        self._hosts = {name.lower() for name in hosts}
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request on one connection."""
        self._open += 1
        try:
            async with asyncio.timeout(_PATIENCE_S):
                connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_BYTES)
                status, page = 503, _page("Busy", "<p>Too many people at once; try again.</p>")
                if self._open <= _AT_ONCE:
                    status, page = await self._answered(connection, reader)
                await _send(connection, writer, status, page)
        except (TimeoutError, OSError, h11.RemoteProtocolError, h11.LocalProtocolError):
            pass  # whoever it was has left, or never spoke HTTP
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answered(self, connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        request, body = await _read(connection, reader)
        if request is None:
            return 413, _page("Too long", "<p>That is longer than an answer can be.</p>")
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in request.headers}
        if (urlsplit(f"//{headers.get('host', '')}").hostname or "") not in {h.strip("[]") for h in self._hosts}:
            # Another site's name that leads to this address (DNS rebinding).
            return 421, _page("Not here", "<p>This server does not answer to that name.</p>")
        path = request.target.decode("latin-1").partition("?")[0]
        if not path.startswith(PATH):
            return 404, _page("Nothing here", "<p>A question is opened by its whole link.</p>")
        token = path.removeprefix(PATH)
        try:
            if request.method == b"GET":
                return 200, _question(opened_link(self._session, token))
            if request.method == b"POST":
                return self._post(token, headers, body)
        except RefusedError as error:
            return 403, _page("Not answered", f"<p>{html(escape(str(error)))}.</p>")
        except OodaError:
            return 503, _page("Not now", "<p>The store cannot be reached; nothing was answered. Try again.</p>")
        return 405, _page("Not so", "<p>A link is opened, and answered by its buttons.</p>")

    def _post(self, token: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
            return 415, _page("Not so", "<p>An answer comes from the page's own form.</p>")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, _page("Not answered", "<p>The answer came from another site.</p>")
        try:
            given = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=8)
        except (UnicodeDecodeError, ValueError):
            given = {}
        opened = opened_link(self._session, token)
        answer = given.get("answer", [""])[0]
        if answer not in opened.tokens.values():
            raise RefusedError("the answer does not belong to this link, or the question was answered before")
        note = given.get("note", [""])[0][:2_000]
        row = answer_by_link(self._session, answer, note)
        return 200, _page("Answered", f"<p>Your answer: {html(row.state)}. The run goes on when it is resumed.</p>")


async def _read(connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[h11.Request | None, bytes]:
    request: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        match event:
            case h11.NEED_DATA:
                connection.receive_data(await reader.read(4096))
            case h11.Request():
                request = event
            case h11.Data(data=data):
                body += data
                if len(body) > _MOST_BYTES:
                    return None, b""
            case h11.EndOfMessage():
                return request, bytes(body)
            case _:
                raise OSError("the other side has left")


async def _send(connection: h11.Connection, writer: asyncio.StreamWriter, status: int, page: bytes) -> None:
    head = h11.Response(status_code=status, headers=[*_HEADERS, ("content-length", str(len(page)))])
    for event in (head, h11.Data(data=page), h11.EndOfMessage()):
        writer.write(connection.send(event) or b"")
    await writer.drain()


def _question(opened: Opened) -> bytes:
    row = opened.row
    # `shown` was escaped when it was made; its hash is what is signed, so it is shown as it stands.
    parts = [f"<p>Asked by run <code>{html(row.run)}</code>, for {html(escape(opened.person))}.</p>"]
    parts.append(f"<pre>{html(row.shown)}</pre>")
    if opened.tokens:
        buttons = "".join(
            f'<button name="answer" value="{html(token)}">{_WORDS[answer]}</button>'
            for answer, token in opened.tokens.items()
        )
        parts.append(f"<p>Until {to_rfc3339(row.expires_ns)}. An answer counts once, for exactly this.</p>")
        parts.append(
            '<form method="post"><label>Why (the agent reads it)<input name="note" maxlength="2000"></label>'
            f"{buttons}</form>"
        )
    else:
        by = f" by {html(escape(row.answered_by))}" if row.answered_by else ""
        parts.append(f"<p>It was answered{by}: {html(row.state)}.</p>")
    return _page("A question", "".join(parts))


def _page(title: str, body: str) -> bytes:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="robots" content="noindex">'
        f'<meta name="viewport" content="width=device-width"><title>{title} · ooda</title><style>{_STYLE}</style>'
        f"<h1>{title}</h1>{body}</html>"
    ).encode()
