"""Anchors: signed hashes of the audit chain, one JSON line each, in a file outside the store.

Each line's code covers the line before, so lines cannot be changed, dropped or put in another order without the
key. The file proves something only where those who can write the database cannot write it. Knows the file; what the
hashes are of is `audit.py`.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
from pathlib import Path

import msgspec

from ooda.errors import ConfigError, IntegrationError
from ooda.events import canonical

__all__ = ["Anchor", "Anchors", "add", "latest", "load"]

_KEY_BYTES = 16
_START = b"\0" * 32
_TAIL_BYTES = 2048  # six lines and more


class Anchor(msgspec.Struct, frozen=True, kw_only=True):
    """What the chain was at one moment."""

    at_ns: int
    seq: int
    """Number of the last row then."""
    hash: str
    """Its hash."""
    store: str
    """Id of the store."""
    mac: str = ""
    """HMAC-SHA256 over the code of the line before and this line without `mac`."""


class Anchors(msgspec.Struct, frozen=True):
    """A file of anchors as read."""

    lines: tuple[Anchor, ...]
    bad_line: int = 0
    """Number of the first line that is no anchor or not signed with the key; 0 when all are good."""
    is_torn: bool = False
    """The last line was cut off while it was written; it is left out."""


def add(path: Path, key: bytes, anchor: Anchor) -> Anchor:
    """Sign `anchor` and put it at the end of the file, made with mode 0600; it is on disk when this returns.

    Raises:
        ConfigError: the key is shorter than 16 bytes, or what stands in the file is not signed with it.
        IntegrationError: the file cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        try:
            # One process after the other: each line is signed together with the one before it.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            known = latest(path, key)
            if known.bad_line:
                raise ConfigError(
                    f"the end of the anchor file `{path}` is not signed with this key; give the key it was begun with, "
                    "or keep the file aside as evidence and begin another",
                    path=str(path),
                )
            before = known.lines[-1].mac if known.lines else ""
            signed = msgspec.structs.replace(anchor, mac=_mac(key, before, anchor))
            # A torn line is ended, so that this one stands on a line of its own.
            os.write(descriptor, (b"\n" if known.is_torn else b"") + canonical(signed) + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise IntegrationError(
            f"cannot write the anchor file `{path}`: {error.strerror}; the audit log goes on unanchored. Make its "
            "folder writable or name another file",
            service="audit",
            operation="anchor",
            status=None,
            retryable=True,
        ) from error
    return signed


def load(path: Path, key: bytes | None) -> Anchors:
    """The anchors of a file, the oldest first, up to the first bad line; without a key signatures are not checked.

    Raises:
        ConfigError: the key is shorter than 16 bytes, or the file cannot be read.
    """
    return _read(path, key, from_end=False)


def latest(path: Path, key: bytes | None) -> Anchors:
    """The last few anchors of a file, read from its end only; the first of them is taken as it stands."""
    return _read(path, key, from_end=True)


def _read(path: Path, key: bytes | None, *, from_end: bool) -> Anchors:
    if key is not None and len(key) < _KEY_BYTES:
        raise ConfigError(f"the anchor key has {len(key)} bytes, expected at least {_KEY_BYTES} random ones")
    try:
        with path.open("rb") as file:
            skipped = max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES) if from_end else 0
            file.seek(skipped)
            content = file.read()
    except FileNotFoundError:
        return Anchors(())
    except OSError as error:
        raise ConfigError(f"cannot read the anchor file `{path}`: {error.strerror}", path=str(path)) from error
    *lines, rest = content.split(b"\n")
    found, bad_line = _parsed(lines[1:] if skipped else lines, key, is_tail=skipped > 0)
    return Anchors(tuple(found), bad_line=bad_line, is_torn=bool(rest))


def _parsed(lines: list[bytes], key: bytes | None, *, is_tail: bool) -> tuple[list[Anchor], int]:
    """The good lines up to the first bad one, and the number of that; 0 when there is none."""
    found: list[Anchor] = []
    for number, line in enumerate(lines, start=1):
        try:
            anchor = msgspec.json.decode(line, type=Anchor)
        except msgspec.MsgspecError:
            if _is_torn(line) and number < len(lines):
                continue
            return found, number
        is_known_start = found or not is_tail
        before = found[-1].mac if found else ""
        if key is not None and is_known_start and not hmac.compare_digest(anchor.mac, _mac(key, before, anchor)):
            return found, number
        found.append(anchor)
    return found, 0


def _is_torn(line: bytes) -> bool:
    """A line begun and cut off by a crash; the signature of the next line shows that no whole one was lost here."""
    return line.startswith(b'{"at_ns":') and not line.endswith(b"}")


def _mac(key: bytes, before: str, anchor: Anchor) -> str:
    plain = canonical(msgspec.structs.replace(anchor, mac=""))
    return hmac.new(key, (bytes.fromhex(before) if before else _START) + plain, hashlib.sha256).hexdigest()
