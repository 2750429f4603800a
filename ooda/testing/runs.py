"""A whole run in a test: a repository, a task, a scripted model, everything else real, in a folder of its own.

    bench = RunBench(tmp_path)
    ending = await bench.run(bench.task(), [say("…", ("finish", {"summary": "…"}))])

Public: users test their agents with what we test ours with.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ooda.api.launch import Live, opened, reloaded
from ooda.api.request import Launch, Watch
from ooda.api.runs import started_of, text_of
from ooda.api.session import Session
from ooda.engines.local import Ending, Person
from ooda.events import Entry, Event, Foreign
from ooda.models.request import ModelAccess
from ooda.models.scripted import Script, ScriptedModel
from ooda.task import LoadedTask, parse_task

__all__ = ["RunBench"]

PASSING = {
    "README.md": "# sums\n",
    "sums.py": "def add(a, b):\n    return a - b\n",
    "test_sums.py": (
        "import unittest\n\nfrom sums import add\n\n\nclass AddTest(unittest.TestCase):\n"
        "    def test_adds(self):\n        self.assertEqual(add(2, 3), 5)\n"
    ),
}
"""A project with one bug that its one test shows."""


class RunBench:
    """A home folder, a bare remote and the runs made in them.

    Args:
        folder: An empty folder; everything goes below it.
        files: What the repository holds at first.
        settings: Overrides by dotted name. Unless said otherwise commands run in bubblewrap.
    """

    def __init__(
        self, folder: Path, files: Mapping[str, str] | None = None, settings: Mapping[str, object] | None = None
    ) -> None:
        self.folder = folder
        self.remote = folder / "remote.git"
        self.environ = {"HOME": str(folder / "home"), "PATH": os.environ.get("PATH", "/usr/bin:/bin")}
        self.settings = {"sandbox.backend": "bubblewrap", **(settings or {})}
        (folder / "home").mkdir(exist_ok=True)
        self._publish(PASSING if files is None else files)
        self.heard: list[Event | Foreign] = []
        """Every event of every run, as it was committed."""

    def task(self, **changes: Any) -> LoadedTask:
        """A coding task on the remote; `changes` replace its top-level fields."""
        spec: dict[str, Any] = {
            "kind": "coding",
            "repository": {"remote_url": str(self.remote), "branch": "main"},
            "task": {"id": "T-1", "title": "Make add add", "description": "add() subtracts."},
            "grants": ["push_feature_branch"],
            "agent": {"model": "scripted"},
        }
        return parse_task(spec | changes, "test task")

    def session(self) -> Session:
        """A session in this folder; close it."""
        return Session.open(environ=self.environ, cwd=self.folder, overrides=self.settings)

    async def run(
        self,
        loaded: LoadedTask,
        model: ModelAccess | Iterable[Script],
        *,
        person: Person | None = None,
        session: Session | None = None,
        meanwhile: Any = None,
    ) -> Ending:
        """Start a run and carry it to where it stops or waits.

        Args:
            meanwhile: Called with the open run before it starts (to interrupt it later, for instance).
        """
        access = _asked(model)
        return await self._carry(
            Launch(loaded=loaded, access=access, person=person, watch=self._watch()), session, meanwhile
        )

    async def resume(
        self,
        run: str,
        model: ModelAccess | Iterable[Script],
        *,
        person: Person | None = None,
        session: Session | None = None,
    ) -> Ending:
        """Go on with a run from its journal."""
        access = _asked(model)
        own = session or self.session()
        try:
            loaded = reloaded(own, run, text_of(own)(started_of(own, run).task))
            launch = Launch(loaded=loaded, run=run, access=access, person=person, watch=self._watch())
            return await self._carry(launch, own, None)
        finally:
            if session is None:
                own.close()

    async def _carry(self, launch: Launch, session: Session | None, meanwhile: Any) -> Ending:
        own = session or self.session()
        try:
            async with opened(own, launch) as live:
                self.live: Live = live
                if meanwhile is not None:
                    meanwhile(live)
                return await live.go()
        finally:
            if session is None:
                own.close()

    def _watch(self) -> Watch:
        def heard(seq: int, entry: Entry) -> None:
            self.heard.append(entry.event)

        return Watch(heard=heard)

    def branches(self) -> dict[str, str]:
        """Branches of the remote and their commits."""
        lines = self.git("for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads").splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def git(self, *arguments: str) -> str:
        """Run git in the remote; gives what it prints."""
        return self._git(self.remote, *arguments)

    def _publish(self, files: Mapping[str, str]) -> None:
        source = self.folder / "source"
        source.mkdir()
        self._git(source, "init", "--quiet", "--initial-branch=main")
        for name, text in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(text)
        if files:
            self._git(source, "add", "--all")
            self._git(source, "commit", "--quiet", "--message=Begin")
        self._git(self.folder, "clone", "--quiet", "--bare", str(source), str(self.remote))

    def _git(self, folder: Path, *arguments: str) -> str:
        environ = {
            **self.environ,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in _SOMEBODY.items()},
        }
        done = subprocess.run(["git", *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=True)
        return done.stdout


def _asked(model: ModelAccess | Iterable[Script]) -> ModelAccess:
    """A model as it is, or one that gives the replies of a script."""
    return model if hasattr(model, "complete") else ScriptedModel(model)  # type: ignore[return-value]


_SOMEBODY = {"NAME": "A. Tester", "EMAIL": "tester@example.invalid"}
