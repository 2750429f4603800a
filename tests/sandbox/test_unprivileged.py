"""bubblewrap as most people run it: an ordinary user, no cgroup to be had. Limits hold by other means then."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest

UID = 54321
ROOT = Path(__file__).parents[2]
PYTHON = "/usr/bin/python3"


@pytest.fixture
def place():
    """A folder of an ordinary user, on a path that such a user can walk."""
    folder = Path(tempfile.mkdtemp(prefix="ooda-nobody-", dir="/tmp"))
    (folder / "workspace").mkdir()
    for path in (folder, folder / "workspace"):
        os.chown(path, UID, UID)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.bubblewrap
def test_limits_hold_without_a_cgroup(place):
    """CPU by affinity that cannot be changed, memory per process and by a watchdog, processes by an rlimit."""
    if os.geteuid() != 0 or not shutil.which("bwrap") or not shutil.which("setpriv"):
        pytest.skip("needs root, bubblewrap and setpriv to become an ordinary user; elsewhere every test is one")
    libraries = str(Path(msgspec.__file__).parents[1])
    environment = {"PYTHONPATH": f"{ROOT}:{libraries}", "PATH": os.environ["PATH"], "HOME": str(place)}
    become = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
    usable = subprocess.run([*become, PYTHON, "-c", "import msgspec, h11"], env=environment, capture_output=True)
    if usable.returncode != 0:
        pytest.skip(f"{PYTHON} cannot load the libraries of {sys.executable} as an ordinary user")
    done = subprocess.run(
        [*become, PYTHON, "-B", str(Path(__file__).with_name("as_nobody.py")), str(place)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["missing"] == ["disk-quota", "cgroup"]
    assert all(facts["probes"])
    assert facts["spin"][0] == "1"
    assert sum(map(float, facts["spin"][1:])) < 0.75
    assert facts["widen"] == 1
    assert "MemoryError" in facts["alone"]
    assert facts["together"] == "memory"
    assert "Function not implemented" in facts["files"]  # memory in files without a folder is seen by no watch
    assert facts["segments"] == ["memory", False]
    assert facts["segments_left"] == "0"
    assert facts["bomb"][0] is True
    assert facts["bomb"][1] <= 60
    assert facts["bomb"][2] < 3.5
    assert facts["alive"] == [str(UID), "alive"]
    assert facts["left"] == []
