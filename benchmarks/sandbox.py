"""`make bench-sandbox`: what a sandbox costs its agent. Prints a table; fails when a goal is missed.

Wall time, as the agent feels it, and medians: on a busy machine run it again when it is quiet. Every figure is taken
through the public API, on each backend that works here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from ooda.errors import SandboxError
from ooda.sandbox import Sandbox, SandboxSpec, open_sandbox
from ooda.sandbox.opening import ignore_audit

MIB = 1 << 20
GOALS = {
    "ready, self-test kept (ms)": (600, 600),
    "`true`, warm, after a pause (ms)": (5, 25),
    "`true`, warm, back to back (ms)": (5, 25),
    "read 1 KB (ms)": (3, 3),
    "write 1 KB (ms)": (3, 3),
    "read 1 MB (ms)": (None, None),
    "worst end of a tree after its time-out (ms)": (1000, 1000),
    "fork bomb ended after its time-out (ms)": (None, None),
    "1 GB of output (s)": (None, None),
    "our growth through 1 GB of output (MB)": (20, 20),
    "text kept of 1 GB (KiB)": (130, 130),
    "50 sandboxes opened, 8 at a time (s)": (10, 10),
    "50 sandboxes closed (s)": (None, None),
}
"""Goal per figure on docker and bubblewrap; None is told for information."""
TREES = {
    "plain": "sleep 60",
    "ignores signals": "trap '' TERM INT HUP; sleep 60; sleep 60",
    "setsid": "(setsid sleep 60 &); sleep 60",
    "double fork": "sh -c '(sleep 60 & (sleep 60 &) &) & sleep 60'",
    "stopped": "kill -STOP $$; sleep 60",
    "fifty": "for i in $(seq 50); do sleep 60 & done; wait",
}
BOMB = "b() { b | b & }; b; sleep 60"


async def milliseconds(action: Callable[[], Awaitable[object]], count: int, pause_s: float = 0.0) -> float:
    """The median duration of an action."""
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        await action()
        taken.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(pause_s)
    return statistics.median(taken)


def memory_mib(field: str) -> float:
    found = re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


async def overshoot_ms(sandbox: Sandbox, command: str) -> float:
    """From the time-out until the result says that nothing of the tree is left."""
    began = time.perf_counter()
    await sandbox.exec(command, timeout_s=0.5)
    late = (time.perf_counter() - began - 0.5) * 1000
    if (await sandbox.stats()).processes:
        sys.exit(f"processes outlived their time-out: {command}")
    return late


async def figures(backend: str, folder: Path) -> dict[str, float]:
    def spec(number: int) -> SandboxSpec:
        workspace = folder / f"{backend}-{number}"
        workspace.mkdir(exist_ok=True)
        return SandboxSpec(run="bench", workspace=workspace, spool=folder / "spool", backend=backend)

    async def opened(number: int) -> Sandbox:
        return await open_sandbox(spec(number), cache_dir=folder / "cache", audit=ignore_audit)

    found: dict[str, float] = {}
    await (await opened(0)).close()
    ready = []
    for _ in range(5):
        began = time.perf_counter()
        sandbox = await opened(0)
        ready.append((time.perf_counter() - began) * 1000)
        await sandbox.close()
    found["ready, self-test kept (ms)"] = statistics.median(ready)
    async with await opened(0) as sandbox:
        for size, name in ((1024, "1 KB"), (MIB, "1 MB")):
            await sandbox.write(name, os.urandom(size))
        true = lambda: sandbox.exec("true")  # noqa: E731
        await milliseconds(true, 20)
        found["`true`, warm, after a pause (ms)"] = await milliseconds(true, 50, pause_s=0.02)
        found["`true`, warm, back to back (ms)"] = await milliseconds(true, 200)
        found["read 1 KB (ms)"] = await milliseconds(lambda: sandbox.read("1 KB", max_bytes=MIB), 200)
        found["write 1 KB (ms)"] = await milliseconds(lambda: sandbox.write("1 KB", b"x" * 1024), 200)
        found["read 1 MB (ms)"] = await milliseconds(lambda: sandbox.read("1 MB", max_bytes=MIB), 20)
        late = [await overshoot_ms(sandbox, command) for command in TREES.values()]
        found["worst end of a tree after its time-out (ms)"] = max(late)
        found["fork bomb ended after its time-out (ms)"] = await overshoot_ms(sandbox, BOMB)
        before, began = memory_mib("VmRSS"), time.perf_counter()
        result = await sandbox.exec("head -c 1000000000 /dev/zero | tr '\\0' x", timeout_s=300)
        found["1 GB of output (s)"] = time.perf_counter() - began
        found["our growth through 1 GB of output (MB)"] = max(0.0, memory_mib("VmRSS") - before)
        found["text kept of 1 GB (KiB)"] = (len(result.output.head) + len(result.output.tail)) / 1024
        assert result.output.total_bytes == 1_000_000_000
    began = time.perf_counter()
    gate = asyncio.Semaphore(8)

    async def guarded(number: int) -> Sandbox:
        async with gate:
            return await opened(number)

    many = await asyncio.gather(*(guarded(number) for number in range(50)))
    found["50 sandboxes opened, 8 at a time (s)"] = time.perf_counter() - began
    began = time.perf_counter()
    await asyncio.gather(*(sandbox.close() for sandbox in many))
    found["50 sandboxes closed (s)"] = time.perf_counter() - began
    return found


def judge(found: dict[str, dict[str, float]]) -> int:
    """Print the table; 1 when a goal is missed."""
    missed = 0
    print(f"{'figure':<46}" + "".join(f"{backend:>12}{'goal':>8}" for backend in found))
    for name, goals in GOALS.items():
        line = f"{name:<46}"
        for backend, values in found.items():
            goal = goals[backend == "bubblewrap"]
            late = goal is not None and values[name] > goal
            missed += late
            line += f"{values[name]:>11.1f}{'!' if late else ' '}" + (f"{goal:>8}" if goal is not None else " " * 8)
        print(line)
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
    if missed:
        print(f"{missed} goals missed (marked !)")
    return 1 if missed else 0


async def measure(backends: list[str]) -> dict[str, dict[str, float]]:
    found = {}
    with tempfile.TemporaryDirectory(prefix="ooda-bench-") as folder:
        for backend in backends:
            try:
                found[backend] = await figures(backend, Path(folder))
            except SandboxError as error:
                print(f"{backend}: not measured: {error}", file=sys.stderr)
    return found


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--backend", choices=["docker", "bubblewrap"], action="append", help="only this one")
    options.add_argument("--json", type=Path, help="write the figures here")
    args = options.parse_args()
    found = asyncio.run(measure(args.backend or ["docker", "bubblewrap"]))
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")
    return judge(found) if found else 1


if __name__ == "__main__":
    sys.exit(main())
