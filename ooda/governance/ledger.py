"""Money and tokens: reserved before they are spent, settled after, inside the transaction the caller gives.

Every call takes a reservation for the worst it can cost from all windows that apply (hour, day and lifetime of
every scope it belongs to), or none at all. So no interleaving of runs and processes spends past a cap; only a
provider that bills more than the reservation can, and that is recorded and flagged. Whole numbers only: nano-USD
and tokens. Knows windows, caps and states of a reservation; must not know prices, models and clocks.

    held -> sent -> settled | expired        a hold that was never sent: -> released
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from ooda.errors import RefusedError
from ooda.governance.budget import (
    LARGEST,
    Abandoned,
    Alert,
    BudgetRow,
    Cap,
    CapRule,
    Caps,
    Exceeded,
    Measure,
    Reservation,
    ReserveRequest,
    Scope,
    Settlement,
    State,
)
from ooda.governance.windows import CLOCK, Now, Span, Windows
from ooda.store.tx import Tx, columns, records

__all__ = [
    "LARGEST",
    "Abandoned",
    "Alert",
    "BudgetRow",
    "Cap",
    "CapRule",
    "Caps",
    "Exceeded",
    "Ledger",
    "Reservation",
    "ReserveRequest",
    "Scope",
    "Settlement",
]

ChargeKind = Literal["settled", "attempt", "expired", "correction"]

_WARNINGS = (80, 95)
_RECURRING: tuple[Span, ...] = ("hour", "day")
_LONG_LIVED: tuple[Span, ...] = ("life",)
_DAY_NS = 86_400_000_000_000


class _Window(msgspec.Struct, frozen=True):
    """A window row as read for a decision."""

    key: str
    scope: str
    span: str
    cap_cost: int | None
    cap_tokens: int | None
    spent_cost: int
    spent_tokens: int
    reserved_cost: int
    reserved_tokens: int
    alerted: int


class _Level(msgspec.Struct, frozen=True):
    """How far a window is taken, as read before a reservation: only what that needs, as it is read at every call."""

    key: str
    cap_cost: int | None
    cap_tokens: int | None
    cost: int
    """Spent and reserved, nano-USD."""
    tokens: int
    newest: str | None = None
    """The mark of the ledger's clock, read along; see `Windows.marked`."""


class _Plan(msgspec.Struct, frozen=True):
    """The windows that some scopes take from in one hour: worked out once, as a run asks for the same at each step."""

    windows: dict[str, _Window]
    """Empty and with their caps, by key; in key order, so that locks never cross."""
    limits: tuple[tuple[_Window, int, int], ...]
    """Each with the most of nano-USD and of tokens that it may hold."""
    keys: tuple[str, ...]
    keys_json: str
    select: str
    """Reads them as they stand, and the clock's mark along with them."""
    params: tuple[str, ...]

    def exceeded(self, levels: dict[str, _Level], cost_nano: int, tokens: int) -> Exceeded | None:
        """Why the windows as they stand cannot take the amounts; None when they can."""
        for window, limit_cost, limit_tokens in self.limits:
            level = levels.get(window.key)
            used_cost, used_tokens = (level.cost, level.tokens) if level is not None else (0, 0)
            if used_cost < 0 or used_tokens < 0:
                raise _damaged(f"window {window.key!r} holds less than nothing", window.key)
            if (used_cost + cost_nano > limit_cost or used_tokens + tokens > limit_tokens) and (
                why := _exceeded(window, used_cost, used_tokens, cost_nano, tokens)
            ):
                return why
        return None


_WINDOW = columns(_Window)
_FIND = "SELECT key, run, state, cost_nano, tokens, windows, expires_ns FROM reservations"
_PLANS = 256
_OPEN = f"{_FIND} WHERE state IN ('held', 'sent')"


class Ledger:
    """The books. Holds nothing but the caps: all else is in the transaction."""

    def __init__(self, caps: Caps = Caps()) -> None:  # noqa: B008 - a frozen value
        self._clock = Windows(caps.day_zone)
        self._rules: dict[tuple[str, str], list[CapRule]] = {}
        for rule in caps.rules:
            _check(f"cap of {rule.scope} per {rule.span}", rule.cost_nano or 0, rule.tokens or 0)
            self._rules.setdefault((rule.scope, rule.id), []).append(rule)
        self._known: dict[Scope, tuple[tuple[Span, Cap], ...]] = {}
        self._plans: dict[tuple[tuple[Scope, ...], str, str], _Plan] = {}

    def reserve(self, tx: Tx, request: ReserveRequest) -> Reservation | Exceeded:
        """Hold `cost_nano` and `tokens` back in every window that applies, or in none.

        The same key again gives the reservation that stands. A refusal leaves no trace.

        Raises:
            RefusedError: an amount is no whole number from 0 to LARGEST, or the key was used for another call.
        """
        _check(f"reservation {request.key!r}", request.cost_nano, request.tokens)
        hour, day, mark = self._clock.marked(request.now_ns)
        plan = self._plan(request.scopes, hour, day)
        found = tx.execute(plan.select + tx.for_update, plan.params)
        now: Now | None = None
        if not found or found[0][-1] != mark:  # a new hour, or a clock set back: rare, so it may read again
            now = self._clock.at(tx, request.now_ns)
            plan = self._plan(request.scopes, now.hour, now.day)
            found = tx.execute(plan.select + tx.for_update, plan.params)
        levels = {row[0]: _Level(*row) for row in found}
        exceeded = plan.exceeded(levels, request.cost_nano, request.tokens)
        # The row is made before the windows move and after they were judged: a key that stands already is met by one
        # statement instead of being looked for at every call.
        if exceeded or not tx.change(_RESERVE, _held(request, plan.keys_json)):
            standing = self.find(tx, request.key)
            if standing is not None:
                return _unchanged(standing, request)
            assert exceeded is not None  # nothing else keeps the row from being made
            return exceeded
        _open(tx, plan.windows, levels, request.now_ns)
        _move(tx, plan.keys, reserved=(request.cost_nano, request.tokens), at_ns=request.now_ns)
        is_told = now is not None and self._clock.opened(tx, now)
        return Reservation(
            key=request.key,
            run=request.run,
            state="sent" if request.is_sent else "held",
            cost_nano=request.cost_nano,
            tokens=request.tokens,
            windows=plan.keys,
            expires_ns=request.expires_ns,
            alerts=(Alert(kind="clock_regression", message=now.behind),) if now is not None and is_told else (),
        )

    def mark_sent(self, tx: Tx, key: str) -> None:
        """Note that the call is about to leave: from here on it is charged unless somebody knows better.

        Raises:
            RefusedError: the hold is gone (expired, settled); nothing may be sent under it.
        """
        if not tx.change("UPDATE reservations SET state = 'sent' WHERE key = ? AND state = 'held'", (key,)):
            found = self._get(tx, key)
            if found.state != "sent":
                raise RefusedError(
                    f"reservation {key!r} is {found.state}, so nothing may be sent under it; reserve again",
                    key=key,
                )

    def settle_held(self, tx: Tx, held: Reservation, cost_nano: int, tokens: int) -> tuple[Alert, ...]:
        """`settle` for the one who holds the reservation: the same books in fewer statements; gives the alerts.

        Raises:
            RefusedError: as `settle`.
        """
        _check(f"settlement {held.key!r}", cost_nano, tokens)
        if not tx.change(
            "UPDATE reservations SET state = 'settled' WHERE key = ? AND state IN ('held', 'sent')", (held.key,)
        ):
            return self.settle(tx, held.key, cost_nano, tokens).alerts
        _move(tx, held.windows, reserved=(-held.cost_nano, -held.tokens), spent=(cost_nano, tokens))
        _note_charge(tx, held.key, "settled", cost_nano, tokens)
        return _alerts(tx, held.windows)

    def close_held(self, tx: Tx, held: Reservation) -> tuple[Alert, ...]:
        """Release what is left of a reservation; gives the alerts of the attempts that were charged under it."""
        self.release(tx, held.key)
        return _alerts(tx, held.windows)

    def settle(self, tx: Tx, key: str, cost_nano: int | None = None, tokens: int | None = None) -> Settlement:
        """Exchange the hold for what was really charged, in the windows it was taken from.

        Settling again changes nothing. Without an amount (cut off, no usage block) the hold itself is charged. After
        an expiry this is the late true figure, see `correct`.

        Raises:
            RefusedError: there is no such reservation, or an amount is no whole number from 0 to LARGEST; the hold
                stands.
        """
        found = self._get(tx, key)
        cost = found.cost_nano if cost_nano is None else cost_nano
        count = found.tokens if tokens is None else tokens
        _check(f"settlement {key!r}", cost, count)
        match found.state:
            case "held" | "sent":
                return self._charge(tx, found, "settled", cost, count, frees=True)
            case "expired" | "released" if cost_nano is not None or tokens is not None:
                return self.correct(tx, key, cost, count)
            case _:
                return self._settlement(tx, found, is_new=False)

    def correct(self, tx: Tx, key: str, cost_nano: int, tokens: int) -> Settlement:
        """Replace what was charged by guess with the true figure that came late; once for each reservation.

        Raises:
            RefusedError: as `settle`.
        """
        found = self._get(tx, key)
        _check(f"correction {key!r}", cost_nano, tokens)
        if found.state in ("held", "sent"):
            return self._charge(tx, found, "settled", cost_nano, tokens, frees=True)
        if tx.execute("SELECT 1 FROM charges WHERE key = ? AND why = 'correction'", (key,)):
            return self._settlement(tx, found, is_new=False)
        before = _charged(tx, key)
        return self._charge(tx, found, "correction", cost_nano - before[0], tokens - before[1], frees=False)

    def retry(self, tx: Tx, key: str, cost_nano: int | None = None, tokens: int | None = None) -> Exceeded | None:
        """Charge an attempt that was sent and failed, and keep the hold for the next attempt at the same call.

        Without an amount the attempt is charged at the hold. Exceeded: the charge has landed, the hold is released
        and there must be no further attempt. Thresholds it passes are given by what closes the call.

        Raises:
            RefusedError: the hold is gone, or an amount is no whole number from 0 to LARGEST.
        """
        found = self._get(tx, key)
        cost = found.cost_nano if cost_nano is None else cost_nano
        count = found.tokens if tokens is None else tokens
        _check(f"attempt at {key!r}", cost, count)
        if found.state not in ("held", "sent"):
            raise RefusedError(f"reservation {key!r} is {found.state}; reserve again before another attempt", key=key)
        self._charge(tx, found, "attempt", cost, count, frees=False)
        for row in _windows(tx, found.windows).values():
            used_cost = row.spent_cost + row.reserved_cost - found.cost_nano
            used_tokens = row.spent_tokens + row.reserved_tokens - found.tokens
            exceeded = _exceeded(row, used_cost, used_tokens, found.cost_nano, found.tokens)
            if exceeded:
                self._close(tx, found, "settled")
                return exceeded
        return None

    def release(self, tx: Tx, key: str) -> bool:
        """Give the hold back whole: nothing was sent, or surely nothing was billed. False when it was closed before."""
        found = self._get(tx, key)
        if found.state not in ("held", "sent"):
            return False
        self._close(tx, found, "released")
        return True

    def expire(
        self, tx: Tx, now_ns: int, was_sent: Callable[[Reservation], bool] = lambda held: False
    ) -> tuple[Settlement, ...]:
        """Close every hold whose time is over: released if it was never sent, else charged in full.

        Args:
            was_sent: Whether a hold that is not marked was sent all the same, noted elsewhere (`sent_mark`).
        """
        closed = []
        for held in self.overdue(tx, now_ns):
            if held.state == "held" and was_sent(held):
                held = msgspec.structs.replace(held, state="sent")
            closed.append(self._abandon(tx, held))
        return tuple(closed)

    def overdue(self, tx: Tx, now_ns: int) -> tuple[Reservation, ...]:
        """Holds whose time is over and which nobody closed, the longest over first."""
        over = tx.execute(f"{_OPEN} AND expires_ns <= ? ORDER BY expires_ns, key", (now_ns,))
        found = []
        for row in over:
            # One that cannot be read stays held, and keeps nobody from closing the others.
            with contextlib.suppress(RefusedError):
                found.append(_reservation(row))
        return tuple(found)

    def close_open(self, tx: Tx, run: str) -> Abandoned:
        """Close what a run that was cut off left open, as `expire` does; what all of it cost together."""
        # In the order of the index of open holds: they are few, the closed ones grow for ever.
        left = tx.execute(f"{_OPEN} AND run = ? ORDER BY expires_ns, key", (run,))
        closed = [self._abandon(tx, _reservation(row)) for row in left]
        return Abandoned(
            ",".join(item.key for item in closed),
            sum(item.cost_nano for item in closed),
            sum(item.tokens for item in closed),
            tuple(alert for item in closed for alert in item.alerts),
        )

    def find(self, tx: Tx, key: str) -> Reservation | None:
        """The reservation with this key."""
        rows = tx.execute(f"{_FIND} WHERE key = ?", (key,))
        return _reservation(rows[0]) if rows else None

    def ends_ns(self, span: str) -> int | None:
        """When a window of this span (`hour:…`, `day:…`) is over; None for `life`, which never is."""
        return self._clock.ends_ns(span)

    def report(self, tx: Tx, now_ns: int) -> list[BudgetRow]:
        """The windows of this hour and day, and the lifetimes that spent in the last 24 hours or hold something."""
        now = self._clock.at(tx, now_ns)
        rows = tx.execute(
            f"SELECT {columns(BudgetRow)} FROM budget_windows WHERE span IN (?, ?) OR (span = 'life' AND "  # noqa: S608
            "(touched_ns > ? OR reserved_cost > 0 OR reserved_tokens > 0)) ORDER BY scope, span",
            (now.hour, now.day, now_ns - _DAY_NS),
        )
        return records(BudgetRow, rows)

    def _get(self, tx: Tx, key: str) -> Reservation:
        found = self.find(tx, key)
        if found is None:
            raise RefusedError(f"there is no reservation {key!r}; reserve before spending", key=key)
        return found

    def _plan(self, scopes: tuple[Scope, ...], hour: str, day: str) -> _Plan:
        plan = self._plans.get((scopes, hour, day))
        if plan is not None:
            return plan
        wanted: dict[str, _Window] = {}
        for scope in scopes:
            for span, cap in self._known.get(scope) or self._spans(scope):
                label = "life" if span == "life" else hour if span == "hour" else day
                key = f"{scope}|{label}"
                wanted[key] = _Window(key, str(scope), label, cap.cost_nano, cap.tokens, 0, 0, 0, 0, 0)
        windows = dict(sorted(wanted.items()))
        keys = tuple(windows)
        if len(self._plans) >= _PLANS:
            self._plans.clear()
        plan = self._plans[scopes, hour, day] = _Plan(
            windows=windows,
            limits=tuple((window, _limit(window.cap_cost), _limit(window.cap_tokens)) for window in windows.values()),
            keys=keys,
            keys_json=msgspec.json.encode(keys).decode(),
            select="SELECT key, cap_cost, cap_tokens, spent_cost + reserved_cost, spent_tokens + reserved_tokens, "  # noqa: S608
            f"(SELECT value FROM meta WHERE key = ?) FROM budget_windows WHERE key IN ({_marks(keys)}) ORDER BY key",
            params=(CLOCK, *keys),
        )
        return plan

    def _spans(self, scope: Scope) -> tuple[tuple[Span, Cap], ...]:
        """The windows a scope counts in, with the narrowest cap of each.

        Windows without a cap are counted too: a cap set at noon knows what was spent since midnight.
        """
        caps: dict[Span, Cap] = dict.fromkeys(_LONG_LIVED if scope.kind in ("task", "run") else _RECURRING, Cap())
        if scope.cap != Cap():
            caps["life"] = scope.cap
        for rule in [*self._rules.get((scope.kind, "*"), ()), *self._rules.get((scope.kind, scope.id), ())]:
            known = caps.get(rule.span, Cap())
            caps[rule.span] = Cap(_lower(known.cost_nano, rule.cost_nano), _lower(known.tokens, rule.tokens))
        found = self._known[scope] = tuple(caps.items())
        return found

    def _abandon(self, tx: Tx, found: Reservation) -> Settlement:
        if found.state == "sent":
            return self._charge(tx, found, "expired", found.cost_nano, found.tokens, frees=True)
        self._close(tx, found, "released")
        return Settlement(key=found.key, state="released", cost_nano=0, tokens=0, is_new=True)

    def _close(self, tx: Tx, found: Reservation, state: State) -> None:
        """Free the hold."""
        _move(tx, found.windows, reserved=(-found.cost_nano, -found.tokens))
        tx.change("UPDATE reservations SET state = ? WHERE key = ?", (state, found.key))

    def _charge(
        self, tx: Tx, found: Reservation, why: ChargeKind, cost_nano: int, tokens: int, *, frees: bool
    ) -> Settlement:
        """Add a charge (a correction may be negative), freeing the hold when it takes its place."""
        held = (-found.cost_nano, -found.tokens) if frees else (0, 0)
        _move(tx, found.windows, reserved=held, spent=(cost_nano, tokens))
        _note_charge(tx, found.key, why, cost_nano, tokens)
        if why != "attempt":
            state = "expired" if why == "expired" else "settled"
            tx.change("UPDATE reservations SET state = ? WHERE key = ?", (state, found.key))
            found = msgspec.structs.replace(found, state=state)
        # An attempt is charged in the middle of its call: whoever closes the call tells what it passed.
        alerts = _alerts(tx, found.windows) if why != "attempt" else ()
        return self._settlement(tx, found, is_new=True, alerts=alerts)

    def _settlement(self, tx: Tx, found: Reservation, *, is_new: bool, alerts: tuple[Alert, ...] = ()) -> Settlement:
        cost_nano, tokens, attempts = _charged(tx, found.key)
        return Settlement(
            key=found.key,
            state=found.state,
            cost_nano=cost_nano,
            tokens=tokens,
            is_new=is_new,
            over_nano=max(0, cost_nano - found.cost_nano * attempts),
            alerts=alerts,
        )


def _reservation(row: Sequence[Any]) -> Reservation:
    key, run, state, cost_nano, tokens, encoded, expires_ns = row
    try:
        windows = msgspec.json.decode(encoded, type=tuple[str, ...])
    except msgspec.MsgspecError as error:
        raise _damaged(f"reservation {key!r} names no windows that can be read", key) from error
    return Reservation(
        key=key,
        run=run,
        state=state,
        cost_nano=cost_nano,
        tokens=tokens,
        windows=windows,
        expires_ns=expires_ns,
    )


def _damaged(what: str, key: str) -> RefusedError:
    return RefusedError(
        f"the books are damaged: {what}. Nothing is spent on them; `ooda budget check` says what does not agree, and "
        "`ooda budget check --mend` puts right what can be",
        key=key,
    )


def _unchanged(standing: Reservation, request: ReserveRequest) -> Reservation:
    is_same = (standing.cost_nano, standing.tokens) == (request.cost_nano, request.tokens)
    if standing.state in ("held", "sent") and is_same:
        return standing
    raise RefusedError(
        f"reservation {request.key!r} is {standing.state} for {standing.cost_nano} nano-USD and {standing.tokens} "
        f"tokens; {request.cost_nano} and {request.tokens} were asked under the same key. Take a key of its own for "
        "another call",
        key=request.key,
        state=standing.state,
    )


_RESERVE = (
    "INSERT INTO reservations (key, run, state, cost_nano, tokens, windows, expires_ns, price, created_ns) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)


def _held(request: ReserveRequest, keys_json: str) -> tuple[str | int, ...]:
    """The row of a new reservation, in the order of `_RESERVE`."""
    state = "sent" if request.is_sent else "held"
    amounts = (request.cost_nano, request.tokens)
    return (request.key, request.run, state, *amounts, keys_json, request.expires_ns, request.price, request.now_ns)


def _note_charge(tx: Tx, key: str, why: ChargeKind, cost_nano: int, tokens: int) -> None:
    # Nearly every charge is the first of its reservation; only the others have to count.
    first = "INSERT INTO charges (key, number, why, cost_nano, tokens) VALUES (?, 0, ?, ?, ?) ON CONFLICT DO NOTHING"
    if not tx.change(first, (key, why, cost_nano, tokens)):
        tx.change(
            "INSERT INTO charges (key, number, why, cost_nano, tokens) "
            "SELECT ?, COUNT(*), ?, ?, ? FROM charges WHERE key = ?",
            (key, why, cost_nano, tokens, key),
        )


_NEAR_A_CAP = (
    f" AND (spent_cost * 100 >= cap_cost * {_WARNINGS[0]} OR spent_tokens * 100 >= cap_tokens * {_WARNINGS[0]})"
)
"""A window without a cap is never near it: comparing with NULL is not true."""


def _windows(tx: Tx, keys: tuple[str, ...], which: str = "") -> dict[str, _Window]:
    """The windows as they stand, locked until the end of the transaction."""
    rows = tx.execute(
        f"SELECT {_WINDOW} FROM budget_windows WHERE key IN ({_marks(keys)}){which} ORDER BY key{tx.for_update}",  # noqa: S608
        keys,
    )
    return {row[0]: _Window(*row) for row in rows}


def _open(tx: Tx, wanted: dict[str, _Window], levels: dict[str, _Level], now_ns: int) -> None:
    """Make the windows that are new, and keep caps that have changed for reports and alerts."""
    for key, window in wanted.items():
        level = levels.get(key)
        if level is None:
            tx.change(
                "INSERT INTO budget_windows (key, scope, span, cap_cost, cap_tokens, touched_ns) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (key, window.scope, window.span, window.cap_cost, window.cap_tokens, now_ns),
            )
        elif level.cap_cost != window.cap_cost or level.cap_tokens != window.cap_tokens:
            tx.change(
                "UPDATE budget_windows SET cap_cost = ?, cap_tokens = ? WHERE key = ?",
                (window.cap_cost, window.cap_tokens, key),
            )


def _move(
    tx: Tx,
    keys: tuple[str, ...],
    *,
    reserved: tuple[int, int] = (0, 0),
    spent: tuple[int, int] = (0, 0),
    at_ns: int | None = None,
) -> None:
    """Add to what is reserved and spent in all these windows."""
    tx.change(
        "UPDATE budget_windows SET reserved_cost = reserved_cost + ?, reserved_tokens = reserved_tokens + ?, "  # noqa: S608
        "spent_cost = spent_cost + ?, spent_tokens = spent_tokens + ?, touched_ns = COALESCE(?, touched_ns), "
        "revision = revision + 1 "
        f"WHERE key IN ({_marks(keys)})",
        (*reserved, *spent, at_ns, *keys),
    )


def _exceeded(window: _Window, used_cost: int, used_tokens: int, cost_nano: int, tokens: int) -> Exceeded | None:
    """Why a window that holds so much already cannot take the amounts; None when it can, and for nothing always."""
    limit_cost, limit_tokens = _limit(window.cap_cost), _limit(window.cap_tokens)
    if cost_nano and used_cost + cost_nano > limit_cost:
        return Exceeded(window.scope, window.span, "cost_nano", limit_cost, used_cost, cost_nano)
    if tokens and used_tokens + tokens > limit_tokens:
        return Exceeded(window.scope, window.span, "tokens", limit_tokens, used_tokens, tokens)
    return None


def _alerts(tx: Tx, keys: tuple[str, ...]) -> tuple[Alert, ...]:
    """Thresholds that spending has passed and nobody was told of; told now, once."""
    found: list[Alert] = []
    for row in _windows(tx, keys, _NEAR_A_CAP).values():
        told = row.alerted
        measures: tuple[tuple[Measure, int, int | None], ...] = (
            ("cost_nano", row.spent_cost, row.cap_cost),
            ("tokens", row.spent_tokens, row.cap_tokens),
        )
        for number, (measure, used, cap) in enumerate(measures):
            passed = [percent for percent in _WARNINGS if cap and used * 100 >= cap * percent]
            bits = ((1 << len(passed)) - 1) << (number * len(_WARNINGS))
            if cap and bits & ~told:
                told |= bits
                found.append(Alert("budget", row.scope, row.span, passed[-1], measure, used, cap))
        if told != row.alerted:
            tx.change("UPDATE budget_windows SET alerted = ? WHERE key = ?", (told, row.key))
    return tuple(found)


def _charged(tx: Tx, key: str) -> tuple[int, int, int]:
    """All charges of a reservation together, nano-USD and tokens, and how many attempts they were for."""
    rows = tx.execute(
        "SELECT COALESCE(SUM(cost_nano), 0), COALESCE(SUM(tokens), 0), 1 + COUNT(CASE why WHEN 'attempt' THEN 1 END) "
        "FROM charges WHERE key = ?",
        (key,),
    )
    cost_nano, tokens, attempts = rows[0]
    return cost_nano, tokens, attempts


def _limit(cap: int | None) -> int:
    return LARGEST if cap is None else cap


def _lower(first: int | None, second: int | None) -> int | None:
    return second if first is None else first if second is None else min(first, second)


def _marks(keys: Sequence[str]) -> str:
    return ", ".join("?" * len(keys))


def _check(what: str, *amounts: int) -> None:
    for amount in amounts:
        if type(amount) is not int or not 0 <= amount <= LARGEST:
            raise RefusedError(
                f"{what} names {amount!r}; amounts are whole numbers of nano-USD or tokens from 0 to {LARGEST}",
                amount=amount,
            )
