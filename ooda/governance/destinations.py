"""Where a URL leads, as a target the typed task can name; what could be read in two ways leads nowhere it names.

Readers of URLs disagree (userinfo, backslashes, tabs, letters of other scripts that look like ours). A target is
compared as it stands, so a URL two programs could take differently is given back whole: no task names that.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

__all__ = ["host_of"]

_PLAIN: Final = re.compile(r"(?i:https?)://[A-Za-z0-9.-]+(:\d{1,5})?([/?#][!-~]*)?", re.ASCII)


def host_of(url: str) -> str:
    """The host of a plain http URL, lower-cased, with a port that is not the usual one; of any other text, itself."""
    if not _PLAIN.fullmatch(url) or "\\" in url:
        return url
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    usual = {"http": 80, "https": 443}[parts.scheme.lower()] if parts.scheme else None
    try:
        port = parts.port
    except ValueError:
        return url
    if not host or host.startswith((".", "-")) or host.endswith((".", "-")) or ".." in host:
        return url
    return host if port in (None, usual) else f"{host}:{port}"
