"""The page of figures is kept honest: what it names as proof is there, and every measure of a command is on it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "how-to" / "check-the-figures.md").read_text()
PROOFS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)))


@pytest.mark.parametrize(("file", "name"), PROOFS)
def test_a_test_that_is_named_as_proof_exists(file: str, name: str) -> None:
    """A renamed one has to be renamed on the page too; one that only runs in a soak proves nothing by default."""
    tree = ast.parse((ROOT / file).read_text())
    tests = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert name in tests if name else any(test.startswith("test_") for test in tests)


def test_every_row_says_what_shows_it() -> None:
    """A figure without a command or a test is a claim."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| ---", "| figure"))]
    assert len(rows) >= 15
    for row in rows:
        shown = row.split("|")[3]
        assert "`make bench" in shown or "`tests/" in shown, row
