"""Opening a session for a command: settings from all sources, `--set NAME=VALUE` on top."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ooda.api.session import Session
from ooda.errors import ConfigError

__all__ = ["overrides_of", "session_for"]


def session_for(args: argparse.Namespace, *, readonly: bool = False) -> Session:
    """The session of this command; close it."""
    return Session.open(environ=os.environ, cwd=Path.cwd(), overrides=overrides_of(args), readonly=readonly)


def overrides_of(args: argparse.Namespace) -> dict[str, object]:
    """`--set NAME=VALUE` as a mapping.

    Raises:
        ConfigError: one of them has no `=`.
    """
    given: dict[str, object] = {}
    for item in getattr(args, "overrides", []):
        name, sign, value = item.partition("=")
        if not sign:
            raise ConfigError(
                f"`--set {item}` has no value; write `--set NAME=VALUE`, as in `--set sandbox.backend=docker`"
            )
        given[name] = value
    return given
