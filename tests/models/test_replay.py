"""Recorded replies come in order, and only to the requests they were recorded for."""

from __future__ import annotations

from typing import Any

import pytest

from ooda.errors import ContextOverflowError, DivergenceError, RefusedError
from ooda.models.replay import RecordedReply, ReplayModel
from ooda.models.scripted import say

RECORDED = (
    RecordedReply(digest="d1", reply=say("one"), request_preview="fix the parser"),
    RecordedReply(digest="d2", reply=ContextOverflowError("too long"), request_preview="tool: 3 failed, 2 passed"),
    RecordedReply(digest="d3", reply=say("three"), request_preview="tool: 5 passed"),
)


async def ask(model: ReplayModel, asking: Any) -> str:
    reply = await model.complete(asking.request(model="replay"), asking.grant("replay"))
    return reply.content


async def test_recorded_replies_and_failures_come_in_order(asking: Any) -> None:
    """What failed fails again: the runtime must take the same way."""
    model = ReplayModel(RECORDED)
    model.expect("d1")
    assert await ask(model, asking) == "one"
    model.expect("d2")
    with pytest.raises(ContextOverflowError):
        await ask(model, asking)
    model.expect("d3")
    assert (await ask(model, asking), model.remaining) == ("three", 0)


@pytest.mark.parametrize(
    ("digest", "preview", "nearest"),
    [("d3", "", 3), ("dx", "tool: 4 failed, 1 passed", 2), ("dx", "", 1)],
    ids=["recorded elsewhere", "by its text", "by its place"],
)
def test_a_miss_shows_the_nearest_recorded_request(digest: str, preview: str, nearest: int) -> None:
    """A hard error with what a person needs to see the difference."""
    with pytest.raises(DivergenceError) as caught:
        ReplayModel(RECORDED).expect(digest, preview)
    facts = {"position": 1, "expected": "d1", "found": digest, "nearest": nearest}
    assert caught.value.facts == facts
    assert RECORDED[nearest - 1].request_preview in str(caught.value)


@pytest.mark.parametrize("recorded", [(), RECORDED[:1]], ids=["empty", "used up"])
async def test_asking_beyond_the_recording_is_a_divergence(recorded: tuple[RecordedReply, ...], asking: Any) -> None:
    """The run took more steps than the one recorded."""
    model = ReplayModel(recorded)
    for entry in recorded:
        model.expect(entry.digest)
        await ask(model, asking)
    with pytest.raises(DivergenceError, match=f"holds {len(recorded)} replies"):
        model.expect("d9", "more")


async def test_no_reply_is_given_without_a_comparison(asking: Any) -> None:
    """Order alone would let a changed run replay as if nothing had happened."""
    model = ReplayModel(RECORDED)
    with pytest.raises(DivergenceError, match="expect"):
        await ask(model, asking)
    model.expect("d1")
    await ask(model, asking)
    with pytest.raises(DivergenceError):
        await ask(model, asking)


async def test_streaming_and_grants_are_as_with_a_live_model(asking: Any) -> None:
    """The same protocol, the same door."""
    model, pieces = ReplayModel(RECORDED), list[str]()
    model.expect("d1")
    with pytest.raises(RefusedError):
        await model.complete(asking.request(model="replay"), asking.grant("another"))
    request = asking.request(model="replay", stream=True)
    await model.complete(request, asking.grant("replay"), on_piece=pieces.append)
    assert pieces == ["one"]
    await model.close()
