"""Killed between any two lines of its trace, once and again, a run loses nothing, repeats nothing and leaves nothing.

The places are taken from the trace of a whole run and of everything it starts (`tracer.py`), not from the source:
some 2,400 lines that write, send, spawn or read an answer. `OODA_KILLS` says how many kills are made, `OODA_SEED`
where.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from platform import machine
from typing import Any

import pytest

from tests.durability.lab import SCRIPT, Kill, Lab, Line, Provider, at_line, at_syscall

pytestmark = [
    pytest.mark.bubblewrap,
    pytest.mark.skipif(machine() != "x86_64", reason="the tracer knows the system calls of x86-64 only"),
]

RICH = [
    SCRIPT[0],
    {"tool": "read_file", "arguments": {"path": "sums.py"}},
    {"tool": "run_shell_command", "arguments": {"command": "seq 1 6000; echo more >> more.txt"}},
    SCRIPT[1],
    {"tool": "write_file", "arguments": {"path": "notes.md", "content": "x\n" * 4000}},
    *SCRIPT[2:],
]
"""Large outputs and arguments, hence blobs and a spool, and a read."""
SCENARIOS: dict[str, dict[str, Any]] = {
    "plain": {},
    "docker": {},
    "approval": {},
    "compaction": {"script": RICH, "task": {"limits": {"context_tokens": 12_000, "reply_tokens": 1_000}}},
}


DOCKER = "docker" if os.environ.get("CI") or os.environ.get("DOCKER_HOST") else "plain"
ASKS = """[[rule]]
name = "push-asks"
decision = "ask"
reason = "a person looks at every push"
tools = ["git_push"]
match = [{ tool = "git_push" }]
not_match = [{ tool = "git_commit" }]
"""


class Ground:
    """Labs of one scenario, and the trace of a whole run in it."""

    def __init__(self, folder: Path, provider: Provider, cache: Path, scenario: str) -> None:
        self._folder, self._provider, self._cache, self._scenario = folder, provider, cache, scenario
        self._made = 0
        lab = self.lab()
        assert lab.carry([at_line(0)]) == 0, lab.stderr.read_text()
        lab.examine()
        self.trace = [line for lines in lab.traces for line in lines]
        self.kinds: dict[str, list[int]] = defaultdict(list)
        for line in self.trace:
            self.kinds[line.kind].append(line.number)

    def lab(self) -> Lab:
        self._made += 1
        made = Lab(self._folder / f"lab-{self._made}", self._provider, cache=self._cache, **SCENARIOS[self._scenario])
        if self._scenario == "docker":
            made.environ["OODA_SANDBOX__BACKEND"] = "docker"
        if self._scenario == "approval":
            (made.folder / "rules.toml").write_text(ASKS)
            made.environ["OODA_GOVERNANCE__RULES_FILE"] = str(made.folder / "rules.toml")
        return made

    def killed(self, numbers: list[int]) -> list[Line]:
        """Kill one run before these lines, one after the other, carry it to its end and examine it."""
        lab = self.lab()
        kills: list[Kill] = [at_line(number) for number in numbers]
        try:
            code = lab.carry(kills)
            assert code == 0, f"exit code {code}: {lab.stderr.read_text()[-2000:]}"
            lab.examine()
        except Exception as error:
            where = ", then ".join(str(line) for line in lab.killed_at)
            raise AssertionError(f"{self._scenario}, killed before {where} (lines {numbers}): {error!r}") from error
        finally:
            lab.close()
        shutil.rmtree(lab.folder)
        return lab.killed_at


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, provider: Provider, warm: Path) -> Callable[[str], Ground]:
    """The ground of a scenario, made once."""
    made: dict[str, Ground] = {}

    def find(scenario: str) -> Ground:
        if scenario not in made:
            made[scenario] = Ground(tmp_path_factory.mktemp(scenario), provider, warm, scenario)
        return made[scenario]

    return find


def told(kind: str, tool: str = "") -> Callable[[list[Line]], int]:
    """The line by which an event is acknowledged."""
    stage = f"{kind} {tool}".strip()

    def find(trace: list[Line]) -> int:
        return next(at for at, line in enumerate(trace) if line.stage == stage) - 1

    return find


def last(call: str, where: str, before: Callable[[list[Line]], int]) -> Callable[[list[Line]], int]:
    """The last such call before another line."""

    def find(trace: list[Line]) -> int:
        end = before(trace)
        return max(at for at in range(end) if trace[at].call == call and where in trace[at].what)

    return find


def during(stage: str, who: str, call: str = "") -> Callable[[list[Line]], int]:
    """The middle one of somebody's calls at a stage."""

    def find(trace: list[Line]) -> int:
        found = [
            at
            for at, line in enumerate(trace)
            if line.stage.startswith(stage) and line.who == who and call in ("", line.call)
        ]
        return found[len(found) // 2]

    return find


BOUNDARIES = {
    "before an intent": ("plain", last("pwrite64", "ooda.db-wal", told("ToolStarted", "run_shell_command"))),
    "after an intent": ("plain", told("ToolStarted", "run_shell_command")),
    "during a model call": ("plain", during("ModelAsked", "ooda", "recvfrom")),
    "during a tool": ("plain", during("ToolStarted run_shell_command", "helper")),
    "between effect and result": ("plain", last("pwrite64", "ooda.db-wal", told("ToolReturned", "run_shell_command"))),
    "during a commit": ("plain", during("ToolStarted git_commit", "git commit-tree")),
    "during a push": ("plain", during("ToolStarted git_push", "git-receive-pack")),
    "during a journal write": ("plain", last("fdatasync", "ooda.db-wal", told("ToolReturned", "edit_file"))),
    "during a compaction": ("compaction", last("pwrite64", "ooda.db-wal", told("Compacted"))),
    "while it waits for an approval": ("approval", told("ApprovalAsked", "git_push")),
}


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_run_killed_twice_at_a_boundary_goes_on_as_if_nothing_had_been(
    ground: Callable[[str], Ground], boundary: str
) -> None:
    """At the boundary, and again while it is taken up."""
    scenario, find = BOUNDARIES[boundary]
    there = ground(scenario)
    number = there.trace[find(there.trace)].number

    killed = there.killed([number, 100])

    assert len(killed) == 2


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(int(os.environ.get("OODA_KILLS") or 20), id="some"),
        pytest.param(3000, id="thousands", marks=[pytest.mark.soak, pytest.mark.timeout(4 * 3600)]),
    ],
)
@pytest.mark.timeout(900)
def test_a_run_killed_before_any_line_of_its_trace_goes_on_as_if_nothing_had_been(
    ground: Callable[[str], Ground], kills: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """One kind of line after the other, some twice in a row; three in ten with docker, approvals or compactions."""
    seed = int(os.environ.get("OODA_SEED") or random.SystemRandom().randrange(10**9))
    dice = random.Random(seed)
    plan: list[tuple[Ground, list[int]]] = []
    while sum(len(numbers) for _, numbers in plan) < kills:
        scenario = dice.choice(["plain"] * 7 + [DOCKER, "approval", "compaction"])
        there = ground(scenario)
        kind = dice.choice(sorted(there.kinds))
        numbers = [dice.choice(there.kinds[kind])]
        if dice.random() < 0.3:
            numbers.append(dice.randrange(1, len(there.trace) // 2))
        plan.append((there, numbers))

    with ThreadPoolExecutor(2) as pool:
        works = [pool.submit(there.killed, numbers) for there, numbers in plan]
        failed = [str(error) for work in works if (error := work.exception()) is not None]

    killed = [line for work in works if work.exception() is None for line in work.result()]
    kinds = {line.kind for line in killed}
    with capsys.disabled():
        print(f"\n{len(killed)} kills at {len(kinds)} kinds of lines, seed {seed}")
    assert not failed, f"OODA_SEED={seed} OODA_KILLS={kills}:\n" + "\n".join(failed)
    assert len(killed) >= kills // 2, f"seed {seed}: hardly a kill met its line"


def test_a_call_that_had_not_left_costs_nothing(ground: Callable[[str], Ground]) -> None:
    """Killed before it is marked as sent, its reservation is given back: what is charged is what the provider took."""
    there = ground("plain")
    calls = [line for line in there.trace if line.call == "connect" and line.who == "ooda"]
    number = next(at for at, line in enumerate(calls, 1) if line.stage.startswith("ModelAsked"))
    lab = there.lab()

    assert lab.carry([at_syscall("connect", number)]) == 0, lab.stderr.read_text()
    lab.examine()

    assert lab.sql("SELECT count(*) FROM events WHERE kind = 'Resumed'") == [(1,)]
    charges = lab.sql("SELECT cost_nano FROM charges")
    assert sorted(cost for (cost,) in charges) == sorted(entry["cost_nano"] for entry in lab.provider.asked(lab.case))
    lab.close()
