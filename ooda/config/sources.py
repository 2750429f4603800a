"""Where settings come from, and which source wins: command line > environment > project > user > default.

Reads two TOML files and the environment it is handed, once. The project's file stands in an untrusted repository,
so it may only tighten what defaults and user allow; the environment and the command line are the user again and
stand above it. Every mistake of every source is reported together, each with its source.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
from pydantic import ValidationError

from ooda.config.aliases import ALIASES, QUIET_HOURS_KEYS, RESERVED, environ_name
from ooda.config.catalogue import is_room, known_settings, plain, project_rule, value_of
from ooda.config.places import Places
from ooda.config.settings import Level, Project, Settings
from ooda.errors import ConfigError, nearest
from ooda.problems import dotted, problems_of

__all__ = ["Loaded", "Origin", "load_settings", "project_file"]

_MAX_BYTES = 1 << 20


class Origin(msgspec.Struct, frozen=True):
    """Where a value came from."""

    kind: Literal["default", "user", "project", "environment", "command line"]
    where: str = ""
    """File, variable or option."""

    def __str__(self) -> str:
        match self.kind:
            case "default" | "command line":
                return self.kind
            case "environment":
                return f"environment {self.where}"
        return f"{self.kind} file {self.where}"


DEFAULT = Origin("default")


class Loaded(msgspec.Struct, frozen=True):
    """The settings of this process, and where each came from."""

    settings: Settings
    origins: Mapping[str, Origin]
    """By dotted name, for every setting."""
    places: Places

    def __repr__(self) -> str:
        changed = sorted(name for name, origin in self.origins.items() if origin != DEFAULT)
        return f"Loaded(changed={changed})"


class _Given(msgspec.Struct, frozen=True):
    """A raw value and its origin; its repr never shows the value."""

    value: Any
    origin: Origin

    def __repr__(self) -> str:
        return f"_Given({self.origin})"


_Layer = dict[str, _Given]


def load_settings(*, environ: Mapping[str, str], cwd: Path, overrides: Mapping[str, object] | None = None) -> Loaded:
    """Read all sources once; the entry point calls this and passes the result down.

    Args:
        environ: the process's environment.
        cwd: where the project's `.ooda/config.toml` is looked for: here, or above up to the repository's top.
        overrides: settings by dotted name from the command line; text is parsed as in the environment.

    Raises:
        ConfigError: one error with every mistake; facts: `problems`.
    """
    places = Places.from_environ(environ)
    mistakes: list[str] = []
    user = _from_file(places.config_file, "user", mistakes)
    found = project_file(cwd)
    project = _from_file(found, "project", mistakes) if found else {}
    environment = _from_environ(environ, mistakes)
    command = _known(overrides or {}, Origin("command line"), mistakes)

    base = _build(user, mistakes)
    tightened = _build(user | project, mistakes)
    if base and tightened:
        _check_tightening(base, tightened, user, project, places, mistakes)
    layers = user | project | environment | command
    settings = _build(layers, mistakes)
    if mistakes or settings is None:
        mistakes = list(dict.fromkeys(mistakes))
        count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        lines = [f"The settings have {count}; nothing was started.", *(f"  {mistake}" for mistake in mistakes)]
        raise ConfigError("\n".join(lines), problems=tuple(mistakes))
    origins = {name: layers[name].origin if name in layers else DEFAULT for name in known_settings()}
    return Loaded(settings, origins, places)


def project_file(cwd: Path) -> Path | None:
    """The nearest `.ooda/config.toml` from `cwd` up to the top of its repository; outside one, only in `cwd`."""
    cwd = cwd.absolute()
    folders = [cwd]
    if not (cwd / ".git").exists():
        above = list(cwd.parents)
        top = next((at for at, folder in enumerate(above) if (folder / ".git").exists()), None)
        folders += above[: top + 1] if top is not None else []
    return next((path for folder in folders if _exists(path := folder / ".ooda" / "config.toml")), None)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return True  # reading it will say so


def _from_file(path: Path, kind: Literal["user", "project"], mistakes: list[str]) -> _Layer:
    origin = Origin(kind, str(path))
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1).decode("utf-8-sig")
        if len(text) > _MAX_BYTES:
            raise ValueError(f"larger than {_MAX_BYTES:,} bytes")
        data = tomllib.loads(text)
    except FileNotFoundError:
        return {}
    except OSError as error:
        mistakes.append(f"{origin}: cannot be read ({error.strerror})")
        return {}
    except UnicodeDecodeError:
        mistakes.append(f"{origin}: is not UTF-8 text")
        return {}
    except (ValueError, RecursionError) as error:  # TOMLDecodeError among them, and numbers of thousands of digits
        why = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "holds a value that cannot be read"
        mistakes.append(f"{origin}: {why}")
        return {}
    return _known(_flat(data, ""), origin, mistakes)


def _flat(table: Mapping[str, Any], prefix: str) -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in table.items():
        if isinstance(value, dict) and is_room(prefix + key):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _known(values: Mapping[str, object], origin: Origin, mistakes: list[str]) -> _Layer:
    """The values whose names are settings; the rest are mistakes."""
    layer: _Layer = {}
    for name, value in values.items():
        if name in known_settings():
            layer[name] = _Given(value, origin)
        else:
            mistakes.append(f"`{name}` ({origin}): {_unknown(name)}")
    return layer


def _unknown(name: str) -> str:
    if is_room(name):
        return "is a group of settings; give it as a table"
    room, _, field = name.rpartition(".")
    rooms = sorted({known.rpartition(".")[0] for known in known_settings()})
    if room in rooms:
        fields = [known.rpartition(".")[2] for known in known_settings() if known.rpartition(".")[0] == room]
        near = nearest(field, fields)
        hint = (
            f"did you mean `{room}.{near}`?" if near else f"`{room}` has " + ", ".join(f"`{word}`" for word in fields)
        )
        return f"unknown setting; {hint}"
    near = nearest(name, known_settings() if room else rooms)
    return f"unknown setting; did you mean `{near}`?" if near else "unknown setting; `ooda config show` lists all"


def _from_environ(environ: Mapping[str, str], mistakes: list[str]) -> _Layer:
    """Aliases first, our own names over them. An empty variable counts as not set."""
    layer: _Layer = {}
    if text := environ.get("QUIET_HOURS_CONFIG", ""):
        layer |= _quiet_hours(text, mistakes)
    for variable in reversed(ALIASES):
        if value := environ.get(variable, ""):
            alias = ALIASES[variable]
            layer[alias.setting] = _Given(_in_seconds(value, alias.unit_s), Origin("environment", variable))
    own = {environ_name(name): name for name in known_settings()}
    for variable, value in environ.items():
        if not variable.startswith("OODA_") or variable.startswith(RESERVED) or variable in ALIASES or not value:
            continue
        if variable in own:
            layer[own[variable]] = _Given(value, Origin("environment", variable))
        else:
            near = nearest(variable, own)
            hint = f"; did you mean `{near}`?" if near else "; its form is `OODA_<ROOM>__<FIELD>`"
            mistakes.append(f"environment variable `{variable}` is no setting{hint}")
    return layer


def _quiet_hours(text: str, mistakes: list[str]) -> _Layer:
    origin = Origin("environment", "QUIET_HOURS_CONFIG")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        mistakes.append(f"{origin}: expected a JSON object with {', '.join(f'`{key}`' for key in QUIET_HOURS_KEYS)}")
        return {}
    layer: _Layer = {}
    for key, value in values.items():
        if alias := QUIET_HOURS_KEYS.get(key):
            layer[alias.setting] = _Given(_in_seconds(value, alias.unit_s), origin)
        else:
            near = nearest(key, QUIET_HOURS_KEYS)
            mistakes.append(f"{origin}: unknown key `{key}`" + (f"; did you mean `{near}`?" if near else ""))
    return layer


def _in_seconds(value: object, unit_s: int) -> object:
    """A bare number of a unit (hours, say, also fractions of them) in whole seconds; anything else as it is."""
    if not unit_s or isinstance(value, bool):
        return value
    try:
        return round(float(str(value)) * unit_s)
    except (ValueError, OverflowError):  # a word, nan, inf: the setting's own type refuses it
        return value


def _build(layer: _Layer, mistakes: list[str]) -> Settings | None:
    """The settings of a merged layer, or None and the mistakes in it."""
    nested: dict[str, Any] = {}
    for name, given in layer.items():
        *rooms, field = name.split(".")
        table = nested
        for room in rooms:
            table = table.setdefault(room, {})
        table[field] = given.value
    try:
        return Settings.model_validate(nested)
    except ValidationError as error:
        for problem in problems_of(error, Settings, nested):
            name = _setting_at(problem.path)
            origin = layer[name].origin if name in layer else None
            where = f"`{dotted(problem.path)}`" if problem.path else ""
            mistakes.append(" ".join(part for part in (where, f"({origin})" if origin else "") if part)
                            + (": " if where else "") + problem.message)  # fmt: skip
        return None


def _setting_at(path: tuple[str | int, ...]) -> str:
    """The setting a problem's path lies in: a list's entry belongs to the list."""
    return dotted(part for part in path if isinstance(part, str))


def _check_tightening(
    base: Settings, tightened: Settings, user: _Layer, project: _Layer, places: Places, mistakes: list[str]
) -> None:
    for name, given in project.items():
        field = known_settings()[name]
        rule = project_rule(field)
        before, after = value_of(base, name), value_of(tightened, name)
        if _is_tightening(rule, before, after):
            continue
        origin = user[name].origin if name in user else DEFAULT
        if rule == "never":
            own = f"put it into {places.config_file} or the environment"
            mistakes.append(f"`{name}` ({given.origin}): a project may not set this; {own}")
            continue
        how = {"lower": "lower it", "subset": "drop entries", "true": "switch it on"}.get(rule, "")
        mistakes.append(
            f"`{name}` ({given.origin}): {plain(after, field)} loosens {plain(before, field)} ({origin}); "
            f"a project may only {how}. Change the project's file, or allow more in {places.config_file}"
        )


def _is_tightening(rule: Project, before: Any, after: Any) -> bool:
    match rule:
        case "free":
            return True
        case "true":
            return after is True
        case "subset":
            return set(after) <= set(before)
        case "lower" if isinstance(after, str):
            levels = get_args(Level)
            return levels.index(after) <= levels.index(before or levels[0])  # unset, it is no review of anybody's
        case "lower":
            # Nothing set is no limit: setting one tightens, taking it away loosens.
            return before is None or (after is not None and bool(after <= before))
        case "never":
            return False
