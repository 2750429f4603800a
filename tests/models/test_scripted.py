"""The scripted model is a model: grants, streams, ids and errors as with a real one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ooda.errors import ContextOverflowError, ModelOutputError, RefusedError
from ooda.events import Usage
from ooda.models.request import ModelReply, ModelRequest
from ooda.models.scripted import ScriptedModel, say


async def test_replies_are_given_in_order_and_requests_kept(asking: Any) -> None:
    """The history is kept as it was when asked, though its buffer goes on growing."""
    model = ScriptedModel([say("one"), say("two")], name=asking.model)
    history = bytearray(b'{"role":"user","content":"a"}')
    first = await model.complete(asking.request(messages=history), asking.grant())
    history += b"," + first.message
    second = await model.complete(asking.request(messages=history), asking.grant())
    assert [first.content, second.content] == ["one", "two"]
    assert model.requests[0].messages == b'{"role":"user","content":"a"}'
    assert model.requests[1].messages == bytes(history)


def test_say_writes_a_reply_as_a_provider_would() -> None:
    """Message, calls and usage agree with each other."""
    reply = say("I look.", ("read_file", {"path": "a.py"}), ("finish", "{broken"), reasoning="hm")
    assert [(call.name, call.arguments) for call in reply.calls] == [
        ("read_file", '{"path":"a.py"}'),
        ("finish", "{broken"),
    ]
    assert json.loads(reply.message)["tool_calls"][0]["id"] == reply.calls[0].id
    assert json.loads(reply.message)["reasoning_content"] == "hm"
    assert (reply.finish, reply.usage) == ("tool_calls", Usage(input_tokens=100, output_tokens=10))
    assert say("x", finish="length", usage=Usage(1, 0, 0, 2, 0)).usage == Usage(1, 0, 0, 2, 0)


async def test_a_function_of_the_request_may_answer(asking: Any) -> None:
    """Plain or async: scripts that react to what the agent sent."""

    def count(request: ModelRequest) -> ModelReply:
        return say(str(len(request.messages)))

    async def later(request: ModelRequest) -> ModelReply:
        return say("later")

    model = ScriptedModel([count, later], name=asking.model)
    assert (await model.complete(asking.request(messages=b"{}"), asking.grant())).content == "2"
    assert (await model.complete(asking.request(), asking.grant())).content == "later"


async def test_an_error_in_the_script_is_raised(asking: Any) -> None:
    """As a value or from a function."""
    overflow = ContextOverflowError("too long")
    model = ScriptedModel([overflow, lambda request: overflow], name=asking.model)
    for _ in range(2):
        with pytest.raises(ContextOverflowError):
            await model.complete(asking.request(), asking.grant())


async def test_the_same_reply_twice_gets_fresh_call_ids(asking: Any) -> None:
    """As a provider that repeats its ids would be treated."""
    reply = say("", ("act", {}))
    model = ScriptedModel([reply, reply], name=asking.model)
    first = await model.complete(asking.request(), asking.grant())
    taken = {first.calls[0].id}
    second = await model.complete(asking.request(taken_ids=taken), asking.grant())
    assert second.calls[0].id not in taken
    assert json.loads(second.message)["tool_calls"][0]["id"] == second.calls[0].id


async def test_streaming_gives_the_text(asking: Any) -> None:
    """Only when asked for."""
    pieces: list[str] = []
    model = ScriptedModel([say("a"), say("b")], name=asking.model)
    await model.complete(asking.request(), asking.grant(), on_piece=pieces.append)
    await model.complete(asking.request(stream=True), asking.grant(), on_piece=pieces.append)
    assert pieces == ["b"]


async def test_the_end_of_the_script_says_so(asking: Any) -> None:
    """With the count, so that the test that ran out knows by how much."""
    model = ScriptedModel([say("only")], name=asking.model)
    await model.complete(asking.request(), asking.grant())
    with pytest.raises(ModelOutputError, match="holds 1 replies"):
        await model.complete(asking.request(), asking.grant())
    await model.close()


async def test_a_grant_is_needed(asking: Any) -> None:
    """A test with a scripted model proves the same door as a live run."""
    model = ScriptedModel([say("x")], name=asking.model)
    with pytest.raises(RefusedError):
        await model.complete(asking.request(), asking.grant("another"))
    assert model.requests == []
