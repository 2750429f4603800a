"""What holds for every input: nothing but a task or a TaskSpecError comes out, and a stored task reads back equal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ooda.errors import TaskSpecError
from ooda.task import LoadedTask, load_task_text, parse_task
from ooda.task.document import MalformedError
from ooda.task.json_text import read_json
from tests.task.samples import MINIMAL, task_documents

_WORDS = ["kind: ", "chat", "coding", "repository:", "limits:\n", "steps: ", "null", "~", "1e999", "${A}", "\\u0000"]
_MARKS = ["\n", "  ", "- ", ": ", "{", "}", "[", "]", ",", '"', "'", "&a ", "*a", "!x ", "|", ">", "#", "\t", "---\n"]
_FRAGMENTS = st.sampled_from([*_WORDS, *_MARKS, "\x00", "%", "? ", "<<: "])


def _outcome(load: Callable[[], LoadedTask]) -> str:
    """`loaded`, or the first line of the refusal; any other exception is the test's failure."""
    try:
        loaded = load()
    except TaskSpecError as error:
        return str(error).splitlines()[0] if error.problems else "refused without a reason"
    return "loaded" if loaded.digest else "loaded without a digest"


_EXPECTED = re.compile(r"loaded|Task spec `.*` has (a problem|\d+ problems); nothing was started\.")


@settings(deadline=None)
@given(st.text() | st.binary() | st.lists(_FRAGMENTS, max_size=30).map("".join))
def test_any_text_is_a_task_or_a_task_spec_error(text: str | bytes) -> None:
    """No other exception, whatever the bytes."""
    assert _EXPECTED.fullmatch(_outcome(lambda: load_task_text(text)))


@settings(deadline=None)
@given(st.data())
def test_any_damage_to_a_good_task_is_told_as_such(data: st.DataObject) -> None:
    """Cutting out and putting in anywhere still ends in a task or a TaskSpecError."""
    start = data.draw(st.integers(0, len(MINIMAL)))
    end = data.draw(st.integers(start, len(MINIMAL)))
    text = MINIMAL[:start] + data.draw(st.text(max_size=5) | _FRAGMENTS) + MINIMAL[end:]
    assert _EXPECTED.fullmatch(_outcome(lambda: load_task_text(text)))


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    max_leaves=10,
)
_FIELDS = [
    "kind",
    "repository",
    "task",
    "limits",
    "environment",
    "env",
    "credentials",
    "context",
    "grants",
    "validation",
]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(_FIELDS), _ANY | st.dictionaries(st.sampled_from(_FIELDS), _ANY)))
def test_any_data_from_a_caller_is_a_task_or_a_task_spec_error(data: dict[str, Any]) -> None:
    """`parse_task` takes what an API or a test hands it."""
    for kind in ("coding", "chat"):
        document = {**data, "kind": kind}
        assert _EXPECTED.fullmatch(_outcome(partial(parse_task, document)))


@settings(deadline=None)
@given(task_documents())
def test_a_task_survives_the_way_through_its_canonical_json(document: dict[str, Any]) -> None:
    """What the journal keeps loads as an equal task with the same digest, as JSON text, as YAML and as data."""
    loaded = parse_task(document)
    stored = loaded.canonical
    for again in (
        load_task_text(stored),
        load_task_text(stored, "task.yaml"),
        parse_task(json.loads(stored)),
    ):
        assert again.task == loaded.task
        assert (again.canonical, again.digest) == (stored, loaded.digest)
        assert again.secrets == {}


class _Quoting(yaml.SafeDumper):
    """Writes every text in quotes: what is plain text for YAML 1.1, such as `0E0`, may be a number for 1.2."""


_Quoting.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


@settings(deadline=None)
@given(task_documents())
def test_yaml_and_json_spellings_of_a_task_are_equal(document: dict[str, Any]) -> None:
    """Also when another program wrote the YAML, anchors and folded lines included."""
    as_yaml = yaml.dump(document, Dumper=_Quoting, allow_unicode=True)
    as_json = json.dumps(document, ensure_ascii=False)
    assert load_task_text(as_yaml, "t.yaml").canonical == load_task_text(as_json, "t.json").canonical


_PRINTABLE = st.text(st.characters(exclude_categories=["C"]), max_size=10)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _PRINTABLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_PRINTABLE, inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(_JSON, st.sampled_from([None, 1, "\t"]))
def test_our_json_reader_reads_what_the_standard_one_reads(value: Any, indent: int | str | None) -> None:
    """Positions are all that it adds."""
    text = json.dumps({"x": value}, indent=indent)
    assert read_json(text).data == json.loads(text)


@settings(deadline=None)
@given(st.text(st.sampled_from('{}[]",:0123456789.eE+-truefalsn\\ \n'), max_size=20))
def test_our_json_reader_refuses_what_the_standard_one_refuses(text: str) -> None:
    """And where ours accepts, the standard one gives the same, duplicates aside."""
    try:
        ours = read_json(text)
    except MalformedError:
        return
    if not ours.problems:
        assert ours.data == json.loads(text)
