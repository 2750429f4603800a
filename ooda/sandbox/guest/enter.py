"""The last step on the host before the bubblewrap enclosure: join the cgroup, give up root, become bwrap.

Runs as `python3 -I -S -c '… from guest.enter import main; main()' JSON`. When started by root it first makes
a mount namespace in which every folder to be bound has a name that an ordinary user can reach, and then
becomes that user: behind the wall no process has uid 0 even in the kernel's own numbering.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import stat
import sys
from typing import Any

from . import kernel

__all__ = ["main"]

_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
_STAGE = "/tmp"  # noqa: S108 - in a mount namespace of our own, over whatever is there

_libc = ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    if _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"mount {source} on {target}: {os.strerror(code)}")


def _stage(binds: list[list[str]]) -> list[list[str]]:
    """Show every source under a short name below a world-readable folder; gives the binds with those names."""
    kernel.unshare(kernel.CLONE_NEWNS)
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE, "")
    opened = [os.open(source, os.O_PATH) for _, source, _ in binds]
    _mount("tmpfs", _STAGE, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755,size=1m")
    staged = []
    for index, (fd, (option, _, target)) in enumerate(zip(opened, binds)):  # noqa: B905 - Python 3.9
        name = f"{_STAGE}/{index}"
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            os.mkdir(name, 0o755)
        else:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o644))
        _mount(f"/proc/self/fd/{fd}", name, "", _MS_BIND | _MS_REC, "")
        os.close(fd)
        staged.append([option, name, target])
    return staged


def main() -> None:
    """Become bubblewrap as the settings in argv[1] say; a failure is one line on standard error."""
    settings: dict[str, Any] = json.loads(sys.argv[1])
    try:
        for path in settings["cgroup_procs"]:
            with open(path, "w") as file:
                file.write(str(os.getpid()))
        if settings["cpus"]:
            os.sched_setaffinity(0, settings["cpus"])
        for name, value in settings["rlimits"].items():
            number = getattr(resource, "RLIMIT_" + name.upper())
            hard = resource.getrlimit(number)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(number, (value, value))
        binds = settings["binds"]
        if settings["become"] is not None:
            uid, gid = settings["become"]
            binds = _stage(binds)
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        argv = list(settings["before"])
        for option, source, target in binds:
            argv += [option, source, target]
        os.execve(settings["bwrap"], argv + settings["after"], {"PATH": "/usr/bin:/bin"})  # noqa: S606
    except OSError as error:
        sys.exit(f"cannot enter the sandbox: {error}")
