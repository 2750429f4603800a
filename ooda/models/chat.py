"""Chat completions of any OpenAI-compatible server over our own transport: the default back end.

The request's buffers go to the socket as they are, the history among them. The cost of a call is therefore flat
in the length of the history, apart from sending its bytes.
API: https://platform.openai.com/docs/api-reference/chat.
"""

from __future__ import annotations

from ooda.models.backend import Backend, Body, OnPiece, dialect_for
from ooda.models.endpoint import Endpoint
from ooda.models.failures import AttemptFailure, from_status, output_failure, unreachable
from ooda.models.http1 import HttpClient, HttpFailure, HttpResponse, Timeouts
from ooda.models.reply import Asked, parse_completion
from ooda.models.request import ModelReply
from ooda.models.retry import RetryPolicy, Try
from ooda.models.stream import EventLines, StreamedReply

__all__ = ["ChatModel"]

_GRACE_S = 0.25
"""How long a connection may take to end a stream whose `[DONE]` has come, before it is given up."""


class ChatModel(Backend):
    """One model of one OpenAI-compatible server. One instance per agent: it owns its connections."""

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        *,
        policy: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        max_reply_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        super().__init__(
            name,
            endpoint.wire_model,
            who=f"at {endpoint.url}",
            dialect=dialect_for(endpoint.url.host),
            scrub=endpoint.scrub,
            policy=policy,
        )
        self.endpoint = endpoint
        self.is_loopback = endpoint.is_loopback
        self._target = endpoint.url.target("/chat/completions")
        self._headers = tuple(endpoint.request_headers())
        self._http = HttpClient(
            endpoint.url,
            proxy=endpoint.proxy,
            ca_file=endpoint.ca_file,
            timeouts=timeouts,
            max_bytes=max_reply_bytes,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _exchange(self, body: Body, asked: Asked, current: Try, on_piece: OnPiece, stream: bool) -> ModelReply:
        try:
            return await self._answer(body, asked, current, on_piece, stream)
        except HttpFailure as failure:
            raise _failed(failure, asked.who) from failure

    async def _answer(self, body: Body, asked: Asked, current: Try, on_piece: OnPiece, stream: bool) -> ModelReply:
        response = await self._http.post(
            self._target,
            self._headers,
            body,
            deadline=current.deadline,
            on_send=current.mark_sent,
            key=asked.key,
        )
        try:
            if response.status != 200:
                said = await _error_body(response)
                raise from_status(response.status, response.headers, said, asked.who, asked.scrub)
            if (encoding := response.header("content-encoding")) not in ("", "identity"):
                raise output_failure(f"content encoding {encoding!r}, which was not asked for", asked.who, sort="final")
            kind = response.header("content-type").lower()
            if "event-stream" in kind or (stream and "json" not in kind):  # some proxies stream as text/plain
                return await _read_stream(response, asked, on_piece)
            reply = parse_completion(await response.read(), asked)
        finally:
            response.close()
        if on_piece is not None and reply.content:  # a server that does not stream
            on_piece(reply.content)
        return reply


async def _error_body(response: HttpResponse) -> bytes | bytearray:
    """The body of an error response; one that breaks off still has its status."""
    try:
        return await response.read()
    except HttpFailure:
        return b""


async def _read_stream(response: HttpResponse, asked: Asked, on_piece: OnPiece) -> ModelReply:
    lines, reply = EventLines(), StreamedReply(asked, on_piece)
    try:
        try:
            while not reply.is_done and (piece := await response.receive()):
                for data in lines.feed(piece):
                    reply.add(data)
        except HttpFailure as failure:
            if failure.stage != "body" or failure.timed_out or not reply.has_finished:
                raise
        for data in lines.close():
            reply.add(data)
        if reply.is_done:
            await response.finish(_GRACE_S)
        return reply.reply()
    except AttemptFailure as failure:
        failure.usage = failure.usage or reply.usage
        raise


def _failed(failure: HttpFailure, who: str) -> AttemptFailure:
    """What an exchange without a whole response means."""
    if failure.stage == "too_large":
        return output_failure(f"too much: {failure.problem}", who, sort="final")
    if failure.stage == "body" and not failure.timed_out:
        return output_failure(f"a truncated reply: {failure.problem}", who)
    if failure.stage == "protocol":
        return output_failure(f"something else than HTTP: {failure.problem}", who, sort="final")
    if failure.stage == "tls":
        advice = f"{failure.problem}; name the certificate authority in SSL_CERT_FILE, or use another URL"
        return unreachable(advice, who, sent=False, sort="final")
    return unreachable(failure.problem, who, sent=failure.sent, sort="busy" if failure.sent else "unreachable")
