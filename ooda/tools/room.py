"""What a tool call stands in: the run's sandbox, its repository, its typed task, its plan and its clock.

A `ToolRoom` is built once per run by whoever starts the run and is the first argument of every tool. What a call
may touch in the outside world stands in here, typed by a person; a model's arguments never name it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from ooda.clock import Clock
from ooda.errors import ToolArgumentsError, ToolFailedError
from ooda.sandbox.protocol import Sandbox
from ooda.services.git import Author, Remote, WorkRepo
from ooda.tools.coder_desk import CoderDesk
from ooda.tools.fleet_looks import FleetLooks
from ooda.tools.plan import PlanHolder

__all__ = ["CallFacts", "FolderSpool", "GitTarget", "Spool", "SpoolPart", "ToolRoom"]

_KEPT_BYTES = 16 << 20
"""What is kept of one output."""
_HANDLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class SpoolPart(msgspec.Struct, frozen=True):
    """A stretch of a spooled output."""

    data: bytes
    offset: int
    total_bytes: int


class Spool(Protocol):
    """Where full outputs are kept for reading back."""

    def read(self, handle: str, offset: int, limit: int) -> SpoolPart:
        """At most `limit` bytes from `offset`; ToolArgumentsError for a handle that names nothing."""
        ...

    def forget(self, handle: str) -> None:
        """Drop an output that was shown whole."""
        ...


class FolderSpool:
    """Outputs as files of the run's spool folder on the host; also where the gate keeps what it caps."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, handle: str, offset: int, limit: int) -> SpoolPart:
        unknown = f"no output is kept under {handle!r}; use a handle that an earlier result named"
        if not _HANDLE.fullmatch(handle):
            raise ToolArgumentsError(unknown)
        try:
            descriptor = os.open(self._folder / handle, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise ToolArgumentsError(unknown) from error
        with open(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise ToolArgumentsError(unknown)
            file.seek(offset)
            return SpoolPart(file.read(limit), offset, facts.st_size)

    def keep(self, call: str, text: str) -> str:
        """Keep a text that no command wrote (its first 16 MiB); gives its handle. The same call's text is replaced."""
        handle = "call-" + re.sub(r"[^A-Za-z0-9._-]", "_", call)[:90]
        data = text.encode(errors="replace")[:_KEPT_BYTES]
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / handle).unlink(missing_ok=True)
        (self._folder / handle).write_bytes(data)
        return handle

    def forget(self, handle: str) -> None:
        if _HANDLE.fullmatch(handle):
            (self._folder / handle).unlink(missing_ok=True)


class GitTarget(msgspec.Struct, frozen=True, kw_only=True):
    """The repository a person typed into the task: where git tools may go, and on whose behalf."""

    remote: Remote
    base: str = "main"
    """Branch to start from; never pushed to by `git_push`."""
    title: str = ""
    """Title of the task: names the feature branch."""
    task: str = ""
    """Id of the task, for the commit's trailer."""
    author: Author = Author()


class CallFacts(msgspec.Struct, frozen=True):
    """What the grant of the running call says; empty outside a call."""

    seq: int = 0
    id: str = ""
    key: str = ""
    deadline_ns: int = 0


@dataclass(frozen=True, kw_only=True)
class ToolRoom:
    """Everything the tools of one run work with."""

    run: str
    clock: Clock
    sandbox: Sandbox | None = None
    git: WorkRepo | None = None
    target: GitTarget | None = None
    validation: tuple[str, ...] = ()
    """The task's own validation commands; empty: found out by looking."""
    plan: PlanHolder = field(default_factory=PlanHolder)
    spool: Spool | None = None
    output_bytes: int = 16_384
    """Most bytes of text one result shows to the model."""
    started_at_ns: int = 0
    """When the run started, for the date in its branch's name; 0: now."""
    prepare: Callable[[], Awaitable[tuple[str, bool]]] | None = None
    """Runs the task's setup commands; gives the environment's key and whether it was there. None: there are none."""
    coder: CoderDesk | None = None
    """The Coder deployment a steward's run looks after."""
    fleet: FleetLooks | None = None
    """What a conversation about a fleet may look at."""
    call: CallFacts = field(default_factory=CallFacts)

    def for_call(self, call: CallFacts) -> ToolRoom:
        """The same room for one call. Copied as it stands: `dataclasses.replace` takes ten times as long."""
        room = object.__new__(ToolRoom)
        room.__dict__.update(self.__dict__, call=call)
        return room

    def the_sandbox(self) -> Sandbox:
        """The run's sandbox; ToolFailedError for a run that has none."""
        if self.sandbox is None:
            raise ToolFailedError("this run has no sandbox, so it can neither run commands nor touch files")
        return self.sandbox

    def the_repository(self) -> tuple[WorkRepo, GitTarget]:
        """The run's repository and the task's remote; ToolFailedError for a task that names none."""
        if self.git is None or self.target is None:
            raise ToolFailedError("this task names no repository; add `repository.remote_url` to it")
        return self.git, self.target

    def remaining_s(self, wanted_s: float) -> float:
        """`wanted_s`, or what the call's deadline leaves when that is less (at least one second)."""
        if not self.call.deadline_ns:
            return wanted_s
        left_s = (self.call.deadline_ns - self.clock.now_ns()) / 1_000_000_000
        return max(1.0, min(wanted_s, left_s))
