"""Where an edit applies and what it leaves alone."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ooda.errors import ToolArgumentsError
from ooda.tools.edit_match import Edit, apply_edit, is_crlf

_ALPHABET = st.sampled_from(list("ab1_ \t\n=().é漢😀"))
_TEXT = st.text(_ALPHABET, max_size=60)
_PIECE = st.text(_ALPHABET, min_size=1, max_size=15)

_SOURCE = "def f(x):\n    if x:\n        return  1\n    return 2\n"


@given(before=_TEXT, old=_PIECE, after=_TEXT, new=_PIECE)
def test_an_exact_edit_and_its_inverse_restore_the_text(before: str, old: str, after: str, new: str) -> None:
    """Whatever stands around: unicode, tabs, no line end at the end."""
    text = before + old + after
    assume(old != new and _places(text, old) == 1)
    edit = apply_edit(text, old, new)
    assert edit.text == before + new + after
    assume(_places(edit.text, new) == 1)
    assert apply_edit(edit.text, new, old).text == text


@given(before=_TEXT, old=_PIECE, after=_TEXT, new=_TEXT)
def test_an_edit_of_a_crlf_file_keeps_every_line_end(before: str, old: str, after: str, new: str) -> None:
    """The model speaks LF; the file stays CRLF, and the rest is untouched byte for byte."""
    text = (before + old + after + "\n").replace("\n", "\r\n")
    assume(old != new and _places(before + old + after + "\n", old) == 1)
    edit = apply_edit(text, old, new)
    assert edit.text == (before + new + after + "\n").replace("\n", "\r\n")
    assert is_crlf(edit.text)


@given(parts=st.lists(_TEXT, min_size=2, max_size=4), old=_PIECE, new=_TEXT)
def test_replace_all_is_what_str_replace_does(parts: list[str], old: str, new: str) -> None:
    """And it says where: one line number a replacement."""
    assume(old != new)
    text = old.join(parts)
    edit = apply_edit(text, old, new, replace_all=True)
    assert edit.text == text.replace(old, new)
    assert len(edit.lines) == text.count(old)


@given(text=_TEXT, old=_PIECE, new=_TEXT)
def test_an_edit_changes_one_stretch_or_says_why_not(text: str, old: str, new: str) -> None:
    """Exact or loose, what stands before and after the match is kept; anything else is a tool error."""
    try:
        edit = apply_edit(text, old, new)
    except ToolArgumentsError:
        return
    letters, wanted, given_ = _squeezed(text), _squeezed(old), _squeezed(new)
    places = [at for at in range(len(letters) + 1) if letters.startswith(wanted, at)]
    assert _squeezed(edit.text) in {letters[:at] + given_ + letters[at + len(wanted) :] for at in places}


@pytest.mark.parametrize(
    ("text", "old", "new", "expected"),
    [
        pytest.param(
            _SOURCE,
            "    if x:\n        return 1\n",
            "    if x:\n        return 3\n",
            Edit(text=_SOURCE.replace("return  1", "return 3"), lines=(2,), how="spacing"),
            id="inner spacing",
        ),
        pytest.param(
            _SOURCE,
            "if x:\n    return 1",
            "if not x:\n    return 1",
            Edit(
                text="def f(x):\n    if not x:\n        return 1\n    return 2\n",
                lines=(2,),
                how="spacing",
                indent="    ",
            ),
            id="a block given at another depth gets the file's",
        ),
        pytest.param(
            "a = [1,  2]\n",
            "[1, 2]",
            "[3]",
            Edit(text="a = [3]\n", lines=(1,), how="spacing"),
            id="part of a line",
        ),
        pytest.param(
            "x = 1   \ny = 2\n",
            "x = 1\ny = 2\n",
            "x = 2\ny = 2\n",
            Edit(text="x = 2\ny = 2\n", lines=(1,), how="spacing"),
            id="trailing spaces",
        ),
        pytest.param(
            "\tx = 1\n\ty = 2\n",
            "    x = 1\n    y = 2\n",
            "\tz = 3\n",
            Edit(text="\tz = 3\n", lines=(1,), how="spacing"),
            id="tabs against spaces go in as given",
        ),
        pytest.param(
            "a\r\nb = 1\nc  = 2\r\nd\n",
            "b = 1\nc = 2",
            "b\nc",
            Edit(text="a\r\nb\nc\r\nd\n", lines=(2,), how="spacing"),
            id="mixed line ends outside the match stay",
        ),
    ],
)
def test_a_text_that_differs_in_spacing_only_is_found(text: str, old: str, new: str, expected: Edit) -> None:
    """One place, and the new text is never stripped."""
    assert apply_edit(text, old, new) == expected


def test_the_new_text_keeps_its_own_blanks() -> None:
    """Leading and trailing whitespace of the replacement is content."""
    assert apply_edit("a b c", "b", "  b\n\n").text == "a   b\n\n c"


@pytest.mark.parametrize(
    ("text", "old", "new", "message"),
    [
        pytest.param("a\n", "", "b", "`old` is empty", id="empty"),
        pytest.param("a\n", "a", "a", "same text", id="no change"),
        pytest.param("a\nb\na\n", "a", "c", "there 2 times, at lines 1, 3;", id="twice"),
        pytest.param("aaa", "aa", "b", "there 2 times", id="overlapping"),
        pytest.param("a  b\na   b\n", "a b", "c", "apart from spacing it is there 2 times", id="twice but for spacing"),
        pytest.param("", "a", "b", "The file is empty", id="empty file"),
        pytest.param("x = 12\n", "x  = 1", "x = 3", "not in the file", id="half a word is no match"),
        pytest.param("a\nb\n", "a b", "c", "not in the file", id="a line break is no space"),
    ],
)
def test_an_edit_that_fits_no_place_or_several_changes_nothing(text: str, old: str, new: str, message: str) -> None:
    """The message says what to do."""
    with pytest.raises(ToolArgumentsError, match=message):
        apply_edit(text, old, new)


def test_the_nearest_real_lines_are_shown_with_numbers() -> None:
    """So that the next try can copy them."""
    with pytest.raises(ToolArgumentsError) as caught:
        apply_edit(_SOURCE, "    if y:\n        return  1\n", "")
    assert str(caught.value) == (
        "`old` is not in the file. The nearest lines are:\n"
        "2:     if x:\n3:         return  1\n4:     return 2\n"
        "Copy the text to replace exactly from there."
    )


def test_the_nearest_line_of_a_large_file_is_found_by_likeness() -> None:
    """Also when no line is the same, and in reasonable time."""
    text = "".join(f"value_{number} = {number * 7}\n" for number in range(50_000))
    with pytest.raises(ToolArgumentsError, match=r"\n45001: value_45000 = 315000\n"):
        apply_edit(text, "value_45000 == 315000", "x")


def _places(text: str, old: str) -> int:
    return sum(text.startswith(old, index) for index in range(len(text)))


def _squeezed(text: str) -> str:
    return "".join(text.split())
