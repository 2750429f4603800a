"""A deliverer in a process of its own, to be killed: `kill_child.py DATABASE URL`. Ends when nothing is queued."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from ooda.clock import SystemClock
from ooda.governance.levels import Level
from ooda.governance.notice_door import NoticeDoor
from ooda.governance.rules import RuleSet
from ooda.notify.address import checked_url
from ooda.notify.deliver import Deliverer, DeliveryPolicy
from ooda.notify.pace import Patience
from ooda.notify.post import Poster
from ooda.notify.routes import Router
from ooda.notify.webhook import WebhookChannel
from ooda.store import Store, process_owner


async def deliver(store: Store, url: str) -> int:
    """Deliver until nothing waits; gives how many messages are left."""
    channel = WebhookChannel(Poster(checked_url(url, "notify.webhook_url")), [b"k" * 32])
    channel.per_second = 10_000.0  # the pace is not what is tried here
    deliverer = Deliverer(
        store,
        NoticeDoor(RuleSet.load(None), Level.SANDBOX_ONLY, "test"),
        [channel],
        Router(["note webhook"], ["webhook"], []),
        clock=SystemClock(),
        redact=lambda text: text,
        owner=process_owner("child"),
        policy=DeliveryPolicy(timeout_s=10, patience=Patience(base_s=0.02, longest_s=0.2)),
    )
    report = await deliverer.drain(wait_s=120)
    return report.waiting


if __name__ == "__main__":
    with Store.open(Path(sys.argv[1])) as opened:
        sys.exit(asyncio.run(deliver(opened, sys.argv[2])))
