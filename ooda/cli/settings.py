"""`NAME=VALUE` on the command line: settings for one command (`--set`), ceilings for a resumed run (`--limit`)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ooda.api.session import Session
from ooda.errors import ConfigError
from ooda.task import LimitsSpec

__all__ = ["limits_of", "overrides_of", "session_for"]


def session_for(args: argparse.Namespace, *, readonly: bool = False) -> Session:
    """The session of this command; close it."""
    return Session.open(environ=os.environ, cwd=Path.cwd(), overrides=overrides_of(args), readonly=readonly)


def overrides_of(args: argparse.Namespace) -> dict[str, object]:
    """`--set NAME=VALUE` as a mapping.

    Raises:
        ConfigError: one of them has no `=`.
    """
    return dict(_pairs("--set", getattr(args, "overrides", []), "--set sandbox.backend=docker"))


def limits_of(args: argparse.Namespace) -> LimitsSpec | None:
    """`--limit NAME=VALUE` as the limits of a task; None when there is none.

    Raises:
        ConfigError: one of them has no `=`, is unknown, or has a value that is out of range.
    """
    from pydantic import ValidationError

    from ooda.problems import problems_of

    if not args.limits:
        return None
    given = {
        name: int(value) if value.isdecimal() else value
        for name, value in _pairs("--limit", args.limits, "--limit steps=400")
    }
    try:
        return LimitsSpec.model_validate(given)
    except ValidationError as error:
        said = "".join(f"\n  {problem}" for problem in problems_of(error, LimitsSpec, given))
        raise ConfigError(f"`--limit` has a mistake; nothing was started.{said}") from None


def _pairs(option: str, items: Iterable[str], example: str) -> Iterator[tuple[str, str]]:
    for item in items:
        name, sign, value = item.partition("=")
        if not sign:
            raise ConfigError(f"`{option} {item}` has no value; write `{option} NAME=VALUE`, as in `{example}`")
        yield name, value
