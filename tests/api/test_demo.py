"""The bundled recordings: replayed offline without divergence, and with real tools on a fresh repository."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ooda.api.demo import DEMO, MENDING, prepare, pushed
from ooda.api.runs import replay_run
from ooda.api.session import Session

README_SAMPLE = (
    (Path(__file__).parents[2] / "README.md").read_text().partition("$ make demo\n")[2].partition("\n```")[0]
)

RECORDINGS = [pytest.param(DEMO, 1, id="at once"), pytest.param(MENDING, 2, id="mended")]


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose name is no longer than that in README: lines of progress are cut at a width."""
    with tempfile.TemporaryDirectory(prefix="d", dir="/tmp") as folder:
        yield Path(folder)


def comparable(text: str, folder: Path) -> list[str]:
    """Lines of progress as far as they are the same in every run and terminal: no amounts, hashes or lengths."""
    text = re.sub(r"\b[0-9a-f]{12}\b", "HASH", text.replace(str(folder), "FOLDER"))
    lines = [re.sub(r"  \[\$.*\]$", "", line) for line in text.splitlines()]
    return [line[:60].rstrip(" …") for line in lines if not re.fullmatch(r" +… \d+ more", line)]


@pytest.mark.parametrize(("recording", "rounds"), RECORDINGS)
def test_a_recording_replays_without_divergence(tmp_path: Path, recording: Path, rounds: int) -> None:
    """The loop of today concludes and asks what it did when the cassette was recorded."""
    with Session.open(environ={"HOME": str(tmp_path)}, cwd=tmp_path) as session:
        report = replay_run(session, str(recording))

    assert report.divergence is None, report.divergence.what
    assert report.state is not None
    assert (report.state.status, report.state.round) == ("success", rounds)


@pytest.mark.bubblewrap
@pytest.mark.parametrize(("recording", "option"), [(DEMO, ()), (MENDING, ("--mend",))], ids=["at once", "mended"])
def test_the_demo_is_real_but_for_the_replies(
    tmp_path: Path, short: Path, recording: Path, option: tuple[str, ...]
) -> None:
    """One command: clone, sandbox, edits, tests, commit and push happen; the diff is shown, as README shows it."""
    command = [sys.executable, "-m", "ooda", "demo", *option, "--folder", str(short)]
    environ = {"HOME": str(tmp_path), "PATH": "/usr/local/bin:/usr/bin:/bin"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    assert "cassette; everything else is real" in done.stderr
    assert "already: Decimal = Decimal(0)" in done.stderr
    assert done.stdout.startswith("success: Pushed feat/")
    assert "sorted(parts" in pushed(short)
    if not option:
        shown = iter(comparable(done.stderr, short))
        missing = [line for line in comparable(README_SAMPLE, Path("/tmp/tariff")) if not any(map(line.__eq__, shown))]
        assert missing == []  # in this order, with nothing that the demo does not say


def test_the_example_has_failing_tests_at_first(tmp_path: Path) -> None:
    """The bug is real: four of its own tests show it."""
    prepare(tmp_path / "demo")
    command = [sys.executable, "-m", "unittest", "discover", "-s", "tests", "-t", "."]
    done = subprocess.run(
        command, cwd=tmp_path / "demo" / "tariff", capture_output=True, text=True, timeout=60, check=False
    )

    assert "FAILED (failures=4)" in done.stderr
