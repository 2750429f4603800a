"""Runs a command under ptrace, notes each line of its trace that a kill can fall before, and kills at one of them.

    python tests/durability/tracer.py LINES NUMBER COMMAND...

A line is a system call, of the command or of anything it started, that writes, sends, spawns, makes or removes a file,
or reads from a pipe or a socket. Each is noted in the file LINES as it comes: its number, who makes it, the call,
what it is about. Before line NUMBER the command gets SIGKILL, at that very instant: the call is not made. With NUMBER
0 it is left alone. Ends when everything that was started has ended; what has not within a while is noted as left.
x86-64 only; as strace does with --seccomp-bpf, a filter makes the kernel stop at these calls and at no other.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import struct
import sys
import time
from contextlib import suppress
from typing import TextIO

_SEIZE, _CONT, _LISTEN, _SYSCALL_INFO = 0x4206, 7, 0x4208, 0x420E
_OPTIONS = 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000
"""Follow fork, vfork, clone and exec; stop at what the filter names; end everything when the tracer ends."""
_AT_FILTER, _AT_STOP = 7, 128
_WALL = 0x40000000
_LEFT_S = 10.0

_PLAIN = {
    "write": 1, "pwrite64": 18, "writev": 20, "pwritev": 296, "sendto": 44, "sendmsg": 46, "sendmmsg": 307,
    "connect": 42, "clone": 56, "fork": 57, "vfork": 58, "clone3": 435, "execve": 59, "read": 0, "readv": 19,
    "recvfrom": 45, "recvmsg": 47, "fsync": 74, "fdatasync": 75, "ftruncate": 77, "rename": 82, "renameat": 264,
    "renameat2": 316, "mkdir": 83, "mkdirat": 258, "rmdir": 84, "link": 86, "linkat": 265, "unlink": 87,
    "unlinkat": 263, "symlink": 88, "symlinkat": 266, "creat": 85, "chmod": 90, "fchmod": 91, "fchmodat": 268,
    "chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260, "kill": 62, "utimensat": 280, "copy_file_range": 326,
    "openat": 257,
}  # fmt: skip
_NAMES = {number: name for name, number in _PLAIN.items()}
_BY_FD = frozenset(
    (*("write", "pwrite64", "writev", "pwritev", "sendto", "sendmsg", "sendmmsg", "connect", "read", "readv"),
     *("recvfrom", "recvmsg", "fsync", "fdatasync", "ftruncate", "fchmod", "fchown"))
)  # fmt: skip
_PATH_AT = {
    "execve": 0, "rename": 1, "mkdir": 0, "rmdir": 0, "link": 1, "unlink": 0, "symlink": 1, "creat": 0, "chmod": 0,
    "chown": 0, "lchown": 0, "openat": 1, "renameat": 3, "renameat2": 3, "mkdirat": 1, "linkat": 3, "unlinkat": 1,
    "symlinkat": 2, "fchmodat": 1, "fchownat": 1, "utimensat": 1,
}  # fmt: skip
_O_CREAT = 0o100

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request: int, process: int, address: int = 0, data: int = 0) -> None:
    if libc.ptrace(request, process, address, data) < 0:
        number = ctypes.get_errno()
        raise ProcessLookupError(number, os.strerror(number))


def follow_filter() -> None:
    """Let the kernel stop this process, and all it starts, at the calls of the table; a file opened only to be made."""
    load, equal, test, give = 0x20, 0x15, 0x45, 0x06
    stop, allow = 0x7FF00000, 0x7FFF0000
    numbers = [number for name, number in _PLAIN.items() if name != "openat"]
    program = [(load, 0, 0, 4), (equal, 1, 0, 0xC000003E), (give, 0, 0, allow), (load, 0, 0, 0)]
    program += [(equal, 0, 3, _PLAIN["openat"]), (load, 0, 0, 32), (test, len(numbers) + 1, 0, _O_CREAT)]
    program += [(give, 0, 0, allow)]
    program += [(equal, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
    program += [(give, 0, 0, allow), (give, 0, 0, stop)]
    code = b"".join(struct.pack("HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    frame = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    if os.geteuid() != 0:
        libc.prctl(38, 1, 0, 0, 0)  # no new privileges: only root may filter without
    if libc.prctl(22, 2, ctypes.create_string_buffer(frame, len(frame)), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


class Tracer:
    """One traced command."""

    def __init__(self, lines: TextIO, number: int, command: list[str]) -> None:
        self._lines, self._number = lines, number
        self._seen = 0
        self._killed_at = 0.0
        self._held: list[int] = []
        self._names: dict[int, str] = {}
        self._info = ctypes.create_string_buffer(88)
        ready, go = os.pipe()
        self.main = os.fork()
        if self.main == 0:
            os.close(go)
            os.read(ready, 1)
            os.close(ready)
            follow_filter()
            os.execvp(command[0], command)
        os.close(ready)
        ptrace(_SEIZE, self.main, 0, _OPTIONS)
        os.write(go, b".")
        os.close(go)

    def follow(self) -> int:
        """Until nothing is left; gives the command's status."""
        status = 0
        while True:
            try:
                process, found = os.waitpid(-1, _WALL | (os.WNOHANG if self._killed_at else 0))
            except ChildProcessError:
                return status
            if process == 0:
                if time.monotonic() - self._killed_at > _LEFT_S:
                    self._lines.write("left behind\n")
                    return status
                time.sleep(0.002)  # there is no wait with a deadline
                continue
            if not os.WIFSTOPPED(found):
                self._names.pop(process, None)
                if process == self.main:
                    status = found
                    for held in self._held:
                        self._go_on(held)
                continue
            with suppress(ProcessLookupError):
                self._stopped(process, os.WSTOPSIG(found), found >> 16)

    def _stopped(self, process: int, number: int, event: int) -> None:
        if event == _AT_FILTER:
            if self._is_line(process) and self._seen == self._number:
                self._killed_at = time.monotonic()
                self._lines.flush()
                os.kill(self.main, signal.SIGKILL)
                if process != self.main:
                    self._held.append(process)  # it goes on in a world without its parent
                    return
            self._go_on(process)
        elif event == _AT_STOP and number in (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
            ptrace(_LISTEN, process)
        else:
            if event == 4:
                self._names.pop(process, None)
            self._go_on(process, 0 if event else number)

    def _go_on(self, process: int, number: int = 0) -> None:
        with suppress(ProcessLookupError):
            ptrace(_CONT, process, 0, number)

    def _is_line(self, process: int) -> bool:
        ptrace(_SYSCALL_INFO, process, 88, ctypes.addressof(self._info))
        number, *arguments = struct.unpack_from("Q6Q", self._info, 24)
        name = _NAMES.get(number, str(number))
        what = self._about(process, name, arguments)
        if name in ("read", "readv") and not what.startswith(("pipe:", "socket:")):
            return False
        self._seen += 1
        self._lines.write(f"{self._seen}\t{self._who(process)}\t{name}\t{what}\n")
        return True

    def _who(self, process: int) -> str:
        """The program's name and, of git, what it is told to do."""
        if process not in self._names:
            words: list[str] = []
            with suppress(OSError), open(f"/proc/{process}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
            is_thread = False
            with suppress(OSError), open(f"/proc/{process}/status") as file:
                is_thread = f"Tgid:\t{self.main}\n" in file.read()
            self._names[process] = "ooda" if is_thread else program(words)
        return self._names[process]

    def _about(self, process: int, name: str, arguments: list[int]) -> str:
        if name in _BY_FD:
            with suppress(OSError):
                place = os.readlink(f"/proc/{process}/fd/{arguments[0]}")
                if arguments[0] in (1, 2) and name == "write":
                    place = f"fd{arguments[0]} " + self._memory(process, arguments[1], min(arguments[2], 2000))
                return place
        if name in _PATH_AT:
            return self._memory(process, arguments[_PATH_AT[name]], 400).partition("\0")[0]
        return ""

    @staticmethod
    def _memory(process: int, address: int, size: int) -> str:
        with suppress(OSError), open(f"/proc/{process}/mem", "rb", 0) as file:
            data = b""
            for length in (size, 4096 - address % 4096):  # to the page's end when the next one is not there
                with suppress(OSError):
                    file.seek(address)
                    data = data or file.read(min(size, length))
            return data.decode(errors="replace").replace("\n", " ").replace("\t", " ")
        return ""


def program(words: list[str]) -> str:
    """What a command line runs, in a word or two."""
    if any("guest.main" in word for word in words):
        return "helper"
    if any("guest.enter" in word for word in words):
        return "enter"
    name = os.path.basename(words[0]) if words else "?"
    if name.startswith("git"):
        rest = [word for word in words[1:] if re.fullmatch(r"[a-z][a-z-]+", word)]
        return f"git {rest[0]}" if rest else name
    return "python" if name.startswith("python") else name


def main() -> None:
    with open(sys.argv[1], "w") as lines:
        status = Tracer(lines, int(sys.argv[2]), sys.argv[3:]).follow()
    if os.WIFSIGNALED(status):
        sys.exit(128 + os.WTERMSIG(status))
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
