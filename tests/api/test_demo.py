"""The bundled recordings: replayed offline without divergence, and with real tools on a fresh repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ooda.api.demo import DEMO, MENDING, prepare, pushed
from ooda.api.runs import replay_run
from ooda.api.session import Session

RECORDINGS = [pytest.param(DEMO, 1, id="at once"), pytest.param(MENDING, 2, id="mended")]


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
def test_the_demo_is_real_but_for_the_replies(tmp_path: Path, recording: Path, option: tuple[str, ...]) -> None:
    """One command: clone, sandbox, edits, tests, commit and push happen; the diff is shown."""
    command = [sys.executable, "-m", "ooda", "demo", *option, "--folder", str(tmp_path / "demo")]
    environ = {"HOME": str(tmp_path), "PATH": "/usr/local/bin:/usr/bin:/bin"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    assert "cassette; everything else is real" in done.stderr
    assert "already: Decimal = Decimal(0)" in done.stderr
    assert done.stdout.startswith("success: Pushed feat/")
    assert "sorted(parts" in pushed(tmp_path / "demo")


def test_the_example_has_failing_tests_at_first(tmp_path: Path) -> None:
    """The bug is real: four of its own tests show it."""
    prepare(tmp_path / "demo")
    command = [sys.executable, "-m", "unittest", "discover", "-s", "tests", "-t", "."]
    done = subprocess.run(
        command, cwd=tmp_path / "demo" / "tariff", capture_output=True, text=True, timeout=60, check=False
    )

    assert "FAILED (failures=4)" in done.stderr
