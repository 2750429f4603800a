"""Opens a bubblewrap sandbox as an ordinary user, where no cgroup can be made, and prints what its limits did.
Run by test_unprivileged.py."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from ooda.sandbox import SandboxLimits, SandboxSpec, open_sandbox

SPIN = "import time\nend = time.monotonic() + 0.5\nwhile time.monotonic() < end: pass\nprint(time.process_time())"
HOG = "b = b'x' * (60 << 20); import time; time.sleep(5)"

SEGMENTS = """import ctypes, time
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
for _ in range(60):
    segment = libc.shmget(0, ctypes.c_size_t(20 << 20), 0o1666)
    place = libc.shmat(segment, None, 0)
    ctypes.memset(place, 1, 20 << 20)
    libc.shmdt(ctypes.c_void_p(place))
    time.sleep(0.05)
"""


async def main(folder: Path) -> None:
    spec = SandboxSpec(
        run="run-nobody",
        workspace=folder / "workspace",
        spool=folder / "spool",
        backend="bubblewrap",
        limits=SandboxLimits(memory_bytes=200 << 20, pids=60),
    )
    async with await open_sandbox(spec, cache_dir=folder / "cache") as sandbox:
        (spec.workspace / "spin.py").write_text(SPIN)
        spin = await sandbox.exec("nproc; python3 spin.py & python3 spin.py & wait")
        widen = await sandbox.exec("python3 -c 'import os; os.sched_setaffinity(0, range(64))'")
        alone = await sandbox.exec("python3 -c 'b = bytearray(400 << 20)'")
        together = await sandbox.exec(f'for i in 1 2 3 4 5; do python3 -c "{HOG}" & done; wait')
        files = await sandbox.exec("python3 -c 'import os; os.memfd_create(\"x\")'")
        (spec.workspace / "segments.py").write_text(SEGMENTS)
        segments = await sandbox.exec("python3 segments.py", timeout_s=20)
        left = await sandbox.exec("tail -n +2 /proc/sysvipc/shm | wc -l")
        began = time.monotonic()
        bomb = await sandbox.exec("b() { b | b & }; b; sleep 30", timeout_s=0.5)
        facts = {
            "missing": sandbox.report.missing,
            "probes": [probe.ok for probe in sandbox.report.probes],
            "spin": spin.output.head.split(),
            "widen": widen.exit_code,
            "alone": alone.output.head,
            "together": together.limit,
            "files": files.output.head,
            "segments": [segments.limit, segments.timed_out],
            "segments_left": left.output.head.strip(),
            "bomb": [bomb.timed_out, bomb.killed, time.monotonic() - began],
            "alive": (await sandbox.exec("id -u; echo alive")).output.head.split(),
        }
    facts["left"] = [path.name for path in (folder / "cache" / "sandboxes").iterdir()]
    print(json.dumps(facts))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
