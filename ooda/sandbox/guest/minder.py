"""One minder per command: forked from the helper, it starts the command confined and ends its tree.

One is kept ready, with its command already confined and waiting for its job: forking and confining then cost
no command any time.

Where each command gets a pid namespace of its own (bubblewrap) the minder is that namespace's init: when it
ends, the kernel kills the rest. Elsewhere (Docker) it is a child subreaper with another uid than the
command, which therefore can neither kill nor trace it, and walks the tree.

Talk with the helper over one socket, a JSON line each: `{pid}` first (the minder, as the helper sees it),
then `{exit, signal, killed}` or `{error}` at the end. SIGTERM from the helper means: end the tree now.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import signal
import socket
import stat
from typing import Any

from . import kernel
from .files import display
from .settings import Settings
from .tree import descendants, freeze_and_kill, kill_tree

__all__ = ["Confinement", "Job", "Started", "start_minder"]

_SCRIPT_FD, _OUTPUT_FD, _CONTROL_FD, _RULES_FD, _JOB_FD = 3, 4, 5, 6, 7
"""Where the minder keeps its descriptors; the command inherits only the script, and only when it is long."""

_SHELL = "/bin/sh"
_MINDER_IDS = 30_000
"""Minders take uids from here up to twice this number, which no one else in the sandbox has."""


class Confinement:
    """What every command is held in; made once by the helper, applied in each child by a few system calls."""

    def __init__(
        self, settings: Settings, landlock: kernel.LandlockRules | None, seccomp: kernel.SeccompFilter | None
    ) -> None:
        self.mode = settings.mode
        """`setuid`: the helper is root and commands are `uid`; `namespace`: a pid and user namespace each;
        `plain`: no wall at all."""
        self.uid = settings.uid
        self.gid = settings.gid
        self.workspace = settings.workspace
        self.limits = [_ceiling(name, value) for name, value in settings.rlimits.items()]
        self.nice = settings.nice
        self.landlock = landlock
        self.seccomp = seccomp

    def enter(self) -> None:
        """Confine the calling process; the order matters: each step takes away what a later one no longer needs."""
        for number, ceiling in self.limits:
            resource.setrlimit(number, (ceiling, ceiling))
        os.umask(0o022)
        if self.mode == "plain":
            return
        os.setpriority(os.PRIO_PROCESS, 0, self.nice)
        if self.mode == "setuid":
            os.setgroups([])
            os.setresgid(self.gid, self.gid, self.gid)
            os.setresuid(self.uid, self.uid, self.uid)
        kernel.drop_capabilities(bounding=False)
        kernel.forbid_new_privileges()
        if self.mode == "namespace":
            self._volunteer()  # alone in its namespace; Landlock's rules do not cover the /proc mounted there
        if self.landlock is not None:
            self.landlock.restrict()
        if self.seccomp is not None:
            self.seccomp.install()
        if self.mode == "setuid":
            self._volunteer()  # last, because it opens this process to others of its uid

    def _volunteer(self) -> None:
        """When memory runs out the command goes, not the helper.

        A process that changed its uid owns its /proc files only while it is dumpable: so, for the moment. An exec
        makes it dumpable anyway.
        """
        kernel.set_dumpable(True)
        with contextlib.suppress(OSError):
            _put("/proc/self/oom_score_adj", b"1000")
        kernel.set_dumpable(False)


def _ceiling(name: str, value: int) -> tuple[int, int]:
    """(resource, limit), never above what this process has itself: raising would need a capability."""
    number = getattr(resource, "RLIMIT_" + name.upper())
    hard = resource.getrlimit(number)[1]
    return number, value if hard == resource.RLIM_INFINITY else min(value, hard)


def _put(path: str, data: bytes) -> None:
    """Write a kernel file in one call, without Python's buffers: it is done in every child."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


class Job:
    """One command to start."""

    def __init__(self, *, argv: list[str], env: dict[str, str], cwds: list[str], script: int | None) -> None:
        self.argv = argv
        self.env = env
        self.cwds = cwds
        """Tried in order; only the first may be refused to the caller."""
        self.script = script
        """A descriptor of a command text too long for an argument, or None."""

    def encode(self) -> bytes:
        """The job as bytes for a command that waits for it. ASCII, so that odd bytes in variables survive."""
        return json.dumps([self.argv, self.env, self.cwds]).encode("ascii")

    @classmethod
    def decode(cls, data: bytes) -> Job:
        """What `encode` made."""
        argv, env, cwds = json.loads(data)
        return cls(argv=argv, env=env, cwds=cwds, script=None)


class Started:
    """The descriptors and the pid of a minder just forked."""

    def __init__(self, pid: int, control: socket.socket, output: int, job: int | None) -> None:
        self.pid = pid
        self.control = control
        self.output = output
        """The read end of what the command writes."""
        self.job = job
        """Where a job is awaited; None when it was given at the start."""


def start_minder(confinement: Confinement, job: Job | None) -> Started:
    """Fork a minder with its command, confined and ready; without a job the command waits for one.

    Raises OSError when the process limit is reached.
    """
    ours, theirs = socket.socketpair()
    output, output_writer = os.pipe()
    job_reader, job_writer = os.pipe() if job is None else (None, None)
    closing = [fd for fd in (output_writer, job_reader) if fd is not None]
    try:
        pid = os.fork()
    except OSError:
        closing += [fd for fd in (output, job_writer) if fd is not None]
        ours.close()
        raise
    else:
        if pid == 0:
            status = 70
            try:
                _become_minder(confinement, job, theirs.fileno(), output_writer, job_reader)
                status = 0
            except BaseException as error:  # noqa: BLE001 - the last frame of a forked child: report, then _exit
                _report(_failure(error))
            finally:
                os._exit(status)
    finally:
        for fd in closing:
            os.close(fd)
        theirs.close()
    return Started(pid, ours, output, job_writer)


class NoDirectoryError(Exception):
    """None of the directories to start in can be entered."""


def _failure(error: BaseException) -> dict[str, Any]:
    """What stopped a command from starting, for the helper to tell apart."""
    if isinstance(error, NoDirectoryError):
        return {"error": str(error), "code": "bad_cwd"}
    if isinstance(error, OSError) and error.errno == errno.EAGAIN:
        return {"error": "the process limit is reached", "code": "no_process"}
    if isinstance(error, OSError) and error.errno == errno.E2BIG:
        return {"error": "its environment is too large; set fewer or shorter variables", "code": "bad_request"}
    return {"error": f"{type(error).__name__}: {error}"[:500], "code": "internal"}


def _report(facts: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        os.write(_CONTROL_FD, json.dumps(facts).encode() + b"\n")


def _become_minder(
    confinement: Confinement, job: Job | None, control: int, output: int, job_reader: int | None
) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    wanted = {0: null, 1: null, 2: null, _OUTPUT_FD: output, _CONTROL_FD: control}
    if job is not None and job.script is not None:
        wanted[_SCRIPT_FD] = job.script
    if confinement.landlock is not None:
        wanted[_RULES_FD] = confinement.landlock.fd
    if job_reader is not None:
        wanted[_JOB_FD] = job_reader
    kernel.keep_only(wanted, inheritable=_SCRIPT_FD)
    if confinement.landlock is not None:
        confinement.landlock.fd = _RULES_FD
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGCHLD, signal.SIGTERM})
    if confinement.mode == "namespace":
        _enter_namespaces(confinement)
    else:
        _report({"pid": os.getpid()})
    if confinement.mode == "setuid":
        os.setsid()
    kernel.set_subreaper()
    _mind(confinement, job)


def _enter_namespaces(confinement: Confinement) -> None:
    """Return in a new process that is init of a pid namespace of its own; the calling one ends."""
    # The maps are written from outside a namespace only by its parent; from inside, by its first process.
    kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWPID | kernel.CLONE_NEWNS)
    _put("/proc/self/setgroups", b"deny")
    _put("/proc/self/uid_map", b"%d %d 1" % (confinement.uid, confinement.uid))
    _put("/proc/self/gid_map", b"%d %d 1" % (confinement.gid, confinement.gid))
    pid = os.fork()
    if pid:
        _report({"pid": pid})
        os._exit(0)
    kernel.mount_proc()
    kernel.drop_capabilities(bounding=True)
    kernel.set_dumpable(False)
    os.setsid()


def _mind(confinement: Confinement, job: Job | None) -> None:
    failure_reader, failure_writer = os.pipe()
    os.set_blocking(
        failure_reader, False
    )  # a command ended before it began is only stopped yet, and holds the other end
    command = os.fork()
    if command == 0:
        try:
            _become_command(confinement, job)
        except BaseException as error:  # noqa: BLE001 - the last frame of a forked child: report, then _exit
            os.write(failure_writer, json.dumps(_failure(error)).encode())
        finally:
            os._exit(70)
    for fd in (failure_writer, _OUTPUT_FD, *([_JOB_FD] if job is None else [])):
        os.close(fd)
    if confinement.mode == "setuid":
        # From here on it may signal the command's user by its effective uid, and nobody may signal it: its
        # real and saved uid are its own, shared with no other minder.
        own = _MINDER_IDS + os.getpid() % _MINDER_IDS
        os.setresuid(own, confinement.uid, own)
    status = _wait_for(command)
    killed = _end_tree(confinement)
    if confinement.mode != "plain":
        with contextlib.suppress(OSError):
            kernel.remove_segments()
    failure = b""
    with contextlib.suppress(BlockingIOError):
        failure = os.read(failure_reader, 4096)
    if failure:
        _report(json.loads(failure))
    elif status is None:
        _report({"exit": None, "signal": int(signal.SIGKILL), "killed": killed})
    elif os.WIFSIGNALED(status):
        _report({"exit": None, "signal": os.WTERMSIG(status), "killed": killed})
    else:
        _report({"exit": os.WEXITSTATUS(status), "signal": None, "killed": killed})


def _wait_for(command: int) -> int | None:
    """The command's wait status, or None when the helper said to end it. Orphans of the tree are reaped on the way."""
    while True:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == command:
                    return status
                if pid == 0:
                    break
        if signal.sigwait({signal.SIGCHLD, signal.SIGTERM}) == signal.SIGTERM:
            return None


def _end_tree(confinement: Confinement) -> int:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return 0  # every orphan would be our child: nothing is left, and no look at /proc is needed
    if confinement.mode == "namespace":
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGSTOP)  # so that they can be counted
        count = len(descendants(1))
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(-1, signal.SIGKILL)
            while True:  # the kernel would end them with this init, but then they hold their shared memory until then
                os.waitpid(-1, 0)
        return count
    if confinement.mode == "setuid":
        return freeze_and_kill(os.getpid())
    return kill_tree(os.getpid(), reap=True)


def _become_command(confinement: Confinement, job: Job | None) -> None:
    os.setsid()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # ignored by Python; an exec resets handlers only
        signal.signal(number, signal.SIG_DFL)
    os.dup2(_OUTPUT_FD, 1)
    os.dup2(_OUTPUT_FD, 2)
    confinement.enter()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    job = job or _await_job()
    _change_directory(job.cwds, confinement.workspace)
    os.execve(_SHELL, job.argv, job.env)  # noqa: S606 - the shell is what was asked for


def _await_job() -> Job:
    """The job from the helper; this process ends when there will be none."""
    data = b""
    while piece := os.read(_JOB_FD, 1 << 16):
        data += piece
    if not data:
        os._exit(0)
    return Job.decode(data)


def _change_directory(cwds: list[str], workspace: str) -> None:
    """The first of `cwds` that can be entered. A workspace whose mode locks its owner out is opened again:
    `chmod 000 .` is a slip or a trick, never a wish to end all work."""
    first: OSError | None = None
    for cwd in cwds:
        try:
            os.chdir(cwd)
            return
        except PermissionError as error:
            first = first or error
            with contextlib.suppress(OSError):
                os.chmod(workspace, stat.S_IMODE(os.stat(workspace).st_mode) | 0o700)
                os.chdir(cwd)
                return
        except OSError as error:
            first = first or error
    raise NoDirectoryError(f"{first.strerror if first else 'there is none'}: {display(cwds[0])}")
