"""Where everything that must agree is kept: journal, money, approvals, leases, outbox, audit; blobs beside it.

    store = Store.open(path)
    await store.write(lambda tx: store.append(tx, rows, fence))

Knows SQL, files and durability; must not know agents, loops or policies.
"""

from ooda.store import activities, approvals, journal, leases, messages, outbox, runs
from ooda.store.blobs import BlobStore
from ooda.store.leases import Lease
from ooda.store.owner import is_alive, process_owner
from ooda.store.store import Store
from ooda.store.tx import Tx

__all__ = [
    "BlobStore",
    "Lease",
    "Store",
    "Tx",
    "activities",
    "approvals",
    "is_alive",
    "journal",
    "leases",
    "messages",
    "outbox",
    "process_owner",
    "runs",
]
