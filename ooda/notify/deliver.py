"""The deliverer: notices become messages, messages are claimed, sent and settled, each step on disk before the next.

Every channel has lanes of its own, so that a slow one delays no other. Before the first byte leaves, the attempt is
on disk; an attempt that was cut off (its owner died, or it took too long) counts as unknown and is made again under
the same id. Several deliverers may work on one store: a claim is one conditional statement. Nothing is lost; what may
arrive twice arrives under the same id (docs/explanation/notices.md).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from ooda.clock import Clock
from ooda.errors import IntegrationError
from ooda.governance.grant import Grant
from ooda.governance.notice_door import NoticeDoor, NoticeRefused
from ooda.notify.compose import letter_of, severity_of, told
from ooda.notify.pace import Bucket, Patience
from ooda.notify.routes import Receiver, Router
from ooda.notify.values import Channel, Parcel, Receipt, binding
from ooda.store import Store, Tx, is_alive, messages, outbox
from ooda.store.messages import Message
from ooda.store.outbox import Notice

__all__ = ["Deliverer", "DeliveryPolicy", "DeliveryReport"]

_NANO = 1_000_000_000
_SPARE_NS = 30 * _NANO
"""What a claim lasts beyond its attempt: to settle it."""
_MOST_TOGETHER = 20
_LOOK_S = 5.0
"""How often a serving deliverer looks for what other processes have queued."""
_AGAIN_S = 0.02
_PROBLEMS = 10


class DeliveryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How messages are tried."""

    timeout_s: float = 20.0
    keep_trying_s: float = 86_400.0
    digest_s: float = 0.0
    holds_unsure: bool = False
    """Whether an attempt that may have arrived is a dead letter where the receiver does not know ids."""
    patience: Patience = Patience()
    place: str = ""
    """The Slack channel, as people call it."""


class DeliveryReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one delivery did, and what is left."""

    sent: int = 0
    failed: int = 0
    """Attempts that failed; their messages wait for the next one."""
    unsure: int = 0
    """Attempts of which nobody knows whether they arrived."""
    dead: int = 0
    """Messages given up: `ooda notices list --state dead`."""
    unwanted: int = 0
    """Notices that no route leads anywhere."""
    waiting: int = 0
    """Messages still queued, due or not, of all that was asked for."""
    problems: tuple[str, ...] = ()
    """What went wrong, each once, at most ten."""


class _Sending(msgspec.Struct, frozen=True):
    claimed: Message
    parcel: Parcel
    grant: Grant


class _Wait(msgspec.Struct, frozen=True):
    """Nothing to send just now."""

    wait_s: float
    is_due_later: bool = False
    """Because nothing is due before, and not because of the pace."""


class _Tally:
    """What one delivery has done so far."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.problems: dict[str, None] = {}

    def note(self, what: str, problem: str = "", count: int = 1) -> None:
        self.counts[what] += count
        if problem and len(self.problems) < _PROBLEMS:
            self.problems[problem] = None


class Deliverer:
    """Delivers the notices of one store over the channels it is given."""

    def __init__(
        self,
        store: Store,
        door: NoticeDoor,
        channels: Sequence[Channel],
        router: Router,
        *,
        clock: Clock,
        redact: Callable[[str], str],
        owner: str,
        policy: DeliveryPolicy | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """
        Args:
            redact: takes secrets out of every text that leaves or is kept.
            owner: who claims, by `ooda.store.process_owner`: another process must be able to tell that it is gone.
        """
        self.channels = {channel.name: channel for channel in channels}
        self._store = store
        self._door = door
        self._router = router
        self._clock = clock
        self._redact = redact
        self._owner = owner
        self._policy = policy or DeliveryPolicy()
        self._jitter = jitter
        self._buckets = {c.name: Bucket(c.per_second, max(1, int(c.per_second))) for c in channels}
        self._poked = asyncio.Event()

    # -- what callers do --------------------------------------------------------------------------------

    async def drain(self, *, run: str = "", wait_s: float = 0.0) -> DeliveryReport:
        """Try everything that is due once; with `wait_s`, go on with what becomes due within so many seconds.

        Args:
            run: only what this run has queued.
        """
        until = asyncio.get_running_loop().time() + wait_s if wait_s > 0 else None
        tally = _Tally()
        await self._route(tally, run)
        async with asyncio.TaskGroup() as group:
            for channel in self.channels.values():
                for _ in range(channel.lanes):
                    group.create_task(self._lane(channel, tally, run, until))
        return self._report(tally, run)

    async def serve(
        self, stopping: asyncio.Event, heard: Callable[[DeliveryReport], None] = lambda report: None
    ) -> None:
        """Deliver until `stopping`; `heard` is told of every round of a channel that did anything."""
        async with asyncio.TaskGroup() as group:
            for channel in self.channels.values():
                group.create_task(self._serve(channel, stopping, heard))

    def poke(self) -> None:
        """Look now: something was queued in this process."""
        self._poked.set()
        self._poked = asyncio.Event()

    def receivers(self, notice: Notice) -> tuple[tuple[Receiver, ...], str]:
        """Whom a notice would go to, and why somebody is missed; for dry runs. Raises msgspec.MsgspecError."""
        routed = self._router.receivers(notice.channel, told(notice))
        return routed.receivers, routed.missing

    # -- from notices to messages -----------------------------------------------------------------------

    async def _route(self, tally: _Tally, run: str = "") -> None:
        more = True
        while more:
            more = await self._store.write(lambda tx: self._route_some(tx, tally, run))

    def _route_some(self, tx: Tx, tally: _Tally, run: str) -> bool:
        found = outbox.unrouted(tx, self._clock.now_ns(), run=run)
        for notice in found:
            self._route_one(tx, notice, tally)
        return bool(found)

    def _route_one(self, tx: Tx, notice: Notice, tally: _Tally) -> None:
        now_ns = self._clock.now_ns()
        receivers: tuple[Receiver, ...] = ()
        missing, kind, severity = "", "", "info"
        if notice.created_ns + int(self._policy.keep_trying_s * _NANO) < now_ns:
            missing = "it was older than `notify.keep_trying` when delivery first saw it"
        else:
            try:
                receivers, missing = self.receivers(notice)
                said = told(notice)
                kind, severity = said.notification_type, severity_of(said.notification_type, said.details)
            except msgspec.MsgspecError as error:
                missing = f"its payload cannot be read: {error}"
        if not outbox.mark_routed(tx, notice.id, now_ns, has_messages=bool(receivers), failure=self._redact(missing)):
            return
        if not receivers:
            tally.note("dead" if missing else "unwanted", f"notice {notice.id}: {missing}" if missing else "")
        for receiver in receivers:
            self._put(tx, notice, receiver, kind, is_urgent=severity == "error", now_ns=now_ns)

    def _put(self, tx: Tx, notice: Notice, to: Receiver, kind: str, *, is_urgent: bool, now_ns: int) -> None:
        if self.channels[to.channel].gathers:
            waiting = messages.open_for(tx, to.channel, to.recipient, kind, _MOST_TOGETHER)
            if waiting is not None:
                messages.join(tx, waiting.id, notice.id)
                return
        digest = hashlib.sha256("\0".join((notice.id, to.channel, to.recipient)).encode()).hexdigest()
        digest_s = self._policy.digest_s if self.channels[to.channel].gathers and not is_urgent else 0.0
        message = Message(
            id=f"msg-{digest[:32]}",
            channel=to.channel,
            recipient=to.recipient,
            kind=kind,
            state="waiting",
            created_ns=now_ns,
            due_ns=now_ns + int(digest_s * _NANO),
        )
        messages.add(tx, message, [notice.id])

    # -- sending ----------------------------------------------------------------------------------------

    async def _lane(self, channel: Channel, tally: _Tally, run: str, until: float | None) -> None:
        """Send one message after the other until nothing is due (before `until`, on the loop's clock)."""
        loop = asyncio.get_running_loop()
        bucket = self._buckets[channel.name]
        while until is None or loop.time() < until:
            pace_s = bucket.wait_s(loop.time())
            left_s = self._policy.timeout_s if until is None else min(self._policy.timeout_s, until - loop.time())
            got = await self._store.write(lambda tx: self._claim(tx, channel, tally, run, left_s, pace_s))  # noqa: B023
            if isinstance(got, _Sending):
                receipt = await channel.send(got.parcel, got.grant)
                await self._store.write(lambda tx: self._settle(tx, channel, got.claimed, receipt, tally))  # noqa: B023
                continue
            if not pace_s:
                bucket.give_back()
            if got is None or (got.is_due_later and until is None):
                return
            if until is not None and loop.time() + got.wait_s >= until:
                return
            await self._pause(got.wait_s)

    def _claim(
        self, tx: Tx, channel: Channel, tally: _Tally, run: str, deadline_s: float, pace_s: float
    ) -> _Sending | _Wait | None:
        """What to send next, or how long to wait before the next look; None when there is nothing."""
        now_ns = self._clock.now_ns()
        for one in messages.cut_off(tx, channel.name, now_ns, is_alive):
            self._settle(tx, channel, one, Receipt(outcome="unknown", detail="the attempt was cut off"), tally)
        state = messages.channel_state(tx, channel.name, channel.endpoint)
        if state.disabled_ns is not None:
            if buried := messages.bury(tx, channel.name, now_ns, f"{channel.name} is switched off: {state.reason}"):
                tally.note("dead", f"{channel.name} is switched off: {state.reason}", buried)
            return None
        due_ns = messages.next_due(tx, channel.name, run)
        if due_ns is None:
            return None
        if (later_ns := max(due_ns, state.paused_ns) - now_ns) > 0:
            return _Wait(later_ns / _NANO, is_due_later=True)
        if pace_s > 0:
            return _Wait(pace_s)
        lease_ns = now_ns + int(deadline_s * _NANO) + _SPARE_NS
        claimed = messages.claim(tx, channel.name, self._owner, now_ns, lease_ns, run)
        if claimed is None:
            return _Wait(_AGAIN_S)  # another deliverer was quicker
        return self._admitted(tx, channel, claimed, tally, now_ns, deadline_s)

    def _admitted(
        self, tx: Tx, channel: Channel, claimed: Message, tally: _Tally, now_ns: int, deadline_s: float
    ) -> _Sending | _Wait:
        try:
            letter = letter_of(
                claimed.id,
                messages.notices_of(tx, claimed.id),
                self._redact,
                place=self._policy.place if channel.name == "slack" else "",
                is_repeated=claimed.unsure > 0 and not channel.knows_ids,
            )
        except (msgspec.MsgspecError, IndexError):
            self._give_up(tx, claimed, "its notices are gone, or cannot be read", tally)
            return _Wait(0.0)
        body = channel.render(letter, claimed.recipient)
        grant = self._door.admit(
            tx,
            claimed,
            binding(claimed.recipient, body),
            host=channel.host,
            knows_ids=channel.knows_ids,
            now_ns=now_ns,
            deadline_ns=now_ns + int(deadline_s * _NANO),
        )
        if isinstance(grant, NoticeRefused):
            self._give_up(tx, claimed, self._redact(grant.reason), tally)
            return _Wait(0.0)
        parcel = Parcel(
            id=claimed.id, recipient=claimed.recipient, body=body, at_ns=now_ns, deadline_s=max(0.1, deadline_s)
        )
        return _Sending(claimed, parcel, grant)

    def _give_up(self, tx: Tx, claimed: Message, why: str, tally: _Tally) -> None:
        messages.end(tx, claimed, "failed", self._clock.now_ns(), detail=why)
        tally.note("dead", f"{claimed.channel}: {why}")

    def _settle(self, tx: Tx, channel: Channel, claimed: Message, receipt: Receipt, tally: _Tally) -> None:
        """Record what became of an attempt, and decide about the next one."""
        now_ns = self._clock.now_ns()
        detail = self._redact(receipt.detail)
        wait_s = self._policy.patience.wait_s(claimed.attempts, self._jitter(), receipt.retry_after_s)
        retry_ns: int | None = now_ns + int(wait_s * _NANO)
        is_held = receipt.outcome == "unknown" and self._policy.holds_unsure and not channel.knows_ids
        is_late = now_ns + int(wait_s * _NANO) > claimed.created_ns + int(self._policy.keep_trying_s * _NANO)
        if receipt.outcome == "sent" or receipt.is_final or receipt.is_gone or is_held or is_late:
            retry_ns = None
        if not messages.end(
            tx, claimed, receipt.outcome, now_ns, status=receipt.status, detail=detail, retry_ns=retry_ns
        ):
            return  # taken as cut off by another deliverer, who settles it
        if receipt.is_gone:
            messages.stop_channel(tx, channel.name, channel.endpoint, now_ns, detail)
        elif receipt.retry_after_s is not None and receipt.status in (429, 503):
            messages.pause(tx, channel.name, channel.endpoint, now_ns + int(wait_s * _NANO))
        problem = "" if receipt.outcome == "sent" else f"{channel.name}: {detail}"
        tally.note({"sent": "sent", "failed": "failed", "unknown": "unsure"}[receipt.outcome], problem)
        if receipt.outcome != "sent" and retry_ns is None:
            tally.note("dead")

    # -- waiting ----------------------------------------------------------------------------------------

    async def _serve(self, channel: Channel, stopping: asyncio.Event, heard: Callable[[DeliveryReport], None]) -> None:
        while not stopping.is_set():
            tally = _Tally()
            try:
                await self._route(tally)
                async with asyncio.TaskGroup() as group:
                    for _ in range(channel.lanes):
                        group.create_task(self._lane(channel, tally, "", None))
            except* IntegrationError as failures:  # a store that is busy or away now: it may be back at the next look
                for failure in failures.exceptions:
                    tally.note("failed", f"{channel.name}: {failure}")
            if tally.counts:
                heard(self._report(tally, ""))
            await self._pause(self._rest_s(channel), stopping)

    def _rest_s(self, channel: Channel) -> float:
        """How long a serving channel may rest."""
        try:
            due_ns = self._store.read(lambda tx: messages.next_due(tx, channel.name))
        except IntegrationError:
            return _LOOK_S
        left_s = _LOOK_S if due_ns is None else (due_ns - self._clock.now_ns()) / _NANO
        return min(_LOOK_S, max(0.05, left_s))

    async def _pause(self, wait_s: float, stopping: asyncio.Event | None = None) -> None:
        """Wait so long, or until poked or stopped."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._poked, stopping) if event is not None]
        try:
            await asyncio.wait(waits, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _report(self, tally: _Tally, run: str) -> DeliveryReport:
        try:
            left = self._store.read(lambda tx: messages.counted(tx, run))
        except IntegrationError:
            left = {}
        return DeliveryReport(
            **{name: tally.counts[name] for name in ("sent", "failed", "unsure", "dead", "unwanted")},
            waiting=left.get("waiting", 0) + left.get("sending", 0),
            problems=tuple(tally.problems),
        )
