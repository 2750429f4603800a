"""The default back end against a real server: bodies, replies, streams and every misbehaviour it must survive."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from ooda.errors import (
    ConfigError,
    ContextOverflowError,
    CredentialError,
    ModelOutputError,
    ModelUnavailableError,
    RefusedError,
)
from ooda.events import Usage
from ooda.models.backend import Dialect, body_of, dialect_for
from ooda.models.http1 import Timeouts
from ooda.models.request import Attempt, RawCall
from ooda.models.retry import RetryPolicy

TOOLS = b'[{"type":"function","function":{"name":"read_file","parameters":{}}}]'


# The body.


def test_the_history_goes_out_as_the_very_object_it_is(asking: Any) -> None:
    """No copy, no encoding: this is what keeps the cost of a step flat in its history."""
    history = bytearray(b'{"role":"user","content":"x"}')
    assert body_of(asking.request(messages=history), "m", Dialect())[1] is history


def test_everything_asked_for_stands_in_the_body(asking: Any) -> None:
    """All members, in JSON that parses."""
    request = asking.request(
        messages=b'{"role":"system","content":"s"},{"role":"user","content":"u"}',
        tools=TOOLS,
        reply_tokens=77,
        temperature_milli=250,
        parallel_tool_calls=False,
        stream=True,
        extra=b'"provider":{"order":["x"]},"seed":1',
    )
    assert json.loads(b"".join(body_of(request, "z-ai/glm-4.6:exacto", Dialect()))) == {
        "model": "z-ai/glm-4.6:exacto",
        "max_tokens": 77,
        "temperature": 0.25,
        "tools": json.loads(TOOLS),
        "parallel_tool_calls": False,
        "stream": True,
        "stream_options": {"include_usage": True},
        "provider": {"order": ["x"]},
        "seed": 1,
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
    }


def test_nothing_unasked_stands_in_the_body(asking: Any) -> None:
    """Servers differ in what they take; the least is the safest."""
    request = asking.request(parallel_tool_calls=True)  # without tools it means nothing, and OpenAI refuses it
    assert json.loads(b"".join(body_of(request, "m", Dialect()))) == {
        "model": "m",
        "max_tokens": 256,
        "messages": [{"role": "user", "content": "Do it."}],
    }


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("api.openai.com", "max_completion_tokens"),
        ("me.openai.azure.com", "max_completion_tokens"),
        ("openrouter.ai", "max_tokens"),
        ("127.0.0.1", "max_tokens"),
    ],
)
def test_the_reply_ceiling_has_the_name_its_host_knows(host: str, name: str) -> None:
    """OpenAI's reasoning models refuse the old name, most other servers ignore the new one."""
    assert dialect_for(host).limit_name == name


# Replies.


async def test_a_whole_exchange(server: Any, asking: Any, wire: Any) -> None:
    """Headers, target, body out; every fact of the reply back."""
    server.script = [wire.http(wire.completion(None, [wire.call()]))]
    model = asking.chat(server.url, key="sk-test-1", headers=(("x-title", "ooda"),))
    reply = await model.complete(asking.request(tools=TOOLS), asking.grant())
    (seen,) = server.seen
    assert (seen.method, seen.target) == ("POST", "/v1/chat/completions")
    assert seen.headers == {
        "host": f"127.0.0.1:{server.port}",
        "content-type": "application/json",
        "accept-encoding": "identity",
        "user-agent": "ooda",
        "x-title": "ooda",
        "authorization": "Bearer sk-test-1",
        "idempotency-key": "key-1",
        "content-length": str(len(seen.body)),
    }
    assert reply.calls == (RawCall("call_1", "read_file", '{"path":"a.py"}'),)
    assert (reply.finish, reply.usage, reply.model) == ("tool_calls", Usage(100, 0, 0, 10, 0), "test-model-0613")
    assert (reply.attempts, reply.content) == (1, "")
    assert 0 <= reply.latency_ms < 5000


async def test_without_a_key_no_authorisation_is_sent(server: Any, asking: Any, wire: Any) -> None:
    """Some local servers refuse an empty bearer."""
    server.script = [wire.http(wire.completion())]
    await asking.chat(server.url).complete(asking.request(), asking.grant())
    assert "authorization" not in server.seen[0].headers


async def test_a_grown_history_is_sent_whole_and_in_order(server: Any, asking: Any, wire: Any) -> None:
    """Twenty turns on one buffer and one connection; each request holds all that came before."""
    server.script = [wire.http(wire.completion(None, [wire.call("")]))]
    model = asking.chat(server.url)
    history = bytearray(b'{"role":"user","content":"' + b"x" * 100_000 + b'"}')
    taken: set[str] = set()
    for turn in range(20):
        reply = await model.complete(asking.request(messages=history, taken_ids=taken), asking.grant())
        (made,) = reply.calls
        assert made.id not in taken
        taken.add(made.id)
        history += b"," + reply.message + b',{"role":"tool","tool_call_id":"%s","content":"ok"}' % made.id.encode()
        assert len(server.seen[-1].json["messages"]) == 1 + 2 * turn
    assert server.connections == 1


async def test_a_stream_gives_pieces_and_the_whole(server: Any, asking: Any, wire: Any) -> None:
    """Text as it comes, calls and usage at the end, and the connection is kept for the next."""
    body = wire.events(
        wire.chunk({"role": "assistant", "content": "I "}),
        wire.chunk({"content": "look."}),
        wire.chunk({"tool_calls": [{"index": 0, **wire.call(arguments='{"pa')}]}),
        wire.chunk({"tool_calls": [{"index": 0, "function": {"arguments": 'th":"a.py"}'}}]}),
        wire.chunk({}, "tool_calls"),
        wire.usage_chunk,
    )
    server.script = [wire.stream_head + wire.chunked(body, 17)]
    model = asking.chat(server.url)
    for _ in range(2):
        pieces: list[str] = []
        reply = await model.complete(asking.request(stream=True), asking.grant(), on_piece=pieces.append)
        assert "".join(pieces) == reply.content == "I look."
        assert reply.calls == (RawCall("call_1", "read_file", '{"path":"a.py"}'),)
        assert (reply.usage, reply.finish) == (Usage(100, 0, 0, 10, 0), "tool_calls")
    assert server.connections == 1


async def test_a_stream_cut_at_every_byte_is_the_same_reply(server: Any, asking: Any, wire: Any) -> None:
    """Frames, lines and characters in halves."""
    body = wire.events(wire.chunk({"content": "fünf €"}), wire.chunk({}, "stop"), wire.usage_chunk)
    text = wire.stream_head + wire.chunked(body, 9)

    async def trickle(exchange: Any) -> None:
        await exchange.send(*(text[at : at + 1] for at in range(len(text))))

    server.script = [trickle]
    pieces: list[str] = []
    model = asking.chat(server.url)
    reply = await model.complete(asking.request(stream=True), asking.grant(), on_piece=pieces.append)
    assert (pieces, reply.content) == (["fünf €"], "fünf €")


@pytest.mark.parametrize("kind", ["text/plain", "Text/Event-Stream; charset=utf-8"])
async def test_a_stream_is_known_by_any_name_its_server_gives_it(
    server: Any, asking: Any, wire: Any, kind: str
) -> None:
    """Only JSON is taken for a whole completion when a stream was asked for."""
    body = wire.events(wire.chunk({"content": "x"}, "stop"), wire.usage_chunk)
    server.script = [wire.http(body, content_type=kind)]
    reply = await asking.chat(server.url).complete(asking.request(stream=True), asking.grant())
    assert (reply.content, reply.usage) == ("x", Usage(100, 0, 0, 10, 0))


async def test_a_stream_is_done_at_done(server: Any, asking: Any, wire: Any) -> None:
    """A server that keeps the response open after `[DONE]` costs its connection, not the reply."""
    body = wire.events(wire.chunk({"content": "x"}, "stop"))

    async def linger(exchange: Any) -> None:
        await exchange.send(wire.stream_head + wire.chunked(body, end=False))
        await server.never.wait()

    server.script = [linger]
    reply = await asking.chat(server.url).complete(asking.request(stream=True), asking.grant())
    assert (reply.content, reply.usage) == ("x", None)


@pytest.mark.parametrize("is_chunked", [True, False], ids=["chunked", "until close"])
async def test_a_stream_cut_after_its_finish_reason_is_whole(
    server: Any, asking: Any, wire: Any, is_chunked: bool
) -> None:
    """What is lost then is the usage, and the caller settles at its reservation."""
    body = wire.events(wire.chunk({"content": "x"}), wire.chunk({}, "stop"), done=False)
    head = wire.stream_head if is_chunked else wire.stream_head.replace(b"transfer-encoding: chunked\r\n", b"")

    async def cut(exchange: Any) -> None:
        await exchange.send(head + (wire.chunked(body, end=False) if is_chunked else body))
        exchange.close()

    server.script = [cut]
    reply = await asking.chat(server.url).complete(asking.request(stream=True), asking.grant())
    assert (reply.content, reply.finish, reply.usage) == ("x", "stop", None)


async def test_a_server_that_does_not_stream_is_read_all_the_same(server: Any, asking: Any, wire: Any) -> None:
    """The listener gets the whole text as one piece."""
    server.script = [wire.http(wire.completion("whole"))]
    pieces: list[str] = []
    model = asking.chat(server.url)
    reply = await model.complete(asking.request(stream=True), asking.grant(), on_piece=pieces.append)
    assert (pieces, reply.content) == (["whole"], "whole")


async def test_without_streaming_the_listener_hears_nothing(server: Any, asking: Any, wire: Any) -> None:
    """Pieces are for `stream` requests."""
    server.script = [wire.http(wire.completion("whole"))]
    pieces: list[str] = []
    await asking.chat(server.url).complete(asking.request(), asking.grant(), on_piece=pieces.append)
    assert pieces == []


# Dialects learned from refusals.


@pytest.mark.parametrize(
    ("said", "members", "gone", "instead"),
    [
        (
            "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
            {},
            "max_tokens",
            "max_completion_tokens",
        ),
        (
            "Unsupported value: 'temperature' does not support 0.2 with this model.",
            {"temperature_milli": 200},
            "temperature",
            "",
        ),
        (
            "Unrecognized request argument supplied: parallel_tool_calls",
            {"tools": TOOLS, "parallel_tool_calls": True},
            "parallel_tool_calls",
            "",
        ),
        ("stream_options: Extra inputs are not permitted", {"stream": True}, "stream_options", ""),
    ],
    ids=["max_tokens", "temperature", "parallel_tool_calls", "stream_options"],
)
async def test_a_member_the_model_refuses_is_left_out_from_then_on(
    server: Any, asking: Any, wire: Any, said: str, members: dict[str, Any], gone: str, instead: str
) -> None:
    """Learned at the first refusal, within the same attempt; the second call does not try again."""
    refusal = wire.http({"error": {"message": said, "type": "invalid_request_error"}}, "400 Bad Request")
    server.script = [refusal, wire.http(wire.completion())]
    model = asking.chat(server.url)
    for _ in range(2):
        assert (await model.complete(asking.request(**members), asking.grant())).attempts == 1
    first, *later = [seen.json for seen in server.seen]
    assert gone in first
    assert len(later) == 2
    assert all(gone not in body for body in later)
    assert not instead or all(instead in body for body in later)


async def test_a_server_that_refuses_both_names_is_not_asked_for_ever(server: Any, asking: Any, wire: Any) -> None:
    """Each dialect is tried once."""
    said = "Unsupported parameter: max_tokens"
    server.script = [wire.http({"error": {"message": said}}, "400 Bad Request")]
    with pytest.raises(ModelOutputError, match="Unsupported parameter"):
        await asking.chat(server.url).complete(asking.request(), asking.grant())
    assert len(server.seen) == 2


# Failures.


async def attempts_of(model: Any, asking: Any, **members: Any) -> tuple[Any, list[Attempt]]:
    """The reply or error of one call, and the attempts that failed."""
    attempts: list[Attempt] = []
    try:
        return await model.complete(asking.request(**members), asking.grant(), on_attempt=attempts.append), attempts
    except (ModelOutputError, ModelUnavailableError, ContextOverflowError, CredentialError, ConfigError) as error:
        return error, attempts


async def test_429_is_retried_when_the_provider_says(server: Any, asking: Any, wire: Any) -> None:
    """`retry-after-ms` is honoured; the attempt was turned away, hence costs nothing."""
    busy = wire.http({"error": {"message": "slow down"}}, "429 Too Many Requests", headers="retry-after-ms: 60\r\n")
    server.script = [busy, wire.http(wire.completion())]
    began = asyncio.get_running_loop().time()
    reply, (attempt,) = await attempts_of(asking.chat(server.url), asking)
    assert asyncio.get_running_loop().time() - began >= 0.06
    assert reply.attempts == 2
    assert (attempt.number, attempt.status, attempt.sent, attempt.is_billable) == (1, 429, True, False)
    assert attempt.wait_s >= 0.06
    assert "slow down" in attempt.problem


async def test_a_wait_beyond_the_deadline_is_not_begun(server: Any, asking: Any, wire: Any) -> None:
    """The caller learns at once how long to park the run."""
    busy = wire.http({"error": {"message": "tomorrow"}}, "429 Too Many Requests", headers="retry-after: 3600\r\n")
    server.script = [busy]
    error, attempts = await attempts_of(asking.chat(server.url), asking)
    assert isinstance(error, ModelUnavailableError)
    assert (error.facts["retry_after_s"], error.facts["status"], len(attempts)) == (3600.0, 429, 1)
    assert "3600 s" in str(error)


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 529])
async def test_a_busy_server_is_asked_again(server: Any, asking: Any, wire: Any, status: int) -> None:
    """The second answer is the reply."""
    server.script = [wire.http(b"busy", f"{status} Busy", "text/plain"), wire.http(wire.completion())]
    reply, attempts = await attempts_of(asking.chat(server.url), asking)
    assert (reply.content, reply.attempts) == ("done", 2)
    assert [attempt.status for attempt in attempts] == [status]


async def test_a_server_that_stays_busy_is_given_up(server: Any, asking: Any, wire: Any) -> None:
    """After as many attempts as the policy says; the error says how many and what was said last."""
    server.script = [wire.http({"error": {"message": "on fire"}}, "500 Oops")]
    error, attempts = await attempts_of(asking.chat(server.url), asking)
    assert isinstance(error, ModelUnavailableError)
    assert "on fire" in str(error)
    assert "5 attempts" in str(error)
    assert [attempt.number for attempt in attempts] == [1, 2, 3, 4, 5]
    assert len(server.seen) == 5


@pytest.mark.parametrize("status", [401, 403])
async def test_a_rejected_key_is_never_tried_again(server: Any, asking: Any, wire: Any, status: int) -> None:
    """And never shown, even when the provider quotes it."""
    said = "Incorrect API key provided: sk-test-1"
    server.script = [wire.http({"error": {"message": said}}, f"{status} No")]
    error, attempts = await attempts_of(asking.chat(server.url, key="sk-test-1"), asking)
    assert isinstance(error, CredentialError)
    assert "Incorrect API key" in str(error)
    assert "sk-test-1" not in f"{error} {error!r} {error.facts} {attempts}"
    assert len(server.seen) == 1


async def test_an_overlong_request_is_an_overflow(server: Any, asking: Any, wire: Any) -> None:
    """At once: the runtime compacts, retrying would not shorten it."""
    said = {"error": {"message": "prompt is too long: 210000 tokens > 200000 maximum"}}
    server.script = [wire.http(said, "400 Bad Request")]
    error, _ = await attempts_of(asking.chat(server.url), asking)
    assert isinstance(error, ContextOverflowError)
    assert len(server.seen) == 1


def cut_after(text: bytes, *, is_rude: bool = False) -> Any:
    async def cut(exchange: Any) -> None:
        await exchange.send(text)
        if is_rude:
            exchange.reset()
        else:
            exchange.close()

    return cut


async def test_broken_answers_are_asked_for_once_more(server: Any, asking: Any, wire: Any) -> None:
    """Each may have been billed in full: the second broken one ends the call, and both are reported as billable."""
    whole = json.dumps(wire.completion()).encode()
    body = wire.events(wire.chunk({"content": "half"}), done=False)
    broken = {
        "truncated json": wire.http(whole[: len(whole) // 2]),
        "truncated body": cut_after(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"),
        "no json": wire.http(b"<html>hello</html>", content_type="text/html"),
        "nothing": wire.http(b""),
        "no choices": wire.http({"choices": []}),
        "truncated stream": cut_after(wire.stream_head + wire.chunked(body, end=False)),
        "reset stream": cut_after(wire.stream_head + wire.chunked(body, end=False), is_rude=True),
        "stream without an end": wire.stream_head + wire.chunked(body),
        "nonsense in a stream": wire.stream_head + wire.chunked(wire.events(b"{")),
    }
    for name, behaviour in broken.items():
        server.script, server.seen = [behaviour], []
        error, attempts = await attempts_of(asking.chat(server.url), asking, stream="stream" in name)
        assert isinstance(error, ModelOutputError), name
        assert [attempt.is_billable for attempt in attempts] == [True, True], name
        assert len(server.seen) == 2, name
        server.script = [behaviour, wire.http(wire.completion("mended"))]
        reply, attempts = await attempts_of(asking.chat(server.url), asking, stream="stream" in name)
        assert (reply.content, reply.attempts, len(attempts)) == ("mended", 2, 1), name


async def test_a_reset_connection_is_tried_again(server: Any, asking: Any, wire: Any) -> None:
    """It may have been billed: the request had left."""
    server.script = [cut_after(b"", is_rude=True), wire.http(wire.completion())]
    reply, (attempt,) = await attempts_of(asking.chat(server.url), asking)
    assert reply.attempts == 2
    assert (attempt.sent, attempt.is_billable, attempt.status) == (True, True, 0)


async def test_a_slow_first_byte_ends_at_its_limit(server: Any, asking: Any, wire: Any) -> None:
    """Then the next attempt, on a fresh connection."""

    async def silent(exchange: Any) -> None:
        await server.never.wait()

    server.script = [silent, wire.http(wire.completion())]
    reply, (attempt,) = await attempts_of(asking.chat(server.url, timeouts=Timeouts(first_byte_s=0.05)), asking)
    assert (reply.attempts, server.connections) == (2, 2)
    assert "no reply began in time" in attempt.problem


async def test_the_deadline_stands_above_all_attempts(server: Any, asking: Any) -> None:
    """A provider that never answers costs `deadline_s`, not the sum of the retries."""

    async def silent(exchange: Any) -> None:
        await server.never.wait()

    server.script = [silent]
    model = asking.chat(server.url, policy=RetryPolicy(first_wait_s=0.001))
    began = asyncio.get_running_loop().time()
    error, attempts = await attempts_of(model, asking, deadline_s=0.1)
    assert isinstance(error, ModelUnavailableError)
    assert len(attempts) == 1
    assert asyncio.get_running_loop().time() - began < 2.0


async def test_offline_is_known_within_seconds(asking: Any, unused_tcp_port: int) -> None:
    """Three attempts, nothing sent, nothing to pay, and the URL is named."""
    error, attempts = await attempts_of(asking.chat(f"http://127.0.0.1:{unused_tcp_port}/v1"), asking, deadline_s=600)
    assert isinstance(error, ModelUnavailableError)
    assert f"127.0.0.1:{unused_tcp_port}" in str(error)
    assert [(attempt.sent, attempt.is_billable) for attempt in attempts] == [(False, False)] * 3


async def test_a_huge_reply_is_refused_and_not_asked_for_again(server: Any, asking: Any, wire: Any) -> None:
    """The next would be as long; memory stays bounded."""
    server.script = [wire.http(b"x" * 200_000)]
    error, attempts = await attempts_of(asking.chat(server.url, max_reply_bytes=50_000), asking)
    assert isinstance(error, ModelOutputError)
    assert "50000 bytes" in str(error)
    assert len(attempts) == 1


async def test_compression_nobody_asked_for_is_named(server: Any, asking: Any, wire: Any) -> None:
    """Instead of a riddle about bytes that are no JSON."""
    server.script = [wire.http(b"\x1f\x8b", headers="content-encoding: gzip\r\n")]
    error, _ = await attempts_of(asking.chat(server.url), asking)
    assert isinstance(error, ModelOutputError)
    assert "gzip" in str(error)


async def test_a_redirect_is_not_followed_with_the_key(server: Any, asking: Any, wire: Any) -> None:
    """The user is told where the server wants to be asked."""
    server.script = [wire.http(b"", "308 Permanent Redirect", headers="location: https://elsewhere.example/v1\r\n")]
    error, _ = await attempts_of(asking.chat(server.url, key="sk-test-1"), asking)
    assert isinstance(error, ConfigError)
    assert "https://elsewhere.example/v1" in str(error)
    assert len(server.seen) == 1


async def test_an_untrusted_certificate_is_unavailable_at_once(tls_server: Any, asking: Any) -> None:
    """With the setting that names an authority; retrying would not make it trusted."""
    error, attempts = await attempts_of(asking.chat(tls_server.url, key="sk-test-1"), asking)
    assert isinstance(error, ModelUnavailableError)
    assert "SSL_CERT_FILE" in str(error)
    assert (len(attempts), attempts[0].sent, tls_server.seen) == (1, False, [])


async def test_a_cancelled_call_is_reported_as_sent(server: Any, asking: Any) -> None:
    """Ctrl-C during a reply: nobody waits for it, but it may have to be paid."""
    arrived = asyncio.Event()

    async def silent(exchange: Any) -> None:
        arrived.set()
        await server.never.wait()

    server.script = [silent]
    attempts: list[Attempt] = []
    model = asking.chat(server.url)
    call = asyncio.create_task(model.complete(asking.request(), asking.grant(), on_attempt=attempts.append))
    await arrived.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [(attempt.sent, attempt.is_billable, attempt.wait_s) for attempt in attempts] == [(True, True, 0.0)]


# Grants.


async def test_nothing_is_sent_without_a_grant_for_this_model(server: Any, asking: Any, wire: Any) -> None:
    """A grant for another model, or one already spent, stops the call before a byte leaves."""
    server.script = [wire.http(wire.completion())]
    model = asking.chat(server.url)
    with pytest.raises(RefusedError):
        await model.complete(asking.request(), asking.grant("dearer-model"))
    spent = asking.grant()
    await model.complete(asking.request(), spent)
    with pytest.raises(RefusedError):
        await model.complete(asking.request(), spent)
    assert len(server.seen) == 1


async def test_a_request_for_another_model_is_refused(server: Any, asking: Any) -> None:
    """Its grant would be for another price than what is asked."""
    with pytest.raises(ConfigError, match="dearer-model"):
        await asking.chat(server.url).complete(asking.request(model="dearer-model"), asking.grant("dearer-model"))
    assert server.seen == []
