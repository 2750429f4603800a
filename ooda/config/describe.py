"""The settings for people: one row each, with value and origin, secrets masked. Values, no layout."""

from __future__ import annotations

import msgspec

from ooda.config.aliases import ALIASES, environ_name
from ooda.config.catalogue import known_settings, plain, project_rule, value_of
from ooda.config.settings import Project, Settings
from ooda.config.sources import Loaded
from ooda.problems import allowed

__all__ = ["SettingReference", "SettingRow", "describe", "reference"]


class SettingRow(msgspec.Struct, frozen=True):
    """One line of `config show`."""

    name: str
    value: str
    """As it would be written; `**********` for a secret that is set."""
    origin: str
    """`default`, `environment OODA_…`, `project file …`."""


class SettingReference(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the settings reference."""

    name: str
    description: str
    allowed: str
    """What it accepts, in words."""
    default: str
    environ: tuple[str, ...]
    """Environment names, ours first."""
    project: Project
    """How a project's file may set it."""


def describe(loaded: Loaded) -> tuple[SettingRow, ...]:
    """Every setting with its value and where it came from."""
    return tuple(
        SettingRow(name, plain(value_of(loaded.settings, name), field), str(loaded.origins[name]))
        for name, field in known_settings().items()
    )


def reference() -> tuple[SettingReference, ...]:
    """Every setting there is, in the order of the rooms."""
    defaults = Settings()
    return tuple(
        SettingReference(
            name=name,
            description=field.description or "",
            allowed=allowed(field),
            default=plain(value_of(defaults, name), field),
            environ=(environ_name(name), *(alias for alias, stands in ALIASES.items() if stands.setting == name)),
            project=project_rule(field),
        )
        for name, field in known_settings().items()
    )
