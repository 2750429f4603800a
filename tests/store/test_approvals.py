"""A question is answered once, in time, and its permission is used once."""

import multiprocessing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ooda.errors import RefusedError
from ooda.store import Store, approvals
from ooda.store.approvals import Approval

ASKED = Approval(
    id="apr-1",
    run="run-a",
    seq=7,
    call="c1",
    tool="push",
    definition="d",
    arguments='{"branch":"feat/x"}',
    arguments_hash="h",
    targets='["git@host:repo"]',
    policy="p1",
    labels="untrusted/internal",
    shown="Allow `push`?",
    shown_hash="s",
    asked_ns=100,
    expires_ns=1000,
)


def insert(store: Store, approval: Approval = ASKED) -> bool:
    return store.write_now(lambda tx: approvals.insert(tx, approval))


def answer(store: Store, answer: str, by: str = "ada", at_ns: int = 200, **more: str) -> Approval:
    return store.write_now(lambda tx: approvals.answer(tx, "apr-1", answer, by=by, at_ns=at_ns, **more))  # type: ignore[arg-type]


def test_an_approval_comes_back_whole_and_can_be_asked_twice(store: Store) -> None:
    """A run that is resumed while it waits asks the same question again."""
    assert [insert(store), insert(store)] == [True, False]
    assert store.read(lambda tx: approvals.find(tx, "apr-1")) == ASKED
    assert store.read(lambda tx: approvals.find(tx, "apr-2")) is None


def test_waiting_questions_are_listed_oldest_first(store: Store) -> None:
    """Answered ones are not, those of other runs only when all are asked for."""
    insert(store)
    insert(store, msgspec.structs.replace(ASKED, id="apr-0", run="run-b", asked_ns=50))
    insert(store, msgspec.structs.replace(ASKED, id="apr-9", asked_ns=10))
    store.write_now(lambda tx: approvals.answer(tx, "apr-9", "reject", by="ada", at_ns=20))

    def waiting(run: str | None = None) -> list[str]:
        return [item.id for item in store.read(lambda tx: approvals.waiting(tx, run))]

    assert waiting() == ["apr-0", "apr-1"]
    assert waiting("run-a") == ["apr-1"]


def test_the_first_answer_stands(store: Store) -> None:
    """Two approvers at once: the second is told what the first said."""
    insert(store)

    first = answer(store, "modify", note="smaller", edited_arguments="{}")
    with pytest.raises(RefusedError, match="ada answered `modify`") as caught:
        answer(store, "approve", by="bob")

    assert first == msgspec.structs.replace(
        ASKED, state="modify", answered_by="ada", answered_ns=200, note="smaller", edited_arguments="{}"
    )
    assert caught.value.facts == {"approval_id": "apr-1", "state": "modify", "answered_by": "ada"}
    assert store.read(lambda tx: approvals.find(tx, "apr-1")) == first


def test_after_its_expiry_a_question_can_only_expire(store: Store) -> None:
    """A late yes is no yes."""
    insert(store)

    with pytest.raises(RefusedError, match="expired at"):
        answer(store, "approve", at_ns=1000)

    assert answer(store, "expired", by="ooda", at_ns=1000).state == "expired"


def test_a_question_that_was_never_asked_cannot_be_answered(store: Store) -> None:
    """The message says where the waiting ones are."""
    with pytest.raises(RefusedError, match="ooda approvals list"):
        answer(store, "approve")


@pytest.mark.parametrize(
    ("said", "arguments_hash", "is_allowed"),
    [
        ("approve", "h", True),
        ("approve", "other", False),
        ("reject", "h", False),
        ("stop", "h", False),
        ("modify", "new", True),
    ],
)
def test_a_permission_is_used_once_and_only_for_its_arguments(
    store: Store, said: str, arguments_hash: str, is_allowed: bool
) -> None:
    """Replayed with other arguments, or a second time, it opens nothing."""
    insert(store)
    before = store.write_now(lambda tx: approvals.use(tx, "apr-1", "h", 150))
    answer(store, said)

    used = [store.write_now(lambda tx: approvals.use(tx, "apr-1", arguments_hash, 300)) for _ in range(2)]

    assert before is False
    assert used == [is_allowed, False]


def approver(path: Path, url: str, name: str, together: Any, told: Any) -> None:
    """One person's process: answers at the same moment as all others, then tries to use the permission."""
    with Store.open(path, url=url, busy_timeout_s=60) as store:
        together.wait()
        try:
            store.write_now(lambda tx: approvals.answer(tx, "apr-1", "approve", by=name, at_ns=200))
            said = (name, name)
        except RefusedError as error:
            said = (name, str(error.facts["answered_by"]))
        together.wait()
        told.put((*said, store.write_now(lambda tx: approvals.use(tx, "apr-1", "h", 300))))


def test_of_many_approvers_at_once_one_counts_and_all_others_are_told_who(tmp_path: Path, store_url: str) -> None:
    """Real processes on one database; of as many that use the permission afterwards one may."""
    path, fork = tmp_path / "ooda.db", multiprocessing.get_context("fork")
    with Store.open(path, url=store_url) as store:
        insert(store)
    together, told = fork.Barrier(8), fork.SimpleQueue()
    people = [
        fork.Process(target=approver, args=(path, store_url, f"p{number}", together, told)) for number in range(8)
    ]
    for person in people:
        person.start()
    said = [told.get() for _ in people]
    for person in people:
        person.join()

    with Store.open(path, url=store_url) as store:
        row = store.read(lambda tx: approvals.find(tx, "apr-1"))
    assert row is not None
    assert {by for _, by, _ in said} == {row.answered_by}
    assert [name for name, by, _ in said if name == by] == [row.answered_by]
    assert sorted(used for *_, used in said) == [False] * 7 + [True]
