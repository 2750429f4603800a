"""Counts from what test runners really printed (the files beside this one)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooda.tools.reports import Counts, read_pytest, read_report, read_unittest

_REPORTS = Path(__file__).with_name("reports")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "pytest-mixed",
            Counts(
                passed=4,
                failed=2,
                skipped=1,
                failures=("test_a.py::test_bad - assert 1 == 2", "test_a.py::test_err - ValueError: boom"),
            ),
        ),
        (
            "pytest-colour",
            Counts(
                passed=4,
                failed=2,
                skipped=1,
                failures=("test_a.py::test_bad - assert 1 == 2", "test_a.py::test_err - ValueError: boom"),
            ),
        ),
        ("pytest-deselected", Counts(passed=1)),
        ("pytest-collection-error", Counts(failed=1, failures=("broken/test_b.py",))),
        ("pytest-nothing", Counts()),
        ("pytest-no-such-file", Counts()),
        (
            "pytest-subtests",
            Counts(passed=1, failed=1, failures=("sub_t.py::T::test_s - AssertionError: 2 not less than 2",)),
        ),
        ("pytest-missing", None),
        (
            "unittest-mixed",
            Counts(
                passed=2,
                failed=4,
                skipped=1,
                failures=(
                    "ut.S.setUpClass",
                    "ut.T.test_c",
                    "ut.T.test_b",
                    "ut.T.test_f",
                ),
            ),
        ),
        ("unittest-ok", Counts(passed=1, skipped=1)),
        ("unittest-nothing", Counts()),
        ("unittest-import-error", Counts(failed=1, failures=("unittest.loader._FailedTest.test_b",))),
    ],
)
def test_real_output_is_counted(name: str, expected: Counts | None) -> None:
    """Errors count as failures, expected failures as passed, unexpected successes as unittest has them: failed."""
    assert read_report((_REPORTS / f"{name}.txt").read_text()) == expected


@pytest.mark.parametrize(
    "line",
    [
        "3 passed in 0.12s",
        "==== 3 passed, 1 warning in 61.02s (0:01:01) ====",
        "3 passed in 0.12 seconds",
        "=== 3 passed, 2 subtests passed in 1.00s ===",
    ],
)
def test_every_form_of_the_summary_is_read(line: str) -> None:
    """Old and new, with and without a frame."""
    assert read_pytest(f"...\n{line}\n") == Counts(passed=3)


@pytest.mark.parametrize(
    "text",
    ["", "all good", "3 passed", "I ran 5 tests in my head", "3 exploded in 0.1s", "value = 3 passed in 0.12s"],
)
def test_what_is_no_summary_is_none(text: str) -> None:
    """The exit code then speaks alone; nothing is guessed."""
    assert read_report(text) is None


@given(passed=st.integers(0, 9999), failed=st.integers(0, 9999), skipped=st.integers(0, 9999))
def test_any_pytest_numbers_are_read_back(passed: int, failed: int, skipped: int) -> None:
    """In pytest's order; zero counts are not printed."""
    words = [(failed, "failed"), (passed, "passed"), (skipped, "skipped")]
    line = ", ".join(f"{number} {word}" for number, word in words if number) or "no tests ran"
    assert read_pytest(f"x\n{line} in 0.01s") == Counts(passed=passed, failed=failed, skipped=skipped)


@given(st.text(st.sampled_from("=\n 0123456789pased,in.RanteOK()"), max_size=200))
def test_any_text_is_read_or_not(text: str) -> None:
    """No output of a program makes the reader fail."""
    counts = read_report(text)
    assert counts is None or counts.ran >= 0


def test_a_flood_is_read_quickly() -> None:
    """128 KiB of line ends, of digits, of equals signs: linear, not quadratic."""
    for flood in ("\n", "1", "=", "1 passed, ", " "):
        assert read_pytest(flood * 130_000) is None
        assert read_unittest(flood * 130_000) is None
