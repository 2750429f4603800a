"""`make bench-durability`: what a durable append, a resume and a replay cost; fails when a goal is missed.

An append is one event, chained to the last and committed and synced, as the runtime writes it; its floor
is a bare write of the same size with fsync, on the same disk, in turns. A resume is `ooda runs resume` as a process
of its own, from its start to the request that reaches the model's provider, on a run that was killed (kill -9) while
it waited for a reply; a replay is `ooda runs replay` from start to end. Neither starts a sandbox.
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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ooda.events import Body, Limits, RunStarted, ToolReturned
from ooda.models.request import ModelReply
from ooda.models.scripted import say
from ooda.runtime.journal import GENESIS, Row, externalise, seal
from ooda.store import Store, leases
from ooda.testing.provider import Behaviour, ScriptedProvider, silent
from ooda.testing.runs import RunBench

APPENDS = 300
APPEND_GOAL_MS, APPEND_GOAL_RATIO = 0.5, 1.5
"""An append takes at most so long, or, where the disk is slower than that, so many times a bare fsync."""
EVENTS, EVENTS_A_STEP, RESUME_GOAL_S = 2_000, 6, 1.0
STEPS, REPLAY_GOAL_S = 200, 0.5
NOW = 1_700_000_000_000_000_000

START = RunStarted(
    agent="bench", task=Body("{}"), task_digest="", rules=Body("r"), brief=Body("b"), limits=Limits(), loop_version=1
)
RETURNED = ToolReturned(
    call="call_0", tool="read_file", status="ok", text=Body("a line of a file\n" * 60), duration_ms=3
)
PLAN = say("I plan.", ("update_plan", {"steps": [{"description": "Add instead of subtract"}]}))
MEND = say("I mend it.", ("edit_file", {"path": "sums.py", "old": "a - b", "new": "a + b"}))
FINISH = say("Done.", ("finish", {"summary": "add() adds now."}))


def reading(number: int) -> ModelReply:
    """A look at one file; every step another one, as nobody who is stuck would."""
    return say(f"Look {number}.", ("read_file", {"path": f"notes/{number}.txt"}))


class Appends:
    """A journal that grows by one event at a time, and a file that grows by as many bytes."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(folder / "ooda.db")
        self.lease = self.store.write_now(lambda tx: leases.take(tx, "run-a", "me", 60, NOW))
        self.seq, self.head = 0, GENESIS
        self.file = os.open(folder / "floor", os.O_CREAT | os.O_WRONLY, 0o600)
        self.append(START)
        self.size_bytes = len(self._sealed(RETURNED).body)

    def _sealed(self, event: Any) -> Row:
        return seal("run-a", self.seq, externalise(event, self.store.blobs.put), NOW, "tool/internal", self.head)

    def append(self, event: Any = RETURNED) -> None:
        row = self._sealed(event)
        self.seq, self.head = self.seq + 1, row.hash
        self.store.write_now(lambda tx: self.store.append(tx, [row], self.lease.fence))

    def floor(self) -> None:
        os.write(self.file, b"x" * self.size_bytes)
        os.fsync(self.file)

    def close(self) -> None:
        os.close(self.file)
        self.store.close()


def appends(folder: Path) -> tuple[float, float]:
    """Medians of an append and of a bare fsync of its size, in milliseconds, taken in turns."""
    there = Appends(folder)
    try:
        works: tuple[Callable[[], None], ...] = (there.append, there.floor)
        taken: tuple[list[float], ...] = ([], [])
        for number in range(APPENDS):
            for which in (0, 1) if number % 2 else (1, 0):
                began = time.perf_counter()
                works[which]()
                taken[which].append((time.perf_counter() - began) * 1000)
        return statistics.median(taken[0]), statistics.median(taken[1])
    finally:
        there.close()


class Machine:
    """A HOME with one run of many steps, made by the command itself."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.steps = steps
        files = {f"notes/{number}.txt": f"note {number}\n" * 20 for number in range(steps)}
        bug = {"sums.py": "def add(a, b):\n    return a - b\n"}
        test = {
            "tests/test_sums.py": "import unittest\nfrom sums import add\n\n\nclass Sums(unittest.TestCase):\n"
            "    def test_adds(self):\n        self.assertEqual(add(1, 2), 3)\n",
            "tests/__init__.py": "",
        }
        self.bench = RunBench(folder, bug | test | files)
        spec = {
            "kind": "coding",
            "repository": {"remote_url": str(self.bench.remote), "branch": "main"},
            "task": {"id": "T-1", "title": "Make add add", "description": "add() subtracts."},
            "agent": {"model": "scripted"},
            "limits": {"steps": 10_000, "tokens": 10**12},
        }
        self.task = folder / "task.yaml"
        self.task.write_text(json.dumps(spec))

    def start(self, provider: ScriptedProvider, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "ooda", *words, "--set", "sandbox.backend=none"]
        environ = {**self.bench.environ, "OODA_MODEL__BASE_URL": provider.url}
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=environ, cwd=self.bench.folder, **quiet)

    def run(self) -> str:
        with self.bench.session() as session:
            return str(session.store.read(lambda tx: tx.execute("SELECT run FROM runs"))[0][0])

    def events(self) -> int:
        with self.bench.session() as session:
            return int(session.store.read(lambda tx: tx.execute("SELECT COUNT(*) FROM events"))[0][0])

    def killed(self) -> None:
        """Make the run, and kill it while it waits for the reply behind its last step."""
        script: list[Behaviour] = [PLAN, *(reading(number) for number in range(self.steps)), silent()]
        with ScriptedProvider(script) as provider:
            process = self.start(provider, "run", str(self.task), "--quiet")
            wait_for(process, lambda: len(provider.requests) == len(script))
            process.kill()
            process.communicate()

    def finished(self) -> None:
        """Make the run, to its end."""
        script = [PLAN, *(reading(number) for number in range(self.steps - 3)), MEND, FINISH]
        with ScriptedProvider(script) as provider:
            process = self.start(provider, "run", str(self.task), "--quiet")
            _, said = process.communicate(timeout=300)
        if process.returncode:
            sys.exit(f"the run to replay ended with {process.returncode}:\n{said.decode()[-2000:]}")


def wait_for(process: subprocess.Popen[bytes], happened: Callable[[], bool], timeout_s: float = 300) -> None:
    deadline = time.monotonic() + timeout_s
    while not happened():
        if process.poll() is not None or time.monotonic() > deadline:
            said = process.communicate()[1].decode() if process.poll() is not None else "no answer in time"
            sys.exit(f"`ooda` ended too early, or never asked its model:\n{said[-2000:]}")
        time.sleep(0.002)  # another process tells nobody


def resume_s(machine: Machine, run: str) -> float:
    """From the start of `ooda runs resume` to its first request, which is then never answered."""
    arrived: list[float] = []

    def first(request: Mapping[str, Any]) -> Any:
        arrived.append(time.perf_counter())
        return silent()

    with ScriptedProvider([first]) as provider:
        began = time.perf_counter()
        process = machine.start(provider, "runs", "resume", run, "--quiet")
        wait_for(process, lambda: bool(arrived))
        process.kill()
        process.communicate()
    return arrived[0] - began


def replay_s(machine: Machine, run: str) -> float:
    command = [sys.executable, "-m", "ooda", "runs", "replay", run]
    began = time.perf_counter()
    done = subprocess.run(command, env=machine.bench.environ, cwd=machine.bench.folder, capture_output=True, timeout=60)
    took = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"`ooda runs replay` ended with {done.returncode}:\n{done.stderr.decode()[-2000:]}")
    return took


def median(rounds: int, work: Callable[[], float]) -> float:
    work()  # byte code and the disk's cache
    return statistics.median(work() for _ in range(rounds))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--folder", type=Path, help="where to write; its disk is measured (default: here)")
    options.add_argument("--json", type=Path, help="write the figures here")
    args = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-durability-", dir=args.folder or Path.cwd()) as name:
        folder = Path(name)
        for part in ("append", "long", "short"):
            (folder / part).mkdir()
        append_ms, fsync_ms = appends(folder / "append")
        print("making the runs that are resumed and replayed", file=sys.stderr, flush=True)
        long, short = Machine(folder / "long", EVENTS // EVENTS_A_STEP), Machine(folder / "short", STEPS)
        long.killed()
        short.finished()
        events, steps = long.events(), short.steps
        killed, ended = long.run(), short.run()
        resume = median(args.rounds, lambda: resume_s(long, killed))
        replay = median(args.rounds, lambda: replay_s(short, ended))

    ratio = append_ms / fsync_ms
    is_slow_disk = append_ms > APPEND_GOAL_MS  # then the ratio is judged in place of the time
    goal_ms, goal_ratio = ("", f"{APPEND_GOAL_RATIO}") if is_slow_disk else (f"{APPEND_GOAL_MS} ms", "")
    rows = [
        ("journal append, chained and synced", f"{append_ms:.3f} ms", goal_ms, not is_slow_disk),
        ("   a bare write and fsync of its size", f"{fsync_ms:.3f} ms", "", True),
        ("   ratio", f"{ratio:.2f}", goal_ratio, ratio <= APPEND_GOAL_RATIO),
        (
            f"resume to first action, {events:,} events",
            f"{resume:.2f} s",
            f"{RESUME_GOAL_S} s",
            resume <= RESUME_GOAL_S,
        ),
        (f"replay of {steps} steps", f"{replay:.2f} s", f"{REPLAY_GOAL_S} s", replay <= REPLAY_GOAL_S),
    ]
    print(f"{'measure':<44} {'median':>10} {'goal':>8}")
    for what, figure, goal, is_met in rows:
        print(f"{what:<44} {figure:>10} {goal:>8} {'' if not goal else 'ok' if is_met else 'MISSED'}")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
    if args.json:
        figures = {"append_ms": append_ms, "fsync_ms": fsync_ms, "resume_s": resume, "replay_s": replay}
        args.json.write_text(json.dumps({**figures, "events": events}) + "\n")
    return 0 if all(is_met for *_, goal, is_met in rows if goal) else 1


if __name__ == "__main__":
    sys.exit(main())
