"""What is known of each setting by its dotted name: its field, the project's rule for it, its value in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from ooda.amounts import format_bytes, format_duration
from ooda.config.settings import Project, Settings
from ooda.problems import says

__all__ = ["MASK", "is_room", "is_secret", "known_settings", "plain", "project_rule", "value_of"]

MASK = "**********"


@cache
def known_settings() -> Mapping[str, FieldInfo]:
    """Every setting by dotted name, in the order of the reference."""
    return dict(_leaves(Settings, ""))


def _leaves(model: type[BaseModel], prefix: str) -> Iterable[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        room = field.annotation
        if isinstance(room, type) and issubclass(room, BaseModel):
            yield from _leaves(room, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def is_room(name: str) -> bool:
    """Whether the dotted name is a group of settings."""
    return any(known.startswith(name + ".") for known in known_settings())


def project_rule(field: FieldInfo) -> Project:
    """How a project's file may set the field."""
    extra = field.json_schema_extra
    rule = extra.get("project") if isinstance(extra, dict) else None
    return next((word for word in get_args(Project) if word == rule), "never")


def is_secret(field: FieldInfo) -> bool:
    """Whether the value is never shown."""
    return _holds_secret(field.annotation)


def _holds_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(_holds_secret(arg) for arg in get_args(annotation))


def value_of(settings: Settings, name: str) -> Any:
    """The value of a setting by its dotted name."""
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def plain(value: object, field: FieldInfo) -> str:
    """A value as a person would write it; secrets masked."""
    said = says(field)
    match value:
        case None:
            return "not set"
        case _ if is_secret(field):
            return MASK if value else "none"
        case bool():
            return "true" if value else "false"
        case int() if said and said.unit == "seconds":
            return format_duration(value)
        case int() if said and said.unit == "bytes":
            return format_bytes(value)
        case Decimal():
            return f"{value:f} USD"
        case tuple():
            return ", ".join(str(entry) for entry in value) if value else "none"
    return str(value)
