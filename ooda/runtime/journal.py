"""The journal of a run as values: sealed rows, their hash chain, and the texts inside an event.

Knows the shape of a row (run, seq, kind, schema_version, at_ns, label, body, prev_hash, hash) and how rows are
chained: `hash = SHA-256(prev_hash ‖ canonical JSON of all the other columns)`. Pure: the rows are written and read
by `ooda.store`, large texts go where the caller's `put` says. Must not know files, clocks or databases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import is_
from typing import Any, TypeVar, cast, get_args, get_origin

import msgspec

from ooda.errors import JournalError
from ooda.events import INLINE_BYTES, SCHEMA_VERSION, BlobRef, Body, Event, Foreign, canonical, decode, encode

__all__ = [
    "FIRST_SEQ",
    "GENESIS",
    "Row",
    "admit",
    "bodies",
    "event_of",
    "externalise",
    "inline",
    "redact_bodies",
    "row_hash",
    "seal",
    "verify",
]

GENESIS = "0" * 64
"""`prev_hash` of the first row of every journal."""

FIRST_SEQ = 0
"""`seq` of the first row; each later row counts one up."""

E = TypeVar("E", bound="Event | Foreign")


class Row(msgspec.Struct, frozen=True):
    """One event as it is stored: immutable, and bound to its predecessor."""

    run: str
    seq: int
    kind: str
    schema_version: int
    at_ns: int
    """When it happened; nanoseconds since the epoch, UTC."""
    label: str
    """Who could have written the text and who may read it, as `integrity/confidentiality`."""
    body: bytes
    """Canonical JSON of the event."""
    prev_hash: str
    """`hash` of the row before, GENESIS for the first; lowercase hexadecimal."""
    hash: str


class _Columns(msgspec.Struct, frozen=True):
    """What the hash covers beside `prev_hash`; the fields stand in the order of sorted keys."""

    at_ns: int
    body: msgspec.Raw
    kind: str
    label: str
    run: str
    schema_version: int
    seq: int


_ENCODER = msgspec.json.Encoder()
_sha256 = hashlib.sha256


def row_hash(
    run: str, seq: int, kind: str, schema_version: int, at_ns: int, label: str, body: bytes, prev_hash: str
) -> str:
    """SHA-256 of the raw previous hash followed by the canonical JSON of the other columns.

    The body stands inside that JSON as it is, so an exported row can be checked with any JSON library.
    """
    columns = _Columns(at_ns, msgspec.Raw(body), kind, label, run, schema_version, seq)
    return _sha256(bytes.fromhex(prev_hash) + _ENCODER.encode(columns)).hexdigest()


def seal(run: str, seq: int, event: Event | Foreign, at_ns: int, label: str, prev_hash: str) -> Row:
    """The row of `event` at `seq`, chained to the row whose hash is `prev_hash`."""
    kind = event.kind if isinstance(event, Foreign) else type(event).__name__
    body = encode(event)
    digest = row_hash(run, seq, kind, SCHEMA_VERSION, at_ns, label, body, prev_hash)
    return Row(run, seq, kind, SCHEMA_VERSION, at_ns, label, body, prev_hash, digest)


def event_of(row: Row) -> Event | Foreign:
    """The event inside a row; kinds this version does not know come back as `Foreign`.

    Raises:
        JournalError: the row was written by a newer major version, or its body is not what its kind says.
    """
    if row.schema_version // 1000 > SCHEMA_VERSION // 1000:
        raise JournalError(
            f"row {row.seq} of run `{row.run}` has journal version {row.schema_version}, this program reads up to "
            f"{SCHEMA_VERSION // 1000}999; nothing was changed, open the run with a newer `ooda`",
            run=row.run,
            seq=row.seq,
            found=row.schema_version,
            expected=SCHEMA_VERSION,
        )
    try:
        return decode(row.body, row.kind)
    except msgspec.MsgspecError as error:
        raise JournalError(
            f"row {row.seq} of run `{row.run}` is not a valid {row.kind}: {error}; run `ooda runs show {row.run}` to "
            "see what is intact before it",
            run=row.run,
            seq=row.seq,
        ) from error


def verify(rows: Iterable[Row], prev_hash: str | None = None) -> None:
    """Check that `rows` are one unbroken chain: from the journal's beginning, or from after `prev_hash`.

    A chain proves that rows agree with each other. It cannot prove that no rows are missing at the end, nor that
    the whole chain was not written anew; the anchored audit log is there for that.

    Raises:
        JournalError: facts `run`, `seq` (the first bad row) and `problem` (mixed, gap, order, chain, content).
    """
    run: str | None = None
    seq = FIRST_SEQ if prev_hash is None else None
    before = GENESIS if prev_hash is None else prev_hash
    for row in rows:
        if run is None:
            run = row.run
        if row.run != run:
            raise _broken(row, "mixed", f"belongs to run `{row.run}`, not to `{run}`")
        if seq is not None and row.seq != seq:
            problem = "gap" if row.seq > seq else "order"
            raise _broken(row, problem, f"stands where seq {seq} was expected")
        if row.prev_hash != before:
            raise _broken(row, "chain", f"follows {row.prev_hash[:12]}…, but the row before has hash {before[:12]}…")
        if row.hash != _hash_or_none(row):
            raise _broken(row, "content", "has another content than when it was sealed")
        seq, before = row.seq + 1, row.hash


def _hash_or_none(row: Row) -> str | None:
    """The row's hash computed anew; None when its columns cannot even be hashed."""
    try:
        msgspec.json.decode(row.body, type=msgspec.Raw)
        return row_hash(row.run, row.seq, row.kind, row.schema_version, row.at_ns, row.label, row.body, row.prev_hash)
    except (msgspec.MsgspecError, ValueError):
        return None


def _broken(row: Row, problem: str, what: str) -> JournalError:
    return JournalError(
        f"the journal of run `{row.run}` is broken: row {row.seq} ({row.kind}) {what}. Rows before it are intact; "
        f"`ooda runs export {row.run}` saves them, then start a new run",
        run=row.run,
        seq=row.seq,
        problem=problem,
    )


# The texts of an event. Which fields hold them is worked out from the types, once per kind and on first use, so
# that an event without a large text costs a few attribute reads.

# fmt: off
_IDENTITIES = frozenset({
    "actions", "agent", "approval", "arguments", "ask", "call", "cassette", "definition", "digest", "finish",
    "forked", "goto", "id", "key", "kind_", "model", "name", "notice", "operation", "parent", "phase", "prefix_hash",
    "reservation", "run", "spool", "task_digest", "timer", "tool", "tools",
})
# fmt: on
"""Fields of type str, or of several, that hold ids, hashes and names. Everything else of type str is free text."""

_OnBody = Callable[[Body], Body]
_OnText = Callable[[str], str]


class _Plan(msgspec.Struct, frozen=True):
    """The fields of one kind that hold texts, as (name, shape).

    Shapes: body, struct, structs (a tuple of them), text, texts (a tuple of str), json (a dict of plain values).
    """

    all: tuple[tuple[str, str], ...]
    bodies: tuple[tuple[str, str], ...]
    """Those of `all` that lead to a Body."""


_plans: dict[type, _Plan] = {}


def _plan(kind: type) -> _Plan:
    plan = _plans.get(kind)
    if plan is None:
        every, leading = [], []
        for field in msgspec.structs.fields(kind):
            shape, has_body = _shape(field.name, field.type)
            if shape:
                every.append((field.name, shape))
            if has_body:
                leading.append((field.name, shape))
        plan = _plans[kind] = _Plan(tuple(every), tuple(leading))
    return plan


def _shape(name: str, hint: Any) -> tuple[str, bool]:
    """How a field of this type holds texts, and whether a Body is among them."""
    inner = get_args(hint)
    if hint is Body or Body in inner:
        return "body", True
    if hint is str or (inner[:1] == (str,) and get_origin(hint) is tuple):
        return ("" if name in _IDENTITIES else "text" if hint is str else "texts"), False
    if get_origin(hint) is dict:
        return "json", False
    element = inner[0] if get_origin(hint) is tuple else hint
    if isinstance(element, type) and issubclass(element, msgspec.Struct):
        plan = _plan(element)
        return (("struct" if element is hint else "structs") if plan.all else ""), bool(plan.bodies)
    return "", False


def _mapped(value: Any, only_bodies: bool, on_body: _OnBody, on_text: _OnText) -> Any:
    """`value` with its texts mapped; the very same object when nothing changed."""
    plan = _plans.get(type(value)) or _plan(type(value))
    changed: dict[str, Any] | None = None
    for name, shape in plan.bodies if only_bodies else plan.all:
        old = getattr(value, name)
        new: Any = old
        if shape == "body":
            new = on_body(old) if old is not None else None
        elif shape == "structs":
            if old:
                items = tuple([_mapped(item, only_bodies, on_body, on_text) for item in old])
                new = old if all(map(is_, items, old)) else items
        elif shape == "struct":
            new = _mapped(old, only_bodies, on_body, on_text)
        else:
            new = _map_json(old, on_text)
        if new is not old and new != old:
            changed = changed or {}
            changed[name] = new
    return msgspec.structs.replace(value, **changed) if changed else value


def _map_json(value: Any, on_text: _OnText) -> Any:
    """Plain data with every string mapped, keys too: a file name or a header can be a key."""
    if isinstance(value, str):
        return on_text(value)
    if isinstance(value, Mapping):
        return {_map_json(key, on_text): _map_json(item, on_text) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_map_json(item, on_text) for item in value)
    return value


def _same(text: str) -> str:
    return text


def externalise(event: E, put: Callable[[str], BlobRef]) -> E:
    """The event with every inline text above INLINE_BYTES replaced by the reference `put` gives for it.

    Returns the very same event when nothing is large. A `Foreign` event is kept verbatim.
    """

    if isinstance(event, Foreign):
        return event
    return cast("E", _mapped(event, True, lambda body: _outside(body, put), _same))


def _outside(body: Body, put: Callable[[str], BlobRef]) -> Body:
    text = body.text
    # A character takes 1 to 4 bytes: most texts are judged without encoding them.
    if len(text) * 4 <= INLINE_BYTES:
        return body
    if len(text) > INLINE_BYTES or (not text.isascii() and len(text.encode()) > INLINE_BYTES):
        return Body(ref=put(text))
    return body


def inline(event: E, load: Callable[[str], str]) -> E:
    """The inverse of `externalise`: every reference replaced by the text `load` gives for its digest."""

    def inside(body: Body) -> Body:
        return body if body.ref is None else Body(text=load(body.ref.digest))

    return event if isinstance(event, Foreign) else cast("E", _mapped(event, True, inside, _same))


def bodies(event: Event | Foreign) -> Iterator[Body]:
    """Every Body of the event in the order of its fields, tool-call arguments included, empty ones left out."""
    found: list[Body] = []

    def note(body: Body) -> Body:
        if not body.is_empty:
            found.append(body)
        return body

    if not isinstance(event, Foreign):
        _mapped(event, True, note, _same)
    return iter(found)


def redact_bodies(event: E, fn: Callable[[str], str]) -> E:
    """The event with every free text passed through `fn`: bodies, reasons, notes, facts, details, targets.

    Ids, hashes and names of kinds stay. Of a referenced body only the first and last line are here to be mapped;
    call this before `externalise`. Of a `Foreign` event every string is mapped, as nothing says what it means.
    """
    if isinstance(event, Foreign):
        plain = _map_json(msgspec.json.decode(event.body), fn)
        return cast("E", Foreign(event.kind, canonical(plain | {"kind": event.kind})))
    return cast("E", _mapped(event, False, lambda body: _redacted(body, fn), fn))


def admit(event: E, fn: Callable[[str], str], put: Callable[[str], BlobRef]) -> E:
    """What `redact_bodies` and then `externalise` give, in one walk over the event: every event passes here."""
    if isinstance(event, Foreign):
        return redact_bodies(event, fn)
    return cast("E", _mapped(event, False, lambda body: _outside(_redacted(body, fn), put), fn))


def _redacted(body: Body, fn: Callable[[str], str]) -> Body:
    if body.ref is not None:
        head, tail = fn(body.ref.head), fn(body.ref.tail)
        return Body(body.text and fn(body.text), msgspec.structs.replace(body.ref, head=head, tail=tail))
    text = fn(body.text) if body.text else ""
    return body if text == body.text else Body(text)
