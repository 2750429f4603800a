"""A session for the steward: settings as everywhere, and an `agents_config.json` below environment and command line.

Which source wins, from the strongest: command line, environment, `agents_config.json`, project's file, user's file,
defaults. `dry_run` is the exception: where any source switches it on, the file cannot switch it off.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ooda.agents.steward.configuration import agents_config
from ooda.api.session import Session
from ooda.clock import Clock
from ooda.config import load_settings
from ooda.errors import ConfigError

__all__ = ["CONFIG_NAME", "steward_overrides", "steward_session"]

CONFIG_NAME = "agents_config.json"
"""Looked for in the current folder where `steward.config_file` names none."""

_MOST_BYTES = 1 << 20
_STRONGER = ("environment", "command line")


def steward_session(
    *,
    environ: Mapping[str, str],
    cwd: Path,
    overrides: Mapping[str, object] | None = None,
    clock: Clock | None = None,
    readonly: bool = False,
) -> Session:
    """`Session.open`, with the `agents_config.json` read.

    Raises:
        ConfigError: settings or file have mistakes.
    """
    given = steward_overrides(environ=environ, cwd=cwd, overrides=overrides)
    return Session.open(environ=environ, cwd=cwd, overrides=given, clock=clock, readonly=readonly)


def steward_overrides(
    *, environ: Mapping[str, str], cwd: Path, overrides: Mapping[str, object] | None = None
) -> dict[str, object]:
    """The overrides a session is opened with: those given, over what the file says where nothing stronger speaks."""
    loaded = load_settings(environ=environ, cwd=cwd, overrides=overrides)
    named = loaded.settings.steward.config_file
    path = (cwd / Path(named).expanduser()) if named else cwd / CONFIG_NAME
    text = _text(path, is_named=bool(named))
    if text is None:
        return dict(overrides or {})
    stronger = frozenset(name for name, origin in loaded.origins.items() if origin.kind in _STRONGER)
    given = agents_config(text, str(path)).over(dict(overrides or {}), stronger)
    if loaded.settings.steward.dry_run:
        given["steward.dry_run"] = True
    return given


def _text(path: Path, *, is_named: bool) -> str | None:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        if not is_named:
            return None
        raise ConfigError(f"`steward.config_file` names {path}, which is not there") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > _MOST_BYTES:
        raise ConfigError(f"{path} is larger than {_MOST_BYTES:,} bytes, which no configuration of the steward is")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None
