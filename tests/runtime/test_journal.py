"""The journal as values: how rows are sealed and checked, and how the texts of an event are reached."""

import hashlib
import json
import types
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooda.errors import JournalError
from ooda.events import (
    INLINE_BYTES,
    SCHEMA_VERSION,
    BlobRef,
    Body,
    Decided,
    Event,
    Foreign,
    ModelReplied,
    Notified,
    Observed,
    Stopped,
    ToolCall,
    ToolReturned,
    ToolStarted,
    Usage,
    decode,
    encode,
)
from ooda.runtime.journal import (
    FIRST_SEQ,
    GENESIS,
    Row,
    admit,
    bodies,
    event_of,
    externalise,
    inline,
    redact_bodies,
    seal,
    verify,
)

KINDS = get_args(Event)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def strategy_of(hint: Any, text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Values of a field's type, with all texts drawn from `text`."""
    if hint is str:
        return text
    if hint is int:
        return st.integers(0, 2**53)
    if hint is bool:
        return st.booleans()
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return st.one_of(*(strategy_of(item, text) for item in get_args(hint)))
    if hint is type(None):
        return st.none()
    if get_origin(hint) is tuple:
        return st.lists(strategy_of(get_args(hint)[0], text), max_size=3).map(tuple)
    if get_origin(hint) is dict:
        return st.dictionaries(text, PLAIN, max_size=3)
    if hint is BlobRef:
        return st.none()
    return records_of(hint, text)


def records_of(kind: type, text: st.SearchStrategy[str] = TEXT) -> st.SearchStrategy[Any]:
    """Instances of one struct."""
    fields = msgspec.structs.fields(kind)
    return st.builds(kind, **{field.name: strategy_of(field.type, text) for field in fields})


EVENTS = st.sampled_from(KINDS).flatmap(records_of)


def chain(events: list[Event], run: str = "run-a") -> list[Row]:
    rows: list[Row] = []
    for seq, event in enumerate(events, start=FIRST_SEQ):
        rows.append(seal(run, seq, event, 10**18 + seq, "tool/internal", rows[-1].hash if rows else GENESIS))
    return rows


ROWS = chain([Observed(source="test", text=Body(f"line {number}")) for number in range(5)])


def test_the_hash_of_a_row_can_be_computed_with_plain_json() -> None:
    """SHA-256 over the raw previous hash and the sorted, spaceless JSON of all other columns."""
    row = ROWS[1]
    columns = {name: getattr(row, name) for name in Row.__struct_fields__ if name not in ("hash", "prev_hash")}
    columns["body"] = json.loads(row.body)
    text = json.dumps(columns, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    assert row.hash == hashlib.sha256(bytes.fromhex(row.prev_hash) + text.encode()).hexdigest()
    assert row.prev_hash == ROWS[0].hash


@given(st.lists(EVENTS, max_size=6))
def test_what_was_sealed_verifies_and_reads_back(events: list[Event]) -> None:
    """Every kind of event survives its row unchanged."""
    rows = chain(events)

    verify(rows)
    assert [event_of(row) for row in rows] == events


@pytest.mark.parametrize("column", Row.__struct_fields__)
@pytest.mark.parametrize("place", range(len(ROWS)))
def test_a_change_in_any_column_of_any_row_is_found(column: str, place: int) -> None:
    """The error names the first row that is wrong."""
    old = getattr(ROWS[place], column)
    new = {str: "f" * 64, int: 7_777, bytes: b'{"kind":"Observed"}'}[type(old)]
    rows = [*ROWS]
    rows[place] = msgspec.structs.replace(ROWS[place], **{column: new})

    with pytest.raises(JournalError) as caught:
        verify(rows)

    assert caught.value.facts["problem"] in {"mixed", "gap", "order", "chain", "content"}
    named = rows[place].seq if column == "seq" else place
    assert caught.value.facts["seq"] in (named, place + 1)


@given(st.permutations(range(len(ROWS))), st.integers(1, len(ROWS)))
def test_only_a_prefix_in_order_verifies(order: list[int], count: int) -> None:
    """Rows in another order, or with one missing, are no chain."""
    picked = order[:count]
    rows = [ROWS[place] for place in picked]

    if picked == list(range(count)):
        verify(rows)
    else:
        with pytest.raises(JournalError):
            verify(rows)


def test_a_chain_can_be_checked_from_the_middle() -> None:
    """Given the hash before it, the rest of a journal verifies on its own."""
    verify(ROWS[2:], prev_hash=ROWS[1].hash)
    with pytest.raises(JournalError, match="follows"):
        verify(ROWS[3:], prev_hash=ROWS[1].hash)


def test_a_body_that_is_no_json_is_found_whatever_its_hash() -> None:
    """Damage inside the body is content, not a crash."""
    with pytest.raises(JournalError) as caught:
        verify([msgspec.structs.replace(ROWS[0], body=b"\xff\x00")])

    assert (caught.value.facts["seq"], caught.value.facts["problem"]) == (0, "content")


def test_a_newer_major_version_is_refused_and_a_newer_kind_is_kept() -> None:
    """A major version may mean anything; a kind of the same major is carried along byte for byte."""
    newer = msgspec.structs.replace(ROWS[0], schema_version=SCHEMA_VERSION + 1000)
    with pytest.raises(JournalError, match="newer `ooda`"):
        event_of(newer)

    foreign = Foreign("Dreamt", b'{"kind":"Dreamt","of":"sheep"}')
    row = seal("run-a", 0, foreign, 1, "tool/internal", GENESIS)
    verify([row])
    assert event_of(row) == foreign
    assert row.body == foreign.body
    with pytest.raises(JournalError, match="not a valid Observed"):
        event_of(msgspec.structs.replace(ROWS[0], body=b'{"kind":"Observed"}'))


class Shelf:
    """Where `put` puts texts."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def put(self, text: str) -> BlobRef:
        digest = hashlib.sha256(text.encode()).hexdigest()
        self.texts[digest] = text
        return BlobRef(digest, len(text.encode()))


@pytest.mark.parametrize(
    ("text", "is_large"),
    [
        ("", False),
        ("x" * INLINE_BYTES, False),
        ("x" * (INLINE_BYTES + 1), True),
        ("ü" * (INLINE_BYTES // 2), False),
        ("ü" * (INLINE_BYTES // 2) + "x", True),
        ("\U0001f40c" * (INLINE_BYTES // 4), False),
        ("\U0001f40c" * (INLINE_BYTES // 4) + "x", True),
    ],
    ids=["empty", "at", "above", "two-byte at", "two-byte above", "four-byte at", "four-byte above"],
)
def test_texts_above_the_limit_in_bytes_go_outside(text: str, is_large: bool) -> None:
    """The limit counts UTF-8 bytes, not characters; with nothing large the very same event comes back."""
    event = Observed(source="test", text=Body(text))

    outside = externalise(event, Shelf().put)

    assert (outside is not event) == is_large
    assert (outside.text.ref is not None) == is_large
    assert outside.text.size_bytes == len(text.encode())
    assert outside.text.digest == event.text.digest


SECRET = "hunter2"


def redacted(text: str) -> str:
    return text.replace(SECRET, "[redacted]")


LONG = st.sampled_from(["a", "b" * 5000, "ü" * 2049, "c" * 4096])


@given(st.sampled_from(KINDS).flatmap(lambda kind: records_of(kind, LONG)))
def test_inline_undoes_externalise(event: Event) -> None:
    """No text is lost on the way to the blobs and back, at any depth of any kind."""
    shelf = Shelf()

    outside = externalise(event, shelf.put)

    assert all(len(body.text.encode()) <= INLINE_BYTES for body in bodies(outside))
    assert all(len(text.encode()) > INLINE_BYTES for text in shelf.texts.values())
    assert inline(outside, shelf.texts.__getitem__) == event
    assert decode(encode(outside), type(event).__name__) == outside


@given(st.sampled_from(KINDS).flatmap(lambda kind: records_of(kind, LONG | st.just(SECRET))))
def test_admitting_is_redacting_and_then_externalising(event: Event) -> None:
    """One walk gives what the two give, so that no text reaches a blob before it was redacted."""
    shelf, one_walk = Shelf(), Shelf()

    assert admit(event, redacted, one_walk.put) == externalise(redact_bodies(event, redacted), shelf.put)
    assert one_walk.texts == shelf.texts


def test_bodies_lists_every_text_in_the_order_of_the_fields() -> None:
    """Arguments of tool calls are among them, empty bodies are not."""
    calls = (ToolCall("c1", "read_file", Body("{}")), ToolCall("c2", "shell", Body("")))
    event = ModelReplied(
        ask="a",
        model="m",
        message=Body("raw"),
        content=Body("said"),
        calls=calls,
        usage=Usage(),
        cost_nano=0,
        finish="stop",
    )

    assert [body.text for body in bodies(event)] == ["raw", "said", "{}"]


@given(st.sampled_from(KINDS), st.data())
def test_no_free_text_escapes_redaction(kind: type, data: st.DataObject) -> None:
    """Whatever is not an id, a hash or a closed word is mapped, however deep it lies; twice changes nothing more."""
    event = data.draw(records_of(kind))
    bare = {"agent", "model", "loop_version"}  # names that stay
    filled = {}
    for field in msgspec.structs.fields(kind):
        value = getattr(event, field.name)
        if isinstance(value, Body):
            filled[field.name] = Body(f"x {SECRET}")
        elif isinstance(value, dict):
            filled[field.name] = {"outer": [{SECRET: SECRET}], "n": 1}
        elif field.name in {"reason", "message", "note", "author", "source", "by", "run_by"} - bare:
            filled[field.name] = f"{SECRET} y"
        elif field.name == "targets":
            filled[field.name] = (f"https://u:{SECRET}@h/",)
    clean = redact_bodies(msgspec.structs.replace(event, **filled), redacted)

    assert SECRET.encode() not in encode(clean)
    assert redact_bodies(clean, redacted) is clean


def test_redaction_leaves_ids_and_hashes_alone() -> None:
    """A text that looks like a secret inside an id stays, or calls and results would no longer match."""
    event = ToolStarted(
        call=SECRET,
        tool="t",
        definition="d",
        arguments="h",
        operation="o",
        effect="once",
        key=SECRET,
        targets=(SECRET,),
    )

    assert redact_bodies(event, redacted) == msgspec.structs.replace(event, targets=("[redacted]",))
    assert redact_bodies(Stopped(status="failed", reason="fine"), redacted) == Stopped(status="failed", reason="fine")


def test_redaction_maps_what_is_shown_of_a_blob_and_all_of_a_foreign_event() -> None:
    """First and last line of a reference are texts too; of an unknown kind every string is one."""
    reference = BlobRef("d" * 64, 9000, head=SECRET, tail=SECRET)
    returned = ToolReturned(call="c", tool="t", status="ok", text=Body(ref=reference))
    assert redact_bodies(returned, redacted).text.ref == msgspec.structs.replace(
        reference, head="[redacted]", tail="[redacted]"
    )

    foreign = Foreign("Dreamt", b'{"kind":"Dreamt","of":["hunter2"]}')
    assert redact_bodies(foreign, redacted) == Foreign("Dreamt", b'{"kind":"Dreamt","of":["[redacted]"]}')


def test_redaction_reaches_nested_facts() -> None:
    """Keys of facts are texts as well: a file name may be one."""
    event = Decided(phase="p", step=1, reason=SECRET, facts={"a": [SECRET, {SECRET: 1}]})
    notified = Notified(notice="n", kind_="k", message="m", details={"url": SECRET})

    assert redact_bodies(event, redacted) == Decided(
        phase="p", step=1, reason="[redacted]", facts={"a": ["[redacted]", {"[redacted]": 1}]}
    )
    assert redact_bodies(notified, redacted).details == {"url": "[redacted]"}
