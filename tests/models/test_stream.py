"""A stream gives the same reply as the completion it carries, however its bytes are cut."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooda.errors import ModelOutputError, ModelUnavailableError
from ooda.events import Usage
from ooda.models.failures import AttemptFailure
from ooda.models.reply import Asked
from ooda.models.request import ModelReply, RawCall
from ooda.models.stream import EventLines, StreamedReply

ASKED = Asked("`m` at http://host/v1", "m", frozenset(), str)


def delta(finish: str | None = None, /, **members: Any) -> dict[str, Any]:
    return {"model": "m-1", "choices": [{"index": 0, "delta": members, "finish_reason": finish}]}


def part(index: int | None = None, call_id: str | None = None, name: str | None = None, arguments: Any = None) -> Any:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    members = (("index", index), ("id", call_id), ("function", function or None))
    return {key: value for key, value in members if value is not None}


def stream(*chunks: dict[str, Any] | bytes, done: bool = True) -> tuple[ModelReply, list[str]]:
    pieces: list[str] = []
    reply = StreamedReply(ASKED, pieces.append)
    for chunk in (*chunks, *([b"[DONE]"] if done else [])):
        reply.add(chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode())
    return reply.reply(), pieces


def test_text_is_given_in_pieces_and_as_a_whole() -> None:
    """Every visible piece goes to the listener; the usage of the last chunk is the reply's."""
    reply, pieces = stream(
        delta(role="assistant", content=""),
        delta(content="Hel"),
        delta(content="lo"),
        delta("stop"),
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}},
    )
    assert pieces == ["Hel", "lo"]
    assert reply == ModelReply(
        message=b'{"content":"Hello","role":"assistant"}',
        content="Hello",
        usage=Usage(9, 0, 0, 2, 0),
        finish="stop",
        model="m-1",
    )


TWO_CALLS = (RawCall("a", "read", '{"path":"x"}'), RawCall("b", "list", "{}"))
DIALECTS = {
    "openai: id and name once, arguments in pieces": [
        part(0, "a", "read", ""),
        part(0, arguments='{"path"'),
        part(0, arguments=':"x"}'),
        part(1, "b", "list", ""),
        part(1, arguments="{}"),
    ],
    "interleaved by index": [
        part(0, "a", "read", ""),
        part(1, "b", "list", ""),
        part(0, arguments='{"path":"x"}'),
        part(1, arguments="{}"),
    ],
    "whole calls": [part(0, "a", "read", '{"path":"x"}'), part(1, "b", "list", "{}")],
    "no index, ids": [
        part(None, "a", "read", '{"pa'),
        part(None, "a", None, 'th":"x"}'),
        part(None, "b", "list", "{}"),
    ],
    "no index, no ids later": [
        part(None, "a", "read", '{"path"'),
        part(None, None, None, ':"x"}'),
        part(None, "b", "list", "{}"),
    ],
    "every call under index 0": [part(0, "a", "read", '{"path":"x"}'), part(0, "b", "list", "{}")],
    "indices from 1": [part(1, "a", "read", '{"path":"x"}'), part(2, "b", "list", "{}")],
    "name and id repeated": [
        part(0, "a", "read", '{"path"'),
        part(0, "a", "read", ':"x"}'),
        part(1, "b", "list", "{}"),
    ],
    "arguments as objects": [part(0, "a", "read", {"path": "x"}), part(1, "b", "list", {})],
}


@pytest.mark.parametrize("parts", DIALECTS.values(), ids=DIALECTS.keys())
def test_parallel_calls_are_put_together_in_every_dialect(parts: list[Any]) -> None:
    """The same two calls, as different servers stream them."""
    reply, _ = stream(*(delta(tool_calls=[entry]) for entry in parts), delta("tool_calls"))
    assert (reply.calls, reply.finish) == (TWO_CALLS, "tool_calls")


def test_several_calls_in_one_chunk_without_index_or_id_stay_apart() -> None:
    """A name opens a call when nothing else tells them apart; the ids are ours then."""
    reply, _ = stream(delta(tool_calls=[part(name="read", arguments="{}"), part(name="list", arguments="{}")]))
    assert [(call.name, bool(call.id)) for call in reply.calls] == [("read", True), ("list", True)]
    assert reply.calls[0].id != reply.calls[1].id


def test_reasoning_is_continued_field_by_field() -> None:
    """Text is concatenated, OpenRouter's blocks are merged by type and index, signatures are kept."""
    block = {"type": "reasoning.text", "index": 0, "format": "anthropic-claude-v1"}
    reply, pieces = stream(
        delta(reasoning="I ", reasoning_details=[{**block, "text": "I "}]),
        delta(reasoning="see", reasoning_details=[{**block, "text": "see"}]),
        delta(reasoning_details=[{**block, "signature": "sig"}]),
        delta(reasoning_details=[{"type": "reasoning.encrypted", "index": 1, "data": "xyz"}]),
        delta("stop", content="Yes."),
    )
    assert pieces == ["Yes."]
    assert json.loads(reply.message) == {
        "role": "assistant",
        "content": "Yes.",
        "reasoning": "I see",
        "reasoning_details": [
            {**block, "text": "I see", "signature": "sig"},
            {"type": "reasoning.encrypted", "index": 1, "data": "xyz"},
        ],
    }


def test_content_may_change_between_text_and_parts() -> None:
    """Mistral thinks in parts and answers in text; nothing of either is lost."""
    reply, pieces = stream(
        delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]),
        delta(content="Hi "),
        delta("stop", content=[{"type": "text", "text": "there"}]),
    )
    assert (reply.content, pieces) == ("Hi there", ["Hi ", "there"])


def test_other_choices_than_the_first_are_ignored() -> None:
    """We ask for one; a server that streams more must not mix them."""
    other = {"choices": [{"index": 1, "delta": {"content": "NO"}, "finish_reason": None}]}
    assert stream(delta(content="yes"), other, delta("stop"))[0].content == "yes"


def test_a_finish_reason_without_done_is_the_end() -> None:
    """Several servers never send `[DONE]`."""
    assert stream(delta("stop", content="x"), done=False)[0].content == "x"


@pytest.mark.parametrize("chunks", [[], [delta(content="half")]], ids=["nothing", "half a reply"])
def test_a_stream_that_breaks_off_is_an_output_failure(chunks: list[dict[str, Any]]) -> None:
    """Half a reply is never taken for a whole one."""
    with pytest.raises(AttemptFailure) as caught:
        stream(*chunks, done=False)
    assert (caught.value.error, caught.value.sort) == (ModelOutputError, "output")


@pytest.mark.parametrize(
    "data", [b"{", b"[1]", b'{"choices":7}', b'{"choices":[{"delta":{"tool_calls":[7]}}]}'], ids=repr
)
def test_an_event_that_is_no_chunk_is_an_output_failure(data: bytes) -> None:
    """It names where in the stream the nonsense stood."""
    with pytest.raises(AttemptFailure) as caught:
        stream(delta(content="x"), data)
    assert caught.value.error is ModelOutputError


@pytest.mark.parametrize(
    "chunk",
    [
        {"error": {"code": 502, "message": "upstream died"}},
        {"choices": [{"delta": {}, "finish_reason": "error", "error": {"code": 502, "message": "upstream died"}}]},
        {
            "error": {"code": 502, "message": "upstream died"},
            "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
        },
    ],
    ids=["bare", "in the choice", "beside the choice"],
)
def test_an_error_in_the_stream_is_the_providers(chunk: dict[str, Any]) -> None:
    """Routers report a failure of their upstream in the middle of a stream."""
    with pytest.raises(AttemptFailure) as caught:
        stream(delta(content="half"), chunk)
    assert (caught.value.error, caught.value.sort) == (ModelUnavailableError, "busy")
    assert "upstream died" in caught.value.message


def test_usage_counted_before_a_break_is_known() -> None:
    """Servers that count in every chunk give the price of half a reply."""
    reply = StreamedReply(ASKED, None)
    reply.add(json.dumps({**delta(content="x"), "usage": {"prompt_tokens": 7, "completion_tokens": 1}}).encode())
    assert reply.usage == Usage(7, 0, 0, 1, 0)


EVENTS = [b'{"a":1}', b"two\nlines", "fünf €".encode(), b"[DONE]"]


def encoded(newline: bytes, last: bytes) -> bytes:
    lines = [b": OPENROUTER PROCESSING", b"", b"event: x", b"id: 7", b"data:" + EVENTS[0], b""]
    lines += [b"data: " + line for line in EVENTS[1].split(b"\n")] + [b"", b"retry: 10", b""]
    lines += [b"data: " + EVENTS[2], b"", b"", b"data: " + EVENTS[3]]
    return newline.join(lines) + last


@given(
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.booleans(),
    st.lists(st.integers(0, 200), max_size=12),
)
def test_events_are_the_same_however_the_bytes_are_cut(newline: bytes, is_ended: bool, cuts: list[int]) -> None:
    """Any line ending, any cut (in the middle of a character, of a CR LF), with or without a last blank line."""
    text = encoded(newline, newline * 2 if is_ended else b"")
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    lines = EventLines()
    found = [event for start, end in itertools.pairwise(bounds) for event in lines.feed(text[start:end])]
    assert [*found, *lines.close()] == EVENTS
