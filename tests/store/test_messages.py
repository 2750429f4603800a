"""Messages are claimed by one, settled by whoever claimed them, and go with their run."""

from __future__ import annotations

from ooda.store import Store, messages, outbox, runs
from ooda.store.messages import Message

NOW = 1_700_000_000_000_000_000
MINUTE = 60 * 10**9


def put(store: Store, notice: str = "n1", run: str = "run-a", channel: str = "slack", **given: object) -> Message:
    """A notice of a run, routed to one message."""
    fields = {"id": f"msg-{notice}", "channel": channel, "recipient": "", "kind": "note", "state": "waiting"}
    message = Message(**{**fields, "created_ns": NOW, "due_ns": NOW, **given})  # type: ignore[arg-type]

    def work(tx: object) -> None:
        outbox.enqueue(tx, notice, "x", "{}", NOW, run=run)  # type: ignore[arg-type]
        outbox.mark_routed(tx, notice, NOW, has_messages=True)  # type: ignore[arg-type]
        messages.add(tx, message, [notice])  # type: ignore[arg-type]

    store.write_now(work)
    return message


def claimed(store: Store, owner: str = "me", now_ns: int = NOW, run: str = "") -> Message | None:
    return store.write_now(lambda tx: messages.claim(tx, "slack", owner, now_ns, now_ns + MINUTE, run))


def test_a_message_is_claimed_by_one(store: Store) -> None:
    """The attempt is on record before anything is sent."""
    put(store)
    first, second = claimed(store), claimed(store, "other")
    assert first is not None and second is None
    assert (first.state, first.owner, first.attempts) == ("sending", "me", 1)
    assert store.read(lambda tx: messages.attempts_of(tx, first.id)) == [
        messages.Attempt(message=first.id, attempt=1, started_ns=NOW)
    ]


def test_what_is_due_longest_is_claimed_first_and_nothing_before_its_time(store: Store) -> None:
    """Of all runs, or of one."""
    put(store, "late", due_ns=NOW + MINUTE)
    put(store, "second", run="run-b", due_ns=NOW - 1)
    put(store, "first", due_ns=NOW - 2)
    assert store.read(lambda tx: messages.next_due(tx, "slack")) == NOW - 2
    assert store.read(lambda tx: messages.next_due(tx, "slack", "run-b")) == NOW - 1
    of_b = claimed(store, run="run-b")
    rest = [claimed(store), claimed(store)]
    assert of_b is not None and of_b.id == "msg-second"
    assert [one.id if one else None for one in rest] == ["msg-first", None]


def test_a_claim_that_was_taken_back_settles_nothing(store: Store) -> None:
    """An owner that was paused and wakes up late changes nothing that others have decided meanwhile."""
    put(store)
    slow = claimed(store)
    assert slow is not None
    (lost,) = store.read(lambda tx: messages.cut_off(tx, "slack", NOW + MINUTE, lambda owner: True))
    assert store.write_now(lambda tx: messages.end(tx, lost, "unknown", NOW, retry_ns=NOW))
    again = claimed(store, "other")
    late = store.write_now(lambda tx: messages.end(tx, slow, "sent", NOW))
    assert again is not None and not late
    assert store.write_now(lambda tx: messages.end(tx, again, "sent", NOW))
    found = store.read(lambda tx: messages.find(tx, slow.id))
    assert found is not None and (found.state, found.attempts, found.unsure) == ("sent", 2, 1)


def test_an_owner_that_is_gone_is_seen_at_once(store: Store) -> None:
    """Without waiting for its lease; one that lives is left alone."""
    put(store)
    claimed(store)
    assert store.read(lambda tx: messages.cut_off(tx, "slack", NOW, lambda owner: True)) == []
    assert len(store.read(lambda tx: messages.cut_off(tx, "slack", NOW, lambda owner: owner != "me"))) == 1


def test_a_notice_is_sent_when_all_its_messages_are(store: Store) -> None:
    """And keeps the failure of the last attempt until then."""
    put(store, "n1")
    other = put(store, "n1", id="msg-other", channel="teams")
    first = claimed(store)
    assert first is not None
    store.write_now(lambda tx: messages.end(tx, first, "sent", NOW))
    waiting = store.read(lambda tx: outbox.pending(tx, NOW))
    second = store.write_now(lambda tx: messages.claim(tx, "teams", "me", NOW, NOW + MINUTE))
    assert second is not None and second.id == other.id
    store.write_now(lambda tx: messages.end(tx, second, "failed", NOW, status=500, detail="no", retry_ns=NOW))
    (failed,) = store.read(lambda tx: outbox.pending(tx, NOW))
    third = store.write_now(lambda tx: messages.claim(tx, "teams", "me", NOW, NOW + MINUTE))
    assert third is not None
    store.write_now(lambda tx: messages.end(tx, third, "sent", NOW))
    assert len(waiting) == 1
    assert (failed.failure, failed.attempts) == ("no", 2)
    assert store.read(lambda tx: outbox.pending(tx, NOW)) == []


def test_a_removed_run_takes_its_delivered_messages_along_and_leaves_dead_letters(store: Store) -> None:
    """What never arrived is still to be looked at."""
    put(store, "sent")
    put(store, "shared", run="run-b")
    put(store, "dead")
    store.write_now(lambda tx: messages.join(tx, "msg-shared", "sent"))
    for id in ("dead", "sent", "shared"):
        one = claimed(store)
        assert one is not None and one.id == f"msg-{id}"
        outcome = "failed" if id == "dead" else "sent"
        store.write_now(lambda tx, one=one, outcome=outcome: messages.end(tx, one, outcome, NOW))  # type: ignore[misc]
    store.write_now(lambda tx: runs.remove(tx, "run-a"))
    kept = {one.id: one.state for one in store.read(messages.listed)}
    assert kept == {"msg-dead": "dead", "msg-shared": "sent"}
    assert store.read(lambda tx: messages.attempts_of(tx, "msg-sent")) == []


def test_channels_are_paused_and_stopped_at_one_address(store: Store) -> None:
    """Another address begins afresh; a person can use the old one again."""
    store.write_now(lambda tx: messages.pause(tx, "slack", "here", NOW + MINUTE))
    store.write_now(lambda tx: messages.stop_channel(tx, "slack", "here", NOW, "gone"))
    here = store.read(lambda tx: messages.channel_state(tx, "slack", "here"))
    there = store.read(lambda tx: messages.channel_state(tx, "slack", "there"))
    assert (here.paused_ns, here.disabled_ns, here.reason) == (NOW + MINUTE, NOW, "gone")
    assert (there.paused_ns, there.disabled_ns) == (0, None)
    assert [store.write_now(lambda tx: messages.enable(tx, "slack")) for _ in range(2)] == [True, False]
