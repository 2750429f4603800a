"""`FakeCoder`: a Coder deployment on the loopback interface, in this process.

    async with serve(workspaces=500, seed=7) as fake:
        client = CoderClient(fake.url, SecretStr(fake.token), clock=fake.clock, sleep=fake.clock.sleep)

Token, content type, paths, limits and error bodies are those of release 2.36; what goes wrong is planned in
`fake.faults`, what people do meanwhile is done to `fake.world`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from email.utils import format_datetime
from pathlib import Path
from random import Random
from typing import Literal

import msgspec

from ooda.testing.fake_coder import render
from ooda.testing.fake_coder.clock import FleetClock
from ooda.testing.fake_coder.entities import FakeUser, Problem
from ooda.testing.fake_coder.faults import Fault, FaultPlan
from ooda.testing.fake_coder.http import HttpServer, Request, Response
from ooda.testing.fake_coder.routes import Answered, Routes
from ooda.testing.fake_coder.seed import populate
from ooda.testing.fake_coder.strict import Conscience
from ooda.testing.fake_coder.world import World

__all__ = ["FakeCoder", "serve"]

_HEADER = "coder-session-token"
_BAD_GATEWAY = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


class FakeCoder:
    """The deployment: its world, its faults, and what was asked of it."""

    def __init__(
        self,
        *,
        workspaces: int = 0,
        seed: int = 7,
        clock: FleetClock | None = None,
        spec: Path | None = None,
        requests_per_minute: int = 512,
        most_rows: int = 0,
        port: int = 0,
        **world: object,
    ) -> None:
        """Not yet listening; see `serve`.

        Args:
            workspaces: how many to begin with, out of the seed.
            clock: virtual time; real time from now on when left out.
            spec: OpenAPI document every request and answer is held against; violations are collected.
            requests_per_minute: of one user on one path; 0 for no limit.
            most_rows: the largest page; 0 for any.
            world: settings of the world (`World`).
        """
        rng = Random(seed)  # noqa: S311 - the same fleet every time
        self.clock = clock or FleetClock()
        self.world = World(self.clock, rng, **world)  # type: ignore[arg-type]
        self.faults = FaultPlan()
        self.admin = populate(self.world, rng, workspaces)
        self.token = self.world.add_token(self.admin).text
        self.requests: list[Request] = []
        """Every request that came in, faulty ones too."""
        self.violations: list[str] = []
        """What broke the document."""
        self._routes = Routes(self.world, most_rows=most_rows)
        self._conscience = Conscience(spec) if spec is not None else None
        self._per_minute = requests_per_minute
        self._counted: dict[tuple[str, str, int], int] = {}
        self._server = HttpServer(self._handle, port=port)

    @property
    def url(self) -> str:
        return self._server.url

    async def start(self) -> None:
        """Listen."""
        await self._server.start()

    async def close(self) -> None:
        """Stop listening."""
        await self._server.close()

    def posts(self, transition: str = "stop") -> list[str]:
        """Ids of the workspaces a build of this transition was asked for, in order, lost and refused ones too."""
        wanted = f'"transition":"{transition}"'.encode()
        return [
            request.path.split("/")[4]
            for request in self.requests
            if request.method == "POST" and request.path.endswith("/builds") and wanted in request.body
        ]

    async def _handle(self, request: Request) -> Response:
        self.requests.append(request)
        self.world.settle()
        fault = self.faults.meet(request)
        self._judge(request, None)
        early = _before(fault)
        if early is not None:
            return self._dated(early)
        response = self._dated(self._answer(request))
        self._judge(request, response)
        return _after(fault, response)

    def _answer(self, request: Request) -> Response:
        try:
            user = self._asker(request)
            self._limit(request, user)
            return _response(self._routes.answer(request, user))
        except Problem as refused:
            headers = {"retry-after": "30"} if refused.status == 429 else {}
            return _response(Answered(refused.status, render.problem(refused)), headers)

    def _asker(self, request: Request) -> FakeUser:
        given = request.headers.get(_HEADER) or request.headers.get("authorization", "").removeprefix("Bearer ")
        token = self.world.tokens.get(given)
        if token is None or token.expires_at <= self.clock.now() or token.user.status == "suspended":
            raise Problem(401, "You are signed out or your session has expired. Please sign in again to continue.")
        return token.user

    def _limit(self, request: Request, user: FakeUser) -> None:
        minute = int(self.clock.now().timestamp()) // 60
        key = (user.id, request.path, minute)
        self._counted[key] = self._counted.get(key, 0) + 1
        if self._per_minute and self._counted[key] > self._per_minute:
            raise Problem(429, f"You've been rate limited for sending more than {self._per_minute} requests in 1m.")

    def _judge(self, request: Request, response: Response | None) -> None:
        if self._conscience is None:
            return
        if response is None:
            self.violations += self._conscience.request(request.method, request.path, request.query, request.body)
        else:
            self.violations += self._conscience.answer(request.method, request.path, response.status, response.body)

    def _dated(self, response: Response) -> Response:
        shown: datetime = self.clock.shown()
        return msgspec.structs.replace(
            response, headers={**response.headers, "date": format_datetime(shown, usegmt=True)}
        )


def _response(answered: Answered, headers: dict[str, str] | None = None) -> Response:
    if answered.body is None:
        return Response(status=answered.status, headers=headers or {})
    body = answered.body if isinstance(answered.body, bytes) else render.encode(answered.body)
    return Response(
        status=answered.status,
        body=body,
        headers={"content-type": "application/json; charset=utf-8", **(headers or {})},
    )


def _before(fault: Fault | None) -> Response | None:
    """What a fault answers instead of the deployment; None when the request reaches it."""
    match fault:
        case Fault("429", retry_after_s):
            headers = {} if retry_after_s is None else {"retry-after": f"{retry_after_s:.0f}"}
            return _response(Answered(429, {"message": "You've been rate limited."}), headers)
        case Fault("500"):
            return _response(Answered(500, {"message": "An internal server error occurred.", "detail": "fault"}))
        case Fault("502"):
            return Response(status=502, body=_BAD_GATEWAY, headers={"content-type": "text/html"})
        case Fault("timeout_before"):
            return Response(status=500, fate="silence")
        case Fault("reset_before"):
            return Response(status=500, fate="reset")
        case Fault("401"):
            return _response(Answered(401, {"message": "You are signed out or your session has expired."}))
        case Fault("404"):
            return _response(
                Answered(404, {"message": "Resource not found or you do not have access to this resource"})
            )
        case Fault("403"):
            return _response(Answered(403, {"message": "Forbidden.", "detail": "fault"}))
        case Fault("406"):
            return _response(Answered(406, {"message": "The template version is still being imported."}))
        case Fault("409"):
            return _response(Answered(409, {"message": "A workspace build is already active."}))
        case _:
            return None


_FATES: dict[str, Literal["silence", "reset", "truncated", "dripped"]] = {
    "timeout_after": "silence",
    "reset_after": "reset",
    "truncated": "truncated",
    "slow": "dripped",
}


def _after(fault: Fault | None, response: Response) -> Response:
    """The answer as a fault lets it out."""
    if fault is None or fault.kind not in _FATES:
        return response
    return msgspec.structs.replace(response, fate=_FATES[fault.kind])


@asynccontextmanager
async def serve(workspaces: int = 500, seed: int = 7, **options: object) -> AsyncIterator[FakeCoder]:
    """A listening fake; `options` are those of `FakeCoder`."""
    fake = FakeCoder(workspaces=workspaces, seed=seed, **options)  # type: ignore[arg-type]
    await fake.start()
    try:
        yield fake
    finally:
        await fake.close()
