"""Large texts beside the database, named by their content.

A blob is durable before `put` returns, so a row that names it can be written next. Files are
`blobs/ab/cdef…` after the SHA-256 of their bytes, never changed once there; what is being written stands in
`blobs/tmp` under its writer's name. Must not know what the texts mean.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path

from ooda.errors import JournalError
from ooda.events import BlobRef
from ooda.store.failures import from_os
from ooda.store.owner import is_alive, process_owner
from ooda.store.sqlite import make_folder, sync_folder

__all__ = ["BlobStore"]

_LINE_CHARS = 160
_BYTES_PER_TOKEN = 4
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SEPARATOR = "~"  # for the `/` of a process's name, which no host name holds
_numbers = itertools.count()


class BlobStore:
    """Texts by the SHA-256 of their UTF-8 bytes, in one folder that several processes may share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, text: str) -> BlobRef:
        """Keep `text`; when this returns it survives a power cut. The same text again costs a look at its size.

        Raises:
            ConfigError: the folder cannot be written.
            IntegrationError: the disk is full or failing.
        """
        data = text.encode()
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        try:
            with self._locked(fcntl.LOCK_SH):
                if self._size(path) != len(data):
                    self._write(path, data)
                else:
                    os.utime(path)  # a row will name it soon: it is not to be taken for left over
        except OSError as error:
            raise from_os(error, path, "write the blob") from error
        return BlobRef(
            digest=digest,
            size_bytes=len(data),
            tokens=-(-len(data) // _BYTES_PER_TOKEN),
            head=text[:_LINE_CHARS].partition("\n")[0],
            tail=text[-_LINE_CHARS:].rstrip("\n").rpartition("\n")[2],
        )

    def get(self, digest: str) -> str:
        """The text with this digest, checked against it.

        Raises:
            JournalError: fact `digest`; the blob is missing or damaged.
        """
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise _unusable(digest, path, "is missing") from error
        except OSError as error:
            raise from_os(error, path, "read the blob") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise _unusable(digest, path, f"is damaged ({len(data)} bytes with another hash)")
        return data.decode()

    def sweep(self) -> int:
        """Remove what killed processes left half written; the number of files removed."""
        left = [part for part in self._parts.glob("*") if not is_alive(part.name.replace(_SEPARATOR, "/"))]
        for part in left:
            part.unlink(missing_ok=True)
        return len(left)

    def sizes(self, digests: Iterable[str]) -> Mapping[str, int]:
        """The size in bytes of each of these blobs that is there."""
        found = ((digest, self._size(self._path(digest))) for digest in digests)
        return {digest: size for digest, size in found if size >= 0}

    def remove_unnamed(self, named: Callable[[], Set[str]], older_than_s: float) -> Mapping[str, int]:
        """Remove the blobs nobody names that were not put for a while; gives their sizes by digest.

        Whoever puts a blob waits meanwhile, so that none is taken away between its being put and its being named.

        Args:
            named: Gives the digests that are named; asked once, when nothing is being put.
        """
        with self._locked(fcntl.LOCK_EX):
            return {digest: self._remove(digest) for digest in self._unnamed(named(), older_than_s)}

    def unnamed(self, named: Set[str], older_than_s: float) -> Mapping[str, int]:
        """What `remove_unnamed` would remove."""
        return self.sizes(self._unnamed(named, older_than_s))

    def _unnamed(self, named: Set[str], older_than_s: float) -> list[str]:
        before = time.time() - older_than_s
        found = []
        for path in self.folder.glob("[0-9a-f][0-9a-f]/*"):
            digest = path.parent.name + path.name
            if _DIGEST.fullmatch(digest) and digest not in named and path.stat().st_mtime <= before:
                found.append(digest)
        return sorted(found)

    def _remove(self, digest: str) -> int:
        path = self._path(digest)
        size = path.stat().st_size
        path.unlink()
        return size

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        make_folder(self.folder)
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)

    @property
    def _parts(self) -> Path:
        return self.folder / "tmp"

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise JournalError(
                f"{digest!r} is not a blob digest; expected 64 lowercase hexadecimal digits. The row that names it is "
                "damaged, `ooda runs show RUN` tells which",
                digest=digest,
            )
        return self.folder / digest[:2] / digest[2:]

    @staticmethod
    def _size(path: Path) -> int:
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return -1

    def _write(self, path: Path, data: bytes) -> None:
        # Written under another name and renamed: no reader, and no crash, ever sees half a blob under its digest.
        make_folder(self._parts)
        make_folder(path.parent)
        part = self._parts / process_owner(str(next(_numbers))).replace("/", _SEPARATOR)
        try:
            descriptor = os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            part.rename(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def _unusable(digest: str, path: Path, what: str) -> JournalError:
    return JournalError(
        f"blob `{digest}` {what}: expected it at `{path}`. Put the file back from a backup; without it the run can be "
        "shown and exported, but not resumed past the step that needs it",
        digest=digest,
        path=str(path),
    )
