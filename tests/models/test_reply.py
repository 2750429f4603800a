"""One reply, whatever dialect the completion was written in."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooda.errors import ModelOutputError, ModelUnavailableError
from ooda.events import Usage, canonical
from ooda.models.failures import AttemptFailure
from ooda.models.reply import Asked, parse_completion, to_reply
from ooda.models.request import ModelReply, RawCall

ASKED = Asked("`m` at http://host/v1", "m", frozenset(), str)


def reply_of(
    message: dict[str, Any], finish: str | None = "stop", *, taken: frozenset[str] = frozenset()
) -> ModelReply:
    body = {"model": "m-1", "choices": [{"message": message, "finish_reason": finish}]}
    return parse_completion(json.dumps(body).encode(), Asked(ASKED.who, "m", taken, str))


def raw_call(call_id: Any = "c1", name: str = "act", arguments: Any = "{}", **members: Any) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}, **members}


def test_a_plain_completion_becomes_a_whole_reply() -> None:
    """Every field of the reply, for the commonest shape."""
    body = {
        "id": "chatcmpl-1",
        "model": "gpt-x-0613",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None, "annotations": []},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    }
    assert parse_completion(json.dumps(body).encode(), ASKED) == ModelReply(
        message=b'{"content":"Hello","role":"assistant"}',
        content="Hello",
        usage=Usage(9, 0, 0, 2, 0),
        finish="stop",
        model="gpt-x-0613",
    )


def test_tool_calls_are_given_as_written_and_echoed() -> None:
    """Order, ids, names and the exact text of the arguments survive."""
    reply = reply_of(
        {"content": None, "tool_calls": [raw_call("a", "read", '{"path": "x"}'), raw_call("b", "list", "{}")]},
        "tool_calls",
    )
    assert reply.calls == (RawCall("a", "read", '{"path": "x"}'), RawCall("b", "list", "{}"))
    assert json.loads(reply.message) == {
        "role": "assistant",
        "content": None,
        "tool_calls": [raw_call("a", "read", '{"path": "x"}'), raw_call("b", "list", "{}")],
    }


@pytest.mark.parametrize(
    "field",
    [
        {"reasoning_content": "let me think"},
        {"reasoning": "let me think"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "…", "signature": "abc"}]},
        {"thinking_blocks": [{"type": "thinking", "thinking": "…", "signature": "abc"}]},
    ],
    ids=lambda field: next(iter(field)),
)
def test_reasoning_is_sent_back_as_it_came(field: dict[str, Any]) -> None:
    """Providers that reason between calls refuse, or forget, a history without it."""
    reply = reply_of({"content": "", **field, "tool_calls": [raw_call()]})
    assert json.loads(reply.message).items() >= field.items()


def test_members_of_a_call_beyond_the_common_are_kept() -> None:
    """Gemini's thought signatures stand inside the call."""
    extra = {"google": {"thought_signature": "sig"}}
    reply = reply_of({"content": None, "tool_calls": [raw_call(extra_content=extra, index=0)]})
    assert json.loads(reply.message)["tool_calls"] == [raw_call(extra_content=extra)]


def test_members_that_servers_refuse_in_a_request_are_left_out() -> None:
    """A reply is not always a valid message: nulls, annotations, audio and the legacy call go."""
    message = {"content": "x", "annotations": [1], "audio": {"id": "a"}, "function_call": None, "refusal": None}
    assert json.loads(reply_of(message).message) == {"role": "assistant", "content": "x"}


@pytest.mark.parametrize(
    ("given_ids", "ids"),
    [
        (["", "b"], ["call00002", "b"]),
        ([None, None], ["call00002", "call00003"]),
        (["a", "a"], ["a", "call00003"]),
        (["old", "a"], ["call00002", "a"]),
        (["call00003", "", ""], ["call00003", "call00004", "call00005"]),
        ([7, "x"], ["call00002", "x"]),
    ],
    ids=str,
)
def test_every_call_gets_an_id_of_its_own(given_ids: list[Any], ids: list[str]) -> None:
    """Empty, repeated and earlier ids are renamed, in the calls and in the echoed message alike."""
    calls = [raw_call(call_id) for call_id in given_ids]
    reply = reply_of({"content": None, "tool_calls": calls}, taken=frozenset({"old"}))
    echoed = [call["id"] for call in json.loads(reply.message)["tool_calls"]]
    assert [call.id for call in reply.calls] == echoed == ids


_IDS = st.one_of(st.none(), st.sampled_from(["", "a", "b", "call00001", "call00002", "call00005"]))


@given(st.lists(_IDS, max_size=6), st.frozensets(st.sampled_from(["a", "call00002", "call00003"])))
def test_ids_are_unique_over_the_whole_run(given_ids: list[str | None], taken: frozenset[str]) -> None:
    """For all replies and histories: non-empty, distinct, none of an earlier reply, kept when already so."""
    reply = reply_of({"content": "x", "tool_calls": [raw_call(call_id) for call_id in given_ids]}, taken=taken)
    ids = [call.id for call in reply.calls]
    assert all(ids)
    assert len({*ids, *taken}) == len(ids) + len(taken)
    if len({*given_ids} - taken - {"", None}) == len(given_ids):
        assert ids == given_ids


@pytest.mark.parametrize(
    ("arguments", "raw", "echoed"),
    [
        ('{"a":1}', '{"a":1}', '{"a":1}'),
        ({"a": 1}, '{"a":1}', '{"a":1}'),
        ("", "{}", "{}"),
        (None, "{}", "{}"),
        ('{"a":', '{"a":', '{"unparsed":"{\\"a\\":"}'),
        ("[1]", "[1]", '{"unparsed":"[1]"}'),
        ("rm -rf", "rm -rf", '{"unparsed":"rm -rf"}'),
    ],
    ids=repr,
)
def test_broken_arguments_reach_the_gate_but_not_the_next_request(arguments: Any, raw: str, echoed: str) -> None:
    """The gate must see what the model wrote; strict servers refuse a history whose arguments do not parse."""
    reply = reply_of({"content": None, "tool_calls": [raw_call(arguments=arguments)]})
    assert reply.calls[0].arguments == raw
    assert json.loads(reply.message)["tool_calls"][0]["function"]["arguments"] == echoed


@pytest.mark.parametrize(
    ("reason", "has_calls", "finish"),
    [
        ("stop", False, "stop"),
        ("end_turn", False, "stop"),
        ("STOP", True, "tool_calls"),
        ("tool_use", True, "tool_calls"),
        ("tool_calls", False, "stop"),
        ("length", False, "length"),
        ("MAX_TOKENS", True, "length"),
        ("content_filter", False, "content_filter"),
        ("SAFETY", False, "content_filter"),
        ("refusal", False, "refusal"),
        (None, False, "stop"),
        ("something_new", True, "tool_calls"),
    ],
    ids=str,
)
def test_finish_reasons_of_all_providers_are_one_vocabulary(reason: str | None, has_calls: bool, finish: str) -> None:
    """`stop` beside calls means calls; calls that never came mean stop."""
    message = {"content": "x", "tool_calls": [raw_call()] if has_calls else None}
    assert reply_of(message, reason).finish == finish


def test_a_refusal_is_told_apart_from_an_answer() -> None:
    """OpenAI puts it beside an empty content; it goes back as content, for `refusal` is refused in requests."""
    reply = reply_of({"content": None, "refusal": "I cannot help with that."})
    assert (reply.finish, reply.refusal, reply.content) == ("refusal", "I cannot help with that.", "")
    assert json.loads(reply.message)["content"] == "I cannot help with that."


def test_an_empty_answer_is_a_reply_and_says_so() -> None:
    """Whether to ask again is the runtime's decision."""
    reply = reply_of({"content": ""})
    assert (reply.content, reply.calls, reply.finish) == ("", (), "stop")


def test_content_in_parts_is_read_as_its_text_and_echoed_as_it_came() -> None:
    """Mistral's reasoning models answer so."""
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Hi "}, {"type": "text", "text": "there"}]
    reply = reply_of({"content": parts})
    assert reply.content == "Hi there"
    assert json.loads(reply.message)["content"] == parts


BROKEN = {
    "empty": b"",
    "blank": b" \n",
    "html": b"<html>busy</html>",
    "cut off": b'{"choices":[{"message":{"content":"x"',
    "a list": b"[]",
    "no choices": b'{"choices":[]}',
    "null choices": b'{"choices":null}',
    "no message": b'{"choices":[{"finish_reason":"stop"}]}',
    "text message": b'{"choices":[{"message":"hello"}]}',
    "calls of text": b'{"choices":[{"message":{"tool_calls":["act"]}}]}',
    "calls that are no list": b'{"choices":[{"message":{"tool_calls":7}}]}',
    "not utf-8": b'{"choices":[{"message":{"content":"\xff"}}]}',
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_completion_is_a_billable_output_failure(body: bytes) -> None:
    """Asked again, a bounded number of times; whatever it was, it may have been generated and billed."""
    with pytest.raises(AttemptFailure) as caught:
        parse_completion(body, ASKED)
    assert (caught.value.error, caught.value.sort, caught.value.is_billable) == (ModelOutputError, "output", True)


def test_a_body_without_a_choice_keeps_its_usage() -> None:
    """What was counted is charged as counted, not at the reservation."""
    with pytest.raises(AttemptFailure) as caught:
        parse_completion(b'{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":1}}', ASKED)
    assert caught.value.usage == Usage(5, 0, 0, 1, 0)


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"code":429,"message":"slow down"}}',
        b'{"choices":[{"message":null,"error":{"code":502,"message":"upstream"}}]}',
        b'{"choices":[{"message":{"content":"par"},"finish_reason":"error"}]}',
    ],
    ids=["body", "choice", "finish reason"],
)
def test_an_error_under_status_200_is_an_error(body: bytes) -> None:
    """Routers answer 200 and put the upstream's failure into the body."""
    with pytest.raises(AttemptFailure) as caught:
        parse_completion(body, ASKED)
    assert (caught.value.error, caught.value.sort) == (ModelUnavailableError, "busy")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.sampled_from(["", "x", '{"a":1}', "error"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "function", "name"]), inner),
    max_leaves=8,
)
_MEMBERS = st.sampled_from(["role", "content", "tool_calls", "refusal", "reasoning", "annotations", "index"])


@given(st.dictionaries(_MEMBERS, _JSON), st.sampled_from(["stop", "tool_calls", "length", ""]))
def test_any_message_becomes_a_canonical_reply_or_a_failure(message: dict[str, Any], reason: str) -> None:
    """No shape of message raises anything else, and what is echoed is canonical JSON of an assistant message."""
    try:
        reply = to_reply(message, reason, None, "m", ASKED)
    except AttemptFailure:
        return
    echoed = msgspec.json.decode(reply.message)
    assert canonical(echoed) == reply.message
    assert echoed["role"] == "assistant"
    assert [call["id"] for call in echoed.get("tool_calls", [])] == [call.id for call in reply.calls]
