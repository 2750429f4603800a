"""The floor plan, read from the sources: who may import whom, and that importing anything has no effect.

Deferred and type-only imports count like any other, and so do imports by name (`import_module("ooda.…")`): an import
that dodges a circle means that a type lives on the wrong floor.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ooda"

FLOORS: tuple[frozenset[str], ...] = tuple(
    frozenset(rooms.split())
    for rooms in (
        "errors ids labels events clock",
        "amounts fields problems",
        "task config",
        "runtime",
        "store",
        "governance",
        "models sandbox services notify skills prompts",
        "tools",
        "telemetry",
        "engines",
        "agents",
        "api",
        "testing",
        "cli repl web mcp_server __main__",
    )
)
"""From the ground up; a room imports from its own floor and from lower ones.

`amounts`, `fields` and `problems` hold what tasks and settings share; `api` puts agents and engines together for
every face.
"""

ROOMS = frozenset().union(*FLOORS)
GROUND = FLOORS[0]
SEPARATE = FLOORS[6]
"""Rooms of one floor that do not know each other: each is an edge of its own."""

RUNTIME_MAY_IMPORT = frozenset({"errors", "ids", "labels", "events"})
"""The pure core knows no task, no setting and no clock."""

PURE_LIBRARIES = frozenset(
    """
    __future__ abc bisect collections dataclasses difflib enum functools hashlib heapq itertools json math operator re
    string textwrap types typing unicodedata msgspec
    """.split()  # noqa: SIM905
)
"""What `runtime` may import from outside: values and functions, nothing that reads or changes the world."""

UPWARD = {
    (f"ooda.agents.steward.{script}", "ooda.cli") for script in ("quiet_hours", "ttl_monitor", "autostop", "scheduler")
}
"""Run with `-m` these modules forward to the command line, as their requirement names them."""


class Import(NamedTuple):
    """One import statement: the module that imports, the dotted name it imports, and the line."""

    module: str
    target: str
    line: int

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the package with its syntax tree; a package is called `ooda.store.__init__` here."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        yield name, ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports_of(module: str, tree: ast.Module) -> Iterator[Import]:
    """All imports of a module, wherever they stand in it, by full dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = _base(module, node)
            for alias in node.names:
                yield Import(module, f"{base}.{alias.name}" if base == "ooda" else base, node.lineno)
        elif isinstance(node, ast.Call) and (name := _imported_by_name(node)) is not None:
            yield Import(module, name, node.lineno)


def _base(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    kept = module.split(".")[: -node.level]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _imported_by_name(node: ast.Call) -> str | None:
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called not in ("import_module", "__import__") or not node.args:
        return None
    argument = node.args[0]
    return argument.value if isinstance(argument, ast.Constant) and isinstance(argument.value, str) else None


IMPORTS = [found for module, tree in sources() for found in imports_of(module, tree)]


def room(module: str) -> str:
    """`ooda.models.chat` is in the room `models`; the package root is in none."""
    return module.removesuffix(".__init__").partition(".")[2].partition(".")[0]


def floor(name: str) -> int:
    for height, rooms in enumerate(FLOORS):
        if name in rooms:
            return height
    raise KeyError(f"room `{name}` has no floor; say in FLOORS where it stands")


def is_ours(target: str) -> bool:
    return target == "ooda" or target.startswith("ooda.")


def test_every_room_has_a_floor() -> None:
    """A new folder or module of the package is placed before anything imports it."""
    rooms = {room(module) for module, _ in sources() if room(module)}
    assert rooms - ROOMS == set()


def test_imports_run_downwards_only() -> None:
    """No room imports from a higher floor, deferred and type-only imports included."""
    upward = [
        str(found)
        for found in IMPORTS
        if is_ours(found.target)
        and room(found.module)
        and room(found.target) in ROOMS
        and floor(room(found.target)) > floor(room(found.module))
        and not any(found.module == module and found.target.startswith(target) for module, target in UPWARD)
    ]
    assert upward == []


def test_edges_of_one_floor_do_not_know_each_other() -> None:
    """Models, sandbox, services, notify, skills and prompts are put together above them."""
    across = [
        str(found)
        for found in IMPORTS
        if room(found.module) in SEPARATE
        and is_ours(found.target)
        and room(found.target) in SEPARATE
        and room(found.module) != room(found.target)
    ]
    assert across == []


def test_nobody_imports_the_package_root() -> None:
    """The root stands above everything: a room that imports it imports whatever the root will ever offer."""
    through = [
        str(found)
        for found in IMPORTS
        if is_ours(found.target) and room(found.target) not in ROOMS and found.target != "ooda.__version__"
    ]
    assert through == []


def test_the_core_imports_the_ground_floor_and_pure_libraries_only() -> None:
    """No clock, no setting, no file, socket or process: neither ours nor the standard library's."""
    impure = [
        str(found)
        for found in IMPORTS
        if room(found.module) == "runtime"
        and (
            room(found.target) not in RUNTIME_MAY_IMPORT | {"runtime"}
            if is_ours(found.target)
            else found.target.split(".")[0] not in PURE_LIBRARIES
        )
    ]
    assert impure == []


def test_the_ground_floor_imports_nothing_above_itself_and_little_beside() -> None:
    """Records and errors are read by everything, so they pull nothing in."""
    allowed = PURE_LIBRARIES | {"time", "datetime", "secrets", "decimal", "fractions", "random"}
    heavy = [
        str(found)
        for found in IMPORTS
        if room(found.module) in GROUND and not is_ours(found.target) and found.target.split(".")[0] not in allowed
    ]
    assert heavy == []


def test_errors_and_ids_import_nothing_of_ours() -> None:
    """They lie below even the ground."""
    assert [
        str(f) for f in IMPORTS if room(f.module) in ("errors", "ids", "labels", "clock") and is_ours(f.target)
    ] == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import ooda.store.runs", ["ooda.store.runs"]),
        ("from ooda.store import runs", ["ooda.store"]),
        ("from ooda import store", ["ooda.store"]),
        ("from . import tx", ["ooda.store"]),
        ("from ..models import chat", ["ooda.models"]),
        ("def f():\n    from ooda.cli import main", ["ooda.cli"]),
        ("if TYPE_CHECKING:\n    import ooda.cli", ["ooda.cli"]),
        ("import_module('ooda.cli.main')", ["ooda.cli.main"]),
        ("importlib.import_module('ooda.cli')", ["ooda.cli"]),
        ("x = 'import ooda'", []),
    ],
)
def test_every_way_to_import_is_seen(source: str, expected: list[str]) -> None:
    """The reader of this plan reads deferred, type-only, relative and named imports."""
    found = [f.target for f in imports_of("ooda.store.rows", ast.parse(source))]
    assert found == expected


# -- no effect at import ----------------------------------------------------------------------------------

EFFECTS = frozenset(
    """
    open print input exec eval mkdir makedirs touch write_text write_bytes read_text read_bytes unlink rmdir rmtree
    mkdtemp mkstemp NamedTemporaryFile TemporaryDirectory run Popen check_call check_output system popen socket
    create_connection urlopen connect basicConfig dictConfig fileConfig getenv putenv load_dotenv chdir signal register
    filterwarnings simplefilter set_start_method time time_ns monotonic perf_counter now utcnow today sleep Thread start
    urandom token_hex token_bytes randbits randint random uuid4 uuid1 getcwd expanduser cwd home getpid gethostname
    getuser set_event_loop_policy setrecursionlimit setlocale
    """.split()  # noqa: SIM905
)
"""Calls that read or change the world when they stand at module level."""

ENVIRONMENT = frozenset({"environ", "argv"})


def executed_at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """Every node that runs when the module is imported: bodies of functions and lambdas do not, class bodies do."""
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and _is_main_guard(node):
            continue
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            pending += node.decorator_list + node.args.defaults + [d for d in node.args.kw_defaults if d is not None]
        elif isinstance(node, ast.Lambda):
            pending += node.args.defaults
        else:
            pending += ast.iter_child_nodes(node)


def _is_main_guard(node: ast.If) -> bool:
    return isinstance(node.test, ast.Compare) and getattr(node.test.left, "id", "") == "__name__"


def effects_of(tree: ast.Module) -> list[str]:
    """The effects of importing a module, as `line: name`."""
    found = []
    for node in executed_at_import(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in EFFECTS:
                found.append(f"{node.lineno}: {called}()")
        elif isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT:
            found.append(f"{node.lineno}: {node.attr}")
    return found


@pytest.mark.parametrize(
    ("source", "effects"),
    [
        ("LOG = open('x')", ["1: open()"]),
        ("Path('x').mkdir()", ["1: mkdir()"]),
        ("KEY = os.environ.get('KEY')", ["1: environ"]),
        ("logging.basicConfig()", ["1: basicConfig()"]),
        ("def f(at=time.time()):\n    open('x')", ["1: time()"]),
        ("class A:\n    now = datetime.now()", ["2: now()"]),
        ("if DEBUG:\n    print('x')", ["2: print()"]),
        ("if __name__ == '__main__':\n    run()", []),
        ("def f():\n    return os.environ['KEY']", []),
        ("later = lambda: open('x')", []),
    ],
)
def test_effects_at_module_level_are_seen(source: str, effects: list[str]) -> None:
    """Class bodies, defaults and decorators run at import; bodies of functions do not."""
    assert effects_of(ast.parse(source)) == effects


@pytest.mark.parametrize("tree", [pytest.param(tree, id=module) for module, tree in sources()])
def test_importing_a_module_has_no_effect(tree: ast.Module) -> None:
    """No folder made, no banner, no setting read, no clock asked, no client opened."""
    assert effects_of(tree) == []


def test_the_standard_library_names_here_exist() -> None:
    """A typing slip in the allow-list would allow nothing and say nothing."""
    assert PURE_LIBRARIES - {"msgspec"} <= sys.stdlib_module_names
