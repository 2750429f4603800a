"""Search for a line in the files of the workspace: a pattern, an optional glob, a cap on hits.

Runs inside the file worker, which the helper ends when a pattern takes for ever. Knows nothing of frames.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

from .files import Workspace, display
from .frames import GuestError
from .output import clean

__all__ = ["search"]

_MAX_FILE_BYTES = 5 << 20
_MAX_LINE_CHARS = 500
_BINARY_PROBE_BYTES = 8192
_EDGES = re.compile(rb"[\^$]|\\[AZ]|\(\?")


def search(
    workspace: Workspace, pattern: str, path: str, glob: str | None, regex: bool, max_hits: int
) -> dict[str, Any]:
    """Matching lines in path order, at most `max_hits`; binary files and files above 5 MiB are passed over."""
    try:
        wanted = re.compile((pattern if regex else re.escape(pattern)).encode("utf-8", "surrogateescape"))
    except (re.error, OverflowError, RecursionError) as error:
        raise GuestError(
            "bad_pattern",
            f"{display(pattern)} is not a regular expression ({error}); correct it or set regex to false",
        ) from error
    matches_glob = _glob(glob)
    hits: list[dict[str, Any]] = []
    searched = 0
    for name, fd, facts in workspace.files(path):
        if facts.st_size > _MAX_FILE_BYTES or not matches_glob(name):
            continue
        data = _content(fd, facts.st_size)
        if data is None:
            continue
        searched += 1
        for line, text in _matching_lines(wanted, data):
            if len(hits) >= max_hits:
                return {"hits": hits, "files_searched": searched, "truncated": True}
            hits.append({"path": name, "line": line, "text": text})
    return {"hits": hits, "files_searched": searched, "truncated": False}


def _glob(glob: str | None) -> Callable[[str], bool]:
    """A predicate over relative paths: a glob without `/` is matched against the file's name, one with it
    against the whole path, where `**/` stands for any folders, none included."""
    if glob is None:
        return lambda name: True
    if "/" not in glob:
        alone = re.compile(fnmatch.translate(glob))
        return lambda name: alone.match(name.rsplit("/", 1)[-1]) is not None
    pieces = []
    for part in re.split(r"(\*\*/|\*\*|\*|\?)", glob.lstrip("/")):
        pieces.append({"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part) or re.escape(part))
    whole = re.compile("".join(pieces) + r"\Z")
    return lambda name: whole.match(name) is not None


def _content(fd: int, size: int) -> bytes | None:
    """The file's bytes, None when it is binary (a NUL in its first 8 KiB)."""
    try:
        data = os.read(fd, _BINARY_PROBE_BYTES)
        if b"\0" in data:
            return None
        while len(data) < size:
            piece = os.read(fd, size - len(data))
            if not piece:
                break
            data += piece
    except OSError:
        return None  # unreadable now: as if it were not there
    return data


def _matching_lines(wanted: re.Pattern[bytes], data: bytes) -> Iterator[tuple[int, str]]:
    """(number, text) of each line with a match, starting at 1."""
    # One test of the whole file is far cheaper than one per line, and most files have no match at all. It is
    # allowed only for patterns that cannot tell a line's edge from the file's.
    if not _EDGES.search(wanted.pattern) and not wanted.search(data):
        return
    for number, line in enumerate(data.split(b"\n"), 1):
        if wanted.search(line):
            yield number, clean(line.decode("utf-8", "replace"))[:_MAX_LINE_CHARS].rstrip("\n")
