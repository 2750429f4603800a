"""The key that signs anchors is there whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_TRIES = """
import resource, sys
from pathlib import Path
from ooda.api.session import Session

session = Session.open(environ={"HOME": sys.argv[1]}, cwd=Path(sys.argv[1]), overrides={})
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
try:
    session.audit_key(make=True)
except OSError:
    sys.exit(3)
"""


def test_a_key_that_could_not_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    """As for a process killed while it makes one: the next makes its own, instead of being refused for ever."""
    done = subprocess.run([sys.executable, "-c", _TRIES, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    folder = tmp_path / ".config" / "ooda"
    assert list(folder.iterdir()) == []
    again = subprocess.run(
        [sys.executable, "-c", _TRIES.replace("(0, ", "(1 << 20, "), str(tmp_path)], capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    (key,) = folder.iterdir()
    assert (key.name, len(key.read_bytes()), key.stat().st_mode & 0o777) == ("audit.key", 32, 0o600)
