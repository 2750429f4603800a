"""One minder per command: forked from the helper, it starts the command confined and ends its tree.

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
from .settings import Settings
from .tree import descendants, freeze_and_kill, kill_tree

__all__ = ["Confinement", "Job", "start_minder"]

_SCRIPT_FD, _OUTPUT_FD, _CONTROL_FD, _RULES_FD = 3, 4, 5, 6
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
        self.limits = settings.rlimits
        self.nice = settings.nice
        self.landlock = landlock
        self.seccomp = seccomp

    def enter(self) -> None:
        """Confine the calling process; the order matters: each step takes away what a later one no longer needs."""
        for name, value in self.limits.items():
            number = getattr(resource, "RLIMIT_" + name.upper())
            hard = resource.getrlimit(number)[1]
            ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
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
        if self.landlock is not None:
            self.landlock.restrict()
        if self.seccomp is not None:
            self.seccomp.install()
        # Last, because being dumpable again opens this process to others of its uid.
        kernel.set_dumpable(True)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")  # when memory runs out the command goes, not the helper


class Job:
    """One command to start."""

    def __init__(self, *, argv: list[str], env: dict[str, str], cwds: list[str], script: int | None) -> None:
        self.argv = argv
        self.env = env
        self.cwds = cwds
        """Tried in order; only the first may be refused to the caller."""
        self.script = script
        """A descriptor of a command text too long for an argument, or None."""


def start_minder(job: Job, confinement: Confinement) -> tuple[int, socket.socket, int]:
    """Fork the minder; gives (its pid, the control socket, the read end of the command's output).

    Raises OSError when the process limit is reached.
    """
    ours, theirs = socket.socketpair()
    reader, writer = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        for fd in (reader, writer):
            os.close(fd)
        ours.close()
        theirs.close()
        raise
    if pid == 0:
        status = 70
        try:
            _become_minder(job, confinement, theirs.fileno(), writer)
            status = 0
        except BaseException as error:  # noqa: BLE001 - the last frame of a forked child: report, then _exit
            _report({"error": f"{type(error).__name__}: {error}"})
        finally:
            os._exit(status)
    os.close(writer)
    theirs.close()
    return pid, ours, reader


def _report(facts: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        os.write(_CONTROL_FD, json.dumps(facts).encode() + b"\n")


def _become_minder(job: Job, confinement: Confinement, control: int, output: int) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    wanted = {0: null, 1: null, 2: null, _OUTPUT_FD: output, _CONTROL_FD: control}
    if job.script is not None:
        wanted[_SCRIPT_FD] = job.script
    if confinement.landlock is not None:
        wanted[_RULES_FD] = confinement.landlock.fd
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
    _mind(job, confinement)


def _enter_namespaces(confinement: Confinement) -> None:
    """Return in a new process that is init of a pid namespace of its own; the calling one ends."""
    # The maps are written from outside a namespace only by its parent; from inside, by its first process.
    kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWPID | kernel.CLONE_NEWNS)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{confinement.uid} {confinement.uid} 1"),
        ("gid_map", f"{confinement.gid} {confinement.gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    pid = os.fork()
    if pid:
        _report({"pid": pid})
        os._exit(0)
    kernel.mount_proc()
    kernel.drop_capabilities(bounding=True)
    kernel.set_dumpable(False)
    os.setsid()


def _mind(job: Job, confinement: Confinement) -> None:
    failure_reader, failure_writer = os.pipe()
    command = os.fork()
    if command == 0:
        try:
            _become_command(job, confinement)
        except BaseException as error:  # noqa: BLE001 - the last frame of a forked child: report, then _exit
            number = error.errno if isinstance(error, OSError) else 0
            os.write(failure_writer, json.dumps({"error": f"{error}", "errno": number}).encode())
        finally:
            os._exit(70)
    os.close(failure_writer)
    os.close(_OUTPUT_FD)
    if confinement.mode == "setuid":
        # From here on it may signal the command's user by its effective uid, and nobody may signal it: its
        # real and saved uid are its own, shared with no other minder.
        own = _MINDER_IDS + os.getpid() % _MINDER_IDS
        os.setresuid(own, confinement.uid, own)
    status = _wait_for(command)
    killed = _end_tree(confinement)
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
            os.kill(-1, signal.SIGSTOP)  # so that they can be counted; the kernel ends them when this init does
        return len(descendants(1))
    if confinement.mode == "setuid":
        return freeze_and_kill(os.getpid())
    return kill_tree(os.getpid(), reap=True)


def _become_command(job: Job, confinement: Confinement) -> None:
    os.setsid()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # ignored by Python; an exec resets handlers only
        signal.signal(number, signal.SIG_DFL)
    os.dup2(_OUTPUT_FD, 1)
    os.dup2(_OUTPUT_FD, 2)
    confinement.enter()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _change_directory(job.cwds, confinement.workspace)
    os.execve(_SHELL, job.argv, job.env)  # noqa: S606 - the shell is what was asked for


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
    raise first or OSError(errno.ENOENT, "no working directory")
