"""One request to Coder and its answer, over httpx: the token in its header, a deadline, no redirects, no cookies.

Knows HTTP and nothing of workspaces. A failed try is told apart by what the server may have seen of it. httpx is
loaded on first use.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import msgspec
from pydantic import SecretStr

from ooda import __version__
from ooda.clock import Clock, to_datetime
from ooda.errors import CredentialError, IntegrationError
from ooda.services.coder.address import checked_url, is_loopback
from ooda.services.coder.failures import failure, refusal
from ooda.services.coder.pace import Bucket, Pace, Waits
from ooda.services.coder.skew import Skew

if TYPE_CHECKING:
    import httpx

__all__ = ["Reply", "Wire"]

T = TypeVar("T")

_MOST_BYTES = 256 << 20
_FRESH_NS = 20_000_000_000
"""A request that rests on an older look is not sent: the process was paused, or waited, for too long in between. A
third of a lease, so that nobody else acts as long as a look is fresh."""


class Reply(msgspec.Struct, frozen=True):
    """An answer that is no failure."""

    status: int
    body: bytes


class Wire:
    """The connection to one deployment."""

    def __init__(
        self,
        url: str,
        token: SecretStr,
        *,
        clock: Clock,
        pace: Pace,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        ca_file: str | None = None,
    ) -> None:
        """See `ooda.services.coder.CoderClient`."""
        self.url = checked_url(url)
        self.skew = Skew(clock)
        self._token = token
        if not token.get_secret_value().strip():
            raise CredentialError("there is no Coder token; set `CODER_TOKEN` to one (`coder tokens create`)")
        if not token.get_secret_value().isascii() or not token.get_secret_value().isprintable():
            raise CredentialError("the Coder token has characters no token has; set `CODER_TOKEN` to it alone")
        self._clock = clock
        self._pace = pace
        self._sleep = sleep
        self._jitter = jitter
        self._bucket = Bucket(pace, clock, sleep)
        self._ca_file = ca_file
        self._client: httpx.AsyncClient | None = None

    def now_ns(self) -> int:
        return self._clock.now_ns()

    @property
    def token_id(self) -> str:
        """The public half of the token, `<id>-<secret>`."""
        return self._token.get_secret_value().partition("-")[0]

    async def close(self) -> None:
        """Let go of the connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def waits(self) -> Waits:
        """The waits between the tries of one call."""
        return Waits(self._pace, self._clock, self._sleep, self._jitter)

    async def repeat(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: object = None,
    ) -> Reply:
        """Ask for something that may be done more than once: again after any failure that may pass.

        Raises:
            CredentialError: the token is not valid; never tried again.
            IntegrationError: see `failures`; `retryable` ones after all tries.
        """
        return await self._again(lambda: self.once(operation, method, path, params=params, body=body))

    async def read(self, operation: str, path: str, kind: type[T], params: Mapping[str, str | int] | None = None) -> T:
        """GET and decode. A body that is cut off, or a proxy's page in its place, is asked for again."""

        async def attempt() -> T:
            return decoded(operation, await self.once(operation, "GET", path, params=params), kind)

        return await self._again(attempt)

    async def _again(self, attempt: Callable[[], Awaitable[T]]) -> T:
        waits = self.waits()
        while True:
            try:
                return await attempt()
            except IntegrationError as error:
                asked_s = error.facts["retry_after_s"]
                if not error.facts["retryable"] or not await waits.again(asked_s):  # type: ignore[arg-type]
                    raise

    async def once(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: object = None,
        rests_on_ns: int | None = None,
    ) -> Reply:
        """One try, not repeated whatever happens. Raises as `repeat`.

        Args:
            rests_on_ns: when what this request rests on was looked at; too long ago is `never_sent`.
        """
        import httpx

        await self._bucket.take()
        client = self._opened()
        content = msgspec.json.encode(body) if body is not None else None
        sent_ns = self._clock.now_ns()
        if rests_on_ns is not None and not 0 <= sent_ns - rests_on_ns <= _FRESH_NS:
            raise failure(operation, "never_sent", "what it rests on was looked at too long ago")
        try:
            async with asyncio.timeout(self._pace.timeout_s):
                async with client.stream(
                    method,
                    f"{self.url}{path}",
                    params=params,
                    content=content,
                    headers={"Content-Type": "application/json"} if content is not None else None,
                ) as response:
                    self.skew.saw(response.headers, sent_ns)
                    data = await _body(operation, response)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            raise failure(operation, "never_sent", _words(error)) from error
        except (httpx.TransportError, TimeoutError) as error:
            raise failure(operation, "unknown", _words(error)) from error
        except httpx.HTTPError as error:
            raise failure(operation, "protocol", _words(error)) from error
        if response.status_code >= 300 and response.status_code != 304:
            now = to_datetime(self._clock.now_ns())
            raise refusal(operation, response.status_code, response.headers, data, now)
        return Reply(response.status_code, data)

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            import httpx

            here = is_loopback(urlsplit(self.url).hostname or "")
            self._client = httpx.AsyncClient(
                headers={
                    "Coder-Session-Token": self._token.get_secret_value(),
                    "Accept": "application/json",
                    "User-Agent": f"ooda/{__version__}",
                },
                timeout=self._pace.timeout_s,
                limits=httpx.Limits(
                    max_connections=self._pace.connections, max_keepalive_connections=self._pace.connections
                ),
                follow_redirects=False,
                trust_env=not here,
                verify=_verification(self.url, self._ca_file),
            )
        return self._client


def decoded(operation: str, reply: Reply, kind: type[T]) -> T:
    """The body as a value; IntegrationError of kind `protocol` when it is not one."""
    try:
        return msgspec.json.decode(reply.body, type=kind)
    except msgspec.DecodeError as error:
        shown = " ".join(reply.body[:120].decode(errors="replace").split())
        raise failure(operation, "protocol", f"the answer is not as documented, {error}: {shown!r}") from error


def _verification(url: str, ca_file: str | None) -> ssl.SSLContext | bool:
    if ca_file is not None:
        return ssl.create_default_context(cafile=ca_file)
    # Plain http (to this machine, `checked_url`) verifies nothing; a context would cost 20 ms.
    return url.startswith("https:")


async def _body(operation: str, response: httpx.Response) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > _MOST_BYTES:
            raise failure(operation, "protocol", f"the answer is longer than {_MOST_BYTES >> 20} MiB")
        parts.append(part)
    return b"".join(parts)


def _words(error: BaseException) -> str:
    text = str(error).strip()
    name = type(error).__name__
    return f"{name}: {text}" if text else name
