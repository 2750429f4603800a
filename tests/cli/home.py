"""A machine for one test: an empty HOME, a repository with a bug, a model provider, and the command as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

from ooda.api.runs import summaries
from ooda.models.scripted import say
from ooda.testing.provider import Behaviour, ScriptedProvider
from ooda.testing.runs import RunBench

PLAN = say("I plan.", ("update_plan", {"steps": [{"description": "Add instead of subtract"}]}))
MEND = say("I mend it.", ("edit_file", {"path": "sums.py", "old": "a - b", "new": "a + b"}))
FINISH = say("Done.", ("finish", {"summary": "add() adds now."}))
GOOD = (PLAN, MEND, FINISH)
"""What a model says that does the job."""

NO_WALL = ("--set", "sandbox.backend=none")
"""For tests whose point is not the sandbox: every command of a run starts a hundred milliseconds sooner."""


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Home:
    """A HOME, a remote, and a provider that serves while the home is open."""

    def __init__(self, folder: Path, script: Iterable[Behaviour] = (), files: Mapping[str, str] | None = None) -> None:
        self.bench = RunBench(folder, files)
        self.folder = folder
        self.provider = ScriptedProvider(script)
        self.environ = {**self.bench.environ, "OODA_MODEL__BASE_URL": self.provider.url, "LANG": "C.UTF-8"}

    def __enter__(self) -> Self:
        self.provider.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.provider.close()

    def task(self, name: str = "task.yaml", **changes: Any) -> str:
        """Write a coding task on the remote; `changes` replace its top-level fields. Gives its path."""
        spec: dict[str, Any] = {
            "kind": "coding",
            "repository": {"remote_url": str(self.bench.remote), "branch": "main"},
            "task": {"id": "T-1", "title": "Make add add", "description": "add() subtracts."},
            "agent": {"model": "scripted"},
            "grants": ["push_feature_branch"],
        }
        return self.write(name, json.dumps(spec | changes, indent=2))  # JSON is YAML

    def write(self, name: str, text: str) -> str:
        """Write a file beside HOME; gives its path."""
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def start(self, *arguments: str, environ: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
        """Start the command, in a process group of its own, its streams piped."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [sys.executable, "-m", "ooda", *arguments],
            cwd=self.folder,
            env={**self.environ, **(environ or {})},
            text=True,
            start_new_session=True,
            **streams | options,
        )

    def ooda(self, *arguments: str, stdin: str | None = None, environ: Mapping[str, str] | None = None) -> Done:
        """Run the command to its end."""
        options = {} if stdin is None else {"stdin": subprocess.PIPE}
        return ended(self.start(*arguments, environ=environ, **options), stdin)

    def run(self, *arguments: str, **changes: Any) -> Done:
        """`ooda run` of a task, without a sandbox."""
        return self.ooda("run", self.task(**changes), *NO_WALL, *arguments)

    def runs(self) -> list[dict[str, Any]]:
        """Every run of this home, the newest first, as `ooda runs list --json` gives them."""
        with self.bench.session() as session:
            found: list[dict[str, Any]] = msgspec.to_builtins(summaries(session, limit=100))
        return found

    def copy(self, name: str) -> str:
        """Make a bare copy of the remote as it was before any run; gives its path."""
        path = self.folder / name
        self.bench.git("clone", "--quiet", "--bare", "--single-branch", "--branch", "main", ".", str(path))
        return str(path)

    def commits(self) -> list[str]:
        """Commits on the remote's feature branches beyond main."""
        branches = [name for name in self.bench.branches() if name != "main"]
        return self.bench.git("rev-list", "^main", *branches).split() if branches else []


def ended(process: subprocess.Popen[str], stdin: str | None = None, timeout_s: float = 60) -> Done:
    """Wait for a command; one that hangs is killed with its group."""
    try:
        out, err = process.communicate(stdin, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"the command did not end in {timeout_s} s; out: {out!r}; err: {err!r}") from None
    return Done(process.returncode, out, err)
