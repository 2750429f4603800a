"""Cassettes: an exported journal as JSON lines, and the model replies recorded in one.

The first line says what it is; each further line is one event with its time and label, long bodies inline, every
text redacted once more on the way out. Exporting never writes a secret: with credentials in use and nothing to redact
found, it refuses, because then the redaction may not know them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from ooda.errors import ConfigError, DivergenceError
from ooda.events import Entry, Event, Foreign, ModelAsked, ModelReplied, RunStarted, canonical, decode, encode
from ooda.labels import Label
from ooda.models.replay import RecordedReply
from ooda.models.request import Finish, ModelReply, RawCall
from ooda.runtime.journal import inline, redact_bodies

__all__ = ["FORMAT", "Cassette", "export_lines", "load_cassette", "recorded_replies"]

FORMAT = 1
"""Version of the cassette format; a newer one is refused."""


class _Header(msgspec.Struct, frozen=True):
    cassette: int
    run: str
    events: int
    made_by: str = ""
    redactions: int = 0


class _Line(msgspec.Struct, frozen=True):
    at_ns: int
    event: msgspec.Raw
    label: str


class _Kind(msgspec.Struct, frozen=True):
    kind: str


class Cassette(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded cassette."""

    run: str
    digest: str
    """SHA-256 of the file."""
    entries: tuple[Entry, ...]

    @property
    def started(self) -> RunStarted:
        """The recorded first event; ConfigError when the cassette does not begin with one."""
        first = self.entries[0].event if self.entries else None
        if not isinstance(first, RunStarted):
            raise ConfigError(f"the cassette of run {self.run} does not begin with RunStarted; export it again")
        return first

    @property
    def started_ns(self) -> int:
        return self.entries[0].at_ns


def export_lines(
    run: str,
    entries: Iterable[Entry],
    *,
    load: Callable[[str], str],
    redact: Callable[[str], str],
    used_credentials: bool,
    made_by: str,
) -> Iterator[bytes]:
    """The lines of a cassette, each with its line end.

    Args:
        load: The text of a blob by digest.
        redact: Redaction for every text; what comes out of the journal passed it before, and passes again.
        used_credentials: The run used credentials that `redact` may not know; then something must have been redacted.

    Raises:
        ConfigError: credentials were used and no redaction is found in the record.
    """
    lines, marks = [], 0
    for entry in entries:
        event: Event | Foreign = redact_bodies(inline(entry.event, load), redact)
        body = encode(event)
        marks += body.count("«redacted".encode())
        lines.append(canonical({"at_ns": entry.at_ns, "label": str(entry.label), "event": msgspec.Raw(body)}))
    if used_credentials and not marks:
        raise ConfigError(
            f"run {run} used credentials, and its record shows no redaction. The cassette was not written: set the "
            "task's credentials as they were for the run and say `--nothing-to-redact`, then each is looked for in it; "
            "others can be named in `redaction.extra_values`"
        )
    header = _Header(FORMAT, run, len(lines), made_by, marks)
    yield canonical(header) + b"\n"
    for line in lines:
        yield line + b"\n"


def load_cassette(path: Path) -> Cassette:
    """Read a cassette.

    Raises:
        ConfigError: no such file, not a cassette, damaged, or a newer format.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cassette `{path}` cannot be read: {error.strerror}") from error
    lines = raw.splitlines()
    try:
        header = msgspec.json.decode(lines[0] if lines else b"", type=_Header)
        if header.cassette > FORMAT:
            raise ConfigError(f"cassette `{path}` has format {header.cassette}; this ooda reads up to {FORMAT}")
        parsed = [msgspec.json.decode(line, type=_Line) for line in lines[1:]]
        entries = tuple(
            Entry(decode(bytes(line.event), _kind(line.event)), line.at_ns, Label.parse(line.label)) for line in parsed
        )
    except (msgspec.MsgspecError, KeyError) as error:
        raise ConfigError(
            f"`{path}` is not a cassette, or it is damaged ({error}). "
            "Make one with `ooda runs export RUN --format cassette`"
        ) from error
    if len(entries) != header.events:
        raise ConfigError(f"cassette `{path}` says it holds {header.events} events and holds {len(entries)}")
    return Cassette(run=header.run, digest=hashlib.sha256(raw).hexdigest(), entries=entries)


def recorded_replies(cassette: Cassette) -> tuple[RecordedReply, ...]:
    """The model's replies in order, each with the digest of the request it answered.

    Raises:
        DivergenceError: a model call in the record has no reply, so it cannot be replayed to its end.
    """
    replies: list[RecordedReply] = []
    asked: ModelAsked | None = None
    for entry in cassette.entries:
        match entry.event:
            case ModelAsked() as event:
                asked = event
            case ModelReplied() as event if asked is not None:
                replies.append(RecordedReply(digest=asked.digest, reply=_reply(event), request_preview=asked.ask))
                asked = None
    if not replies:
        raise DivergenceError(f"the cassette of run {cassette.run} holds no model reply")
    return tuple(replies)


def _reply(event: ModelReplied) -> ModelReply:
    return ModelReply(
        message=event.message.text.encode(),
        content=event.content.text,
        calls=tuple(RawCall(call.id, call.tool, call.arguments.text) for call in event.calls),
        usage=event.usage,
        finish=msgspec.convert(event.finish, Finish),
        model=event.model,
        latency_ms=event.latency_ms,
    )


def _kind(body: msgspec.Raw) -> str:
    return msgspec.json.decode(body, type=_Kind).kind
