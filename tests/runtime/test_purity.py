"""The core in a process where the world is gone: no socket, file, clock, random number or environment variable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = '''
import builtins, datetime, io, os, random, socket, subprocess, sys, threading, time

import msgspec
from ooda.runtime import agent, commands, compaction, context, decide, journal, loop, normalise, state, stuck
from tests.runtime.world import assert_same_end, carried

calls = []


def gone(name):
    def refuse(*given, **more):
        calls.append(name)
        raise AssertionError(f"the core asked for {name}")
    return refuse


class NoEnvironment(dict):
    __getitem__ = get = __contains__ = __iter__ = gone("os.environ")


class NoDate(datetime.datetime):
    now = utcnow = today = gone("datetime.now")


for module in (time, random):
    for name in dir(module):
        if not name.startswith("_") and callable(getattr(module, name)) and not isinstance(getattr(module, name), type):
            setattr(module, name, gone(f"{module.__name__}.{name}"))
builtins.open = io.open = os.open = gone("open")
builtins.input = gone("input")
socket.socket = gone("socket")
socket.create_connection = gone("socket")
subprocess.Popen = gone("subprocess")
threading.Thread.start = gone("thread")
os.environ = NoEnvironment()
os.getenv = os.getpid = os.urandom = gone("os")
datetime.datetime = NoDate


def audit(event, given):
    """What the interpreter itself sees: also what no name above was rebound for."""
    kind = event.partition(".")[0]
    if kind in ("open", "socket", "subprocess", "os", "shutil", "tempfile", "urllib", "sqlite3", "import"):
        calls.append(event)
        raise AssertionError(f"the core did {event} {given}")


sys.addaudithook(audit)
'''
"""Everything of the core is loaded, then the world goes."""


def run(script: str, seed: str = "0") -> str:
    """What a script prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


RUNS = """
run, world = carried((17, "landed"), (9, "stopped"), seed=3)
assert_same_end(run, world)
assert context.request_digest(run.prompt, b"[]")
assert normalise.normalise("3 passed in 0.12s") == "3 passed in <duration>"
assert calls == [], calls
sys.stdout.write("ran")
"""


def test_a_whole_run_works_without_a_world() -> None:
    """Policies, a model, reads, writers, a kill, a stop, folds and resumptions: values in, values out."""
    assert run(SCRIPT + RUNS) == "ran"


ATTEMPTS = """
attempts = {
    "open": lambda: open("/etc/hostname"),
    "import": lambda: __import__("sqlite3"),
    "folder": lambda: os.listdir("/"),
    "environment": lambda: os.environ["HOME"],
    "getenv": lambda: os.getenv("HOME"),
    "clock": time.time,
    "monotonic clock": lambda: time.monotonic(),
    "date": lambda: datetime.datetime.now(),
    "dice": lambda: random.random(),
    "socket": lambda: socket.socket(),
    "process": lambda: subprocess.Popen(["true"]),
    "thread": lambda: threading.Thread(target=print).start(),
    "descriptor": lambda: os.open("/etc/hostname", 0),
}
for name, attempt in attempts.items():
    before = len(calls)
    try:
        attempt()
    except AssertionError:
        pass
    assert len(calls) > before, f"{name} was not noticed"
sys.stdout.write("all noticed")
"""


def test_the_world_is_really_gone_there() -> None:
    """Each way out is noticed, so the test above proves something."""
    assert run(SCRIPT + ATTEMPTS) == "all noticed"


SAYS = """
import hashlib, sys, msgspec
from tests.runtime.world import carried
run, _ = carried((11, "lost"), seed=5)
rows = [(entry.at_ns, str(entry.event)) for entry in run.journal]
sys.stdout.write(hashlib.sha256(msgspec.json.encode([run.state, rows])).hexdigest())
"""


def test_the_core_says_the_same_in_every_process() -> None:
    """No hash seed, no order of sets: the same events give the same bytes of state and journal."""
    assert len({run(SAYS, seed) for seed in ("0", "1", "12345")}) == 1
