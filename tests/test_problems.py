"""Sentences about mistakes: where, what was found, what is allowed, the nearest word, and no secret."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from ooda.fields import Count, Seconds
from ooda.problems import Problem, allowed, dotted, mask_url, problems_of, sentence, show


class _Cat(BaseModel):
    kind: Literal["cat"]
    lives: Count = Field(ge=1, le=9)


class _Dog(BaseModel):
    kind: Literal["dog"]
    name: str = Field(max_length=5, description="What it is called.")


class _House(BaseModel):
    model_config = ConfigDict(extra="forbid")
    pet: _Cat | _Dog | None = Field(None, discriminator="kind")
    rooms: tuple[_Cat, ...] = Field((), max_length=2)
    ages: dict[str, Seconds] = {}
    size: Literal["small", "large"] = "small"
    key: SecretStr | None = None

    @model_validator(mode="after")
    def _is_quiet(self) -> _House:
        if self.pet and self.rooms:
            raise sentence("has a pet and rooms {of} cats; choose one")
        return self


def _said(data: dict[str, Any], **options: Any) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        _House.model_validate(data)
    return [str(problem) for problem in problems_of(caught.value, _House, data, **options)]


MISTAKES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "tag-missing": ({"pet": {}}, ["`pet.kind`: is missing; expected one of `cat`, `dog`"]),
    "tag-wrong": (
        {"pet": {"kind": "dgo"}},
        ["`pet.kind`: found 'dgo'; expected one of `cat`, `dog`; did you mean `dog`?"],
    ),
    "behind-a-tag": (
        {"pet": {"kind": "cat", "lives": 10}},
        ["`pet.lives`: found the number 10; expected a whole number, from 1 to 9"],
    ),
    "missing": ({"pet": {"kind": "dog"}}, ["`pet.name`: is missing; expected text (What it is called)"]),
    "too-long": (
        {"pet": {"kind": "dog", "name": "Methusalem"}},
        ["`pet.name`: holds 10 characters; at most 5 are allowed"],
    ),
    "in-a-list": ({"rooms": [{"kind": "cat"}]}, ["`rooms[0].lives`: is missing; expected a whole number, from 1 to 9"]),
    "too-many": ({"rooms": [{"kind": "cat", "lives": 1}] * 3}, ["`rooms`: holds 3 entries; at most 2 are allowed"]),
    "in-a-mapping": (
        {"ages": {"tom": "old"}},
        ["`ages.tom`: found 'old'; expected a duration such as `90s`, `15m`, `24h` or whole seconds"],
    ),
    "unknown": (
        {"siez": "small"},
        ["`siez`: unknown field; did you mean `size`? Allowed here: `ages`, `key`, `pet`, `rooms`, `size`"],
    ),
    "word": ({"size": "larg"}, ["`size`: found 'larg'; expected one of `small`, `large`; did you mean `large`?"]),
    "secret": ({"key": ["hunter2"]}, ["`key`: found a list of 1; expected a secret text"]),
    "sentence": (
        {"pet": {"kind": "cat", "lives": 1}, "rooms": [{"kind": "cat", "lives": 1}]},
        ["has a pet and rooms {of} cats; choose one"],
    ),
}


@pytest.mark.parametrize(("data", "lines"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_placed_shown_and_answered(data: dict[str, Any], lines: list[str]) -> None:
    """Tags of unions are no part of the path; lists and mappings are."""
    assert _said(data) == lines


def test_a_value_that_may_not_be_shown_is_told_by_its_kind() -> None:
    """The caller says which paths may hold secrets."""
    assert _said({"size": "hunter2"}, may_show=lambda path: path != ("size",)) == [
        "`size`: found a text; expected one of `small`, `large`"
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "nothing"),
        (True, "`true`"),
        (5, "the number 5"),
        (10**5_000, "a huge number"),
        (Decimal("0.5"), "the number 0.5"),
        (float("nan"), "the number nan"),
        ("x", "'x'"),
        ("x" * 61, "a text of 61 characters"),
        ("http://u:p@h/", "'http://***@h/'"),
        ({}, "a mapping"),
        ([1], "a list of 1"),
        (object(), "a value of another kind"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_found_value_is_told_in_a_few_words(value: object, words: str) -> None:
    """Short scalars as they are, everything else by its kind."""
    assert show(value) == words


@settings(deadline=None)
@given(st.text(), st.text(), st.sampled_from(["https", "postgresql", "x"]))
def test_what_stands_before_the_last_at_sign_of_an_address_is_masked(user: str, rest: str, scheme: str) -> None:
    """Also when the password holds slashes, at signs or line breaks."""
    masked = mask_url(f"{scheme}://{user}@{rest}")
    assert masked.startswith(f"{scheme}://***@")
    assert masked.endswith(rest.rpartition("@")[2])
    assert mask_url(masked) == masked


def test_a_place_is_written_as_people_write_it() -> None:
    """Dots for keys, brackets for positions, the line first."""
    assert dotted(("a", 0, "b", 1)) == "a[0].b[1]"
    assert str(Problem(("a", 0), "is wrong", 3, 4)) == "line 3, column 4, `a[0]`: is wrong"
    assert str(Problem((), "is wrong")) == "is wrong"


def test_what_is_allowed_is_said_for_plain_annotations_too() -> None:
    """Unions name their alternatives, None left out."""
    assert allowed(int | str | None) == "a whole number or text"
    assert allowed(dict[str, int]) == "a mapping"
    assert allowed(Literal["a"]) == "`a`"
    assert allowed(_House.model_fields["pet"]) == "a mapping whose `kind` is one of `cat`, `dog`"
