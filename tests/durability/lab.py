"""One run in processes of its own, to be killed: the real command line, a provider and a remote that count.

A `Lab` is a folder with a home, a bare remote and a conversation at the provider. `carry` starts the run, kills it
as often as it is told, resumes it until it ends, and `examine` then compares what everybody counted.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ooda.governance import audit
from ooda.runtime.journal import event_of, verify
from ooda.store import Store

HERE = Path(__file__).parent
MODEL = "lab-1"
PRICES = f'[models]\n"{MODEL}" = {{ input = 3.0, output = 15.0 }}\n'
FILES = {
    "README.md": "# sums\n",
    "sums.py": "def add(a, b):\n    return a - b\n",
    "test_sums.py": (
        "import unittest\n\nfrom sums import add\n\n\nclass AddTest(unittest.TestCase):\n"
        "    def test_adds(self):\n        self.assertEqual(add(2, 3), 5)\n"
    ),
}
SCRIPT: list[dict[str, Any]] = [
    {
        "tool": "update_plan",
        "arguments": {"steps": [{"description": "Add instead of subtract"}], "files_to_modify": ["sums.py"]},
    },
    {"tool": "edit_file", "arguments": {"path": "sums.py", "old": "a - b", "new": "a + b"}},
    {"tool": "run_shell_command", "arguments": {"command": "echo once >> log.txt; sleep 0.05; echo twice >> log.txt"}},
    {"tool": "finish", "arguments": {"summary": "add() adds now."}},
]
"""A plan, an edit, a command whose repetition would show, the end."""
PATIENCE_S = 60.0
WAITING = 75

Kill = Callable[["Lab", "Attempt"], None]
"""Ends an attempt somewhere; returns when it has ended, or when there is nothing left to end."""


class Provider:
    """The model provider's process."""

    def __init__(self, folder: Path) -> None:
        ready = folder / "port"
        self._process = subprocess.Popen([sys.executable, str(HERE / "provider.py"), str(ready)])
        deadline = time.monotonic() + 10
        while not ready.exists():
            assert time.monotonic() < deadline, "the provider did not start"
            time.sleep(0.02)  # it writes its port when it listens; there is nothing to wait on
        self.root = f"http://127.0.0.1:{ready.read_text()}"

    def script(self, case: str, replies: Sequence[dict[str, Any]]) -> None:
        request = urllib.request.Request(f"{self.root}/{case}", data=json.dumps(list(replies)).encode(), method="PUT")
        urllib.request.urlopen(request).close()

    def asked(self, case: str) -> list[dict[str, Any]]:
        """The requests that came in whole, in order."""
        with urllib.request.urlopen(f"{self.root}/{case}") as reply:
            return list(json.load(reply))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


@dataclass
class Attempt:
    """One process of the run."""

    process: subprocess.Popen[bytes]
    heard: list[dict[str, Any]] = field(default_factory=list)
    """Events it printed whole, hence acknowledged."""

    def events(self) -> Iterator[dict[str, Any]]:
        """What it prints, as it comes, to its end."""
        assert self.process.stdout is not None
        if self.process.stdout.closed:
            return
        for line in self.process.stdout:
            if line.endswith(b"\n") and b'"event"' in line:
                self.heard.append(json.loads(line))
                yield self.heard[-1]
        self.process.stdout.close()

    def finish(self) -> int:
        """Read to the end; gives the exit code."""
        for _ in self.events():
            pass
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        self.finish()


@dataclass(frozen=True)
class Line:
    """A line of the trace of an attempt: see `tracer.py`."""

    number: int
    who: str
    call: str
    what: str
    stage: str
    """The event that was announced last before it; empty when none was."""

    @property
    def kind(self) -> str:
        """The same for lines that do the same at the same stage."""
        return f"{self.who} {self.call} after {self.stage or 'nothing'}"

    def __str__(self) -> str:
        return f"line {self.number} ({self.stage or 'opening'}): {self.who} {self.call} {self.what[-80:]}"


class Lab:
    """A home, a remote and a conversation.

    Args:
        folder: Empty; everything goes below it.
        cache: A cache in which a sandbox was opened before: its self-test need not be repeated.
        hook: Text of the remote's pre-receive hook.
    """

    def __init__(
        self,
        folder: Path,
        provider: Provider,
        *,
        cache: Path | None = None,
        script: Sequence[dict[str, Any]] = SCRIPT,
        task: dict[str, Any] | None = None,
        hook: str = "",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.provider = folder, provider
        self.case = f"case-{os.urandom(6).hex()}"
        self.script = script
        provider.script(self.case, script)
        self.remote = folder / "remote.git"
        self.tmp = folder / "tmp"
        self.home = folder / "home"
        self.stderr = folder / "stderr.txt"
        self.run = ""
        self.acknowledged: dict[int, Any] = {}
        self.kills = 0
        self.sandboxes: set[str] = set()
        self.killed_at: list[Line] = []
        self.traces: list[list[Line]] = []
        self._started: list[subprocess.Popen[bytes]] = []
        self.environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(HERE.parent.parent),
            "HOME": str(self.home),
            "TMPDIR": str(self.tmp),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "OPENAI_BASE_URL": f"{provider.root}/{self.case}/v1",
            "OODA_BUDGET__PRICE_FILE": str(folder / "prices.toml"),
            "OODA_SANDBOX__BACKEND": "bubblewrap",
        }
        if "DOCKER_HOST" in os.environ:
            self.environ["DOCKER_HOST"] = os.environ["DOCKER_HOST"]
        for made in (self.home, self.tmp, folder / "cache"):
            made.mkdir()
        (folder / "prices.toml").write_text(PRICES)
        if cache is not None:
            for part in ("selftests", "selftest", "roots"):
                if (cache / "ooda" / part).exists():
                    shutil.copytree(cache / "ooda" / part, folder / "cache" / "ooda" / part)
        self.task = folder / "task.json"
        spec = {
            "kind": "coding",
            "repository": {"remote_url": str(self.remote), "branch": "main"},
            "task": {"id": "T-1", "title": "Make add add", "description": "add() subtracts."},
            "grants": ["push_feature_branch"],
            "agent": {"model": MODEL},
        }
        self.task.write_text(json.dumps(spec | (task or {})))
        self._publish(hook)

    # -- processes --------------------------------------------------------------------------------------

    def start(self, *arguments: str, before: Sequence[str] = (), environ: dict[str, str] | None = None) -> Attempt:
        """Start `ooda ARGUMENTS`, perhaps under another program."""
        with self.stderr.open("ab") as errors:
            process = subprocess.Popen(
                [*before, sys.executable, "-m", "ooda", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self.environ | (environ or {}),
                cwd=self.folder,
            )
        self._started.append(process)
        return Attempt(process)

    def close(self) -> None:
        """End what a failed test left running."""
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def ooda(self, *arguments: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run `ooda ARGUMENTS` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "ooda", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environ | (environ or {}),
            cwd=self.folder,
            timeout=PATIENCE_S,
            check=False,
        )

    def carry_on(self, *arguments: str, before: Sequence[str] = ()) -> Attempt:
        """Start the run, or resume it when its journal has begun."""
        self.run = self.run or self.find_run()
        words = ("runs", "resume", self.run) if self.run else ("run", str(self.task))
        return self.start(*words, "--jsonl", *arguments, before=before)

    def carry(self, kills: Sequence[Kill] = ()) -> int:
        """Carry the run through these kills to its end; gives the last exit code."""
        for kill in kills:
            attempt = self.carry_on(before=getattr(kill, "before", ()))
            kill(self, attempt)
            self.note(attempt)
            code = attempt.process.returncode
            if code == WAITING and self.approve():
                continue
            if code not in (-signal.SIGKILL, 128 + signal.SIGKILL):
                return code
            self.kills += 1
        while True:
            last = self.carry_on()
            code = last.finish()
            self.note(last)
            if code != WAITING or not self.approve():
                return code

    def approve(self) -> int:
        """Let what waits for a person happen; gives how much that was."""
        waiting = json.loads(self.ooda("approvals", "list", "--json").stdout)
        for question in waiting:
            answered = self.ooda("approvals", "answer", question["id"], "--approve")
            assert answered.returncode == 0, answered.stderr
        return len(waiting)

    def note(self, attempt: Attempt) -> None:
        """Remember what an ended attempt acknowledged and what it had open."""
        for line in attempt.heard:
            before = self.acknowledged.setdefault(line["seq"], line["event"])
            assert before == line["event"], f"event {line['seq']} was acknowledged twice with different contents"
        folder = self.folder / "cache" / "ooda" / "sandboxes"
        self.sandboxes |= {place.name for place in folder.iterdir()} if folder.is_dir() else set()
        self.run = self.run or self.find_run()

    def find_run(self) -> str:
        """The run's id once its journal has begun."""
        if not self.database.exists():
            return ""
        try:
            with Store.open(self.database, readonly=True) as store:
                rows = store.read(lambda tx: tx.execute("SELECT run FROM runs"))
        except Exception:  # noqa: BLE001 - a database that is being made when its maker is killed
            return ""
        return str(rows[0][0]) if rows else ""

    # -- places -----------------------------------------------------------------------------------------

    @property
    def database(self) -> Path:
        return self.home / ".local/share/ooda/ooda.db"

    def sql(self, statement: str) -> list[Any]:
        """A statement on the database from beside: to look, or to move a clock hand."""
        with closing(sqlite3.connect(self.database, timeout=PATIENCE_S)) as connection, connection:
            return connection.execute(statement).fetchall()

    @property
    def places(self) -> Path:
        """The run's folder."""
        return self.home / ".local/state/ooda/runs" / self.run

    def git(self, *arguments: str) -> str:
        """Git in the remote."""
        return _git(self.remote, *arguments)

    def _publish(self, hook: str) -> None:
        source = self.folder / "source"
        source.mkdir()
        _git(source, "init", "--quiet", "--initial-branch=main")
        for name, text in FILES.items():
            (source / name).write_text(text)
        _git(source, "add", "--all")
        _git(source, "commit", "--quiet", "--message=Begin")
        _git(self.folder, "clone", "--quiet", "--bare", str(source), str(self.remote))
        _git(self.remote, "config", "core.logAllRefUpdates", "always")
        if hook:
            place = self.remote / "hooks" / "pre-receive"
            place.write_text(hook)
            place.chmod(0o755)

    # -- what everybody counted -------------------------------------------------------------------------

    def examine(self) -> None:
        """Compare journal, ledger, provider, remote and machine after the run has ended in success."""
        with Store.open(self.database, readonly=True) as store:
            assert store.read(lambda tx: tx.execute("PRAGMA integrity_check")) == [("ok",)]
            assert audit.verify(store).is_clean
            rows = list(store.rows(self.run))
            verify(rows)
            self._nothing_is_lost({row.seq: json.loads(row.body) for row in rows})
            self._effects_are_single([event_of(row) for row in rows])
            self._books_agree(store)
        self._remote_has_one_change()
        self.nothing_is_left()

    def _nothing_is_lost(self, written: dict[int, Any]) -> None:
        lost = {seq: event for seq, event in self.acknowledged.items() if written.get(seq) != event}
        assert not lost, f"acknowledged and not in the journal: {lost}"

    def _effects_are_single(self, events: Sequence[Any]) -> None:
        kinds = [type(event).__name__ for event in events]
        assert kinds.count("RunStarted") == 1
        stops = [event.status for event in events if type(event).__name__ == "Stopped"]
        assert stops[-1:] == ["success"], stops
        returned = [event.tool for event in events if type(event).__name__ == "ToolReturned" and event.status == "ok"]
        for tool in (
            "git_clone",
            "git_branch",
            "git_commit",
            "git_push",
            *dict.fromkeys(s["tool"] for s in self.script),
        ):
            wanted = max(1, sum(step["tool"] == tool for step in self.script))
            assert returned.count(tool) == wanted, f"{tool} returned {returned.count(tool)} times"
        notices = [event.notice for event in events if type(event).__name__ == "Notified"]
        assert len(notices) == len(set(notices)), "a notice was sent twice"

    def _books_agree(self, store: Store) -> None:
        """Every request the provider took is charged, at its true cost or, when it was cut off, at its hold."""
        charges = store.read(
            lambda tx: tx.execute(
                "SELECT r.state, c.cost_nano, r.cost_nano FROM charges c JOIN reservations r ON r.key = c.key"
            )
        )
        asked = [entry["cost_nano"] for entry in self.provider.asked(self.case)]
        for state, cost, hold in charges:
            assert cost == hold if state == "expired" else cost in asked, (state, cost, hold, asked)
        assert len(asked) <= len(charges) <= len(asked) + self.kills, (charges, asked)
        total = sum(cost for _, cost, _ in charges)
        assert store.read(lambda tx: tx.execute("SELECT cost_nano FROM runs"))[0][0] == total
        windows = store.read(
            lambda tx: tx.execute("SELECT scope, SUM(spent_cost), SUM(reserved_cost) FROM budget_windows GROUP BY key")
        )
        assert {(spent, held) for _, spent, held in windows} == {(total, 0)}, windows
        open_holds = "SELECT COUNT(*) FROM reservations WHERE state IN ('held', 'sent')"
        assert store.read(lambda tx: tx.execute(open_holds)) == [(0,)]

    def _remote_has_one_change(self) -> None:
        branches = self.git("for-each-ref", "--format=%(refname:short)", "refs/heads").split()
        (branch,) = set(branches) - {"main"}
        assert self.git("rev-list", "--count", f"main..{branch}").strip() == "1"
        pushes = (self.remote / "logs/refs/heads" / branch).read_text().splitlines()
        assert len(pushes) == 1, pushes
        assert "a + b" in self.git("show", f"{branch}:sums.py")
        assert self.git("show", f"{branch}:log.txt") == "once\ntwice\n"

    def nothing_is_left(self) -> None:
        """No process, mount, cgroup or temporary file of this lab."""
        assert self.processes() == {}
        mounts = Path("/proc/self/mountinfo").read_text()
        assert str(self.folder) not in mounts
        assert [path.name for path in self.tmp.iterdir()] == []
        folder = self.folder / "cache" / "ooda" / "sandboxes"
        assert not folder.is_dir() or [path.name for path in folder.iterdir()] == []
        groups = {name for _, names, _ in os.walk("/sys/fs/cgroup") for name in names}
        assert groups & self.sandboxes == set()
        left = [
            path.name for kind in ("intake", "inner", "restore") for path in (self.places / "git").glob(f"{kind}-*")
        ]
        left += [path.name for path in (self.places / "git").rglob("*.lock")]
        left += [path.name for path in (self.database.parent / "blobs").glob("tmp/*")]
        assert left == []

    def processes(self) -> dict[int, str]:
        """Processes that were started for this lab, or see its files mounted."""
        found = {}
        for place in Path("/proc").iterdir():
            if not place.name.isdigit() or int(place.name) == os.getpid():
                continue
            with suppress(OSError):
                command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                seen = (place / "environ").read_bytes().decode(errors="replace") + command
                if str(self.folder) in seen or str(self.folder) in (place / "mountinfo").read_text():
                    found[int(place.name)] = command[:200]
        return found


def _git(folder: Path, *arguments: str) -> str:
    who = {
        f"GIT_{role}_{fact}": "lab@example.invalid" for role in ("AUTHOR", "COMMITTER") for fact in ("NAME", "EMAIL")
    }
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", **who}
    done = subprocess.run(["git", *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=True)
    return done.stdout


def until(holds: Callable[[], bool]) -> None:
    """Wait for what another process does, which says nothing when it has done it."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


# -- ways to be killed --------------------------------------------------------------------------------------


def after(seconds: float) -> Kill:
    """SIGKILL that long after the start."""

    def kill(lab: Lab, attempt: Attempt) -> None:
        with suppress(subprocess.TimeoutExpired):
            attempt.process.wait(seconds)
        attempt.kill()

    return kill


def at_syscall(name: str, number: int) -> Kill:
    """SIGKILL at the entry of the main thread's so-and-so-many-th call of `name`: before it has happened."""

    def kill(lab: Lab, attempt: Attempt) -> None:
        attempt.finish()

    if not shutil.which("strace") and not os.environ.get("CI"):
        pytest.skip("needs strace, to kill at one system call; as root on Debian: apt-get install -y strace")
    kill.before = (  # type: ignore[attr-defined]
        "strace",
        "--quiet=all",
        "--output=/dev/null",
        f"--trace={name}",
        f"--inject={name}:signal=KILL:when={number}",
    )
    return kill


def at_line(number: int) -> Kill:
    """SIGKILL before a line of the trace of the run and of everything it started; 0 kills nothing."""
    name = f"lines-{os.urandom(4).hex()}"

    def kill(lab: Lab, attempt: Attempt) -> None:
        attempt.finish()
        lines = lines_of(lab.folder / name)
        assert lines[-1].call, "something outlived the kill by seconds"
        if attempt.process.returncode == 128 + signal.SIGKILL:
            lab.killed_at += [line for line in lines if line.number == number]
        else:
            lab.traces.append(lines)

    kill.before = (sys.executable, str(HERE / "tracer.py"), name, str(number))  # type: ignore[attr-defined]
    return kill


def lines_of(file: Path) -> list[Line]:
    """The lines that a tracer noted."""
    found, stage = [], ""
    for text in file.read_text(errors="replace").splitlines():
        number, who, call, what = (*text.split("\t"), "", "", "")[:4]
        found.append(Line(int(number) if number.isdigit() else 0, who, call, what, stage))
        if who == "ooda" and (told := re.search(r'"kind":"([A-Z]\w+)"(?:.*?"(?:tool|phase)":"(\w+)")?', what)):
            stage = " ".join(word for word in told.groups() if word)
    return found


def at_event(wanted: Callable[[dict[str, Any]], bool], seconds: float = 0.0) -> Kill:
    """SIGKILL when an event is printed that is wanted, or so much later."""

    def kill(lab: Lab, attempt: Attempt) -> None:
        for line in attempt.events():
            if wanted(line["event"]):
                if seconds:
                    time.sleep(seconds)  # the moment of the kill is what is varied
                attempt.kill()
                return
        attempt.process.wait(PATIENCE_S)

    return kill
