"""What this machine offers a run: Python, git, settings, store, sandboxes, models. Looks, and changes nothing but
the caches of the sandbox's self-test.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ooda import __version__
from ooda.api.notices import channels_of
from ooda.api.session import Session
from ooda.config import Loaded, Settings, load_settings, model_environ
from ooda.errors import OodaError
from ooda.models.select import find_local_servers, resolve_endpoint
from ooda.sandbox import probe_backends

__all__ = ["Check", "diagnose"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing looked at."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
    is_needed: bool = False
    """No run works without it."""


async def diagnose(
    *, environ: Mapping[str, str], cwd: Path, overrides: Mapping[str, object] | None = None
) -> tuple[Check, ...]:
    """Every check, in the order in which a run needs them."""
    checks = [Check(name="ooda", ok=True, detail=f"{__version__} on Python {platform.python_version()}"), _git()]
    try:
        loaded = load_settings(environ=environ, cwd=cwd, overrides=overrides)
    except OodaError as error:
        checks.append(Check(name="settings", ok=False, detail=str(error), fix="correct what is named", is_needed=True))
        return tuple(checks)
    checks.append(Check(name="settings", ok=True, detail=str(loaded.places.config_file)))
    checks.append(_store(environ, cwd, overrides))
    probes = await probe_backends(loaded.places.cache)
    works = [probe.name for probe in probes if probe.ok]
    checks += [Check(name=probe.name, ok=probe.ok, detail=probe.detail, fix=probe.fix) for probe in probes]
    wanted = loaded.settings.sandbox.backend
    checks.append(
        Check(
            name="sandbox",
            ok=bool(works) or wanted == "none",
            detail=f"backend {wanted}: " + (f"{works[0]} works" if works else "none works, so runs are refused"),
            fix="" if works else "install bubblewrap (`apt-get install bubblewrap`) or start a Docker Engine",
            is_needed=True,
        )
    )
    checks.append(_model(loaded, environ))
    checks.append(_notices(loaded.settings))
    return tuple(checks)


def _notices(settings: Settings) -> Check:
    """Whether notices reach anybody; nothing is connected to."""
    try:
        channels = channels_of(settings)
    except OodaError as error:
        return Check(name="notices", ok=False, detail=str(error), fix="correct what is named")
    if not channels:
        return Check(name="notices", ok=True, detail="no channel is configured (settings `notify.*`): nobody is told")
    detail = ", ".join(f"{channel.name} at {channel.host}" for channel in channels)
    return Check(name="notices", ok=True, detail=f"{detail}; try one: `ooda notices test {channels[0].name}`")


def _git() -> Check:
    path = shutil.which("git")
    if path is None:
        return Check(name="git", ok=False, detail="not found", fix="apt-get install git", is_needed=True)
    said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    return Check(name="git", ok=bool(said), detail=f"{said} ({path})", is_needed=True)


def _store(environ: Mapping[str, str], cwd: Path, overrides: Mapping[str, object] | None) -> Check:
    try:
        with Session.open(environ=environ, cwd=cwd, overrides=overrides) as session:
            return Check(name="store", ok=True, detail=session.store.place, is_needed=True)
    except OodaError as error:
        return Check(name="store", ok=False, detail=str(error), is_needed=True)


def _model(loaded: Loaded, environ: Mapping[str, str]) -> Check:
    name = loaded.settings.model.name
    try:
        endpoint = resolve_endpoint(name, environ=model_environ(loaded.settings, environ))
    except OodaError as error:
        servers = find_local_servers()
        found = f" Servers on this machine: {', '.join(servers)}." if servers else ""
        return Check(
            name="model", ok=False, detail=str(error).partition("\n")[0] + found, fix="`ooda demo` needs no key"
        )
    return Check(name="model", ok=True, detail=f"{name} at {endpoint.url}")
