"""All commands of a sandbox: starting, finishing, background handles, polling and stopping, shell state."""

from __future__ import annotations

import base64
import os
import time
from functools import partial
from typing import Any

from .command import Command, Minder, no_process, open_script
from .files import display
from .frames import VERSION, GuestError, encode
from .loop import Loop
from .minder import Confinement, Job
from .output import Keeper
from .settings import Settings
from .shell import MAX_ARGUMENT_BYTES, ShellState, base_environment, read_state, shell_text, split_loader

__all__ = ["Commands"]

_SHOWN = "/workspace"
_SPOOL_BYTES = 16 << 20
_OUTBOX_BYTES = 4 << 20
"""Above this, output that is spooled to the host is not read on: the command waits for the host."""
_STOP_GRACE_S = 1.0
_KILL_CHECK_S = 0.1
_ENDED_KEPT = 64
_WAIT_S = 600.0
_SPARE_RETRY_S = 1.0


class Commands:
    """What runs, what waits for it, and where the next command starts."""

    def __init__(self, loop: Loop, settings: Settings, confinement: Confinement, env: dict[str, str]) -> None:
        self._loop = loop
        self._settings = settings
        self._confinement = confinement
        self._state = ShellState(settings.workspace, {**base_environment(settings.home), **settings.env, **env})
        self._running: list[Command] = []
        self._ended: dict[str, Command] = {}
        """Background processes that have ended, the last ones only."""
        self._polls: dict[str, tuple[object, float]] = {}
        """handle -> (request, until when it waits for news)."""
        self._stops: dict[str, tuple[object, float]] = {}
        """handle -> (request, when SIGTERM has had its chance)."""
        self._handles = 0
        self._spare: Minder | None = None
        """A minder whose command waits for a job."""
        self._next_spare = 0.0
        loop.on_drained = self._resume_reading

    @property
    def busy(self) -> bool:
        """Whether anything runs."""
        return bool(self._running)

    # -- operations ------------------------------------------------------------------------------------

    def exec(self, request: dict[str, Any]) -> None:
        """Start a command whose result is the reply."""
        self._launch(request, handle=None, deadline=time.monotonic() + float(request["timeout_s"]))

    def start(self, request: dict[str, Any]) -> dict[str, Any]:
        """Start a background process."""
        running = sum(command.handle is not None for command in self._running)
        if running >= self._settings.background:
            raise GuestError("too_many", f"{running} background processes run already; stop one of them first")
        self._handles += 1
        handle = f"bg-{self._handles}"
        self._launch(request, handle=handle, deadline=None)
        return {"handle": handle}

    def poll(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """News of a background process, at once or when there are some."""
        command = self._find(request["handle"])
        wait_s = min(float(request.get("wait_s") or 0), _WAIT_S)
        if wait_s <= 0 or command.news or command.ended is not None:
            return self._news(command)
        assert command.handle is not None
        if command.handle in self._polls:
            raise GuestError("busy", f"{command.handle} is being polled already")
        self._polls[command.handle] = (request.get("id"), time.monotonic() + wait_s)
        return None

    def stop(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """End a background process, or the command of a request whose caller gave up."""
        if "request" in request:
            for command in self._running:
                if command.request == request["request"] and command.handle is None:
                    command.kill()
            return {}
        command = self._find(request["handle"])
        if command.ended is not None:
            return self._news(command)
        assert command.handle is not None
        if command.handle in self._stops:
            raise GuestError("busy", f"{command.handle} is being stopped already")
        command.terminate()
        self._stops[command.handle] = (request.get("id"), time.monotonic() + _STOP_GRACE_S)
        return None

    def processes(self) -> int:
        """How many processes the commands have now, our own not counted."""
        return sum(len(command.minder.tree()) for command in self._running)

    def end_all(self, limit: str | None = None) -> None:
        """Kill every tree; `limit` is the ceiling to name in the results."""
        for command in self._running:
            if command.ended is None:
                command.limit = limit
                command.kill()

    # -- the loop's side -------------------------------------------------------------------------------

    def due(self, now: float) -> float | None:
        """When `tend` has to be called next, on the monotonic clock."""
        moments = [until for _, until in (*self._polls.values(), *self._stops.values())]
        for command in self._running:
            if command.ended is not None:
                moments.append(command.drained_by)
            elif command.killing_since is not None:
                moments.append(now + _KILL_CHECK_S)
            elif command.deadline is not None:
                moments.append(command.deadline)
        return min(moments, default=None)

    def tend(self, now: float) -> None:
        """Do what has become due."""
        for handle, (request, until) in list(self._stops.items()):
            if now >= until:
                self._find(handle).kill()
                self._stops[handle] = (request, now + _STOP_GRACE_S)
        for command in list(self._running):
            if command.ended is None and command.deadline is not None and now >= command.deadline:
                command.timed_out = True
                command.kill()
            command.insist()
            if command.done:
                self._finish(command)
        for handle, (request, until) in list(self._polls.items()):
            command = self._find(handle)
            if command.news or command.ended is not None or now >= until:
                del self._polls[handle]
                self._loop.answer(request, partial(self._news, command))
        if self._spare is None and now >= self._next_spare and all(command.handle for command in self._running):
            self._prepare(now)

    def reaped(self, pid: int) -> None:
        """Hear that a child of the helper is gone."""
        for command in self._running:
            command.reap(pid)
        if self._spare is not None:
            self._spare.reap(pid)

    # -- inside ----------------------------------------------------------------------------------------

    def _launch(self, request: dict[str, Any], *, handle: str | None, deadline: float | None) -> None:
        text = request["command"]
        if not isinstance(text, str) or "\0" in text:
            raise GuestError("bad_request", "the command is not text, or holds a NUL character")
        call_env = {str(name): str(value) for name, value in (request.get("env") or {}).items()}
        if any("\0" in name + value or "=" in name or not name for name, value in call_env.items()):
            raise GuestError("bad_request", "an environment variable holds a NUL, or its name is empty or holds `=`")
        os.fsencode("".join((text, *call_env, *call_env.values())))  # a ValueError for what no program can be given
        persist = handle is None and bool(request.get("persist", True))
        state_file = f"{self._settings.state_dir}/{os.urandom(6).hex()}" if persist else None
        cwds = self._directories(request.get("cwd"))
        script = open_script(text) if len(text.encode("utf-8", "surrogateescape")) > MAX_ARGUMENT_BYTES else None
        try:
            env, exports = split_loader({**self._state.env, **call_env, "PWD": cwds[0]})
            shell = exports + shell_text(text, state_file, None if script is None else "/proc/self/fd/3")
            command = Command(
                self._minder_for(Job(argv=["sh", "-c", shell], env=env, cwds=cwds, script=script)),
                request=request.get("id"),
                deadline=deadline,
                spool_bytes=_SPOOL_BYTES if request.get("spool") else 0,
                handle=handle,
                state_file=state_file,
                call_env=call_env,
                cwd=cwds[0],
            )
        finally:
            if script is not None:
                os.close(script)
        self._running.append(command)
        self._loop.listen(command.minder.output, partial(self._read_output, command))
        self._loop.listen(command.minder.control, partial(self._read_control, command))

    def _minder_for(self, job: Job) -> Minder:
        """The spare minder with this job, or a new one."""
        spare = self._spare
        if spare is not None:
            self._drop_spare()
            if not spare.over and spare.give(job):
                return spare
            spare.close()
        try:
            return Minder(self._confinement, job)
        except OSError as error:
            raise no_process() from error

    def _prepare(self, now: float) -> None:
        try:
            spare = self._spare = Minder(self._confinement, None)
        except OSError:
            self._next_spare = now + _SPARE_RETRY_S  # the process limit is reached
            return
        self._loop.listen(spare.control, self._read_spare)

    def _read_spare(self) -> None:
        spare = self._spare
        assert spare is not None
        spare.read()
        if spare.silent or spare.report is not None:  # something killed it
            self._drop_spare()
            spare.close()

    def _drop_spare(self) -> None:
        if self._spare is not None:
            self._loop.forget(self._spare.control)
            self._spare = None

    def _directories(self, cwd: object) -> list[str]:
        """Where to start: the directory asked for, or the last one with the workspace as its stand-in."""
        root = self._settings.workspace
        if cwd is None:
            return [self._state.cwd, root]
        path = str(cwd)
        os.fsencode(path)  # a ValueError for what no name can hold
        if "\0" in path:
            raise GuestError("bad_path", f"{display(path)} is not a directory name")
        for prefix in (_SHOWN, root):
            if path == prefix or path.startswith(prefix + "/"):
                path = path[len(prefix) :].lstrip("/") or "."
        whole = os.path.normpath(os.path.join(root, path))
        if whole != root and not whole.startswith(root + "/"):
            raise GuestError("outside", f"{display(path)} lies outside the workspace; give a directory below {_SHOWN}")
        return [whole]

    def _find(self, handle: object) -> Command:
        for command in self._running:
            if handle is not None and command.handle == handle:
                return command
        if isinstance(handle, str) and handle in self._ended:
            return self._ended[handle]
        raise GuestError("no_such_handle", f"{display(str(handle))} names no background process of this sandbox")

    def _read_output(self, command: Command) -> None:
        fd = command.minder.output
        if command.spool_left and self._loop.waiting_bytes > _OUTBOX_BYTES:
            command.paused = True
            self._loop.forget(fd)
            return
        data = command.read_output()
        if not command.output_open:
            self._loop.forget(fd)
        if data and command.spool_left:
            piece = data[: command.spool_left]
            command.spool_left -= len(piece)
            chunk = base64.b64encode(piece).decode("ascii")
            self._loop.send(encode({"v": VERSION, "id": command.request, "chunk": chunk}))

    def _resume_reading(self) -> None:
        if self._loop.waiting_bytes > _OUTBOX_BYTES:
            return
        for command in self._running:
            if command.paused and command.output_open:
                command.paused = False
                self._loop.listen(command.minder.output, partial(self._read_output, command))

    def _read_control(self, command: Command) -> None:
        command.read_control()
        if command.minder.silent:
            self._loop.forget(command.minder.control)

    def _finish(self, command: Command) -> None:
        self._running.remove(command)
        self._loop.forget(command.minder.output)
        # What arrived before we stopped listening: a pipe's content and not more, whoever still writes.
        while command.output_open and command.total_since_end < _OUTBOX_BYTES and command.read_output():
            pass
        self._loop.forget(command.minder.control)
        command.minder.close()
        if command.handle is None:
            self._keep_state(command)
            self._loop.answer(command.request, lambda: {**command.result(), "cwd": self._shown_cwd(command)})
            return
        self._ended[command.handle] = command
        while len(self._ended) > _ENDED_KEPT:
            del self._ended[next(iter(self._ended))]
        stop = self._stops.pop(command.handle, None)
        if stop is not None:
            self._loop.answer(stop[0], partial(self._news, command))

    def _keep_state(self, command: Command) -> None:
        if command.state_file is not None:
            self._state = read_state(command.state_file, self._state, command.call_env) or self._state

    def _shown_cwd(self, command: Command) -> str:
        cwd = self._state.cwd if command.state_file is not None else command.cwd
        root = self._settings.workspace
        if cwd == root or cwd.startswith(root + "/"):
            cwd = _SHOWN + cwd[len(root) :]
        return cwd.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

    def _news(self, command: Command) -> dict[str, Any]:
        result = command.result()
        command.keeper, command.news = Keeper(), False
        return {
            "handle": command.handle,
            "running": command.ended is None,
            "exit_code": result["exit_code"],
            "signal": result["signal"],
            "output": result["output"],
        }
