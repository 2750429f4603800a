"""Where this program keeps things, by the XDG base directory specification. Computed, never created here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from ooda.errors import ConfigError

__all__ = ["Places", "RunPlaces"]


class RunPlaces(msgspec.Struct, frozen=True):
    """The folders of one run, mode 0700, kept until `runs gc`."""

    folder: Path

    @property
    def workspace(self) -> Path:
        """The working tree; `/workspace` inside the sandbox."""
        return self.folder / "workspace"

    @property
    def git(self) -> Path:
        """The host-owned GIT_DIR."""
        return self.folder / "git"

    @property
    def spool(self) -> Path:
        """Full output of commands."""
        return self.folder / "spool"


class Places(msgspec.Struct, frozen=True):
    """The four base folders, our own folder in each."""

    config: Path
    data: Path
    state: Path
    cache: Path

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Places:
        """From `XDG_*_HOME` (a relative one is ignored, as the specification asks) and `HOME`.

        Raises:
            ConfigError: neither says where.
        """
        return cls(
            config=_base(environ, "XDG_CONFIG_HOME", ".config"),
            data=_base(environ, "XDG_DATA_HOME", ".local/share"),
            state=_base(environ, "XDG_STATE_HOME", ".local/state"),
            cache=_base(environ, "XDG_CACHE_HOME", ".cache"),
        )

    @property
    def config_file(self) -> Path:
        """The user's settings."""
        return self.config / "config.toml"

    @property
    def database(self) -> Path:
        """Events, budgets, approvals, audit."""
        return self.data / "ooda.db"

    @property
    def blobs(self) -> Path:
        """Large bodies by content."""
        return self.data / "blobs"

    @property
    def runs(self) -> Path:
        return self.state / "runs"

    def run(self, run: str) -> RunPlaces:
        """The folders of one run."""
        return RunPlaces(self.runs / run)


def _base(environ: Mapping[str, str], name: str, below_home: str) -> Path:
    base = environ.get(name, "")
    if base.startswith("/"):
        return Path(base) / "ooda"
    home = environ.get("HOME", "")
    if not home.startswith("/"):
        raise ConfigError(
            f"`HOME` is {home!r} and `{name}` is not set, so there is no place for files; set one of them to an "
            "absolute path",
            variable=name,
        )
    return Path(home) / below_home / "ooda"
