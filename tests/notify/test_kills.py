"""1,000 messages, 30 % faults, 3 kills -9: none is lost, and what comes twice comes under one id and for a reason."""

import base64
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import standardwebhooks

from ooda.governance.audit import verify
from ooda.store import Store, Tx, messages, outbox
from tests.notify.receivers import Answered, Posted, receiving

CHILD = Path(__file__).with_name("kill_child.py")
COUNT = 1_000
FAULTS = (
    Answered(500, "no"),
    Answered(503, "later", {"Retry-After": "0"}),
    Answered(307, "", {"Location": "http://127.0.0.1:1/"}),
    Answered(cut=True),
)
"""A cut connection is the worst of them: the receiver has taken the message and the sender does not hear of it."""

VERIFIER = standardwebhooks.Webhook(base64.b64encode(b"k" * 32).decode())
"""The reference library, with the child's key; it also refuses timestamps more than five minutes off."""


def test_nothing_is_lost_and_nothing_comes_twice_under_two_ids(tmp_path: Path) -> None:
    """Every request verifies. A receiver that keeps ids, as Standard Webhooks asks it to, does each thing once.

    The receiver here tells no repetition itself, so that the raw number is seen: every request it took beyond the
    first of an id belongs to an attempt that the store calls unknown.
    """
    with Store.open(tmp_path / "ooda.db") as store:
        store.write_now(fill)
    lots, taken = random.Random(6), []

    def answer(posted: Posted, number: int) -> Answered:
        fault = lots.choice(FAULTS) if lots.random() < 0.3 else None
        if fault is None or fault.cut:
            taken.append(posted.id)
        return fault or Answered()

    with receiving(answer) as hook:
        for stage in range(3):
            child = start(tmp_path, hook.url)
            hook.wait_for((stage + 1) * 300)
            child.send_signal(signal.SIGKILL)
            child.communicate(timeout=10)
            assert child.returncode == -signal.SIGKILL
        last = start(tmp_path, hook.url)
        said = last.communicate(timeout=120)[1]
        assert (last.returncode, said) == (0, b"")

    with Store.open(tmp_path / "ooda.db") as store:
        counted = store.read(messages.counted)
        unknown = Counter(row[0] for row in store.read(unknown_attempts))
        assert store.read(lambda tx: outbox.pending(tx, 2**62)) == []
        assert verify(store).is_clean
    for posted in hook.posted:
        VERIFIER.verify(posted.body, posted.headers)
    times = Counter(taken)
    assert counted == {"sent": COUNT}
    assert len(times) == COUNT, "lost"
    assert all(times[id] - 1 <= unknown[id] for id in times), "sent again although it was known to have arrived"
    print(
        f"{COUNT} messages: {len(hook.posted)} requests, {len(taken)} taken, {len(times)} by id, "
        f"{sum(unknown.values())} attempts of unknown outcome"
    )


def fill(tx: Tx) -> None:
    """A thousand notices."""
    import time

    now_ns = time.time_ns()
    for number in range(COUNT):
        payload = {"notification_type": "note", "message": f"number {number}", "timestamp_ns": now_ns}
        outbox.enqueue(tx, f"n{number:04}", "x", msgspec.json.encode(payload).decode(), now_ns)


def unknown_attempts(tx: Tx) -> list[tuple[str]]:
    return tx.execute("SELECT message FROM message_attempts WHERE outcome = 'unknown'")  # type: ignore[return-value]


def start(folder: Path, url: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(folder / "ooda.db"), url], stderr=subprocess.PIPE, cwd=CHILD.parents[2]
    )
