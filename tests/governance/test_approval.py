"""What a person is shown cannot read as something else, and what they answer is bound to exactly one call."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooda.governance.approval import Binding, escape, shown_text

HOSTILE = {
    "bidi override": ("rm \u202etxt.exe", "rm \\u202etxt.exe"),
    "bidi isolate": ("a\u2066b\u2069c", "a\\u2066b\\u2069c"),
    "zero-width space": ("ev\u200bil", "ev\\u200bil"),
    "zero-width joiner": ("ev\u200dil", "ev\\u200dil"),
    "byte order mark": ("\ufeffls", "\\ufeffls"),
    "soft hyphen": ("pass\u00adwd", "pass\\xadwd"),
    "cyrillic a": ("p\u0430ypal.com", "p\\u0430ypal.com"),
    "whole word in cyrillic before a latin one": (
        "\u0430\u0440\u0440\u04cf\u0435.com",
        "\\u0430\\u0440\\u0440\\u04cf\\u0435.com",
    ),
    "greek among cyrillic": ("\u0436\u0436\u0436\u03bf", "\u0436\u0436\u0436\\u03bf"),
    "fullwidth latin": ("\uff52\uff4d -rf", "\\uff52\\uff4d -rf"),
    "mathematical letter": ("\U0001d41dd", "\\U0001d41dd"),
    "dash that is no hyphen": ("rm \u2013rf", "rm \\u2013rf"),
    "slash that is none": ("/etc\u2215passwd", "/etc\\u2215passwd"),
    "digit that is none": ("port 8\u0660", "port 8\\u0660"),
    "combining mark": ("e\u0301", "e\\u0301"),
    "no-break space": ("a\u00a0b", "a\\xa0b"),
    "terminal escape": ("\x1b[2Jok", "\\x1b[2Jok"),
    "carriage return": ("harm\rgood", "harm\\x0dgood"),
    "backspace": ("ab\x08c", "ab\\x08c"),
    "line separator": ("a\u2028b", "a\\u2028b"),
    "tag characters": ("a\U000e0041", "a\\U000e0041"),
    "lone surrogate": ("a\ud800", "a\\ud800"),
    "private use": ("a\ue000", "a\\ue000"),
}
PLAIN = [
    "git push origin feat/x",
    "naïve façade Straße",
    "Привет мир",
    "日本語のテスト",
    "a\tb",
    '~`!@#$%^&*()_+{}|:"<>?',
]


@pytest.mark.parametrize(("text", "shown"), HOSTILE.values(), ids=HOSTILE)
def test_what_could_pass_for_something_else_is_shown_as_its_code(text: str, shown: str) -> None:
    """Known tricks of spoofed prompts, names and commands."""
    assert escape(text) == shown


@pytest.mark.parametrize("text", PLAIN)
def test_ordinary_words_of_one_script_stay_readable(text: str) -> None:
    """Escaping everything would teach people to read nothing."""
    assert escape(text) == text


@given(st.text(max_size=80))
def test_escaping_is_total_loses_nothing_and_leaves_one_script(text: str) -> None:
    """Every character is there, as itself or by its code, and of letters beyond ASCII one script is left."""
    shown = escape(text)
    assert all(" " <= char <= "~" or char == "\t" or char.isalpha() for char in shown)
    back = re.sub(
        r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))",
        lambda found: chr(int(next(group for group in found.groups() if group), 16)),
        shown,
    )
    if "\\" not in text:
        assert back == text
    scripts = {unicodedata.name(char).split(" ")[0] for char in shown if char.isalpha()}
    assert len(scripts - {"HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "CJK"}) <= 1


@given(st.text(max_size=20_000))
def test_nothing_is_cut_from_what_is_shown(text: str) -> None:
    """However long an argument is, its last character is there."""
    import msgspec

    clean = text.encode("utf-8", "replace").decode()
    shown = shown_text(
        "write_file", "write_workspace", "it asks", ("a",), msgspec.json.encode({"content": clean + "END"})
    )
    assert shown.endswith("END")


BOUND = {"run": "r", "call": "c", "tool": "t", "definition": "d", "arguments": "a", "policy": "p", "labels": "l"}


@pytest.mark.parametrize("name", [*BOUND, "targets"])
def test_every_part_of_a_call_is_in_its_binding(name: str) -> None:
    """Another run, tool, argument, target, policy or label is another call."""
    first = Binding(**BOUND, targets=("x",))
    changed = {**BOUND, "targets": ("x",), name: ("y",) if name == "targets" else "other"}
    assert Binding(**changed).digest != first.digest  # type: ignore[arg-type]
