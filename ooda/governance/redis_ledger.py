"""Budgets shared by stores that do not share a database: counters on a Redis server, kept in step with the ledger.

The ledger in the database is the truth. A call that is reserved there, with its intent in the journal, takes a hold
of the same size under the same key here, where all stores count together, and only then is sent:

    reserve and intent in the database -> hold -> sent -> the call -> result and settlement in the database -> close

Every step may be repeated. A hold whose process died before it was sent is given back after a minute; one that was
sent stands until its store says what it cost. What a store has spent it tells as a sum with a revision, never as a
difference, so nothing is counted twice. Knows one script and its answers; must not know models and prices.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar, cast

import msgspec

from ooda.clock import Clock
from ooda.errors import ConfigError, IntegrationError, RefusedError
from ooda.governance.budget import LARGEST, Alert, Exceeded, Measure
from ooda.governance.ledger import Ledger
from ooda.store import Store, Tx

__all__ = ["Command", "Held", "RedisBudget", "Script", "held_in"]

T = TypeVar("T")

Op = Literal["hold", "again", "sent", "close"]

_MS: Final = 1_000_000
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_UNSENT_MS: Final = 60_000
"""From its hold to its first byte a call takes milliseconds; whoever needs longer has died, or holds again."""
_LIFETIME_MS: Final = 400 * _DAY_MS
"""How long a lifetime that nobody touches is kept; its stores tell what they spent when they touch it again."""


class SharedWindow(NamedTuple):
    """One window of a reservation as its store knows it."""

    key: str
    scope: str
    span: str
    cap_cost: int | None
    cap_tokens: int | None
    spent_cost: int
    spent_tokens: int
    revision: int


class Held(msgspec.Struct, frozen=True):
    """A reservation with its windows, as read in one transaction."""

    key: str
    is_open: bool
    cost_nano: int
    tokens: int
    windows: tuple[SharedWindow, ...]


def held_in(tx: Tx, key: str) -> Held | None:
    """The reservation with this key; None when there is none."""
    found = tx.execute("SELECT state, cost_nano, tokens, windows FROM reservations WHERE key = ?", (key,))
    if not found:
        return None
    state, cost_nano, tokens, encoded = found[0]
    names = msgspec.json.decode(encoded, type=tuple[str, ...])
    marks = ", ".join("?" * len(names))
    rows = tx.execute(
        f"SELECT {', '.join(SharedWindow._fields)} FROM budget_windows WHERE key IN ({marks}) ORDER BY key",  # noqa: S608
        names,
    )
    return Held(key, state in ("held", "sent"), cost_nano, tokens, tuple(SharedWindow(*row) for row in rows))


class Command(NamedTuple):
    """One call of the script."""

    keys: list[str]
    arguments: list[str]


class Script:
    """What the script is told, and what its answers mean. Values only: the connection is its user's.

    Args:
        store: Id of the store that speaks.
        ends_ns: When a window's span is over; `Ledger.ends_ns`.
        prefix: Start of all keys; programs with another prefix share nothing.
    """

    def __init__(self, store: str, ends_ns: Callable[[str], int | None], prefix: str = "ooda") -> None:
        self._store = store
        self._ends_ns = ends_ns
        self._tag = f"{prefix}:{{budget}}"

    def command(self, op: Op, held: Held, now_ns: int, *, force: bool = False) -> Command:
        """The call that holds, marks as sent or closes a reservation, and tells what its windows have spent."""
        keys = [f"{self._tag}:mark", f"{self._tag}:unsent", self.open_holds, self._hold(held.key)]
        keys += [f"{self._tag}:window:{window.key}" for window in held.windows]
        arguments: list[str] = [op, self._store, secrets.token_hex(8), str(held.cost_nano), str(held.tokens)]
        arguments += ["1" if force else "0", str(_UNSENT_MS)]
        for window in held.windows:
            for cap in (window.cap_cost, window.cap_tokens):
                arguments.append("" if cap is None and op == "close" else str(LARGEST if cap is None else cap))
            arguments += [str(window.revision), str(window.spent_cost), str(window.spent_tokens)]
            arguments.append(str(self._kept_ms(window.span, now_ns)))
        return Command(keys, arguments)

    @property
    def open_holds(self) -> str:
        """The key under which the open holds of this store are listed."""
        return f"{self._tag}:open:{self._store}"

    def key_of(self, member: bytes) -> str:
        """The reservation's key of a listed hold."""
        return member.decode().removeprefix(f"{self._tag}:hold:{self._store}:")

    def refusal(self, held: Held, answer: Sequence[Any]) -> Exceeded | None:
        """Which cap a hold would have passed; None when it stands.

        Raises:
            RefusedError: the key stands for another amount.
            IntegrationError: the answer is none of the script's.
        """
        match answer[0]:
            case b"ok":
                return None
            case b"conflict":
                raise RefusedError(f"the shared budget holds another amount under {held.key!r}; take a key of its own")
            case b"exceeded":
                return _exceeded(held, answer)
            case word:
                raise _down("hold", f"it answered {word!r}")

    @staticmethod
    def alerts(held: Held, answer: Sequence[Any]) -> tuple[Alert, ...]:
        """Thresholds that all stores together have passed and nobody was told of."""
        return tuple(
            Alert(
                "budget",
                held.windows[int(place) - 1].scope,
                held.windows[int(place) - 1].span,
                int(percent),
                _measure(measure),
                int(used),
                int(cap),
            )
            for place, measure, percent, used, cap in answer[2:]
        )

    def _hold(self, key: str) -> str:
        return f"{self._tag}:hold:{self._store}:{key}"

    def _kept_ms(self, span: str, now_ns: int) -> int:
        """For how long a window is kept: an hour beyond its end; a lifetime for as long as anybody touches it."""
        ends_ns = self._ends_ns(span)
        return _LIFETIME_MS if ends_ns is None else max(0, ends_ns - now_ns) // _MS + _HOUR_MS


def _exceeded(held: Held, answer: Sequence[Any]) -> Exceeded:
    window, measure = held.windows[int(answer[2]) - 1], _measure(answer[3])
    cap, asked = (window.cap_cost, held.cost_nano) if measure == "cost_nano" else (window.cap_tokens, held.tokens)
    limit = LARGEST if cap is None else cap
    return Exceeded(window.scope, window.span, measure, limit, int(answer[4]), asked)


def _measure(word: bytes) -> Measure:
    return "cost_nano" if word == b"cost" else "tokens"


@cache
def script_text() -> str:
    """The script itself."""
    return Path(__file__).with_suffix(".lua").read_text(encoding="utf-8")


class RedisBudget:
    """The counters of one server, for the reservations of one store.

    Args:
        url: `redis://user:password@host:6379/0` or `rediss://…`.
        timeout_s: A server that takes longer counts as down.
    """

    def __init__(
        self,
        url: str,
        store: Store,
        ledger: Ledger,
        clock: Clock,
        *,
        prefix: str = "ooda",
        timeout_s: float = 2.0,
    ) -> None:
        self._client = _client(url, timeout_s, self._connected)
        self._timeout_s = timeout_s
        self._run = self._client.register_script(script_text())
        self._store = store
        self._clock = clock
        identity = store.read(lambda tx: tx.execute("SELECT value FROM meta WHERE key = 'store.id'"))
        self._script = Script(str(identity[0][0]), ledger.ends_ns, prefix)
        self._mark = b""
        self._connections, self._known_connections = 0, 0
        self._own: set[str] = set()
        """Holds this process took and has not closed."""
        self._alerts: list[Alert] = []

    async def hold(self, key: str) -> Exceeded | None:
        """Take a hold for a reservation that stands in the ledger; None when it was taken, or stood before.

        Raises:
            IntegrationError: the server is down, slow, or answered garbage. Nothing may be sent.
            RefusedError: there is no such open reservation.
        """
        await self._close(self._own)
        return await self._taken("hold", key)

    async def again(self, key: str) -> Exceeded | None:
        """Take the hold of a call anew for its next attempt, after the ledger was charged for the one before.

        Raises:
            IntegrationError, RefusedError: as `hold`.
        """
        return await self._taken("again", key)

    async def sent(self, key: str) -> bool:
        """Note that the call is about to leave; False when its hold is gone, and nothing may be sent under it.

        Raises:
            IntegrationError: as `hold`.
        """
        held = await self._read(lambda tx: held_in(tx, key))
        return held is not None and (await self._call("sent", held))[0] == b"ok"

    async def flush(self) -> tuple[Alert, ...]:
        """Close what the ledger has closed since; the thresholds that all stores together have passed, once each.

        Raises:
            IntegrationError: as `hold`; they are closed at the next chance.
        """
        await self._close(self._own)
        told, self._alerts = tuple(self._alerts), []
        return told

    async def reconcile(self) -> int:
        """Close every hold of this store that its ledger has closed, those of dead processes too: how many.

        Raises:
            IntegrationError: as `hold`.
        """
        members = await self._guarded("list its holds", lambda: self._client.smembers(self._script.open_holds))
        return await self._close({self._script.key_of(member) for member in members})

    async def ping(self) -> None:
        """Ask whether the server is there.

        Raises:
            IntegrationError: it is not, takes too long, or answers something else.
        """
        answer = await self._guarded("answer", lambda: self._client.ping())
        if answer is not True:
            raise _down("answer", f"it answered {answer!r}")

    async def close(self) -> None:
        """Let go of the connection."""
        await self._client.aclose()

    async def _taken(self, op: Op, key: str) -> Exceeded | None:
        held = await self._read(lambda tx: held_in(tx, key))
        if held is None or not held.is_open:
            raise RefusedError(f"there is no open reservation {key!r} to hold in the shared budget", key=key)
        refused = self._script.refusal(held, await self._call(op, held))
        if refused is None:
            self._own.add(key)
        else:
            self._own.discard(key)
        return refused

    async def _close(self, keys: Iterable[str]) -> int:
        closed = 0
        for key in sorted(keys):
            held = await self._read(lambda tx, key=key: held_in(tx, key))  # type: ignore[misc]
            if held is not None and held.is_open:
                continue
            gone = held or Held(key, is_open=False, cost_nano=0, tokens=0, windows=())
            answer = await self._call("close", gone)
            self._own.discard(key)
            closed += 1
            self._alerts += self._script.alerts(gone, answer)
        return closed

    async def _call(self, op: Op, held: Held) -> list[Any]:
        answer = await self._once(op, held)
        # A server without its data makes a new mark. A replica that took over has the old one, and may not have heard
        # of the newest holds: it is known by the connection, which is another.
        is_other = (answer[1], self._connections) != (self._mark, self._known_connections)
        lost = is_other and bool(self._mark)
        self._mark, self._known_connections = answer[1], self._connections
        if lost:
            await self._held_again()
        return answer

    async def _connected(self, connection: Any) -> None:
        await connection.on_connect()
        self._connections += 1

    async def _held_again(self) -> None:
        """The server may have lost data: what was closed is closed again, and what this process holds counts again,
        whatever the caps say now."""
        await self.reconcile()
        for key in sorted(self._own):
            held = await self._read(lambda tx, key=key: held_in(tx, key))  # type: ignore[misc]
            if held is not None and held.is_open:
                await self._once("hold", held, force=True)

    async def _once(self, op: Op, held: Held, *, force: bool = False) -> list[Any]:
        keys, arguments = self._script.command(op, held, self._clock.now_ns(), force=force)
        answer = await self._guarded(op, lambda: self._run(keys=keys, args=arguments))
        if not isinstance(answer, list) or len(answer) < 2:
            raise _down(op, f"it answered {answer!r}")
        return answer

    async def _read(self, work: Callable[[Tx], T]) -> T:
        if self._store.is_remote:
            return await asyncio.to_thread(self._store.read, work)
        return self._store.read(work)

    async def _guarded(self, operation: str, call: Callable[[], Any]) -> Any:
        import redis

        try:
            async with asyncio.timeout(self._timeout_s):
                return await cast("Awaitable[Any]", call())
        except (redis.RedisError, OSError, TimeoutError) as error:
            raise _down(operation, str(error) or type(error).__name__) from error


def _client(url: str, timeout_s: float, connected: Callable[[Any], Awaitable[None]]) -> Any:
    try:
        import redis
        import redis.asyncio
    except ImportError as error:
        raise ConfigError(
            "`governance.redis_url` is set, and the package `redis` is not installed; install it with "
            "`pip install 'ooda-agents[redis]'`, or unset it to count in the store alone",
            setting="governance.redis_url",
        ) from error
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    # A kept connection may have died with a restart of the server, so a lost one is made again once; a server that
    # does not answer in time is down. Every call may be repeated.
    retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
    try:
        return redis.asyncio.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=retry,
            redis_connect_func=connected,
        )
    except ValueError as error:
        raise ConfigError(
            "`governance.redis_url` is no Redis URL; expected `redis://user:password@host:6379/0`, or `rediss://` for "
            "TLS",
            setting="governance.redis_url",
        ) from error


def _down(operation: str, problem: str) -> IntegrationError:
    return IntegrationError(
        f"the shared budget on Redis cannot {operation}: {problem.splitlines()[0] if problem else 'no answer'}. Look "
        "whether the server of `governance.redis_url` runs and can be reached",
        service="redis",
        operation=operation,
        status=None,
        retryable=True,
    )
