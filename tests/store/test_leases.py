"""One owner at a time; the fence only grows."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ooda.errors import LeaseLostError
from ooda.store import Lease, Store, leases

SECOND = 1_000_000_000


def take(store: Store, owner: str, now_s: int, **more: object) -> Lease:
    return store.write_now(lambda tx: leases.take(tx, "run-a", owner, 10, now_s * SECOND, **more))  # type: ignore[arg-type]


def test_a_live_owner_keeps_its_run(store: Store) -> None:
    """Whoever else wants it is told who holds it and until when."""
    held = take(store, "one", 0)

    with pytest.raises(LeaseLostError, match="1970-01-01T00:00:10") as caught:
        take(store, "two", 9)

    assert held == Lease("run-a", "one", 1, 10 * SECOND)
    assert caught.value.facts == {"run": "run-a", "holder": "one", "fence": 1, "expires_ns": 10 * SECOND}


def test_an_expired_released_or_dead_owner_is_followed_under_a_higher_fence(store: Store) -> None:
    """The three ways a run changes hands."""
    first = take(store, "one", 0)
    second = take(store, "two", 10)
    released = store.write_now(lambda tx: leases.release(tx, second))
    third = take(store, "three", 11)
    fourth = take(store, "four", 12, is_alive=lambda owner: owner != "three")

    assert [first.fence, second.fence, third.fence, fourth.fence] == [1, 2, 3, 4]
    assert released
    with pytest.raises(LeaseLostError):
        take(store, "five", 13, is_alive=lambda owner: True)


def test_taking_ones_own_lease_again_renews_it(store: Store) -> None:
    """The fence stays, as the owner does."""
    take(store, "one", 0)

    assert take(store, "one", 5) == Lease("run-a", "one", 1, 15 * SECOND)


def test_a_lost_lease_can_neither_be_renewed_nor_released_nor_pass_a_check(store: Store) -> None:
    """Everything an old owner tries fails; the new one is untouched."""
    old = take(store, "one", 0)
    new = take(store, "two", 20)

    with pytest.raises(LeaseLostError) as caught:
        store.write_now(lambda tx: leases.renew(tx, old, 10, 21 * SECOND))
    with pytest.raises(LeaseLostError):
        store.read(lambda tx: leases.check(tx, "run-a", old.fence))
    assert caught.value.facts["holder"] == "two"
    assert store.write_now(lambda tx: leases.release(tx, old)) is False
    store.read(lambda tx: leases.check(tx, "run-a", new.fence))
    assert store.write_now(lambda tx: leases.renew(tx, new, 10, 25 * SECOND)).expires_ns == 35 * SECOND


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["take", "release"]), st.integers(-5, 15)), max_size=15
    )
)
def test_two_owners_never_hold_the_same_fence(store: Store, steps: list[tuple[str, str, int]]) -> None:
    """Under any order of taking and giving back, with a clock that jumps both ways."""
    store.write_now(lambda tx: tx.change("DELETE FROM leases"))
    now_s, held, owners = 100, {}, {}
    for owner, step, passed_s in steps:
        now_s += passed_s
        if step == "release":
            if owner in held:
                store.write_now(lambda tx, lease=held[owner]: leases.release(tx, lease))
            continue
        try:
            lease = take(store, owner, now_s)
        except LeaseLostError:
            continue
        held[owner] = lease
        assert owners.setdefault(lease.fence, owner) == owner
        assert lease.fence == max(owners)
