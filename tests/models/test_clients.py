"""The optional back ends against the same server: replies, streams and failures as with our own transport.

litellm pins a version of openai and weighs a hundred megabytes, so its half runs where it is installed:
`pip install 'ooda-agents[litellm]'`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ooda.errors import (
    ConfigError,
    ContextOverflowError,
    CredentialError,
    ModelOutputError,
    ModelUnavailableError,
    OodaError,
    RefusedError,
)
from ooda.events import Usage
from ooda.models.client_failures import load_extra
from ooda.models.litellm_client import LiteLLMModel
from ooda.models.openai_client import OpenAIClientModel
from ooda.models.request import Attempt, ModelAccess, ModelRequest, RawCall

TOOLS = b'[{"type":"function","function":{"name":"read_file","parameters":{"type":"object","properties":{}}}}]'


def needs(package: str, extra: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        importlib.util.find_spec(package) is None,
        reason=f"`{package}` is not installed: pip install 'ooda-agents[{extra}]'",
    )


# Warnings inside litellm's own models are not ours to mend.
LITELLM_MARKS = [needs("litellm", "litellm"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(
    params=[
        pytest.param("openai", marks=needs("openai", "openai")),
        pytest.param("litellm", marks=LITELLM_MARKS),
    ]
)
async def client(request: pytest.FixtureRequest, server: Any, asking: Any) -> AsyncIterator[ModelAccess]:
    """Each optional back end, pointed at the test's server."""
    endpoint = asking.endpoint(server.url, "sk-test-1")
    model: ModelAccess
    if request.param == "openai":
        model = OpenAIClientModel(asking.model, endpoint, policy=asking.fast)
    else:
        model = LiteLLMModel(asking.model, endpoint=endpoint, policy=asking.fast)
    yield model
    await model.close()


async def test_a_whole_exchange(server: Any, asking: Any, wire: Any, client: ModelAccess) -> None:
    """The same body goes out, the same reply comes back."""
    server.script = [wire.http(wire.completion(None, [wire.call()]))]
    request: ModelRequest = asking.request(tools=TOOLS, temperature_milli=200)
    reply = await client.complete(request, asking.grant())
    (seen,) = server.seen
    assert (seen.target, seen.headers["authorization"]) == ("/v1/chat/completions", "Bearer sk-test-1")
    assert {"model", "messages", "tools", "max_tokens", "temperature"} <= seen.json.keys()
    assert reply.calls == (RawCall("call_1", "read_file", '{"path":"a.py"}'),)
    assert (reply.finish, reply.usage, reply.attempts) == ("tool_calls", Usage(100, 0, 0, 10, 0), 1)


async def test_a_stream_gives_pieces_and_the_whole(server: Any, asking: Any, wire: Any, client: ModelAccess) -> None:
    """Put together by the same code as our own streams."""
    body = wire.events(
        wire.chunk({"role": "assistant", "content": "I "}),
        wire.chunk({"content": "look."}),
        wire.chunk({"tool_calls": [{"index": 0, **wire.call()}]}),
        wire.chunk({}, "tool_calls"),
        wire.usage_chunk,
    )
    server.script = [wire.stream_head + wire.chunked(body)]
    pieces: list[str] = []
    reply = await client.complete(asking.request(stream=True, tools=TOOLS), asking.grant(), on_piece=pieces.append)
    assert "".join(pieces) == reply.content == "I look."
    assert reply.calls == (RawCall("call_1", "read_file", '{"path":"a.py"}'),)
    assert (reply.finish, reply.usage) == ("tool_calls", Usage(100, 0, 0, 10, 0))


STATUSES: dict[str, tuple[str, type[OodaError], int]] = {
    "bad key": ("401 No", CredentialError, 1),
    "no such model": ("404 No", ConfigError, 1),
    "malformed": ("400 No", ModelOutputError, 1),
    "busy": ("429 Wait", ModelUnavailableError, 5),
    "broken": ("500 Oops", ModelUnavailableError, 5),
}


@pytest.mark.parametrize(("status", "kind", "tries"), STATUSES.values(), ids=STATUSES.keys())
async def test_statuses_mean_the_same_as_with_our_own_transport(
    server: Any, asking: Any, wire: Any, client: ModelAccess, status: str, kind: type[OodaError], tries: int
) -> None:
    """Retried by us alone, so that each attempt is counted; the client's own retries are off."""
    server.script = [wire.http({"error": {"message": "said so"}}, status)]
    attempts: list[Attempt] = []
    with pytest.raises(kind, match="said so"):
        await client.complete(asking.request(), asking.grant(), on_attempt=attempts.append)
    assert len(server.seen) == len(attempts) == tries


async def test_an_overlong_request_is_an_overflow(server: Any, asking: Any, wire: Any, client: ModelAccess) -> None:
    """The runtime compacts, whichever back end said so."""
    said = {
        "error": {"message": "This model's maximum context length is 8192 tokens.", "code": "context_length_exceeded"}
    }
    server.script = [wire.http(said, "400 Bad Request")]
    with pytest.raises(ContextOverflowError):
        await client.complete(asking.request(), asking.grant())


async def test_a_busy_server_is_asked_again_when_it_says(
    server: Any, asking: Any, wire: Any, client: ModelAccess
) -> None:
    """The header is read through the client's exception."""
    busy = wire.http({"error": {"message": "slow down"}}, "429 Wait", headers="retry-after-ms: 30\r\n")
    server.script = [busy, wire.http(wire.completion())]
    attempts: list[Attempt] = []
    reply = await client.complete(asking.request(), asking.grant(), on_attempt=attempts.append)
    assert (reply.attempts, reply.content, len(attempts)) == (2, "done", 1)


async def test_a_connection_that_is_cut_may_have_to_be_paid(server: Any, asking: Any, client: ModelAccess) -> None:
    """Whatever error the client makes of it."""

    async def reset(exchange: Any) -> None:
        exchange.reset()

    server.script = [reset]
    attempts: list[Attempt] = []
    with pytest.raises(ModelUnavailableError):
        await client.complete(asking.request(), asking.grant(), on_attempt=attempts.append)
    assert [(attempt.sent, attempt.is_billable, attempt.status) for attempt in attempts] == [(True, True, 0)] * 5


async def test_nobody_there_is_known_within_seconds(server: Any, asking: Any, client: ModelAccess) -> None:
    """Three attempts, nothing sent, nothing to pay."""
    await server.stop()
    attempts: list[Attempt] = []
    with pytest.raises(ModelUnavailableError):
        await client.complete(asking.request(), asking.grant(), on_attempt=attempts.append)
    assert [(attempt.sent, attempt.is_billable) for attempt in attempts] == [(False, False)] * 3


@pytest.mark.parametrize("is_rude", [False, True], ids=["closed", "reset"])
async def test_a_truncated_stream_is_never_taken_for_a_reply(
    server: Any, asking: Any, wire: Any, client: ModelAccess, is_rude: bool
) -> None:
    """Half an answer ends in an error whatever the client makes of it."""
    body = wire.events(wire.chunk({"content": "half"}), done=False)

    async def cut(exchange: Any) -> None:
        await exchange.send(wire.stream_head + wire.chunked(body, end=False))
        if is_rude:
            exchange.reset()
        else:
            exchange.close()

    server.script = [cut]
    with pytest.raises((ModelOutputError, ModelUnavailableError)):
        await client.complete(asking.request(stream=True), asking.grant())


async def test_an_answer_that_is_no_json_is_an_output_error(
    server: Any, asking: Any, wire: Any, client: ModelAccess
) -> None:
    """Not an exception of a library nobody has heard of."""
    server.script = [wire.http(b'{"choices": [', content_type="application/json")]
    with pytest.raises((ModelOutputError, ModelUnavailableError)):
        await client.complete(asking.request(), asking.grant())


async def test_the_deadline_holds(server: Any, asking: Any, client: ModelAccess) -> None:
    """Above the client's own timeouts."""

    async def silent(exchange: Any) -> None:
        await server.never.wait()

    server.script = [silent]
    began = asyncio.get_running_loop().time()
    with pytest.raises(ModelUnavailableError):
        await client.complete(asking.request(deadline_s=0.3), asking.grant())
    assert asyncio.get_running_loop().time() - began < 3.0


async def test_a_grant_is_needed(server: Any, asking: Any, client: ModelAccess) -> None:
    """No back end is a way round the gate."""
    with pytest.raises(RefusedError):
        await client.complete(asking.request(), asking.grant("another"))
    assert server.seen == []


def test_a_missing_package_is_named_with_the_line_that_installs_it() -> None:
    """The default back end needs none of them."""
    with pytest.raises(ConfigError, match=r"pip install 'ooda-agents\[litellm\]'"):
        load_extra("ooda_no_such_package", "litellm")


def test_naming_the_back_ends_imports_neither_package() -> None:
    """Both cost seconds; they load when a model of theirs is opened."""
    code = (
        "import sys, ooda.models.openai_client, ooda.models.litellm_client;"
        "print([name for name in ('openai', 'litellm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
