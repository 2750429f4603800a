"""`kill -9` before any line of a pass's trace, and the command again: nothing twice, nothing lost, nothing left half.

Places are lines of the trace that write, send or read (`tests/durability/tracer.py`), from the first connection on.
All of them: `python -m pytest -m soak tests/cli/steward/test_kills.py`; `OODA_KILLS` makes more, `OODA_SEED`
repeats a choice.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from platform import machine

import pytest

import tests.durability
from ooda.testing.fake_coder.entities import FakeWorkspace
from tests.cli.steward.fleet_home import FleetHome, fleet_home
from tests.durability.lab import Line, lines_of

pytestmark = pytest.mark.skipif(machine() != "x86_64", reason="the tracer knows the system calls of x86-64 only")

TRACER = str(Path(tests.durability.__path__[0], "tracer.py"))
KILLED = 128 + signal.SIGKILL
COMMANDS = {
    "quiet hours": ("steward", "quiet-hours", "--execute"),
    "rollback": ("steward", "rollback", "--execute"),
    "start all": ("steward", "start-all", "--execute"),
}


class Case:
    """One machine and one deployment on which one command is killed."""

    def __init__(self, fleet: FleetHome, command: str) -> None:
        self.fleet = fleet
        self.words = COMMANDS[command]
        self.is_start = command != "quiet hours"
        self.spaces: list[FakeWorkspace] = [*fleet.person("ada", 2), *fleet.person("bob", 1)]
        self.versions = {space.id: space.latest.version_id for space in self.spaces}
        if self.is_start:
            self.run(*COMMANDS["quiet hours"])
            fleet.do(lambda: fleet.fake.world.publish(self.spaces[0].template))

    def traced(self, number: int) -> tuple[int, list[Line]]:
        """Run the command, killed before a line of its trace (0: not); its exit code and the lines."""
        process = self.fleet.start(*self.words, before=(sys.executable, TRACER, "lines", str(number)))
        _, err = process.communicate(timeout=120)
        code = process.returncode
        assert code in (0, KILLED), f"{code}: {err}"
        return code, lines_of(self.fleet.folder / "lines")

    def again(self) -> None:
        """The same command, as a timer or a person would."""
        self.run(*self.words)

    def run(self, *words: str) -> None:
        process = self.fleet.start(*words)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, f"{process.returncode}: {err}"

    def examine(self) -> None:
        """What the server counted, what is on record, and who was told."""
        wanted = ["start", "stop", "start"] if self.is_start else ["start", "stop"]
        for space in self.spaces:
            assert [build.transition for build in space.builds] == wanted, space.name
            assert space.latest.version_id == self.versions[space.id], "it was upgraded"
        ours = sorted(build.id for space in self.spaces for build in space.builds[1:])
        rows = [row for row in self.fleet.builds() if row.build]
        assert sorted(row.build for row in rows) == ours
        assert {row.state for row in self.fleet.builds()} <= {"done", "left"}
        told = Counter(
            (notice["notification_type"], entry["id"])
            for notice in self.fleet.notices("steward.owner")
            for entry in notice["details"]["workspaces"]
        )
        assert max(told.values(), default=0) <= 1, told
        assert {id for kind, id in told if kind == "workspace_stopped"} == set(self.versions), told

    def take_back(self) -> None:
        """A rollback restores exactly what is ours: not what somebody started meanwhile."""
        first, *others = self.spaces
        self.fleet.do(lambda: self.fleet.fake.world.build(first, "start", first.owner) and None)
        self.run(*COMMANDS["rollback"])
        assert [space.latest.initiator.username for space in self.spaces] == ["ada", "steward", "steward"]
        for space in others:
            assert [build.transition for build in space.builds] == ["start", "stop", "start"]
            assert space.latest.version_id == self.versions[space.id]


def killed(folder: Path, command: str, number: int) -> Line | None:
    """Kill once, run again, examine; where it was, None when the line was not reached."""
    folder.mkdir()
    with fleet_home(folder) as fleet:
        case = Case(fleet, command)
        code, lines = case.traced(number)
        line = lines[-1]
        try:
            case.again()
            case.examine()
            if not case.is_start:
                case.take_back()
        except Exception as error:
            raise AssertionError(f"{command}, killed before {line}: {error!r}") from error
        return line if code == KILLED else None


def trace_of(folder: Path, command: str) -> list[Line]:
    """The lines of a whole run from its first connection on, which is examined like every other."""
    folder.mkdir()
    with fleet_home(folder) as fleet:
        case = Case(fleet, command)
        code, lines = case.traced(0)
        assert code == 0
        case.examine()
    begins = next(at for at, line in enumerate(lines) if line.call == "connect")
    return lines[begins:]


def some(trace: Sequence[Line], kills: int, dice: random.Random) -> list[int]:
    """Numbers of lines, one kind of line after the other."""
    kinds: dict[tuple[str, str], list[int]] = defaultdict(list)
    for line in trace:
        kinds[line.call, line.what.rpartition("/")[2][:12].rstrip("0123456789]")].append(line.number)
    order = sorted(kinds)
    dice.shuffle(order)
    # Requests and durable writes are where it matters; the rest is there once in a while.
    order.sort(key=lambda kind: kind[0] not in ("sendto", "sendmsg", "pwrite64", "fdatasync", "recvfrom"))
    return [dice.choice(kinds[order[at % len(order)]]) for at in range(kills)]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(int(os.environ.get("OODA_KILLS") or 2), id="some"),
        pytest.param(0, id="every", marks=[pytest.mark.soak, pytest.mark.timeout(4 * 3_600)]),
    ],
)
@pytest.mark.timeout(600)
def test_a_pass_killed_at_any_step_and_run_again_is_as_if_nothing_had_been(
    tmp_path: Path, kills: int, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each build once and on record, each owner told once, and a rollback that restores exactly ours."""
    seed = int(os.environ.get("OODA_SEED") or random.SystemRandom().randrange(10**9))
    trace = trace_of(tmp_path / "whole", command)
    numbers = some(trace, kills, random.Random(seed)) if kills else [line.number for line in trace]
    names = count()

    with ThreadPoolExecutor(2) as pool:
        works = [pool.submit(killed, tmp_path / f"case-{next(names)}", command, number) for number in numbers]
        failed = [str(error) for work in works if (error := work.exception()) is not None]

    met = [line for work in works if work.exception() is None and (line := work.result()) is not None]
    with capsys.disabled():
        print(f"\n{command}: {len(met)} kills at {len(trace)} lines, {len(failed)} failed, seed {seed}")
    assert not failed, f"OODA_SEED={seed}:\n" + "\n".join(failed)
    assert len(met) >= len(numbers) // 2
