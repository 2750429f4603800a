"""Arguments as models send them: what is mended, what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooda.errors import ToolArgumentsError
from ooda.tools.repair import parse_object

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", {}, id="empty text is no arguments"),
        pytest.param("null", {}, id="null is no arguments"),
        pytest.param('{"a": 1,}', {"a": 1}, id="trailing comma in an object"),
        pytest.param('{"a": [1, 2,\n]}', {"a": [1, 2]}, id="trailing comma in a list"),
        pytest.param('```json\n{"a": 1}\n```', {"a": 1}, id="fenced block"),
        pytest.param('"{\\"a\\": 1}"', {"a": 1}, id="encoded twice"),
        pytest.param('"```json\\n{\\"a\\": 1,}\\n```"', {"a": 1}, id="all at once"),
        pytest.param('{"a": "x\ny"}', {"a": "x\ny"}, id="raw line break in a string"),
        pytest.param('{"a": 1, "a": 1}', {"a": 1}, id="same value twice"),
    ],
)
def test_what_can_be_read_in_one_way_is_read(text: str, expected: object) -> None:
    """Wrapping and punctuation are mended; content never is."""
    assert parse_object(text)[0] == expected


@pytest.mark.parametrize(
    ("text", "word"),
    [
        pytest.param('{"path": "a", "content": "hal', "not valid JSON", id="cut off"),
        pytest.param('{"a": 1, "a": 2}', "twice", id="two values for one key"),
        pytest.param('{"a": NaN}', "NaN", id="no number"),
        pytest.param("[1, 2]", "JSON array", id="a list"),
        pytest.param("5", "JSON number", id="a number"),
        pytest.param('{"a": ' + "[" * 100_000, "nested", id="nested without end"),
        pytest.param("path=a", "not valid JSON", id="not JSON"),
    ],
)
def test_what_could_mean_two_things_is_refused(text: str, word: str) -> None:
    """The message says what was given."""
    with pytest.raises(ToolArgumentsError, match=word):
        parse_object(text)


@given(st.dictionaries(st.text(), _VALUES, max_size=5))
def test_valid_json_is_never_changed(value: dict[str, object]) -> None:
    """Repair touches only what does not parse; commas and fences inside strings stay."""
    assert parse_object(json.dumps(value)) == (value, False)


@given(st.dictionaries(st.text(), _VALUES, min_size=1, max_size=5))
def test_repair_gives_back_the_object_that_was_wrapped(value: dict[str, object]) -> None:
    """Double encoding and a trailing comma, whatever the strings hold."""
    text = json.dumps(value)
    assert parse_object(json.dumps(text)) == (value, True)
    assert parse_object(text[:-1] + ",}") == (value, True)


@given(st.text(max_size=200))
def test_any_text_gives_an_object_or_a_tool_error(text: str) -> None:
    """Nothing a model can send raises anything else."""
    try:
        value, _ = parse_object(text)
    except ToolArgumentsError:
        return
    assert isinstance(value, dict)
