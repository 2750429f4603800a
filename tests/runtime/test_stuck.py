"""Stuck detection: the same calls with the same results; one nudge, then the end; repeating on purpose is no loop."""

from __future__ import annotations

import itertools

import pytest

from ooda.events import BlobRef, Body, LimitReached, Observed, ToolReturned
from ooda.runtime.commands import CallModel, Stop
from ooda.runtime.state import Fingerprint
from ooda.runtime.stuck import KEPT, fingerprint, judge
from tests.runtime.scripted import Run, agent, call

A, B, C = (Fingerprint(name, name, False) for name in "abc")
FAILED = Fingerprint("a", "failed", True)


@pytest.mark.parametrize(
    ("recent", "stuck"),
    [
        ((), ""),
        ((A,) * 3, ""),
        ((A,) * 4, "the same call gave the same result 4 times in a row"),
        ((B, A, A, A, A), "the same call gave the same result 4 times in a row"),
        ((A, A, A, A, B), ""),
        ((A, B) * 2, ""),
        ((A, B) * 3, "2 calls with the same results repeated 3 times"),
        ((A, B, C) * 2, ""),
        ((A, B, C) * 3, "3 calls with the same results repeated 3 times"),
        ((A, B, A, C) * 3, "4 calls with the same results repeated 3 times"),
        ((A, A, B) * 2, ""),
        ((FAILED, A, FAILED, A), ""),
    ],
)
def test_what_counts_as_stuck(recent: tuple[Fingerprint, ...], stuck: str) -> None:
    """One call four times, or a cycle of up to six calls three times, each with the results it had before."""
    assert judge(recent) == stuck


@pytest.mark.parametrize("length", range(2, 7))
def test_every_cycle_that_fits_the_memory_is_seen(length: int) -> None:
    """Three rounds of six calls are what the memory holds."""
    cycle = tuple(Fingerprint(str(i), str(i), False) for i in range(length))
    assert judge(cycle * 3) == f"{length} calls with the same results repeated 3 times"
    assert length * 3 <= KEPT


def test_the_same_calls_failing_in_different_words_count_as_well() -> None:
    """An error that numbers its attempts is the same error."""
    errors = tuple(Fingerprint("a" if i % 2 else "b", str(i), True) for i in range(6))
    assert judge(errors) == "the same calls failed 6 times in a row"
    assert judge(errors[:5]) == ""
    assert judge((*errors[:5], A)) == ""


def test_a_fingerprint_sees_call_and_result_and_no_durations() -> None:
    """The same test run twice is the same, whatever time it took; another count is another result."""
    first = fingerprint("test", "{}", "3 failed in 0.12s", True)
    assert fingerprint("test", "{}", "3 failed in 4.56s", True) == first
    for other in (
        fingerprint("test", "{}", "2 failed in 0.12s", True),
        fingerprint("test", '{"k":1}', "3 failed in 0.12s", True),
        fingerprint("shell", "{}", "3 failed in 0.12s", True),
        fingerprint("test", "{}", "3 failed in 0.12s", False),
    ):
        assert other != first


def repeat(run: Run, times: int, *calls: tuple[str, str, str]) -> None:
    """Turns that make these (tool, path, result) calls, with fresh ids each time."""
    for turn in range(times):
        if run.state.stopping is not None:
            return
        ids = [f"c{run.state.next_seq}-{turn}-{i}" for i in range(len(calls))]
        run.reply(*(call(id, tool, path=path) for id, (tool, path, _) in zip(ids, calls, strict=True)))
        for id, (_, _, result) in zip(ids, calls, strict=True):
            run.returns(id, result)


def started() -> Run:
    run = Run(agent())
    run.start()
    return run


def test_repeating_a_call_is_told_once_and_then_ends_the_run() -> None:
    """Four times the same: the model is told what it repeats. Four times more: stuck."""
    run = started()
    repeat(run, 4, ("read", "a.py", "same"))
    (nudge,) = run.events(Observed)
    assert "the same call gave the same result 4 times in a row" in nudge.text.text
    assert len(run.wanted(CallModel)) == 1
    repeat(run, 4, ("read", "a.py", "same"))
    assert [(stop.status, "after being told" in stop.reason) for stop in run.wanted(Stop)] == [("stuck", True)]
    assert [limit.limit for limit in run.events(LimitReached)] == ["stuck"]
    assert len(run.events(Observed)) == 1


def test_the_same_call_with_new_results_is_progress() -> None:
    """Running the tests again after each edit is how work is done."""
    run = started()
    for turn in range(12):
        repeat(run, 1, ("test", "", f"{turn} passed"))
    assert run.events(Observed) == []


def test_tools_made_for_polling_may_be_repeated() -> None:
    """Waiting for a deployment gives the same answer until it does not."""
    run = started()
    repeat(run, 30, ("wait", "deploy-1", "still building"))
    assert run.events(Observed) == []
    assert len(run.wanted(CallModel)) == 1


def test_polling_between_repeated_calls_does_not_hide_them() -> None:
    """A poll leaves no fingerprint at all."""
    run = started()
    repeat(run, 4, ("read", "a.py", "same"), ("wait", "deploy-1", "still building"))
    assert len(run.events(Observed)) == 1


@pytest.mark.parametrize("orders", list(itertools.product([(0, 1), (1, 0)], repeat=3)))
def test_a_repeated_batch_is_seen_whatever_the_order_of_completion(orders: tuple[tuple[int, int], ...]) -> None:
    """Fingerprints are taken in the order of the calls, as the model reads their results."""
    run = started()
    for turn, order in enumerate(orders):
        ids = [f"a{turn}", f"b{turn}"]
        run.reply(*(call(id, "read", path=id[0]) for id in ids))
        for position in order:
            run.returns(ids[position], f"text of {ids[position][0]}")
    assert len(run.events(Observed)) == 1


@pytest.mark.parametrize(("digests", "stuck"), [(("d",) * 4, True), (("d", "e", "d", "f"), False)])
def test_long_results_are_compared_by_their_digests(digests: tuple[str, ...], stuck: bool) -> None:
    """A result kept as a blob is the same when its contents are."""
    run = started()
    for turn, digest in enumerate(digests):
        run.reply(call(f"r{turn}", "read", path="big.log"))
        run.begin(f"r{turn}")
        body = Body(ref=BlobRef(digest * 64, 100_000))
        run.feed(ToolReturned(call=f"r{turn}", tool="read", status="ok", text=body))
    assert bool(run.events(Observed)) is stuck


def test_refusals_and_interruptions_count_like_any_result() -> None:
    """Asking for what was refused four times in the same words is no way on."""
    run = started()
    for turn in range(4):
        run.reply(call(f"p{turn}", "push", branch="main"))
        run.refuse(f"p{turn}", "permission", "main is protected")
    assert len(run.events(Observed)) == 1


def test_a_resumed_run_begins_with_a_clean_memory() -> None:
    """Whoever resumes a stuck run changed something; it is nudged again before it ends again."""
    run = started()
    repeat(run, 8, ("read", "a.py", "same"))
    run.stop()
    run.resume()
    repeat(run, 3, ("read", "a.py", "same"))
    assert len(run.events(Observed)) == 1
    repeat(run, 1, ("read", "a.py", "same"))
    assert len(run.events(Observed)) == 2
    assert run.state.stopping is None
