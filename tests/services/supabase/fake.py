"""A PostgREST server of our own on loopback: tables in memory, its headers, ranges, conflicts and error codes.

Held against the published summary (`OODA_SPECS`) by `test_postgrest`.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import h11

__all__ = ["KEY", "Answer", "FakePostgrest"]

KEY = "service-role-key-1234567890"

Answer = tuple[int, dict[str, str], bytes]

ERRORS = {
    "PGRST301": (401, "JWT invalid"),
    "PGRST205": (404, "Could not find the table in the schema cache"),
    "PGRST204": (400, "Column not found in the schema cache"),
    "23505": (409, "duplicate key value violates unique constraint"),
    "42501": (403, "permission denied for table"),
    "PGRST000": (503, "Could not connect with the database"),
}


class FakePostgrest:
    """Tables `agents` and `reputation_events`, and what is done to them."""

    def __init__(self) -> None:
        self.tables: dict[str, list[dict[str, Any]]] = {"agents": [], "reputation_events": []}
        self.columns = {
            "agents": {"id": lambda: str(uuid.uuid4()), "name": None, "created_at": lambda: "2026-01-01T00:00:00Z"},
            "reputation_events": {"id": None, "agent": None, "kind": None, "at_ns": None, "event": None},
        }
        self.unique = {"agents": ("id", "name"), "reputation_events": ("id",)}
        self.requests: list[tuple[str, str, dict[str, str], dict[str, str]]] = []
        """Method, path, query and headers."""
        self.fault: Callable[[], Answer | None] = lambda: None
        """What to answer instead, or None."""
        self.most = 1000
        """Rows given at most, whatever is asked (`db-max-rows`)."""
        self.url = ""
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> FakePostgrest:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            while True:
                request, body = await self._request(connection, reader)
                if request is None:
                    return
                status, headers, content = self._answered(request, body)
                answer = h11.Response(
                    status_code=status, headers=[*headers.items(), ("content-length", str(len(content)))]
                )
                for event in (answer, h11.Data(data=content), h11.EndOfMessage()):
                    writer.write(connection.send(event) or b"")
                await writer.drain()
                connection.start_next_cycle()
        except (ConnectionError, h11.RemoteProtocolError, h11.LocalProtocolError):
            pass
        finally:
            writer.close()

    @staticmethod
    async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[h11.Request | None, bytes]:
        request, body = None, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return request, body
            else:
                return None, b""

    def _answered(self, request: h11.Request, body: bytes) -> Answer:
        parts = urlsplit(request.target.decode())
        headers = {name.decode(): value.decode() for name, value in request.headers}
        query = dict(parse_qsl(parts.path and parts.query, keep_blank_values=True))
        self.requests.append((request.method.decode(), parts.path, dict(query), headers))
        if (fault := self.fault()) is not None:
            return fault
        if headers.get("apikey") != KEY or headers.get("authorization") != f"Bearer {KEY}":
            return error("PGRST301")
        table = parts.path.removeprefix("/rest/v1/")
        if table not in self.tables:
            return error("PGRST205")
        if request.method == b"GET":
            return self._select(table, query, headers)
        return self._insert(table, query, headers, json.loads(body))

    def _select(self, table: str, query: dict[str, str], headers: dict[str, str]) -> Answer:
        wanted = query.pop("select", "*").split(",")
        order = query.pop("order", "").split(",")
        limit, offset = int(query.pop("limit", self.most)), int(query.pop("offset", 0))
        if not set(wanted) | set(filter(None, order)) | set(query) <= set(self.columns[table]) | {"*"}:
            return error("PGRST204")
        rows = self.tables[table]
        for column, condition in query.items():
            operator, _, value = condition.partition(".")
            assert operator == "eq", "the fake knows `eq` only"
            rows = [row for row in rows if str(row[column]) == value]
        rows = sorted(rows, key=lambda row: tuple(row[name] for name in order if name))
        page = rows[offset : offset + min(limit, self.most)]
        total = str(len(rows)) if "count=exact" in headers.get("prefer", "") else "*"
        if offset and offset >= len(rows) and total != "*":
            return 416, {"content-range": f"*/{total}"}, b"[]"
        span = f"{offset}-{offset + len(page) - 1}" if page else "*"
        status = 206 if len(page) < len(rows) and total != "*" else 200
        content = json.dumps([{name: row[name] for name in wanted} for row in page]).encode()
        return status, {"content-type": "application/json; charset=utf-8", "content-range": f"{span}/{total}"}, content

    def _insert(self, table: str, query: dict[str, str], headers: dict[str, str], rows: list[dict[str, Any]]) -> Answer:
        prefer = headers.get("prefer", "")
        target = query.get("on_conflict", "").split(",")
        for given in rows:
            if not set(given) <= set(self.columns[table]):
                return error("PGRST204")
            row = {name: given.get(name, make() if make else None) for name, make in self.columns[table].items()}
            clash = next(
                (name for name in self.unique[table] if any(row[name] == old[name] for old in self.tables[table])), None
            )
            if clash and not ("resolution=ignore-duplicates" in prefer and clash in target):
                return error("23505")
            if not clash:
                self.tables[table].append(row)
        assert "return=minimal" in prefer, "the fake gives nothing back"
        return 201, {"content-range": "*/*"}, b""


def error(code: str) -> Answer:
    """An error as PostgREST gives it."""
    status, message = ERRORS[code]
    content = json.dumps({"code": code, "message": message, "details": None, "hint": None}).encode()
    return status, {"content-type": "application/json; charset=utf-8"}, content
