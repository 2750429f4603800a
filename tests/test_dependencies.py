"""What a plain install has is enough: a package it lacks is met where its absence is told in words."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = sorted((ROOT / "ooda").rglob("*.py"))


def distribution(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None, requirement
    return found[0].lower().replace("_", "-")


PLAIN = {distribution(requirement) for requirement in PROJECT["dependencies"]} | {"pydantic-core"}
"""pydantic brings its core, at the version that fits."""
COMPANIONS = {"dateutil": "icalendar"}
"""Comes with the other, whose absence is told first."""
PROVIDERS = packages_distributions()


def is_plain(module: str) -> bool:
    top = module.partition(".")[0]
    if top == "ooda" or top in sys.stdlib_module_names:
        return True
    return any(name.lower().replace("_", "-") in PLAIN for name in PROVIDERS.get(top, []))


def catches_a_missing_package(node: ast.AST) -> bool:
    return isinstance(node, ast.Try) and any(
        isinstance(name, ast.Name) and name.id in {"ImportError", "ModuleNotFoundError"}
        for handler in node.handlers
        if handler.type is not None
        for name in ast.walk(handler.type)
    )


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"


def unguarded(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Imports that run, and that nothing stands around which tells of a missing package."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((child.lineno, alias.name) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.level == 0 and child.module:
            yield child.lineno, child.module
        elif not is_for_types(child) and not catches_a_missing_package(child):
            yield from unguarded(child)


def first_met_unguarded(path: Path) -> dict[str, int]:
    """Packages of extras that a module imports, without one place in it that tells of their absence: name -> line."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    told = {
        name
        for node in ast.walk(tree)
        if catches_a_missing_package(node)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in inner.names] if isinstance(inner, ast.Import) else [inner.module or ""])
    }
    tops = {name.partition(".")[0] for name in told}
    tops |= {name for name, first in COMPANIONS.items() if first in tops}
    return {name: line for line, name in unguarded(tree) if not is_plain(name) and name.partition(".")[0] not in tops}


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in MODULES])
def test_packages_of_extras_are_met_where_their_absence_is_told(path: Path) -> None:
    assert first_met_unguarded(path) == {}


def test_the_check_sees_a_package_that_a_plain_install_lacks(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("def f():\n    import icalendar\n", encoding="utf-8")
    assert first_met_unguarded(module) == {"icalendar": 2}

    module.write_text(
        "def f():\n    try:\n        import icalendar\n    except ImportError:\n        raise\n", encoding="utf-8"
    )
    assert first_met_unguarded(module) == {}
