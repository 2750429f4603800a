"""Texts as lines: nothing is added, nothing lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ooda.tools.text import lines_of


@given(st.text(st.sampled_from("ab\n\r\f\v\x1c\x85\u2028é😀 ")))
def test_the_lines_of_a_text_make_the_text_again(text: str) -> None:
    """Whatever other separators stand in it."""
    lines, end = lines_of(text)
    assert end.join(lines) + (end if text.endswith(end) else "") == text
    assert not any(end in line for line in lines)
