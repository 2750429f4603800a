"""Where files are kept, by the XDG base directory specification."""

from __future__ import annotations

from pathlib import Path

import pytest

from ooda.config import Places
from ooda.errors import ConfigError


def test_places_lie_below_home_unless_said_otherwise(tmp_path: Path) -> None:
    """Data, state, configuration and cache each have their own; nothing is created by asking."""
    places = Places.from_environ({"HOME": str(tmp_path), "XDG_STATE_HOME": "/var/state", "XDG_CACHE_HOME": "relative"})
    assert places == Places(
        config=tmp_path / ".config/ooda",
        data=tmp_path / ".local/share/ooda",
        state=Path("/var/state/ooda"),
        cache=tmp_path / ".cache/ooda",
    )
    assert list(tmp_path.iterdir()) == []


def test_each_kind_of_file_has_its_place() -> None:
    """The database and its blobs side by side; one folder per run."""
    places = Places.from_environ({"HOME": "/h"})
    assert places.config_file == Path("/h/.config/ooda/config.toml")
    assert (places.database, places.blobs) == (Path("/h/.local/share/ooda/ooda.db"), Path("/h/.local/share/ooda/blobs"))
    run = places.run("run-1")
    folder = Path("/h/.local/state/ooda/runs/run-1")
    assert (run.folder, run.workspace, run.git, run.spool) == (
        folder,
        folder / "workspace",
        folder / "git",
        folder / "spool",
    )


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}, {"HOME": "relative"}, {"HOME": "x", "XDG_DATA_HOME": "/d"}])
def test_without_a_home_the_answer_says_what_to_set(environ: dict[str, str]) -> None:
    """Services run without HOME; a guess would put state where nobody looks."""
    with pytest.raises(ConfigError, match="set one of them to an absolute path"):
        Places.from_environ(environ)
    full = {f"XDG_{name}_HOME": f"/{name}" for name in ("CONFIG", "DATA", "STATE", "CACHE")}
    assert Places.from_environ(environ | full).data == Path("/DATA/ooda")
