"""The kernel calls that Python does not wrap, by number or through the C library: capabilities, file-system
uid, namespaces, mounts, Landlock and seccomp. Thin: each function is one call and raises OSError.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import struct
from typing import Any

__all__ = [
    "LandlockRules",
    "SeccompFilter",
    "drop_capabilities",
    "forbid_new_privileges",
    "keep_only",
    "landlock_version",
    "loose_segments",
    "mount_proc",
    "remove_segments",
    "set_dumpable",
    "set_file_owner",
    "set_subreaper",
    "unshare",
]

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000

_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_SECCOMP = 22
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_CAP_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63

# Landlock has the same numbers on every architecture (new-style syscall table).
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_RULE_PATH_BENEATH = 1
_SCOPE_SIGNAL = 1 << 1

_WRITE_FILE = 1 << 1
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))  # remove dir/file, make char … sym
_REFER = 1 << 13
_TRUNCATE = 1 << 14
_IOCTL_DEV = 1 << 15

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
# Looked up now: a symbol sought in a forked child costs 0.1 ms there, every time.
for _name in ("prctl", "capset", "unshare", "mount", "setfsuid", "setfsgid", "syscall"):
    getattr(_libc, _name)


# Made once: a forked child that builds ctypes objects pays for each in copied pages.
_CAP_HEADER = ctypes.create_string_buffer(struct.pack("=Ii", _CAP_VERSION_3, 0))
_CAP_NONE = ctypes.create_string_buffer(24)


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _prctl(option: int, value: Any, what: str, third: Any = 0) -> None:
    _check(_libc.prctl(option, ctypes.c_ulong(value), third, 0, 0), what)


def set_subreaper() -> None:
    """Orphans below this process become its children instead of init's."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, "child subreaper")


def set_dumpable(on: bool) -> None:
    """Off: no process of the same uid may trace this one or open its /proc/<pid>/mem."""
    _prctl(_PR_SET_DUMPABLE, int(on), "dumpable")


def forbid_new_privileges() -> None:
    """No set-uid bit or file capability counts from here on, for this process and all below it."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, "no_new_privs")


def set_file_owner(uid: int, gid: int) -> None:
    """File access of this thread and its future children happens as `uid:gid`, who cannot signal it for that.

    setfsuid(2) reports no error; the second call reads back what the first one did.
    """
    _libc.setfsgid(gid)
    _libc.setfsuid(uid)
    if _libc.setfsgid(gid) != gid or _libc.setfsuid(uid) != uid:
        raise OSError(1, f"file access cannot be switched to {uid}:{gid}")


def drop_capabilities(bounding: bool) -> None:
    """Empty the effective, permitted and inheritable sets (and, where allowed, the bounding set)."""
    if bounding:
        for capability in range(_LAST_CAPABILITY + 1):
            if _libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) < 0:
                break  # EINVAL: past this kernel's last capability
    _check(_libc.capset(_CAP_HEADER, _CAP_NONE), "capset")


def unshare(flags: int) -> None:
    """Leave the given namespaces for new ones."""
    _check(_libc.unshare(flags), "unshare")


def mount_proc() -> None:
    """A /proc that shows the pid namespace of this process."""
    nosuid_nodev_noexec = 2 | 4 | 8
    _check(_libc.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(nosuid_nodev_noexec), None), "mount /proc")


def loose_segments() -> dict[int, int]:
    """System V memory segments of this IPC namespace that no process has attached: id -> resident bytes."""
    with open("/proc/sysvipc/shm", "rb", buffering=0) as file:
        rows = [line.split() for line in file.read(1 << 20).splitlines()[1:]]
    return {int(row[1]): int(row[14]) for row in rows if len(row) > 14 and row[6] == b"0"}


def remove_segments() -> None:
    """Remove those segments: they outlive the processes that made them, and count as used memory until then."""
    for segment in loose_segments():
        _libc.shmctl(segment, 0, None)  # fails for another user's, which is as it should be


def keep_only(wanted: dict[int, int], inheritable: int = 2) -> None:
    """In a forked child: move descriptors to their places (place -> descriptor) and close all others but 0..2.

    Places up to `inheritable` survive an exec.
    """
    last = max([2, *wanted])
    # First out of the way, then to their places: any of the low numbers may be in use for another of them.
    moved = {place: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, last + 1) for place, fd in wanted.items()}
    for place in range(last + 1):
        if place in moved:
            os.dup2(moved[place], place, inheritable=place <= inheritable)
        elif place > 2:
            with contextlib.suppress(OSError):
                os.close(place)
    os.closerange(last + 1, 65536)


def landlock_version() -> int:
    """The kernel's Landlock ABI, 0 when there is none."""
    return max(0, int(_libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(1))))


class LandlockRules:
    """A rule set made once and applied by one system call in every child: writes only below some folders.

    Reading needs no rule: the mount namespace shows nothing that may not be read. Where the kernel can
    (ABI 6), signals are confined to the command's own tree as well.
    """

    def __init__(self, writable: list[str]) -> None:
        version = landlock_version()
        if version == 0:
            raise OSError(95, "this kernel has no Landlock")
        rights = _WRITE_FILE | _REMOVE_AND_MAKE
        rights |= (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
        rights |= _IOCTL_DEV if version >= 5 else 0
        scope = _SCOPE_SIGNAL if version >= 6 else 0
        attributes = struct.pack("=QQQ", rights, 0, scope)[: 24 if version >= 6 else 8]
        self.fd = _check(
            _libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0)),
            "landlock_create_ruleset",
        )
        os.set_inheritable(self.fd, False)
        for path in writable:
            self._allow(path, rights)

    def _allow(self, path: str, rights: int) -> None:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return  # a folder this root does not have needs no rule
        try:
            if not os.path.isdir(f"/proc/self/fd/{fd}"):
                rights &= _WRITE_FILE | _TRUNCATE | _IOCTL_DEV
            rule = struct.pack("=Qi", rights, fd)
            add = _libc.syscall(_LANDLOCK_ADD, self.fd, _RULE_PATH_BENEATH, rule, ctypes.c_uint(0))
            _check(add, f"landlock rule for {path}")
        finally:
            os.close(fd)

    def restrict(self) -> None:
        """Confine the calling process for good; needs no_new_privs."""
        _check(_libc.syscall(_LANDLOCK_RESTRICT, self.fd, ctypes.c_uint(0)), "landlock_restrict_self")


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


class SeccompFilter:
    """A seccomp program (an array of `struct sock_filter`), ready to be installed in any child."""

    def __init__(self, program: bytes) -> None:
        self._code = ctypes.create_string_buffer(program, len(program))
        self._program = _Program(len(program) // 8, ctypes.cast(self._code, ctypes.c_void_p))
        self._argument = ctypes.byref(self._program)

    def install(self) -> None:
        """Put it on the calling process for good; needs no_new_privs."""
        _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, "seccomp filter", self._argument)
