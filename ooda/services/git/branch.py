"""Names of branches: valid, readable, unlike any branch the remote has. Pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection
from datetime import date

__all__ = ["branch_name", "is_valid_branch", "slug", "unique_branch"]

_MAX_SLUG = 50
_INVALID = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)")


def slug(title: str) -> str:
    """A title as lowercase ASCII words joined by dashes, at most 50 characters, never empty.

    A title without any ASCII letter or digit is named by its hash, so that two such titles differ.
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    words = re.findall(r"[a-z0-9]+", plain.replace("'", ""))
    kept = ""
    for word in words:
        longer = f"{kept}-{word}" if kept else word[:_MAX_SLUG]
        if len(longer) > _MAX_SLUG:
            break
        kept = longer
    return kept or "task-" + hashlib.sha256(title.encode(errors="surrogatepass")).hexdigest()[:8]


def branch_name(day: date, title: str) -> str:
    """`feat/YYYYMMDD-<slug of the title>`."""
    return f"feat/{day:%Y%m%d}-{slug(title)}"


def unique_branch(name: str, taken: Collection[str]) -> str:
    """`name`, or `name-2`, `name-3`, … when it is taken.

    Git keeps branches as paths: beside a branch `feat` there can be no `feat/x`, so the first part then becomes
    `feat-2` and so on.
    """
    top, _, rest = name.partition("/")
    number = 1
    while rest and (candidate := top if number == 1 else f"{top}-{number}") in taken:
        number += 1
    stem = f"{candidate}/{rest}" if rest else name
    number = 1
    while _clashes(found := stem if number == 1 else f"{stem}-{number}", taken):
        number += 1
    return found


def _clashes(name: str, taken: Collection[str]) -> bool:
    return name in taken or any(other.startswith(name + "/") for other in taken)


def is_valid_branch(name: str) -> bool:
    """Whether git takes `name` as a branch (git-check-ref-format(1)), and no command as an option."""
    return bool(
        name
        and not name.startswith(("-", "/", "."))
        and not name.endswith(("/", "."))
        and name != "@"
        and name != "HEAD"
        and not _INVALID.search(name)
    )
