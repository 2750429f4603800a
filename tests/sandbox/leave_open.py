"""A process that opens a sandbox, starts things in it, says so, and waits to be killed. Run by test_reaper.py."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from ooda.sandbox import Network, SandboxSpec, open_sandbox


async def main(backend: str, workspace: Path, cache: Path) -> None:
    spec = SandboxSpec(
        run="run-killed",
        workspace=workspace,
        spool=cache / "spool",
        backend=backend,
        network=Network(("example.com",)),
    )
    sandbox = await open_sandbox(spec, cache_dir=cache)
    await sandbox.start("setsid sleep 4242 & sleep 4242")
    await sandbox.exec("echo made > made.txt")
    print(sandbox.id, flush=True)
    await sandbox.exec("trap '' TERM; sleep 4242; sleep 4242", timeout_s=600)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
