"""The scripted provider: a real server that answers by the script, well or badly, and says what it was asked."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from ooda.errors import ModelOutputError, ModelUnavailableError
from ooda.models.request import ModelReply
from ooda.models.scripted import say
from ooda.testing.provider import (
    Behaviour,
    ScriptedProvider,
    broken,
    busy,
    cut_off,
    declined,
    garbled,
    held,
    hung_up,
    silent,
    twin_calls,
)
from tests.models.conftest import Asking

LOOK = say("I look at two files.", ("read_file", {"path": "a.py"}), ("read_file", '{"path": '))


def post(there: ScriptedProvider, **body: Any) -> tuple[int, dict[str, str], bytes]:
    """Ask once, without a client library; what came before the connection ended."""
    url = urlsplit(there.url)
    connection = http.client.HTTPConnection(url.netloc, timeout=5)
    try:
        connection.request("POST", url.path + "/chat/completions", json.dumps({"messages": [], **body}))
        response = connection.getresponse()
        try:
            read = response.read()
        except http.client.IncompleteRead as error:
            read = error.partial
        return response.status, {name.lower(): value for name, value in response.getheaders()}, read
    finally:
        connection.close()


@pytest.fixture
def asking() -> Asking:
    return Asking()


async def ask(asking: Asking, there: ScriptedProvider, *, stream: bool) -> tuple[ModelReply, list[str]]:
    """Ask by the transport that runs use; gives the reply and the pieces."""
    pieces: list[str] = []
    model = asking.chat(there.url)
    try:
        return await model.complete(asking.request(stream=stream), asking.grant(), on_piece=pieces.append), pieces
    finally:
        await model.close()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_reply_arrives_as_it_was_written(asking: Asking, stream: bool) -> None:
    """Text, calls (bad JSON too) and usage; ids are fresh for every reply."""
    with ScriptedProvider([LOOK, LOOK]) as there:
        first, pieces = await ask(asking, there, stream=stream)
        second, _ = await ask(asking, there, stream=stream)

    assert (first.content, first.usage, first.finish) == (LOOK.content, LOOK.usage, "tool_calls")
    assert [(call.name, call.arguments) for call in first.calls] == [(c.name, c.arguments) for c in LOOK.calls]
    assert len({call.id for reply in (first, second) for call in reply.calls}) == 4
    assert ("".join(pieces), len(pieces) > 1) == ((LOOK.content, True) if stream else ("", False))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (cut_off(LOOK), ModelOutputError),
        (garbled(LOOK), ModelOutputError),
        (hung_up(), ModelUnavailableError),
        (broken(503), ModelUnavailableError),
        (busy(), ModelUnavailableError),
    ],
    ids=["cut off", "garbled", "hung up", "broken", "busy"],
)
async def test_a_fault_is_one_for_the_transport(
    asking: Asking, fault: Behaviour, error: type[Exception], stream: bool
) -> None:
    """Each is told as what it is, however often it is tried."""
    with ScriptedProvider([fault] * 9) as there:
        with pytest.raises(error):
            await ask(asking, there, stream=stream)
        assert len(there.requests) > 1


def test_faults_on_the_wire() -> None:
    """Status and headers, half a body, twins, a refusal; after the script it says so."""
    script: list[Behaviour] = [busy(2.5), cut_off(LOOK), twin_calls(LOOK, "same"), declined("No.")]
    with ScriptedProvider(script) as there:
        status, headers, body = post(there)
        assert (status, headers["retry-after"], json.loads(body)["error"]["message"]) == (
            429,
            "2.5",
            "Rate limit reached",
        )
        _, headers, body = post(there)
        assert len(body) == int(headers["content-length"]) // 2
        message = json.loads(post(there)[2])["choices"][0]["message"]
        assert [call["id"] for call in message["tool_calls"]] == ["same", "same"]
        message = json.loads(post(there)[2])["choices"][0]["message"]
        assert (message["content"], message["refusal"]) == (None, "No.")
        status, _, body = post(there)
        assert (status, "holds 4 answers" in json.loads(body)["error"]["message"]) == (400, True)


def test_an_answer_may_depend_on_what_was_asked_and_requests_are_kept() -> None:
    """A function of the request's JSON."""
    with ScriptedProvider([lambda request: say(f"You said {request['messages'][0]['content']}.")]) as there:
        answer = post(there, messages=[{"role": "user", "content": "hello"}])[2]
        assert json.loads(answer)["choices"][0]["message"]["content"] == "You said hello."
        assert [request["messages"][0]["content"] for request in there.requests] == ["hello"]
        there.wait_for(1)
        with pytest.raises(TimeoutError, match="asked 1 times"):
            there.wait_for(2, timeout_s=0.01)


def test_a_held_answer_waits_for_its_gate() -> None:
    """Not streamed, nothing comes before it."""
    gate = threading.Event()
    answers: list[bytes] = []
    with ScriptedProvider([held(say("At last."), gate)]) as there:
        client = threading.Thread(target=lambda: answers.append(post(there)[2]))
        client.start()
        there.wait_for(1)
        assert answers == []
        gate.set()
        client.join()
    assert b"At last." in answers[0]


def test_closing_lets_go_of_whoever_waits() -> None:
    """A test that fails must not hang."""
    ends: list[type[BaseException]] = []

    def client(there: ScriptedProvider) -> None:
        try:
            post(there)
        except (http.client.HTTPException, OSError) as error:
            ends.append(type(error))

    with ScriptedProvider([silent()]) as there:
        waiting = threading.Thread(target=client, args=(there,))
        waiting.start()
        there.wait_for(1)
    waiting.join()
    assert ends == [http.client.RemoteDisconnected]


@pytest.fixture
def listed() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(model="llama-here") as there:
        yield there


def test_its_model_is_listed(listed: ScriptedProvider) -> None:
    """As local servers do, which `ooda run` looks for."""
    url = urlsplit(listed.url)
    connection = http.client.HTTPConnection(url.netloc, timeout=5)
    connection.request("GET", "/v1/models")
    assert json.loads(connection.getresponse().read())["data"] == [{"id": "llama-here", "object": "model"}]
    connection.close()
