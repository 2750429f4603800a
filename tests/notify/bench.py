"""A store with notices in it and a deliverer over real channels, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ooda.clock import ManualClock
from ooda.governance.levels import level_named
from ooda.governance.notice_door import NoticeDoor
from ooda.governance.redaction import Redactor
from ooda.governance.rules import RuleSet
from ooda.notify.address import checked_url
from ooda.notify.deliver import Deliverer, DeliveryPolicy
from ooda.notify.post import Poster
from ooda.notify.routes import Router
from ooda.notify.values import Channel
from ooda.store import Store, messages, outbox, process_owner
from ooda.store.messages import Message

NOW = 1_700_000_000_000_000_000


def poster(url: str) -> Poster:
    return Poster(checked_url(url, "notify.webhook_url"))


class DeliveryBench:
    """One store, one deliverer."""

    def __init__(
        self,
        store: Store,
        channels: Sequence[Channel],
        *,
        routes: Sequence[str] = ("note webhook slack teams admins",),
        admins: Sequence[str] = ("ada@example.com",),
        policy: DeliveryPolicy | None = None,
        rules: RuleSet | None = None,
        jitter: float = 1.0,
        owner: str = "test",
    ) -> None:
        self.store = store
        self.clock = ManualClock(NOW)
        self.redactor = Redactor()
        self.deliverer = Deliverer(
            store,
            NoticeDoor(rules or RuleSet.load(None), level_named("sandbox_only"), "test"),
            channels,
            Router(routes, [channel.name for channel in channels], admins),
            clock=self.clock,
            redact=lambda text: self.redactor.redact(text).text,
            owner=process_owner(owner),
            policy=policy or DeliveryPolicy(timeout_s=5.0),
            jitter=lambda: jitter,
        )

    def put(
        self,
        id: str = "n1",
        *,
        kind: str = "note",
        text: str = "Hello",
        run: str = "run-1",
        channel: str = "local.shop.task-1.note",
        **more: Any,
    ) -> None:
        """Queue a notice."""
        payload = {"notification_type": kind, "message": text, "workflow_id": run, "timestamp_ns": NOW, **more}
        encoded = msgspec.json.encode(payload).decode()
        self.store.write_now(lambda tx: outbox.enqueue(tx, id, channel, encoded, self.clock.now_ns(), run=run))

    def messages(self) -> list[Message]:
        """All messages, by channel and recipient."""
        found = self.store.read(lambda tx: messages.listed(tx))
        return sorted(found, key=lambda one: (one.channel, one.recipient, one.created_ns, one.id))

    def states(self) -> list[tuple[str, str, int]]:
        """Channel, state and attempts of all messages."""
        return [(one.channel, one.state, one.attempts) for one in self.messages()]
