"""What each room offers: a header that says what it is for, a list of its names, a docstring on each of them.

Read from the sources, so that importing an optional library is never needed to know what a module offers.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import ooda

ROOT = Path(__file__).resolve().parents[1]

MODULES = [
    pytest.param(path, id=path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."))
    for path in sorted((ROOT / "ooda").rglob("*.py"))
    if path.stat().st_size
]


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def offered(tree: ast.Module) -> list[str] | None:
    """The names in `__all__`; None when a module has none."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(node, ast.Assign | ast.AnnAssign) and any(getattr(at, "id", "") == "__all__" for at in targets):
            names: list[str] = ast.literal_eval(node.value or ast.List([]))
            return names
    return None


def defined(tree: ast.Module) -> Iterator[str]:
    """Names bound at the top of a module, also under `if` and `try`."""
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        match pending.pop():
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=targets):
                yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from (alias.asname or alias.name.partition(".")[0] for alias in names)
            case ast.If(body=body, orelse=orelse):
                pending += [*body, *orelse]
            case ast.Try(body=body, handlers=handlers, orelse=orelse):
                pending += [*body, *orelse, *(statement for handler in handlers for statement in handler.body)]


@pytest.mark.parametrize("path", MODULES)
def test_a_module_begins_with_what_it_is_for(path: Path) -> None:
    """A docstring of at least a sentence."""
    header = ast.get_docstring(parsed(path))
    assert header is not None
    assert len(header.split()) >= 4


@pytest.mark.parametrize("path", [param for param in MODULES if not param.id.endswith(("__init__", "__main__"))])
def test_a_module_lists_what_it_offers_and_has_it(path: Path) -> None:
    """`__all__` names nothing that is not there, nothing twice, and nothing private."""
    tree = parsed(path)
    names = offered(tree)
    assert names is not None, "a module says in `__all__` what others may use"
    assert sorted(set(names) - set(defined(tree))) == []
    assert len(names) == len(set(names))
    assert [name for name in names if name.startswith("_") and not name.startswith("__")] == []


@pytest.mark.parametrize("path", MODULES)
def test_what_a_module_offers_is_described(path: Path) -> None:
    """Each offered function and class has a docstring; events whose kind says it all may go without."""
    tree = parsed(path)
    names = set(offered(tree) or ())
    silent = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and node.name in names
        and ast.get_docstring(node) is None
        and path != ROOT / "ooda" / "events.py"
    ]
    assert silent == []


def test_the_package_offers_its_version_as_the_project_has_it() -> None:
    """One number, in two places that must agree."""
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == ooda.__version__
