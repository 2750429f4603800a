"""A client for PostgREST: rows of one schema's tables, read in pages and inserted once.

Knows HTTP, headers and error codes as PostgREST documents them (docs.postgrest.org: API, Error codes; the Supabase
prefix `/rest/v1` and its `apikey` header); must not know what the tables mean. A server that is slow, answers
garbage or gives half a page is down: nothing is concluded from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from ooda import __version__
from ooda.errors import ConfigError, CredentialError, IntegrationError, OodaError

if TYPE_CHECKING:
    import httpx
    from pydantic import SecretStr

__all__ = ["PAGE", "PostgrestClient"]

S = TypeVar("S", bound=msgspec.Struct)

PAGE: Final = 500
"""Rows asked for at once; a server may give fewer, and says so in `Content-Range`."""
_MOST_BYTES: Final = 16 << 20
_MOST_PAGES: Final = 1000


class _Problem(msgspec.Struct, frozen=True):
    """PostgREST's error object."""

    code: str
    message: str
    details: str | None = None
    hint: str | None = None


class PostgrestClient:
    """The REST interface of one project.

    Args:
        url: The project's address, without `/rest/v1`.
        key: The service role key.
        timeout_s: A server that takes longer counts as down.
    """

    def __init__(self, url: str, key: SecretStr, *, timeout_s: float = 2.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ConfigError(
                "`governance.supabase_url` is no address of a project; expected `https://PROJECT.supabase.co`",
                setting="governance.supabase_url",
            )
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise ConfigError(
                "`governance.supabase_url` begins with `http://`, so the service role key would travel in the clear; "
                "write `https://`",
                setting="governance.supabase_url",
            )
        self._base = f"{url.rstrip('/')}/rest/v1"
        self._key = key
        self._timeout_s = timeout_s
        self._client: httpx.AsyncClient | None = None

    async def select(self, table: str, kind: type[S], filters: Mapping[str, str], *, order: str) -> tuple[S, ...]:
        """All rows that match, as records; their fields are the columns that are asked for.

        Args:
            filters: Column to condition, as in `{"name": "eq.ops_agent"}`; the value of `eq` is taken as it stands.
            order: Columns, as in `at_ns,id`; pages need one that tells every row apart.

        Raises:
            CredentialError: the key is not valid, or may not read the table.
            ConfigError: there is no such table or column.
            IntegrationError: the server is down, or what it gave is not what was asked for.
        """
        found: list[S] = []
        params = {"select": ",".join(kind.__struct_fields__), "order": order, "limit": str(PAGE), **filters}
        for _ in range(_MOST_PAGES):
            reply = await self._ask("GET", table, params={**params, "offset": str(len(found))}, prefer="count=exact")
            page = _decoded(table, reply.content, list[kind])  # type: ignore[valid-type]
            found += page
            total = _total(table, reply.headers.get("content-range", ""), len(found))
            if len(found) >= total:
                return tuple(found)
            if not page:
                raise _garbage(table, f"it says there are {total} rows and gave {len(found)}")
        raise _garbage(table, f"it has more than {_MOST_PAGES} pages")

    async def insert(self, table: str, rows: Sequence[msgspec.Struct], *, on_conflict: str) -> None:
        """Add rows; those whose `on_conflict` columns are there already are left as they stand.

        Raises:
            CredentialError, ConfigError, IntegrationError: as `select`; fact `status` is 409 for another conflict.
        """
        for start in range(0, len(rows), PAGE):
            await self._ask(
                "POST",
                table,
                params={"on_conflict": on_conflict},
                prefer="return=minimal,resolution=ignore-duplicates",
                body=msgspec.json.encode(list(rows[start : start + PAGE])),
            )

    async def close(self) -> None:
        """Let go of the connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _ask(
        self, method: str, table: str, *, params: Mapping[str, str], prefer: str, body: bytes | None = None
    ) -> httpx.Response:
        import httpx

        key = self._key.get_secret_value()
        headers = {"apikey": key, "Authorization": f"Bearer {key}", "Accept": "application/json", "Prefer": prefer}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await self._http().request(
                    method, f"{self._base}/{table}", params=dict(params), headers=headers, content=body
                )
        except (httpx.HTTPError, TimeoutError) as error:
            problem = "it did not answer in time" if isinstance(error, TimeoutError) else type(error).__name__
            raise _down(method, table, problem, None, retryable=True) from error
        if len(reply.content) > _MOST_BYTES:
            raise _garbage(table, f"it sent {len(reply.content)} bytes")
        if not 200 <= reply.status_code < 300:
            raise _refusal(method, table, reply)
        return reply

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            import httpx

            self._client = httpx.AsyncClient(
                timeout=self._timeout_s, follow_redirects=False, headers={"User-Agent": f"ooda/{__version__}"}
            )
        return self._client


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host == "::1" or host.startswith("127.")


def _decoded(table: str, content: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as error:
        raise _garbage(table, f"it sent something else than rows ({error})") from error


def _total(table: str, content_range: str, got: int) -> int:
    """The number behind the slash of `0-24/3573458`, `*/0`."""
    total = content_range.rpartition("/")[2]
    if not total.isdigit() or int(total) < got:
        raise _garbage(table, f"its `Content-Range` is {content_range!r} after {got} rows")
    return int(total)


def _refusal(method: str, table: str, reply: httpx.Response) -> OodaError:
    try:
        problem = msgspec.json.decode(reply.content, type=_Problem)
    except msgspec.MsgspecError:
        problem = _Problem("", "something else than an error object")
    said = f"{problem.message} ({problem.code})" if problem.code else problem.message
    match reply.status_code, problem.code:
        case (401, _) | (_, "PGRST301" | "PGRST302" | "PGRST303"):
            return CredentialError(
                f"Supabase rejects the key for `{table}`: {said}. Set SUPABASE_SERVICE_ROLE_KEY to the project's "
                "service role key",
                service="supabase",
                code=problem.code,
            )
        case (_, "42501"):
            return CredentialError(
                f"the key may not use `{table}` on Supabase: {said}. Set SUPABASE_SERVICE_ROLE_KEY to the service role "
                "key, not the public one",
                service="supabase",
                code=problem.code,
            )
        case (_, "PGRST204" | "PGRST205" | "PGRST202" | "42P01" | "42703"):
            return ConfigError(
                f"Supabase has no table `{table}` with the columns needed: {said}. Run the SQL of "
                "docs/how-to/governance-supabase.md in the project",
                service="supabase",
                code=problem.code,
            )
        case (status, _):
            return _down(method, table, said, status, retryable=status in (408, 425, 429) or status >= 500)


def _garbage(table: str, problem: str) -> IntegrationError:
    return _down("read", table, problem, None, retryable=True)


def _down(operation: str, table: str, problem: str, status: int | None, *, retryable: bool) -> IntegrationError:
    return IntegrationError(
        f"Supabase cannot {operation} `{table}`: {problem}. Look at the project of `governance.supabase_url`",
        service="supabase",
        operation=operation,
        status=status,
        retryable=retryable,
    )
