"""The system-call filter of every command, assembled as classic BPF: no library, one table per architecture.

It goes on top of what the engine already filters. Its subject is what a shell command of an agent never
needs and what kernel exploits are made of: tracing, io_uring, keyrings, BPF, namespaces, mounts, odd socket
families, terminal injection, and set-uid bits (a file with one would outlive the sandbox on the host).
Pure: bytes out, nothing installed here.
"""

from __future__ import annotations

import platform
import struct

__all__ = ["build_filter", "supported"]

_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _JUMP_EQ, _JUMP_GE, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NR_AT, _ARCH_AT, _ARGS_AT = 0, 4, 16

_NAMESPACES = 0x7E020000  # every CLONE_NEW* flag that clone(2) takes
_SET_ID_BITS = 0o6000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_X32_BIT = 0x40000000

# Same number everywhere: system calls added since the tables were unified.
_COMMON_DENIED = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "open_tree_attr": 467,
}
# Their flags lie in memory that a filter cannot read; libraries fall back on the older call at ENOSYS.
_COMMON_ABSENT = {"clone3": 435, "openat2": 437}

_X86_64 = {
    "syslog": 103,
    "ptrace": 101,
    "uselib": 134,
    "vhangup": 153,
    "modify_ldt": 154,
    "pivot_root": 155,
    "adjtimex": 159,
    "chroot": 161,
    "acct": 163,
    "settimeofday": 164,
    "mount": 165,
    "umount2": 166,
    "swapon": 167,
    "swapoff": 168,
    "reboot": 169,
    "sethostname": 170,
    "setdomainname": 171,
    "iopl": 172,
    "ioperm": 173,
    "init_module": 175,
    "delete_module": 176,
    "quotactl": 179,
    "nfsservctl": 180,
    "lookup_dcookie": 212,
    "clock_settime": 227,
    "mbind": 237,
    "set_mempolicy": 238,
    "kexec_load": 246,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "migrate_pages": 256,
    "unshare": 272,
    "move_pages": 279,
    "perf_event_open": 298,
    "fanotify_init": 300,
    "name_to_handle_at": 303,
    "open_by_handle_at": 304,
    "clock_adjtime": 305,
    "setns": 308,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "kcmp": 312,
    "finit_module": 313,
    "kexec_file_load": 320,
    "bpf": 321,
    "userfaultfd": 323,
}
_AARCH64 = {
    "lookup_dcookie": 18,
    "umount2": 39,
    "mount": 40,
    "pivot_root": 41,
    "nfsservctl": 42,
    "chroot": 51,
    "vhangup": 58,
    "quotactl": 60,
    "acct": 89,
    "unshare": 97,
    "kexec_load": 104,
    "init_module": 105,
    "delete_module": 106,
    "clock_settime": 112,
    "syslog": 116,
    "ptrace": 117,
    "reboot": 142,
    "sethostname": 161,
    "setdomainname": 162,
    "settimeofday": 170,
    "adjtimex": 171,
    "add_key": 217,
    "request_key": 218,
    "keyctl": 219,
    "swapon": 224,
    "swapoff": 225,
    "mbind": 235,
    "set_mempolicy": 237,
    "migrate_pages": 238,
    "move_pages": 239,
    "perf_event_open": 241,
    "fanotify_init": 262,
    "name_to_handle_at": 264,
    "open_by_handle_at": 265,
    "clock_adjtime": 266,
    "setns": 268,
    "process_vm_readv": 270,
    "process_vm_writev": 271,
    "kcmp": 272,
    "finit_module": 273,
    "bpf": 280,
    "userfaultfd": 282,
    "kexec_file_load": 294,
}

# Files without a folder: memory that no rlimit and no watch sees. Refused where there is no cgroup to hold it.
_MEMORY_FILES = {"x86_64": (319, 447), "aarch64": (279, 447)}  # memfd_create, memfd_secret

_CREATES = 0x40 | 0x400000  # O_CREAT, O_TMPFILE: without them the mode register holds anything

# machine: (audit architecture, denied, clone, socket, ioctl, sched_setaffinity,
#           {chmod-like call: its mode argument}, {open-like call: its flags argument; the mode comes next})
_MACHINES = {
    "x86_64": (
        0xC000003E,
        _X86_64,
        56,
        41,
        16,
        203,
        {90: 1, 91: 1, 268: 2, 452: 2, 85: 1, 133: 1, 259: 2},
        {2: 1, 257: 2},
    ),
    "aarch64": (0xC00000B7, _AARCH64, 220, 198, 29, 122, {52: 1, 53: 2, 452: 2, 33: 2}, {56: 2}),
}


def supported() -> bool:
    """Whether there is a table for this machine."""
    return platform.machine() in _MACHINES


def _step(code: int, k: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, k)


def _refuse(errno: int) -> bytes:
    return _step(_RETURN, _ERRNO | errno)


def _argument(index: int) -> bytes:
    """Load the low half of an argument: every value tested here is 32 bits wide in the kernel, little-endian."""
    return _step(_LOAD, _ARGS_AT + 8 * index)


def _when(number: int, body: bytes) -> bytes:
    """`body` for one system call only; it must end in a return."""
    return _step(_JUMP_EQ, number, 0, len(body) // 8) + body


def build_filter(machine: str, pin_cpus: bool) -> bytes:
    """The program for `machine` (`platform.machine()`).

    Args:
        machine: a key of the table; KeyError otherwise (ask `supported` first).
        pin_cpus: there is no cgroup, so also refuse what would get round its stand-ins: sched_setaffinity, because
            the CPU cap is an affinity mask, and files in memory.
    """
    arch, denied, clone, socket, ioctl, affinity, modes, opens = _MACHINES[machine]
    allow = _step(_RETURN, _ALLOW)
    program = _step(_LOAD, _ARCH_AT) + _step(_JUMP_EQ, arch, 1, 0) + _step(_RETURN, _KILL_PROCESS)
    program += _step(_LOAD, _NR_AT)
    if machine == "x86_64":
        program += _step(_JUMP_GE, _X32_BIT, 0, 1) + _refuse(_ENOSYS)
    for number in sorted({*denied.values(), *_COMMON_DENIED.values(), *([affinity] if pin_cpus else [])}):
        program += _when(number, _refuse(_EPERM))
    absent = (*_COMMON_ABSENT.values(), *(_MEMORY_FILES[machine] if pin_cpus else ()))
    for number in absent:
        program += _when(number, _refuse(_ENOSYS))
    program += _when(clone, _argument(0) + _step(_JUMP_SET, _NAMESPACES, 0, 1) + _refuse(_EPERM) + allow)
    no_set_id = _step(_JUMP_SET, _SET_ID_BITS, 0, 1) + _refuse(_EPERM) + allow
    for number, index in modes.items():
        program += _when(number, _argument(index) + no_set_id)
    for number, index in opens.items():
        creates = _argument(index) + _step(_JUMP_SET, _CREATES, 0, 3)
        program += _when(number, creates + _argument(index + 1) + no_set_id)
    program += _when(
        ioctl,
        _argument(1) + _step(_JUMP_EQ, _TIOCSTI, 1, 0) + _step(_JUMP_EQ, _TIOCLINUX, 0, 1) + _refuse(_EPERM) + allow,
    )
    program += _when(
        socket,
        _argument(0)
        + _step(_JUMP_EQ, _AF_UNIX, 5, 0)
        + _step(_JUMP_EQ, _AF_INET, 4, 0)
        + _step(_JUMP_EQ, _AF_INET6, 3, 0)
        + _step(_JUMP_EQ, _AF_NETLINK, 0, 3)
        + _argument(2)  # NETLINK_ROUTE only: what getifaddrs asks
        + _step(_JUMP_EQ, 0, 0, 1)
        + allow
        + _refuse(_EAFNOSUPPORT),
    )
    return program + allow
