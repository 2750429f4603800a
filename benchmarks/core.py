"""`make bench`: what a step costs beside the httpx floor, in interleaved rounds; fails when a goal is missed.

CPU, not wall time: other work on the machine moves the clock, not the seconds of CPU. A ratio is taken within one
round and the median of the rounds is judged.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
STEPS = (20, 200, 1000)
STEP_GOAL = 1.5
"""CPU per step with gate, audit and journal on, against the floor, at 20 and 200 steps."""
GROWTH_GOAL = 1.10
"""Growth of the cost per step with the length of the run, against the floor's own growth."""


def python_env() -> dict[str, str]:
    """Byte-compiled imports, as in an installation."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def one(name: str, root: str, steps: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, str(HERE / "contestants.py"), name, root, str(steps)],
        capture_output=True,
        text=True,
        env=python_env(),
        timeout=600,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{name} at {steps} steps failed:\n{done.stderr[-2000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def whole_process(arguments: list[str], runs: int) -> float:
    """Median CPU seconds of a command."""
    used = []
    for _ in range(runs):
        child = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=python_env())
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(f"{' '.join(arguments)} exited with {child.returncode}")
        used.append(usage.ru_utime + usage.ru_stime)
    return statistics.median(used)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--json", type=Path, help="write the figures here")
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "port"
        provider = subprocess.Popen([sys.executable, str(HERE / "provider.py"), str(ready)], env=python_env())
        try:
            deadline = time.monotonic() + 10
            while not ready.exists() and time.monotonic() < deadline:
                time.sleep(0.02)  # the provider writes its port when it listens
            root = f"http://127.0.0.1:{ready.read_text()}"
            return judge(rounds(root, args.rounds), args.json)
        finally:
            provider.terminate()
            provider.wait()


def rounds(root: str, count: int) -> list[dict[tuple[str, int], dict[str, float]]]:
    """The measurements of each round; contestants take turns, so that drift hits both."""
    found = []
    for number in range(count):
        print(f"round {number + 1} of {count}", file=sys.stderr, flush=True)
        names = ("httpx", "ooda") if number % 2 == 0 else ("ooda", "httpx")
        figures = {}
        for steps in STEPS:
            for name in names:
                before = served(root)
                figures[name, steps] = one(name, root, steps)
                wanted = steps + 1 + 6  # the warm-up's five steps and its end
                if served(root) - before != wanted:
                    sys.exit(f"{name} made {served(root) - before} requests for {steps} steps, expected {wanted}")
        found.append(figures)
    return found


def served(root: str) -> int:
    with urllib.request.urlopen(root + "/stats") as reply:
        return int(json.load(reply)["served"])


def judge(found: list[dict[tuple[str, int], dict[str, float]]], out: Path | None) -> int:
    def per_step(figures: dict[tuple[str, int], dict[str, float]], name: str, steps: int) -> float:
        return figures[name, steps]["cpu_s"] / steps

    rows: list[tuple[str, float, float | None]] = []
    for steps in STEPS:
        ratio = statistics.median(per_step(f, "ooda", steps) / per_step(f, "httpx", steps) for f in found)
        rows.append((f"CPU per step, {steps} steps, against httpx", ratio, STEP_GOAL if steps < 1000 else None))
    for long, short in ((200, 20), (1000, 200)):
        growth = {
            name: statistics.median(per_step(f, name, long) / per_step(f, name, short) for f in found)
            for name in ("httpx", "ooda")
        }
        rows.append((f"growth {long}/{short}, against httpx's own", growth["ooda"] / growth["httpx"], GROWTH_GOAL))
    sizes = [found[0]["ooda", steps]["journal_bytes"] / steps for steps in STEPS]
    rows.append(("journal bytes per step, 1000 against 20 steps", sizes[2] / sizes[0], 1.1))
    help_s = whole_process([sys.executable, "-m", "ooda", "--help"], 9)
    import_s = whole_process([sys.executable, "-c", "import httpx"], 9)
    rows.append(("CPU of `ooda --help`, against `import httpx`", help_s / import_s, 1.0))

    print(f"\n{'measure':<52} {'ratio':>7} {'goal':>7}")
    for name, ratio, goal in rows:
        verdict = "" if goal is None else "ok" if ratio <= goal else "MISSED"
        print(f"{name:<52} {ratio:>7.2f} {goal if goal is not None else '-':>7} {verdict}")
    print()
    for steps in STEPS:
        absolute = {n: statistics.median(per_step(f, n, steps) for f in found) * 1e6 for n in ("httpx", "ooda")}
        print(f"{steps:>5} steps: httpx {absolute['httpx']:.0f} us a step, ooda {absolute['ooda']:.0f} us a step")
    print(f"ooda --help {help_s * 1000:.0f} ms CPU, import httpx {import_s * 1000:.0f} ms CPU")
    if out is not None:
        out.write_text(json.dumps([{"measure": n, "ratio": r, "goal": g} for n, r, g in rows], indent=2))
    return 1 if any(goal is not None and ratio > goal for _, ratio, goal in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
