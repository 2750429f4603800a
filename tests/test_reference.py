"""The generated reference pages are up to date, and generating them costs nobody anything at import."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_reference", ROOT / "scripts" / "generate_reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_pages_are_what_the_code_says(generator: ModuleType) -> None:
    """A changed setting or task field changes its page in the same commit."""
    assert generator.main(["--check"]) == 0


def test_a_stale_page_is_named(
    generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--check` writes nothing; without it the page is written."""
    page = tmp_path / "page.md"
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    monkeypatch.setattr(generator, "PAGES", {page: lambda: "new\n"})
    assert generator.main(["--check"]) == 1
    assert not page.exists()
    assert "out of date: page.md" in capsys.readouterr().err
    assert generator.main([]) == 0
    assert page.read_text() == "new\n"
    assert generator.main(["--check"]) == 0


@pytest.mark.parametrize("room", ["ooda.task", "ooda.config"])
def test_the_rooms_at_the_door_import_only_the_ground_floor(room: str) -> None:
    """They stand below everything else, and load neither a settings library nor the YAML parser before it is needed."""
    script = f"import {room}, sys; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    ours = {name.split(".")[1] for name in loaded if name.startswith("ooda.")}
    ground = {"amounts", "errors", "events", "fields", "labels", "problems"}
    assert ours <= ground | {room.removeprefix("ooda.")}
    assert not {"pydantic_settings", "yaml", "asyncio", "sqlite3", "email"}.intersection(loaded)
