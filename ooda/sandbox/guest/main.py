"""The helper's loop: requests in, replies out, commands and the file worker in between.

One thread. It never opens a file by a path that a command can influence (the file worker does), never
blocks on a command, and judges deadlines by its own clock, so a host that is slow cannot lengthen them.
"""

from __future__ import annotations

import base64
import contextlib
import os
import platform
import selectors
import shutil
import signal
import socket
import sys
import time
from collections import deque
from functools import partial
from typing import Any

from . import kernel
from .command import READ_BYTES, Command, connect_pair, open_script
from .files import display
from .frames import VERSION, Decoder, FrameError, GuestError, encode, failure, reply
from .minder import Confinement, Job
from .output import Keeper
from .seccomp import build_filter, supported
from .shell import MAX_ARGUMENT_BYTES, ShellState, base_environment, read_state, shell_text
from .tree import resident_bytes
from .worker import OPERATIONS as FILE_OPERATIONS
from .worker import disk_usage, serve_files

__all__ = ["main"]

_OPERATIONS = ("hello", "exec", "start", "poll", "stop", "stats", *FILE_OPERATIONS)
_SPOOL_BYTES = 16 << 20
_OUTBOX_BYTES = 4 << 20
"""Above this, output that is spooled to the host is not read on: the command waits for the host."""
_FILE_DEADLINE_S = 30.0
_STOP_GRACE_S = 1.0
_WATCH_S = 0.25
_DISK_STEP_BYTES = 32 << 20


class _Settings:
    """What `hello` says about this sandbox."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.mode: str = facts["mode"]
        self.workspace: str = facts["workspace"]
        self.home: str = facts["home"]
        self.state_dir: str = facts["state_dir"]
        self.uid: int = facts["uid"]
        self.gid: int = facts["gid"]
        self.env: dict[str, str] = facts["env"]
        self.rlimits: dict[str, int] = facts["rlimits"]
        self.nice: int = facts["nice"]
        self.pin_cpus: bool = facts["pin_cpus"]
        self.watch_memory_bytes: int | None = facts["watch_memory_bytes"]
        self.disk_bytes: int = facts["disk_bytes"]
        self.background: int = facts["background"]


class _FileWorker:
    """The other process, and the requests it still has to answer."""

    def __init__(
        self, settings: _Settings, rules: kernel.LandlockRules | None, seccomp: bytes | None
    ) -> None:
        self.connection, theirs = connect_pair()
        self.waiting: deque[tuple[object, str]] = deque()
        self.started: float | None = None
        self.decoder = Decoder()
        self.outbox = bytearray()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                place = 10
                keep = {place: theirs.fileno()}
                if rules is not None:
                    keep[place + 1] = rules.fd
                _keep_only(keep)
                if rules is not None:
                    rules.fd = place + 1
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                serve_files(socket.socket(fileno=place), settings.workspace, rules, seccomp)
            finally:
                os._exit(0)
        theirs.close()
        self.connection.setblocking(False)


def _keep_only(wanted: dict[int, int]) -> None:
    """Move the wanted descriptors to their places (>= 10), close every other one but 2."""
    high = {place: os.dup2(fd, 100 + index) for index, (place, fd) in enumerate(wanted.items())}
    os.closerange(3, 100)
    for place, fd in high.items():
        os.dup2(fd, place, inheritable=False)
    os.closerange(100, 65536)
    for fd in (0, 1):
        with contextlib.suppress(OSError):
            os.close(fd)


class _Helper:
    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._decoder = Decoder()
        self._outbox = bytearray()
        self._settings: _Settings | None = None
        self._confinement: Confinement | None = None
        self._rules: kernel.LandlockRules | None = None
        self._seccomp: bytes | None = None
        self._files: _FileWorker | None = None
        self._state = ShellState("/", {})
        self._commands: list[Command] = []
        self._polls: dict[str, tuple[object, float]] = {}
        self._stops: dict[str, tuple[object, float]] = {}
        self._ended: dict[str, Command] = {}
        self._handles = 0
        self._next_watch = 0.0
        self._disk_free: int | None = None
        self._disk_base = 0
        self._open = True

    # -- the loop --------------------------------------------------------------------------------------

    def run(self) -> None:
        os.set_blocking(0, False)
        os.set_blocking(1, False)
        wake_reader, wake_writer = os.pipe()
        os.set_blocking(wake_reader, False)
        os.set_blocking(wake_writer, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        self._selector.register(0, selectors.EVENT_READ, self._read_requests)
        self._selector.register(wake_reader, selectors.EVENT_READ, lambda: self._reap(wake_reader))
        while self._open:
            for key, _ in self._selector.select(self._patience()):
                key.data()
            self._tend()
            self._write_replies()
        for command in self._commands:
            command.kill()

    def _patience(self) -> float | None:
        """How long nothing can become due, in seconds."""
        now = time.monotonic()
        due = [until for _, until in (*self._polls.values(), *self._stops.values())]
        for command in self._commands:
            if command.ended is not None:
                due.append(command.ended + 0.3)
            elif command.killing_since is not None:
                due.append(now + 0.1)
            elif command.deadline is not None:
                due.append(command.deadline)
        if self._commands:
            due.append(self._next_watch)
        if self._files is not None and self._files.started is not None:
            due.append(self._files.started + _FILE_DEADLINE_S)
        return None if not due else max(0.0, min(due) - now)

    def _tend(self) -> None:
        now = time.monotonic()
        for command in list(self._commands):
            if command.ended is None and command.deadline is not None and now >= command.deadline:
                command.timed_out = True
                command.kill()
            command.insist()
            if command.done:
                self._finish(command)
        for handle, (request, until) in list(self._stops.items()):
            command_of = self._find(handle)
            if command_of.ended is None and now >= until:
                command_of.kill()
                self._stops[handle] = (request, now + 1.0)
        for handle, (request, until) in list(self._polls.items()):
            command_of = self._find(handle)
            if command_of.news or command_of.ended is not None or now >= until:
                del self._polls[handle]
                self._answer(request, partial(self._poll_result, command_of))
        if self._commands and now >= self._next_watch:
            self._next_watch = now + _WATCH_S
            self._watch()
        worker = self._files
        if worker is not None and worker.started is not None and now - worker.started > _FILE_DEADLINE_S:
            os.kill(worker.pid, signal.SIGKILL)  # its end of file brings the refusal and a new worker

    # -- frames ----------------------------------------------------------------------------------------

    def _read_requests(self) -> None:
        try:
            data = os.read(0, 1 << 20)
        except BlockingIOError:
            return
        if not data:
            self._open = False  # the host is gone: so is everything here
            return
        try:
            requests = self._decoder.feed(data)
        except FrameError as error:
            print(f"sandbox helper: {error}", file=sys.stderr)
            self._open = False
            return
        for request in requests:
            self._handle(request)

    def _handle(self, request: dict[str, Any]) -> None:
        op = request.get("op")
        number = request.get("id")
        if request.get("v") != VERSION:
            error = GuestError(
                "version", f"frame version {request.get('v')!r} was sent; this helper speaks {VERSION}"
            )
            self._send(failure(number, error))
        elif op not in _OPERATIONS:
            error = GuestError(
                "unknown_op", f"{display(str(op))} is not an operation; known are {', '.join(_OPERATIONS)}"
            )
            self._send(failure(number, error))
        elif op != "hello" and self._settings is None:
            self._send(
                failure(number, GuestError("bad_request", "`hello` with the sandbox's settings comes first"))
            )
        elif op in FILE_OPERATIONS:
            self._pass_on(request)
        else:
            self._answer(number, lambda: getattr(self, f"_do_{op}")(request))

    def _answer(self, request: object, work: Any) -> None:
        """Send what `work` gives; None means that the reply comes later."""
        try:
            result = work()
        except GuestError as error:
            self._send(failure(request, error))
        except (KeyError, TypeError, ValueError) as error:
            self._send(failure(request, GuestError("bad_request", f"the request is malformed: {error!r}")))
        else:
            if result is not None:
                self._send(reply(request, result))

    def _send(self, frame: bytes) -> None:
        self._outbox += frame
        self._write_replies()

    def _write_replies(self) -> None:
        while self._outbox:
            try:
                written = os.write(1, self._outbox[: 1 << 20])
            except BlockingIOError:
                break
            except OSError:
                self._open = False
                return
            del self._outbox[:written]
        self._listen(1, bool(self._outbox), selectors.EVENT_WRITE, self._write_replies)
        if len(self._outbox) <= _OUTBOX_BYTES:
            for command in self._commands:
                if command.paused and command.output_open:
                    command.paused = False
                    self._listen(
                        command.output, True, selectors.EVENT_READ, partial(self._read_command, command)
                    )

    def _listen(self, fd: Any, wanted: bool, events: int, call: Any) -> None:
        """Have the selector watch `fd` or not."""
        known = fd in self._selector.get_map()
        if wanted and not known:
            self._selector.register(fd, events, call)
        elif known and not wanted:
            self._selector.unregister(fd)

    # -- the file worker -------------------------------------------------------------------------------

    def _pass_on(self, request: dict[str, Any]) -> None:
        worker = self._files
        if worker is None:
            try:
                worker = self._start_worker()
            except OSError as error:
                message = f"the file worker cannot be started: {error.strerror}; stop background processes"
                self._send(failure(request.get("id"), GuestError("no_process", message)))
                return
        worker.waiting.append((request.get("id"), str(request["op"])))
        if worker.started is None:
            worker.started = time.monotonic()
        worker.outbox += encode(request)
        self._write_worker(worker)

    def _start_worker(self) -> _FileWorker:
        assert self._settings is not None
        worker = self._files = _FileWorker(self._settings, self._rules, self._seccomp)
        self._selector.register(worker.connection, selectors.EVENT_READ, lambda: self._read_worker(worker))
        return worker

    def _write_worker(self, worker: _FileWorker) -> None:
        events = selectors.EVENT_READ
        while worker.outbox:
            try:
                del worker.outbox[: worker.connection.send(worker.outbox[: 1 << 20])]
            except BlockingIOError:
                events |= selectors.EVENT_WRITE
                break
            except OSError:
                break  # it died: the read side finds out
        self._selector.modify(worker.connection, events, lambda: self._serve_worker(worker))

    def _serve_worker(self, worker: _FileWorker) -> None:
        self._read_worker(worker)
        if worker is self._files and worker.outbox:
            self._write_worker(worker)

    def _read_worker(self, worker: _FileWorker) -> None:
        try:
            data = worker.connection.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._bury_worker(worker)
            return
        for message in worker.decoder.feed(data):
            worker.waiting.popleft()
            worker.started = time.monotonic() if worker.waiting else None
            self._send(encode(message))

    def _bury_worker(self, worker: _FileWorker) -> None:
        """The worker ended without answering: it was killed for taking too long or too much memory."""
        self._selector.unregister(worker.connection)
        worker.connection.close()
        self._files = None
        late = worker.started is not None and time.monotonic() - worker.started >= _FILE_DEADLINE_S
        for index, (request, op) in enumerate(worker.waiting):
            if index == 0 and late:
                text = f"`{op}` took longer than {_FILE_DEADLINE_S:.0f} s and was ended; narrow the path or the pattern"
            elif index == 0:
                text = f"`{op}` was ended by the sandbox's memory limit; work on less at once"
            else:
                text = f"`{op}` was waiting behind another file operation that was ended; try again"
            self._send(failure(request, GuestError("timeout" if late else "ended", text)))

    # -- operations ------------------------------------------------------------------------------------

    def _do_hello(self, request: dict[str, Any]) -> dict[str, Any]:
        settings = self._settings = _Settings(request["settings"])
        missing = []
        if settings.mode == "setuid":
            kernel.set_file_owner(settings.uid, settings.gid)
        kernel.set_subreaper()
        if settings.mode != "plain":
            writable = [
                settings.workspace,
                settings.home,
                settings.state_dir,
                "/tmp",
                "/var/tmp",
                "/dev",
                "/proc",
            ]  # noqa: S108
            try:
                self._rules = kernel.LandlockRules(writable)
            except OSError:
                missing.append("landlock")
            if supported():
                self._seccomp = build_filter(platform.machine(), settings.pin_cpus)
            else:
                missing.append("seccomp")
        self._confinement = Confinement(
            mode=settings.mode,
            uid=settings.uid,
            gid=settings.gid,
            workspace=settings.workspace,
            limits=settings.rlimits,
            nice=settings.nice,
            landlock=self._rules,
            seccomp=self._seccomp,
        )
        env = {**base_environment(settings.home), **settings.env}
        self._state = ShellState(settings.workspace, env)
        self._start_worker()
        self._disk_base = disk_usage(settings.workspace)[0]
        return {
            "version": VERSION,
            "missing": missing,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "kernel": platform.release(),
            "landlock": kernel.landlock_version(),
        }

    def _launch(self, request: dict[str, Any], *, handle: str | None, deadline: float | None) -> Command:
        settings, confinement = self._settings, self._confinement
        assert settings is not None and confinement is not None
        text = request["command"]
        if not isinstance(text, str) or "\0" in text:
            raise GuestError("bad_request", "the command is not text, or holds a NUL character")
        call_env = {str(name): str(value) for name, value in (request.get("env") or {}).items()}
        if any("\0" in name + value or "=" in name for name, value in call_env.items()):
            raise GuestError("bad_request", "an environment variable holds a NUL or its name an equals sign")
        persist = handle is None and bool(request.get("persist", True))
        state_file = f"{settings.state_dir}/{os.urandom(6).hex()}" if persist else None
        cwds = self._directories(request.get("cwd"), settings)
        script = open_script(text) if len(text.encode("utf-8", "replace")) > MAX_ARGUMENT_BYTES else None
        try:
            shell = shell_text(text, state_file, None if script is None else "/proc/self/fd/3")
            env = {**self._state.env, **call_env, "PWD": cwds[0]}
            command = Command(
                Job(argv=["sh", "-c", shell], env=env, cwds=cwds, script=script),
                confinement,
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
        self._commands.append(command)
        self._selector.register(command.output, selectors.EVENT_READ, partial(self._read_command, command))
        self._selector.register(command.control, selectors.EVENT_READ, partial(self._read_minder, command))
        return command

    def _directories(self, cwd: object, settings: _Settings) -> list[str]:
        """Where to start: the directory asked for, or the last one with the workspace as its stand-in."""
        if cwd is None:
            return [self._state.cwd, settings.workspace]
        path = str(cwd)
        if "\0" in path:
            raise GuestError("bad_path", f"{display(path)} is not a directory name")
        for prefix in ("/workspace", settings.workspace):
            if path == prefix or path.startswith(prefix + "/"):
                path = path[len(prefix) :].lstrip("/") or "."
        whole = os.path.normpath(os.path.join(settings.workspace, path))
        if whole != settings.workspace and not whole.startswith(settings.workspace + "/"):
            raise GuestError(
                "outside", f"{display(path)} lies outside the workspace; give a directory below /workspace"
            )
        return [whole]

    def _do_exec(self, request: dict[str, Any]) -> None:
        deadline = time.monotonic() + float(request["timeout_s"])
        self._launch(request, handle=None, deadline=deadline)

    def _do_start(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._settings is not None
        running = sum(command.handle is not None for command in self._commands)
        if running >= self._settings.background:
            raise GuestError(
                "too_many", f"{running} background processes run already; stop one of them first"
            )
        self._handles += 1
        handle = f"bg-{self._handles}"
        self._launch(request, handle=handle, deadline=None)
        return {"handle": handle}

    def _do_poll(self, request: dict[str, Any]) -> dict[str, Any] | None:
        command = self._find(request["handle"])
        wait_s = float(request.get("wait_s") or 0)
        if wait_s <= 0 or command.news or command.ended is not None:
            return self._poll_result(command)
        if command.handle in self._polls:
            raise GuestError("busy", f"{command.handle} is being polled already")
        assert command.handle is not None
        self._polls[command.handle] = (request.get("id"), time.monotonic() + wait_s)
        return None

    def _do_stop(self, request: dict[str, Any]) -> dict[str, Any] | None:
        if "request" in request:  # the host gave up waiting for that exec
            for command in self._commands:
                if command.request == request["request"] and command.handle is None:
                    command.kill()
            return {}
        command = self._find(request["handle"])
        if command.ended is not None:
            return self._poll_result(command)
        assert command.handle is not None
        if command.handle in self._stops:
            raise GuestError("busy", f"{command.handle} is being stopped already")
        command.terminate()
        self._stops[command.handle] = (request.get("id"), time.monotonic() + _STOP_GRACE_S)
        return None

    def _do_stats(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._settings is not None
        processes = sum(command.processes() for command in self._commands)
        used, _ = disk_usage(self._settings.workspace)
        return {"processes": processes, "memory_bytes": resident_bytes(), "workspace_bytes": used}

    # -- commands --------------------------------------------------------------------------------------

    def _find(self, handle: object) -> Command:
        for command in self._commands:
            if command.handle == handle and handle is not None:
                return command
        if isinstance(handle, str) and handle in self._ended:
            return self._ended[handle]
        raise GuestError(
            "no_such_handle", f"{display(str(handle))} names no background process of this sandbox"
        )

    def _read_command(self, command: Command) -> None:
        fd = command.output
        if command.spool_left and len(self._outbox) > _OUTBOX_BYTES:
            command.paused = True
            self._selector.unregister(fd)
            return
        data = command.read_output()
        if not command.output_open:
            self._selector.unregister(fd)
        if data and command.spool_left:
            piece = data[: command.spool_left]
            command.spool_left -= len(piece)
            chunk = base64.b64encode(piece).decode("ascii")
            self._send(encode({"v": VERSION, "id": command.request, "chunk": chunk}))

    def _read_minder(self, command: Command) -> None:
        command.read_control()
        if command.silent:
            self._listen(command.control, False, 0, None)

    def _reap(self, wake_reader: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(wake_reader, 4096)
        with contextlib.suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                for command in self._commands:
                    command.reap(pid)

    def _finish(self, command: Command) -> None:
        assert self._settings is not None
        self._commands.remove(command)
        if command.output_open:
            self._listen(command.output, False, 0, None)
            while command.read_output():
                pass  # what arrived before we stopped listening
        self._listen(command.control, False, 0, None)
        command.close()
        if command.handle is not None:
            self._ended[command.handle] = command
            stop = self._stops.pop(command.handle, None)
            if stop is not None:
                self._answer(stop[0], lambda: self._poll_result(command))
            return
        if command.state_file is not None:
            state = read_state(command.state_file, self._state, command.call_env)
            if state is not None:
                self._state = state
        self._answer(command.request, lambda: {**command.result(), "cwd": self._shown_cwd(command)})

    def _shown_cwd(self, command: Command) -> str:
        cwd = self._state.cwd if command.state_file is not None else command.cwd
        return cwd.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

    def _poll_result(self, command: Command) -> dict[str, Any]:
        result = command.result()
        command.keeper, command.news = Keeper(), False
        return {
            "handle": command.handle,
            "running": command.ended is None,
            "exit_code": result["exit_code"],
            "signal": result["signal"],
            "output": result["output"],
        }

    # -- limits the kernel does not hold ---------------------------------------------------------------

    def _watch(self) -> None:
        settings = self._settings
        assert settings is not None
        if settings.watch_memory_bytes is not None and resident_bytes() > settings.watch_memory_bytes:
            self._end_all("memory")
        free = shutil.disk_usage(settings.workspace).free
        if self._disk_free is None:
            self._disk_free = free
        elif self._disk_free - free > _DISK_STEP_BYTES:
            self._disk_free = free
            used = disk_usage(settings.workspace)[0]
            if used > settings.disk_bytes and used > self._disk_base:
                self._end_all("disk")
        else:
            self._disk_free = max(self._disk_free, free)

    def _end_all(self, limit: str) -> None:
        for command in self._commands:
            if command.ended is None:
                command.limit = limit
                command.kill()


def main() -> None:
    """Run until the host closes our standard input."""
    _Helper().run()
