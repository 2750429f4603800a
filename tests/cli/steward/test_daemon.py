"""`ooda steward daemon`: passes at their times, one leader, clean ends, metrics."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator

import pytest

from tests.cli.steward.fleet_home import FleetHome

PATIENCE_S = 60.0


class Daemon:
    """A daemon as a process, its log read as it comes."""

    def __init__(self, fleet: FleetHome, *options: str, environ: dict[str, str] | None = None) -> None:
        self.lines: list[str] = []
        self.patience_s = PATIENCE_S
        self._heard = threading.Condition()
        self.process: subprocess.Popen[str] = fleet.start("steward", "daemon", *options, environ=environ)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._heard:
                self.lines.append(line.rstrip("\n"))
                self._heard.notify_all()

    def until(self, pattern: str) -> str:
        """The first line of its log that matches."""
        deadline = time.monotonic() + self.patience_s
        with self._heard:
            while True:
                found = next((line for line in self.lines if re.search(pattern, line)), None)
                if found is not None:
                    return found
                assert self._heard.wait(deadline - time.monotonic()), f"never said {pattern!r}: {self.lines}"

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code


@pytest.fixture
def daemons(fleet: FleetHome) -> Iterator[list[Daemon]]:
    """Daemons of this test; none outlives it."""
    made: list[Daemon] = []
    yield made
    for one in made:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)
        for stream in (one.process.stdout, one.process.stderr):
            assert stream is not None
            stream.close()


def test_once_makes_what_is_due_and_ends(fleet: FleetHome) -> None:
    """For cron: the second call finds nothing due, as the timers outlive the process."""
    fleet.person("ada", 2)
    first = fleet.ooda("steward", "daemon", "--once")
    assert first.code == 0, first.err
    assert {row.title for row in fleet.builds()} == {"ada/w0", "ada/w1"}
    passes = len(first.err.splitlines())
    second = fleet.ooda("steward", "daemon", "--once")
    assert second.code == 0
    assert "Found" in first.err and "Found" not in second.err, passes


def test_of_two_daemons_one_acts_and_the_other_takes_over(fleet: FleetHome, daemons: list[Daemon]) -> None:
    """The second stands by; killed -9, the first is replaced, and nothing is stopped twice."""
    fleet.person("ada", 2)
    daemons.append(Daemon(fleet))
    daemons[0].until("Looking after")
    daemons[0].until(r"\[AUTOSTOP\].*nothing|nothing was changed|workspaces run")
    daemons.append(Daemon(fleet))
    daemons[1].until("Standing by")
    assert not [line for line in daemons[1].lines if "Found" in line]
    assert daemons[0].end(signal.SIGKILL) == -signal.SIGKILL
    daemons[1].until("Looking after")
    assert daemons[1].end(signal.SIGTERM) == 0
    stops = [row for row in fleet.builds() if row.transition == "stop"]
    assert sorted(row.title for row in stops) == ["ada/w0", "ada/w1"]
    assert len(fleet.fake.posts()) == 2


def test_a_signal_ends_the_daemon_cleanly_and_metrics_say_how_it_stands(
    fleet: FleetHome, daemons: list[Daemon]
) -> None:
    """Exit code 0; `/metrics` is Prometheus text, `/health` names the part it plays, other paths are 404."""
    fleet.person("ada")
    daemons.append(Daemon(fleet, "--metrics-port", "0"))
    root = daemons[0].until("Metrics are served on").rpartition(" ")[2].removesuffix("/metrics")
    daemons[0].until("Looking after")
    daemons[0].until("Stopped workspace ada/w0")
    with urllib.request.urlopen(f"{root}/metrics") as reply:
        text = reply.read().decode()
    assert f'ooda_steward_is_leader{{deployment="{fleet.fake.url}"}} 1' in text
    assert "quiet_hours" in text
    with urllib.request.urlopen(f"{root}/health") as reply:
        assert reply.read() == b"leading\n"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{root}/elsewhere")
    assert daemons[0].end(signal.SIGINT) == 0


@pytest.mark.parametrize(
    ("environ", "options", "said"),
    [
        ({"CODER_TOKEN": ""}, (), "CODER_TOKEN"),
        ({"CODER_URL": ""}, (), "CODER_URL"),
        ({}, ("--metrics-port", "70000"), "expected a port"),
    ],
    ids=["token", "address", "port"],
)
def test_what_is_missing_is_said_at_once(
    fleet: FleetHome, environ: dict[str, str], options: tuple[str, ...], said: str
) -> None:
    """Not at the first pass, hours later."""
    done = fleet.ooda("steward", "daemon", "--once", *options, environ=environ)
    assert done.code in (1, 2, 6), done.err
    assert said in done.err and "Traceback" not in done.err


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_leader_that_wakes_after_its_lease_does_nothing_more(fleet: FleetHome, daemons: list[Daemon]) -> None:
    """Stopped in the middle of a pass for longer than its lease; another leads meanwhile and finishes its work."""
    first, second = fleet.person("ada", 2)
    daemons.append(Daemon(fleet))
    process = daemons[0].process
    # Between the look that decides about the second workspace and its request.
    path = f"/api/v2/workspaces/{second.id}"
    paused = threading.Event()

    def pause() -> None:
        process.send_signal(signal.SIGSTOP)
        paused.set()

    fleet.do(lambda: fleet.fake.faults.before(pause, path=path, skip=1))
    assert paused.wait(PATIENCE_S)
    daemons.append(Daemon(fleet))
    daemons[1].until("Standing by")
    daemons[1].patience_s = 2 * PATIENCE_S
    daemons[1].until("Looking after")  # a minute later
    daemons[1].until("AUTOSTOP.*nothing was changed")
    heard = len(fleet.fake.posts())
    process.send_signal(signal.SIGCONT)
    daemons[0].until("Standing by|lost|carried on by")
    assert daemons[1].end(signal.SIGTERM) == 0
    daemons[0].end(signal.SIGTERM)
    assert sorted(fleet.fake.posts()) == sorted([first.id, second.id])
    assert heard == 2
    assert [build.transition for build in (*first.builds, *second.builds)] == ["start", "stop"] * 2
    assert sorted(row.build for row in fleet.builds() if row.build) == sorted([first.latest.id, second.latest.id])
