"""File work below the workspace: every path is walked one component at a time from a descriptor of the root.

No component is ever opened by a name that the kernel resolves through a link: links are read and walked by
this code, and only as long as they stay below the root, so neither `..`, absolute paths, planted links nor
renames between check and use lead outside. Nothing but regular files is read or written.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from typing import Any

from .frames import GuestError
from .measure import BLOCK_BYTES

__all__ = ["Workspace", "display"]

_MAX_LINKS = 40
_MAX_PATH = 4096
_NAME_CUT = 200
_MAX_DEPTH = 100
"""Folders nested deeper are not walked: each level costs a descriptor and a stack frame."""
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TEMPORARY = ".ooda-write-"
_EXCHANGE = 2  # RENAME_EXCHANGE
_WRITER_S, _WRITER_RETRY_S = 0.2, 0.002
"""How long an edit waits for whoever has the file open for writing."""

_libc = ctypes.CDLL(None, use_errno=True)

_REASONS = {
    errno.ENOENT: ("missing", "does not exist"),
    errno.ENOTDIR: ("not_a_directory", "passes through something that is not a directory"),
    errno.EACCES: ("denied", "may not be accessed: permission denied"),
    errno.EPERM: ("denied", "may not be changed: operation not permitted"),
    errno.ENAMETOOLONG: ("bad_path", "has a name that is too long"),
    errno.ELOOP: ("bad_path", "goes through too many links"),
    errno.ENOSPC: ("no_space", "cannot be written: no space left"),
    errno.EDQUOT: ("no_space", "cannot be written: the disk quota is used up"),
    errno.EFBIG: ("too_large", "cannot be written: larger than the sandbox allows for one file"),
    errno.EROFS: ("denied", "is on a read-only file system"),
}


def display(path: str) -> str:
    """`path` as it may stand in a one-line message: quoted, escaped, cut."""
    return repr(path if len(path) <= _NAME_CUT else path[:_NAME_CUT] + "…")


def name_text(name: bytes) -> str:
    """A file name as text; bytes that are not UTF-8 become backslash escapes."""
    return name.decode("utf-8", "backslashreplace")


class _Place:
    """A resolved path: a descriptor of the parent directory and the last name in it (None for the root)."""

    def __init__(self, parent: int, name: str | None, path: str) -> None:
        self.parent = parent
        self.name = name
        self.path = path

    def __enter__(self) -> _Place:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.parent)


class Workspace:
    """The file operations of one workspace."""

    def __init__(self, root: str, shown: str = "/workspace") -> None:
        self._root = root
        self._shown = shown

    def read(self, path: str, max_bytes: int) -> dict[str, Any]:
        """A regular file's bytes, and its facts. Links are followed as long as they stay inside."""
        with self._place(path, follow=True) as place:
            fd = self._open_regular(place, path)
            try:
                facts = os.fstat(fd)
                if facts.st_size > max_bytes:
                    raise _too_large(path, facts.st_size, max_bytes)
                data = _read_all(fd, max_bytes + 1)
                if len(data) > max_bytes:  # it grew, or says 0 like the files of /proc
                    raise _too_large(path, len(data), max_bytes)
            finally:
                os.close(fd)
            return {"info": _info(place.path, data, stat.S_IMODE(facts.st_mode)), "data": data}

    def write(self, path: str, data: bytes, mode: int | None, room: int | None = None) -> dict[str, Any]:
        """Create or replace a file atomically; parents are made; an existing file keeps its mode.

        Refused when the workspace would grow by more than `room` bytes.
        """
        with self._place(path, follow=False, make_parents=True) as place:
            before = self._stat_target(place, path)
            _expect_room(path, len(data), before, room)
            final = mode if mode is not None else (0o644 if before is None else stat.S_IMODE(before.st_mode))
            temporary = _write_temporary(place.parent, data, final & 0o777, path)
            try:
                os.rename(temporary, _name(place), src_dir_fd=place.parent, dst_dir_fd=place.parent)
            except OSError as error:
                os.unlink(temporary, dir_fd=place.parent)
                raise _refusal(error, path) from error
            return _info(place.path, data, final & 0o777, created=before is None)

    def edit(self, path: str, data: bytes, sha256: str, mode: int | None, room: int | None = None) -> dict[str, Any]:
        """Replace a file whose content is known by its hash; refuse when it is not (any more) that content.

        While the old content is judged, a lease on the file keeps everyone from opening it for writing; then the new
        file is exchanged with it in one step. Whoever came meanwhile waits in the kernel and is noticed: the files are
        exchanged back, and he writes to the one he meant. Where a file system has no leases, the old file is hashed
        again after the exchange, and a write without any lock in the microseconds between can be lost.
        """
        with self._place(path, follow=False) as place:
            before = self._stat_target(place, path)
            if before is None:
                raise GuestError(
                    "missing", f"{display(path)} does not exist; it was expected to hold the given content"
                )
            _expect_room(path, len(data), before, room)
            name = _name(place)
            final = (mode if mode is not None else stat.S_IMODE(before.st_mode)) & 0o777
            fd = self._open_regular(place, path)
            try:
                held = _hold(fd, path)
                _expect_content(fd, sha256, path)
                temporary = _write_temporary(place.parent, data, final, path)
                try:
                    _exchange(place.parent, temporary, name)
                    try:
                        _expect_untouched(fd, held, sha256, place.parent, temporary, path)
                    except GuestError:
                        _exchange(place.parent, temporary, name)
                        raise
                finally:
                    os.unlink(temporary, dir_fd=place.parent)
            except OSError as error:
                raise _refusal(error, path) from error
            finally:
                os.close(fd)  # and with it the lease
            return _info(place.path, data, final)

    def list_entries(self, path: str, depth: int, max_entries: int) -> dict[str, Any]:
        """Entries below a directory, parents before children, names sorted; links are named, not followed."""
        entries: list[dict[str, Any]] = []
        truncated = False
        with self._place(path, follow=True) as place:
            try:
                start = self._open_directory(place)
            except NotADirectoryError as error:
                raise GuestError("not_a_directory", f"{display(path)} is not a directory; read it instead") from error
            except OSError as error:
                raise _refusal(error, path) from error
            try:
                for shown, facts in _walk(start, place.path, min(max(1, depth), _MAX_DEPTH)):
                    if len(entries) >= max_entries:
                        truncated = True
                        break
                    entries.append(
                        {
                            "path": shown,
                            "kind": _kind(facts.st_mode),
                            "size_bytes": facts.st_size,
                            "mode": stat.S_IMODE(facts.st_mode),
                        }
                    )
            finally:
                os.close(start)
        return {"entries": entries, "truncated": truncated}

    def files(self, path: str) -> Iterator[tuple[str, int, os.stat_result]]:
        """Every regular file at or below `path` with an open descriptor, closed when the next one is asked for.
        `.git` folders and links are left out."""
        with self._place(path, follow=True) as place:
            if place.name is not None and not self._is_directory(place):
                fd = self._open_regular(place, path)
                try:
                    yield place.path, fd, os.fstat(fd)
                finally:
                    os.close(fd)
                return
            try:
                start = self._open_directory(place)
            except OSError as error:
                raise _refusal(error, path) from error
            try:
                yield from _files_below(start, place.path)
            finally:
                os.close(start)

    # -- walking ---------------------------------------------------------------------------------------

    def _components(self, path: str) -> list[str]:
        if not path or "\0" in path:
            raise GuestError("bad_path", f"{display(path)} is not a path; give a name below {self._shown}")
        if len(os.fsencode(path)) > _MAX_PATH:
            raise GuestError("bad_path", f"{display(path)} is longer than {_MAX_PATH} bytes")
        if path.startswith("/"):
            for prefix in (self._shown, self._root):
                if path == prefix or path.startswith(prefix + "/"):
                    return self._held(path, path[len(prefix) :].split("/"))
            raise _outside(path, self._shown)
        return self._held(path, path.split("/"))

    def _held(self, path: str, parts: list[str]) -> list[str]:
        """The parts, unless they lead outside by their text alone: said before anything is looked at."""
        depth = 0
        for part in parts:
            depth += {"": 0, ".": 0, "..": -1}.get(part, 1)
            if depth < 0:
                raise _outside(path, self._shown)
        return parts

    def _open_root(self) -> int:
        try:
            return os.open(self._root, _DIRECTORY)
        except OSError as error:
            raise GuestError("internal", f"the workspace cannot be opened: {error.strerror}") from error

    def _unlock_root(self, fd: int) -> None:
        """Give the owner back its access to a workspace that some command locked with `chmod 000`."""
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        if mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{fd}", mode | 0o700)

    def _place(self, path: str, *, follow: bool, make_parents: bool = False) -> _Place:
        """Walk to `path`. With `follow` a link in the last place is walked as well, inside the root only."""
        todo = [part for part in reversed(self._components(path)) if part not in ("", ".")]
        stack = [self._open_root()]
        names: list[str] = []
        links = 0
        try:
            self._unlock_root(stack[0])
            while todo:
                part = todo.pop()
                if part == "..":
                    if not names:
                        raise _outside(path, self._shown)
                    names.pop()
                    os.close(stack.pop())
                    continue
                last = not todo
                target = _read_link(stack[-1], part) if not last or follow else None
                if target is not None:
                    links += 1
                    if links > _MAX_LINKS:
                        raise OSError(errno.ELOOP, "too many links")
                    if target.startswith("/"):
                        if target != self._shown and not target.startswith(self._shown + "/"):
                            raise _outside(path, self._shown, f" through the link {display(part)}")
                        target = target[len(self._shown) :]
                        names.clear()
                        while len(stack) > 1:
                            os.close(stack.pop())
                    todo += [piece for piece in reversed(target.split("/")) if piece not in ("", ".")]
                    continue
                if last:
                    names.append(part)
                    return _Place(os.dup(stack[-1]), part, "/".join(names))
                stack.append(_enter(stack[-1], part, make_parents))
                names.append(part)
            return _Place(os.dup(stack[-1]), None, "/".join(names) or ".")
        except OSError as error:
            raise _refusal(error, path) from error
        finally:
            for fd in stack:
                os.close(fd)

    def _is_directory(self, place: _Place) -> bool:
        try:
            facts = os.stat(_name(place), dir_fd=place.parent, follow_symlinks=False)
        except OSError:
            return False
        return stat.S_ISDIR(facts.st_mode)

    def _open_directory(self, place: _Place) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open("." if place.name is None else place.name, flags, dir_fd=place.parent)

    def _open_regular(self, place: _Place, path: str) -> int:
        """A readable descriptor of exactly the regular file at `place`: looked at before it is opened, so a
        FIFO or a device is never touched."""
        if place.name is None:
            raise GuestError("is_directory", f"{display(path)} is a directory; list it instead")
        try:
            handle = os.open(place.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.parent)
            try:
                _expect_regular(os.fstat(handle), path)
                return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            finally:
                os.close(handle)
        except OSError as error:
            raise _refusal(error, path) from error

    def _stat_target(self, place: _Place, path: str) -> os.stat_result | None:
        """The regular file that a write would replace, None when there is nothing."""
        if place.name is None:
            raise GuestError("is_directory", f"{display(path)} is a directory; give a file name in it")
        try:
            facts = os.stat(place.name, dir_fd=place.parent, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refusal(error, path) from error
        _expect_regular(facts, path)
        return facts


def _expect_room(path: str, size: int, before: os.stat_result | None, room: int | None) -> None:
    """Refuse a file by which the workspace would outgrow its quota; one that shrinks it is always welcome."""
    old = 0 if before is None or before.st_nlink > 1 else max(before.st_blocks * 512, BLOCK_BYTES)
    growth = max(BLOCK_BYTES, -(-size // BLOCK_BYTES) * BLOCK_BYTES) - old
    if room is not None and growth > max(room, 0):
        raise GuestError(
            "no_space",
            f"{display(path)} cannot be written: {size} bytes more and the workspace has {max(room, 0)} left of its "
            "quota; remove what is not needed, or raise `sandbox.disk`",
        )


def _hold(fd: int, path: str) -> bool:
    """Take a lease on a file: nobody can open it for writing until it is closed. False where there are no leases.

    Raises GuestError when someone has it open for writing and does not let go of it within a moment.
    """
    until = time.monotonic() + _WRITER_S
    while True:
        try:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                return False
        else:
            return True
        if time.monotonic() > until:
            raise GuestError("changed", f"{display(path)} is open for writing in a running process; stop that first")
        time.sleep(_WRITER_RETRY_S)  # the kernel has no event for "the last writer closed it"


def _expect_content(fd: int, sha256: str, path: str) -> None:
    os.lseek(fd, 0, os.SEEK_SET)
    if _sha256(_read_all(fd, os.fstat(fd).st_size + 1)) != sha256:
        raise _changed(path)


def _expect_untouched(fd: int, held: bool, sha256: str, parent: int, name: str, path: str) -> None:
    """What lies at `name` now is the file that was judged, and nobody has come to change it since."""
    one, other = os.fstat(fd), os.stat(name, dir_fd=parent, follow_symlinks=False)
    if (one.st_dev, one.st_ino) != (other.st_dev, other.st_ino):
        raise _changed(path)
    if not held:
        _expect_content(fd, sha256, path)
    elif fcntl.fcntl(fd, fcntl.F_GETLEASE) != fcntl.F_RDLCK:
        raise _changed(path)


def _changed(path: str) -> GuestError:
    return GuestError("changed", f"{display(path)} has changed since it was read; read it again, then edit")


def _name(place: _Place) -> str:
    return "." if place.name is None else place.name


def _outside(path: str, shown: str, how: str = "") -> GuestError:
    return GuestError("outside", f"{display(path)} leads outside the workspace{how}; give a path below {shown}")


def _too_large(path: str, size: int, limit: int) -> GuestError:
    return GuestError(
        "too_large",
        f"{display(path)} has {size} bytes; at most {limit} may be read at once; read a part with a command",
    )


def _refusal(error: OSError, path: str) -> GuestError:
    code, reason = _REASONS.get(error.errno or 0, ("failed", f"failed: {error.strerror}"))
    return GuestError(code, f"{display(path)} {reason}")


def _expect_regular(facts: os.stat_result, path: str) -> None:
    if stat.S_ISREG(facts.st_mode):
        return
    if stat.S_ISDIR(facts.st_mode):
        raise GuestError("is_directory", f"{display(path)} is a directory; list it instead")
    if stat.S_ISLNK(facts.st_mode):
        raise GuestError("is_link", f"{display(path)} is a link; write to the file it names instead")
    raise GuestError("not_regular", f"{display(path)} is not a regular file but a device, pipe or socket")


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "link" if stat.S_ISLNK(mode) else "other"


def _read_link(parent: int, name: str) -> str | None:
    """The target when `name` is a link, None when it is anything else or nothing."""
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise


def _enter(parent: int, name: str, make: bool) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    with contextlib.suppress(FileExistsError):  # another writer made it meanwhile
        os.mkdir(name, 0o755, dir_fd=parent)
    return os.open(name, _DIRECTORY, dir_fd=parent)


def _read_all(fd: int, limit: int) -> bytes:
    pieces = []
    left = limit
    while left > 0 and (piece := os.read(fd, min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _write_temporary(parent: int, data: bytes, mode: int, path: str) -> str:
    name = f"{_TEMPORARY}{os.getpid()}-{os.urandom(6).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, 0o600, dir_fd=parent)
    except OSError as error:
        raise _refusal(error, path) from error
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fchmod(fd, mode)
    except OSError as error:
        os.unlink(name, dir_fd=parent)
        raise _refusal(error, path) from error
    finally:
        os.close(fd)
    return name


def _exchange(parent: int, one: str, other: str) -> None:
    """Swap two names in one step (renameat2)."""
    result = _libc.renameat2(parent, os.fsencode(one), parent, os.fsencode(other), ctypes.c_uint(_EXCHANGE))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _info(path: str, data: bytes, mode: int, created: bool = False) -> dict[str, Any]:
    return {
        "path": path,
        "size_bytes": len(data),
        "mode": mode,
        "sha256": _sha256(data),
        "created": created,
    }


def _sha256(data: bytes) -> str:
    import hashlib  # brings the whole of OpenSSL along, which every fork of the helper would have to copy

    return hashlib.sha256(data).hexdigest()


def _join(path: str, name: bytes) -> str:
    return name_text(name) if path == "." else f"{path}/{name_text(name)}"


def _names(fd: int) -> list[bytes]:
    return sorted(os.fsencode(name) for name in os.listdir(fd))


def _walk(fd: int, path: str, depth: int) -> Iterator[tuple[str, os.stat_result]]:
    for name in _names(fd):
        try:
            facts = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError:
            continue  # removed while we looked
        shown = _join(path, name)
        yield shown, facts
        if depth > 1 and stat.S_ISDIR(facts.st_mode):
            try:
                below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            except OSError:
                continue  # not ours to read, or replaced meanwhile: it is listed, its content is not
            try:
                yield from _walk(below, shown, depth - 1)
            finally:
                os.close(below)


def _files_below(fd: int, path: str, depth: int = _MAX_DEPTH) -> Iterator[tuple[str, int, os.stat_result]]:
    for name in _names(fd):
        try:
            facts = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(facts.st_mode):
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            elif stat.S_ISREG(facts.st_mode):
                flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
            else:
                continue
            below = os.open(name, flags | os.O_CLOEXEC, dir_fd=fd)
        except OSError:
            continue  # unreadable or gone: a search reports what it can see
        try:
            if stat.S_ISDIR(facts.st_mode):
                if name != b".git" and depth > 1:
                    yield from _files_below(below, _join(path, name), depth - 1)
            else:
                opened = os.fstat(below)
                if stat.S_ISREG(opened.st_mode):
                    yield _join(path, name), below, opened
        finally:
            os.close(below)
