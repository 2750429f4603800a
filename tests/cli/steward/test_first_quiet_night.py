"""The tutorial *A first quiet night*: every command on the page runs, in its order, and does what the page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "tutorials" / "first-quiet-night.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_can_be_followed(tmp_path: Path) -> None:
    """Its first block serves the fleet, in a terminal of its own; the others run as one shell."""
    first, *rest = BLOCK.findall(PAGE.read_text())
    program, *words = first.split()
    assert (program, words[:2]) == ("ooda", ["fake", "coder"])
    (tmp_path / "ooda").write_text(f'#!/bin/sh\nexec {sys.executable} -m ooda "$@"\n')
    (tmp_path / "ooda").chmod(0o755)
    environ = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environ["OODA_STEWARD__STOPS_PER_MINUTE"] = "1000"  # a reader has the minute, a test has not
    served = subprocess.Popen(
        [str(tmp_path / "ooda"), *words, "--json", "--build-time", "0"], env=environ, stdout=subprocess.PIPE, text=True
    )
    try:
        assert served.stdout is not None
        said = json.loads(served.stdout.readline())
        done = subprocess.run(
            ["bash", "-eu", "-c", "".join(rest)],
            env=environ | {"CODER_URL": said["url"], "CODER_TOKEN": said["token"]},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        served.terminate()
        assert served.wait(30) == 0
        if served.stdout is not None:
            served.stdout.close()
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    stopped = set(re.findall(r"Stopped workspace (\S+)", done.stderr))
    assert stopped, done.stderr[-2_000:]
    assert not any(title.startswith("barbara.00009/") for title in stopped), "she holds them"
    assert re.search(r"barbara\.00009/\S+ +keep +held", done.stdout)
    assert set(re.findall(r"Started workspace (\S+)", done.stderr)) == stopped
    assert "TTL Compliance Report" in done.stdout
    assert "workspaces_stopped_quiet_hours" in done.stdout
