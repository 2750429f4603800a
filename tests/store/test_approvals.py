"""A question is answered once, in time, and its permission is used once."""

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
