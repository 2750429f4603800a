"""The journal in the database: accepted once, in order, under the fence, and never half."""

import itertools
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ooda.errors import JournalError, LeaseLostError
from ooda.events import Body, Observed, UserMessage
from ooda.runtime.journal import GENESIS, Row, seal, verify
from ooda.store import Store, journal

NUMBERS = itertools.count()
Chain = Callable[..., list[Row]]


def append(store: Store, rows: list[Row], fence: int) -> None:
    store.write_now(lambda tx: store.append(tx, rows, fence))


def test_rows_come_back_as_they_were_sealed(store: Store, chain: Chain, take: Callable) -> None:
    """The stored chain verifies, whole and from any seq on, across pages."""
    rows = chain(2 * journal.PAGE + 3)
    fence = take().fence
    for start in range(0, len(rows), 400):
        append(store, rows[start : start + 400], fence)

    assert list(store.rows("run-a")) == rows
    assert list(store.rows("run-a", from_seq=journal.PAGE)) == rows[journal.PAGE :]
    assert list(store.rows("run-a", from_seq=len(rows))) == []
    assert list(store.rows("run-nobody")) == []
    verify(store.rows("run-a"))
    assert store.read(lambda tx: journal.head(tx, "run-a")) == (rows[-1].seq, rows[-1].hash)


def test_the_same_rows_again_change_nothing(store: Store, chain: Chain, take: Callable) -> None:
    """A writer that does not know whether its append arrived repeats it, whole or together with newer rows."""
    rows, fence = chain(4), take().fence
    append(store, rows[:3], fence)

    append(store, rows[:3], fence)
    append(store, rows[1:], fence)
    append(store, [], fence)

    assert list(store.rows("run-a")) == rows


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(pieces=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=8))
def test_no_order_of_appends_makes_anything_but_a_prefix(
    store: Store, chain: Chain, take: Callable, pieces: list[tuple[int, int]]
) -> None:
    """Whatever slices of the journal arrive, repeated or too early, the store holds an unbroken beginning of it."""
    run = f"run-{next(NUMBERS)}"
    rows, fence = chain(5, run=run), take(run).fence
    length = 0
    for start, end in pieces:
        piece = rows[start:end]
        if not piece:
            continue
        if start > length:
            with pytest.raises(JournalError, match="gap"):
                append(store, piece, fence)
        else:
            append(store, piece, fence)
            length = max(length, start + len(piece))
        assert list(store.rows(run)) == rows[:length]


@pytest.mark.parametrize(
    ("problem", "broken"),
    [
        ("conflict", lambda rows: [seal("run-a", 1, UserMessage(text=Body("other")), 1, "l", rows[0].hash)]),
        ("conflict", lambda rows: [rows[1], seal("run-a", 2, UserMessage(text=Body("x")), 1, "l", rows[1].hash)]),
        ("gap", lambda rows: rows[4:5]),
        ("chain", lambda rows: [seal("run-a", 3, Observed(source="s", text=Body("x")), 1, "l", GENESIS)]),
        ("chain", lambda rows: [rows[3], rows[5]]),
        ("chain", lambda rows: [rows[3], msgspec.structs.replace(rows[4], run="run-b")]),
        ("gap", lambda rows: [seal("run-c", 0, UserMessage(text=Body("no start")), 1, "l", GENESIS)]),
    ],
    ids=["other body", "one of two other", "gap", "wrong predecessor", "hole", "two runs", "no RunStarted"],
)
def test_rows_that_contradict_the_journal_are_refused_whole(
    store: Store, chain: Chain, take: Callable, problem: str, broken: Callable[[list[Row]], list[Row]]
) -> None:
    """The error says what is wrong; nothing of the batch is written."""
    rows, fence = chain(6), take().fence
    take("run-c")
    append(store, rows[:3], fence)

    with pytest.raises(JournalError) as caught:
        append(store, broken(rows), fence)

    assert caught.value.facts["problem"] == problem
    assert list(store.rows("run-a")) == rows[:3]
    assert list(store.rows("run-c")) == []


def test_an_owner_with_an_old_fence_writes_nothing(store: Store, chain: Chain, take: Callable) -> None:
    """A paused owner that wakes up after another took over is told who holds the run."""
    rows = chain(3)
    old = take(owner="sleeper")
    append(store, rows[:2], old.fence)
    new = take(owner="heir", now_ns=old.expires_ns + 1)

    for piece in (rows[2:], rows[:2], rows):
        with pytest.raises(LeaseLostError) as caught:
            append(store, piece, old.fence)
        assert caught.value.facts == {"run": "run-a", "fence": old.fence, "holder": "heir"}
    append(store, rows[2:], new.fence)

    assert list(store.rows("run-a")) == rows


def test_a_run_without_a_lease_cannot_be_written(store: Store, chain: Chain) -> None:
    """Taking the lease comes first, even for the very first row."""
    with pytest.raises(LeaseLostError, match="no lease"):
        append(store, chain(), 1)

    assert list(store.rows("run-a")) == []


def test_rows_are_undone_with_the_rest_of_their_transaction(store: Store, chain: Chain, take: Callable) -> None:
    """What shares the transaction of an event decides with it."""
    rows, fence = chain(1), take().fence

    def work(tx: object) -> None:
        store.append(tx, rows, fence)  # type: ignore[arg-type]
        raise JournalError("the other half failed")

    with pytest.raises(JournalError, match="other half"):
        store.write_now(work)

    assert list(store.rows("run-a")) == []
