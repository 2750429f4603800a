"""What a plain import costs: `import ooda` and each command's entry load nothing heavy, and do nothing.

Measured in processes of their own, since this one has loaded everything already. The entry points are read from
pyproject.toml and from the package, so that a new one is held to the same rule on the day it appears.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

HEAVY = frozenset(
    """
    openai litellm docker git httpx pydantic temporalio nats sqlalchemy vcr kubernetes mcp textual jsonschema yaml h11
    ssl
    """.split()  # noqa: SIM905
)
"""Loaded by what needs them, on first use."""

PROBE = """
import json, os, sys, threading
before = set(os.listdir("."))
import {module}
print(json.dumps({{
    "modules": sorted(sys.modules),
    "files": sorted(set(os.listdir(".")) - before),
    "threads": threading.active_count(),
}}))
"""


def entry_modules() -> list[str]:
    """The package, the modules behind every console script, and every module that `python -m` may run."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("scripts", {})
    named = {target.partition(":")[0] for target in scripts.values()}
    runnable = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "ooda").rglob("*.py")
        if path.name == "__main__.py" and "guest" not in path.parts
    }
    return sorted(name for name in {"ooda", *named, *runnable} if _exists(name))


def _exists(module: str) -> bool:
    return (ROOT / Path(*module.split("."))).with_suffix(".py").exists() or (
        ROOT / Path(*module.split(".")) / "__init__.py"
    ).exists()


def loaded(module: str, folder: Path) -> dict[str, list[str]]:
    """What a fresh interpreter holds after importing `module` in an empty folder with an empty home."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(module=module)],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("module", entry_modules())
def test_an_entry_loads_nothing_heavy_and_leaves_nothing_behind(module: str, tmp_path: Path) -> None:
    """No optional or costly library, no file, no thread, not a word on the terminal."""
    found = loaded(module, tmp_path)
    assert HEAVY & {name.partition(".")[0] for name in found["modules"]} == set()
    assert found["files"] == []
    assert found["threads"] == 1


def test_the_package_alone_loads_nothing_of_ours(tmp_path: Path) -> None:
    """`import ooda` is a version and a docstring."""
    assert [name for name in loaded("ooda", tmp_path)["modules"] if name.startswith("ooda")] == ["ooda"]


def test_the_console_script_is_among_the_entries() -> None:
    """The list above is read, not kept; this says that reading it works."""
    assert "ooda" in entry_modules()
    assert ("ooda.cli.main" in entry_modules()) == (importlib.util.find_spec("ooda.cli.main") is not None)


def test_help_is_printed_without_anything_heavy(tmp_path: Path) -> None:
    """`ooda --help` parses and prints; it opens no setting, no database and no client."""
    script = (
        "import sys\nfrom ooda.cli.main import entry\nsys.argv = ['ooda', '--help']\n"
        "try:\n    entry()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        f"heavy = {sorted(HEAVY)!r}\n"
        "found = sorted({name.partition('.')[0] for name in sys.modules} & set(heavy))\n"
        "print(found, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert "usage: ooda" in done.stdout
