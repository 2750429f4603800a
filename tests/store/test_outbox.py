"""Notices are kept once, handed out when due, and marked when gone."""

import pytest

from ooda.errors import JournalError
from ooda.store import Store, outbox


def test_a_notice_waits_until_it_is_sent(store: Store) -> None:
    """Enqueued twice it is one notice; sent twice it is recorded once."""
    added = [store.write_now(lambda tx: outbox.enqueue(tx, "n1", "slack", "{}", 100, run="run-a")) for _ in range(2)]
    waiting = store.read(lambda tx: outbox.pending(tx, 100))
    sent = [store.write_now(lambda tx: outbox.mark_sent(tx, "n1", 120)) for _ in range(2)]

    assert added == [True, False]
    assert waiting == [outbox.Notice(id="n1", run="run-a", channel="slack", payload="{}", created_ns=100, due_ns=100)]
    assert sent == [True, False]
    assert store.read(lambda tx: outbox.pending(tx, 10_000)) == []
    assert store.write_now(lambda tx: outbox.enqueue(tx, "n1", "slack", "{}", 200)) is False


def test_a_failed_attempt_is_tried_again_later(store: Store) -> None:
    """With the reason on record; what is due longest comes first."""
    store.write_now(lambda tx: outbox.enqueue(tx, "n1", "mail", "{}", 100))
    store.write_now(lambda tx: outbox.enqueue(tx, "n2", "mail", "{}", 101, due_ns=150))
    failed = store.write_now(lambda tx: outbox.mark_failed(tx, "n1", "connection refused", 160))

    assert failed
    assert store.read(lambda tx: outbox.pending(tx, 140)) == []
    assert [(n.id, n.attempts, n.failure) for n in store.read(lambda tx: outbox.pending(tx, 160))] == [
        ("n2", 0, ""),
        ("n1", 1, "connection refused"),
    ]
    assert len(store.read(lambda tx: outbox.pending(tx, 160, limit=1))) == 1


def test_a_notice_goes_with_its_fact(store: Store) -> None:
    """Rolled back together with the transaction that told of it."""

    def work(tx: object) -> None:
        outbox.enqueue(tx, "n1", "mail", "{}", 1)  # type: ignore[arg-type]
        raise JournalError("no")

    with pytest.raises(JournalError):
        store.write_now(work)

    assert store.read(lambda tx: outbox.pending(tx, 10)) == []
