"""Validation on a real sandbox: what is found, what is run, what counts as success."""

from __future__ import annotations

import sysconfig
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ooda.clock import ManualClock
from ooda.sandbox import Bind, SandboxSpec, open_sandbox
from ooda.tools.room import ToolRoom
from ooda.tools.validate import _GIVE_PYTEST, detect
from tests.tools.bench import Bench

_PASSING = "import unittest\n\nclass T(unittest.TestCase):\n    def test_a(self):\n        pass\n"
_FAILING = _PASSING + "    def test_b(self):\n        self.fail('no')\n"


@pytest.fixture
async def with_pytest(tmp_path: Path, backend: str) -> AsyncIterator[Bench]:
    """A sandbox in which pytest can be imported, as an environment's setup would make it."""
    workspace, spool = tmp_path / "workspace", tmp_path / "spool"
    workspace.mkdir()
    spool.mkdir()
    site = sysconfig.get_paths()["purelib"]
    walled = backend != "none"
    spec = SandboxSpec(
        run="run-1",
        workspace=workspace,
        spool=spool,
        backend=backend,  # type: ignore[arg-type]
        binds=(Bind(Path(site), "/opt/site"),) if walled else (),
        env={"PYTHONPATH": "/opt/site" if walled else site, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    async with await open_sandbox(spec, cache_dir=tmp_path / "cache") as sandbox:
        yield Bench(ToolRoom(run="run-1", clock=ManualClock(), sandbox=sandbox), workspace)


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


async def test_pytest_is_found_and_counted(with_pytest: Bench) -> None:
    """With the package below src/ on the path, and failures by name."""
    write(
        with_pytest.workspace,
        {
            "pyproject.toml": "[tool.pytest.ini_options]\n",
            "src/pkg/__init__.py": "value = 1\n",
            "tests/test_pkg.py": "from pkg import value\n\ndef test_a():\n    assert value == 1\n\n"
            "def test_b():\n    assert value == 2\n",
        },
    )
    outcome = await with_pytest("run_validation")
    assert outcome.status == "ok"
    assert outcome.data["success"] is False
    assert (outcome.data["tests_passed"], outcome.data["tests_failed"]) == (1, 1)
    command, failure = outcome.data["issues"]
    assert command.endswith("python3 -m pytest -q -rfE --color=no` exited with code 1")
    assert failure == "tests/test_pkg.py::test_b - assert 1 == 2"
    assert outcome.text.startswith("Validation failed: 1 test passed, 1 failed.\n- `PYTHONPATH=src")
    write(with_pytest.workspace, {"src/pkg/__init__.py": "value = 2\n", "tests/test_pkg.py": "def test_a(): pass\n"})
    mended = await with_pytest("run_validation")
    assert (mended.data["success"], mended.data["tests_passed"], mended.data["issues"]) == (True, 1, ())


async def test_unittest_is_found_where_there_is_no_pytest(bench: Bench) -> None:
    """A folder without __init__.py is named as the place to start."""
    write(bench.workspace, {"pkg.py": "x = 1\n", "tests/test_pkg.py": "import pkg\n" + _FAILING})
    outcome = await bench("run_validation")
    assert outcome.data["commands"] == ("python3 -m unittest discover -s tests",)
    assert (outcome.data["tests_passed"], outcome.data["tests_failed"]) == (1, 1)
    assert outcome.data["issues"][1] == "test_pkg.T.test_b"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({"a.py": "x = 1\n", "README.md": "tests\n"}, (), id="no tests"),
        pytest.param({".venv/test_x.py": _PASSING, "node_modules/a/test_y.py": ""}, (), id="other people's tests"),
        pytest.param({"test_a.py": _PASSING}, ("python3 -m unittest discover",), id="unittest at the root"),
        pytest.param(
            {"tests/__init__.py": "", "tests/test_a.py": _PASSING},
            ("python3 -m unittest discover",),
            id="unittest in a package",
        ),
        pytest.param(
            {"my tests/test_a.py": _PASSING}, ("python3 -m unittest discover -s 'my tests'",), id="a name with a space"
        ),
        pytest.param(
            {"tests/test_a.py": "def test_a(): pass\n"}, ("python3 -m pytest -q -rfE --color=no",), id="plain functions"
        ),
        pytest.param(
            {"tests/test_a.py": _PASSING, "setup.cfg": "[tool:pytest]\n"},
            ("python3 -m pytest -q -rfE --color=no",),
            id="configured",
        ),
        pytest.param(
            {"tests/test_a.py": _PASSING, "tests/conftest.py": ""},
            ("python3 -m pytest -q -rfE --color=no",),
            id="a conftest",
        ),
    ],
)
async def test_the_command_follows_from_what_is_there(
    bench: Bench, files: dict[str, str], expected: tuple[str, ...]
) -> None:
    """Configuration first, then how the tests are written."""
    write(bench.workspace, files)
    assert await detect(bench.room.the_sandbox()) == expected


async def test_tests_that_need_pytest_where_there_is_none_are_no_data(bench: Bench) -> None:
    """No change of the code makes them run: what the task has to say is said, and no round is spent on it."""
    write(bench.workspace, {"test_a.py": "def test_a(): pass\n"})
    outcome = await bench("run_validation")
    assert (outcome.status, outcome.data["success"]) == ("no_data", False)
    assert "the tests need pytest, which is not installed in the sandbox" in outcome.text
    assert outcome.data["suggestions"] == (_GIVE_PYTEST,)


async def test_a_named_command_that_lacks_pytest_fails_and_says_so_in_its_first_line(bench: Bench) -> None:
    """What the task names has to exit with 0, whatever keeps it from that."""
    outcome = await bench("run_validation", commands=["python3 -m pytest -q"])
    assert (outcome.status, outcome.data["success"]) == ("ok", False)
    said = f"pytest is not installed in the sandbox; {_GIVE_PYTEST}"
    assert outcome.data["suggestions"] == (said,)
    assert outcome.text.startswith(f"Validation failed: {said}.\n- `python3 -m pytest -q` exited with code 1\n")


async def test_a_repository_without_tests_is_no_data_and_no_success(bench: Bench) -> None:
    """Nothing was checked, and that is what is said."""
    write(bench.workspace, {"a.py": "x = 1\n"})
    outcome = await bench("run_validation")
    assert outcome.status == "no_data"
    assert outcome.data["success"] is False
    assert outcome.text.startswith("Nothing could be checked: no tests were found")


async def test_commands_that_find_no_tests_are_no_data(bench: Bench) -> None:
    """Exit code 0 of a run of nothing proves nothing."""
    outcome = await bench("run_validation", commands=["python3 -m unittest discover"])
    assert (outcome.status, outcome.data["success"]) == ("no_data", False)


async def test_the_tasks_own_commands_come_before_what_is_found(bench: Bench) -> None:
    """All of them run; each one's exit code counts, and each starts in the repository's root."""
    write(bench.workspace, {"test_a.py": _PASSING})
    bench.refit(validation=("mkdir -p deep && cd deep && export X=1", 'test -f test_a.py && test -z "$X"', "exit 3"))
    outcome = await bench("run_validation")
    assert outcome.data["issues"] == ("`exit 3` exited with code 3",)
    assert outcome.data["success"] is False
    assert (outcome.data["tests_passed"], outcome.data["tests_failed"]) == (0, 0)


async def test_given_commands_come_before_the_tasks(bench: Bench) -> None:
    """For a check in between."""
    bench.refit(validation=("false",))
    outcome = await bench("run_validation", commands=["true"])
    assert (outcome.data["success"], outcome.data["commands"]) == (True, ("true",))


async def test_tests_that_do_not_end_are_a_failure(bench: Bench) -> None:
    """Within what the call's deadline leaves."""
    from ooda.tools.room import CallFacts

    clock = bench.room.clock
    room_call = CallFacts(deadline_ns=clock.now_ns() + 1_000_000_000)
    assert bench.room.remaining_s(900) == 900
    bench.refit(call=room_call)
    assert bench.room.remaining_s(900) == 1
    tool = bench.toolbox.find("run_validation")
    assert tool is not None
    outcome = await tool.declaration.function(bench.room, commands=["sleep 60"])
    assert outcome.data["success"] is False
    assert outcome.data["issues"] == ("`sleep 60` timed out after 1 s",)


async def test_a_long_output_is_shown_in_part(bench: Bench) -> None:
    """Failure shows more of it than success, and never more than the cap."""
    outcome = await bench("run_validation", commands=["seq 1 100000; exit 1"])
    assert 8_000 < len(outcome.text) <= 16_384
    fine = await bench("run_validation", commands=["seq 1 100000"])
    assert len(fine.text) < 1_000
