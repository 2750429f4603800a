"""Sentences about what is wrong with something a person wrote.

Turns a pydantic ValidationError into one `Problem` per mistake: where it is, what was found, what is allowed, the
nearest valid word. Knows models and annotations, not which file they came from. A found value is shown only where
it cannot be a secret: never for secret fields, never longer than a word or two, URLs without their user-info.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from ooda.amounts import format_bytes, format_duration
from ooda.errors import nearest
from ooda.fields import Says

__all__ = [
    "Path",
    "Problem",
    "allowed",
    "dotted",
    "field_model",
    "mask_url",
    "problems_of",
    "sentence",
    "show",
]

Path = tuple[str | int, ...]
"""Where a value stands: mapping keys and list positions from the root."""


class Problem(msgspec.Struct, frozen=True):
    """One mistake."""

    path: Path
    """Where it is; empty for the whole."""
    message: str
    line: int = 0
    """One-based; 0 when unknown."""
    column: int = 0
    """One-based; 0 when the line says enough."""

    def __str__(self) -> str:
        where = f"line {self.line}" if self.line else ""
        where += f", column {self.column}" if self.column else ""
        place = ", ".join(part for part in (where, f"`{dotted(self.path)}`" if self.path else "") if part)
        return f"{place}: {self.message}" if place else self.message


def sentence(text: str) -> PydanticCustomError:
    """For validators to raise: `text` becomes the problem's message as it stands, so it must show no secret."""
    return PydanticCustomError("ooda_sentence", "{text}", {"text": text})


def dotted(path: Iterable[str | int]) -> str:
    """`("validation", 2)` as `validation[2]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


# Greedy: a password may itself hold `/` or `@`, and then the text is no proper URL.
_USERINFO = re.compile(r"//.*@", re.DOTALL)


def mask_url(text: str) -> str:
    """The text with everything between `//` and the last `@` replaced by `***`."""
    return _USERINFO.sub("//***@", text)


def show(value: object) -> str:
    """A found value in words: short scalars as they are, everything else by its kind."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"`{str(value).lower()}`"
        case int() | float() | Decimal():
            text = str(value) if not isinstance(value, int) or abs(value) < 10**20 else ""
            return f"the number {text}" if 0 < len(text) <= 30 else "a huge number"
        case str():
            text = mask_url(value)
            return repr(text) if len(text) <= 60 else f"a text of {len(text)} characters"
    return _kind(value)


def _kind(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "`true` or `false`"
        case int() | float() | Decimal():
            return "a number"
        case str():
            return "an empty text" if not value else "a text"
        case Mapping():
            return "a mapping"
        case Sequence():
            return f"a list of {len(value)}"
    return "a value of another kind"


def field_model(annotation: object, tag: object = None) -> type[BaseModel] | None:
    """The model inside an annotation (Optional, list, Annotated); of several the one with a literal field `tag`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    models = [model for arg in get_args(annotation) if (model := field_model(arg, tag))]
    for model in models:
        if any(tag in get_args(field.annotation) for field in model.model_fields.values()):
            return model
    return models[0] if models else None


def allowed(field: FieldInfo | object) -> str:
    """What a field or annotation accepts, in words: "a whole number from 1 to 1000", "one of `auto`, `docker`"."""
    annotation, metadata = _opened(field)
    if isinstance(field, FieldInfo) and isinstance(field.discriminator, str):
        words = ", ".join(f"`{tag}`" for tag in _tags(annotation, field.discriminator))
        return f"a mapping whose `{field.discriminator}` is one of {words}"
    said = next((item for item in metadata if isinstance(item, Says)), None)
    inner = says(field)
    bounds = [_bound_in_words(metadata, name, inner.unit if inner else "") for name in ("ge", "gt", "le")]
    return (said.phrase if said else _type_in_words(annotation)) + _range_in_words(*bounds)


def says(field: FieldInfo | object) -> Says | None:
    """The `Says` of a field, an Optional's inner one included."""
    annotation, metadata = _opened(field)
    own = next((item for item in metadata if isinstance(item, Says)), None)
    return own or next((found for arg in get_args(annotation) if (found := says(arg))), None)


def _opened(field: FieldInfo | object) -> tuple[Any, list[object]]:
    """An annotation without its Annotated layers, and what stood in them."""
    annotation: Any = field.annotation if isinstance(field, FieldInfo) else field
    metadata = list(field.metadata) if isinstance(field, FieldInfo) else []
    while get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        metadata += more
    return annotation, [
        part for item in metadata for part in (item.metadata if isinstance(item, FieldInfo) else [item])
    ]


def _bound_in_words(metadata: Sequence[object], name: str, unit: str) -> str:
    bound = next((bound for item in metadata if (bound := getattr(item, name, None)) is not None), None)
    match bound:
        case None:
            return ""
        case int() if unit == "seconds":
            return format_duration(bound)
        case int() if unit == "bytes":
            return format_bytes(bound)
    return f"{bound:,}"


def _range_in_words(at_least: str, more_than: str, at_most: str) -> str:
    if at_least and at_most:
        return f", from {at_least} to {at_most}"
    words = (("at least", at_least), ("more than", more_than), ("at most", at_most))
    return "".join(f", {word} {bound}" for word, bound in words if bound)


_SIMPLE = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "`true` or `false`",
    SecretStr: "a secret text",
}


def _type_in_words(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        words = ", ".join(f"`{word}`" for word in args)
        return f"one of {words}" if len(args) > 1 else words
    if origin in (tuple, list):
        return f"a list, each {allowed(args[0])}"
    if origin is dict:
        return "a mapping"
    if args:  # a union: its alternatives in turn, without None
        return " or ".join(dict.fromkeys(allowed(arg) for arg in args if arg is not type(None)))
    if model := field_model(annotation):
        return "a mapping with " + ", ".join(f"`{name}`" for name in model.model_fields)
    return _SIMPLE.get(annotation, "a value")


def problems_of(
    error: ValidationError,
    model: type[BaseModel],
    data: object,
    *,
    may_show: Callable[[Path], bool] | None = None,
) -> list[Problem]:
    """One problem per mistake, in the order pydantic found them.

    Args:
        error: what `model.model_validate(data)` raised.
        model: the model.
        data: the plain data that was validated; found values are looked up in it.
        may_show: whether the value at a path may be printed; where not, only its kind is named.
    """
    problems = []
    for detail in error.errors(include_url=False):
        place = _place(model, detail["loc"])
        value = _at(data, place.path, detail["input"])
        open_ = (may_show is None or may_show(place.path)) and not _is_secret(place.annotation)
        problems.append(_problem(detail, place, show(value) if open_ else _kind(value), value))
    return problems


class _Place(msgspec.Struct, frozen=True):
    """Where in the model an error points."""

    path: Path
    holder: type[BaseModel] | None
    """The model of which the last part of the path is a field (or should be)."""
    field: FieldInfo | None
    annotation: Any


def _place(model: type[BaseModel], loc: Sequence[str | int]) -> _Place:
    """Follow a pydantic location through the models, dropping the tags of discriminated unions from it."""
    path: list[str | int] = []
    holder: type[BaseModel] | None = None
    field: FieldInfo | None = None
    annotation: Any = model
    expects_tag = False
    keys: Any = None
    for part in loc:
        if part == "[key]":  # pydantic's mark for "the key before this", not its value
            annotation = keys
            continue
        if expects_tag:
            annotation, expects_tag = field_model(annotation, part), False
            continue
        path.append(part)
        holder = field_model(annotation)
        field = holder.model_fields.get(part) if holder and isinstance(part, str) else None
        if field:
            annotation, expects_tag = field.annotation, field.discriminator is not None
        else:
            keys, annotation = _elements(annotation)
    return _Place(tuple(path), holder, field, annotation)


def _elements(annotation: Any) -> tuple[Any, Any]:
    """The annotations of keys and values of what holds others: a list's keys are None, a scalar has neither."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (tuple, list):
        return None, get_args(annotation)[0]
    if get_origin(annotation) is dict:
        keys, values = get_args(annotation)
        return keys, values
    inner = (_elements(arg) for arg in get_args(annotation))
    return next((found for found in inner if found[1] is not None), (None, None))


def _at(data: object, path: Path, split: object = None) -> object:
    """The value at a path; `split` where it was a part of one text, so that the data as given has no such place."""
    for part in path:
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, Sequence) and not isinstance(data, str) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return split if isinstance(data, str) else None
    return data


def _is_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(_is_secret(arg) for arg in get_args(annotation))


def _problem(detail: ErrorDetails, place: _Place, found: str, value: object) -> Problem:
    path, expected = place.path, allowed(place.field or place.annotation)
    context = detail.get("ctx") or {}
    if detail["loc"][-1:] == ("[key]",):
        return Problem(path, f"the name itself is not allowed; expected {expected}")
    match detail["type"]:
        case "ooda_sentence":
            return Problem(path, detail["msg"])
        case "missing":
            about = f" ({place.field.description.rstrip('.')})" if place.field and place.field.description else ""
            return Problem(path, f"is missing; expected {expected}{about}")
        case "extra_forbidden":
            return Problem(path, _unknown(str(place.path[-1]), place.holder.model_fields if place.holder else ()))
        case "union_tag_not_found" | "union_tag_invalid":
            tag_field = str(place.field.discriminator) if place.field else ""
            words = _tags(place.annotation, tag_field)
            word = _at(value, (tag_field,))
            near = nearest(word, map(str, words)) if isinstance(word, str) else None
            return Problem((*path, tag_field), _choice(word, words, show(word) if near else ""))
        case "literal_error":
            return Problem(path, _choice(value, get_args(_literal(place.annotation)), found))
        case "value_error":
            return Problem(path, f"found {found}; expected {context.get('error')}")
        case "string_too_long" | "too_long":
            size = len(value) if isinstance(value, str | list | tuple | dict) else "too many"
            return Problem(path, f"holds {size} {'characters' if isinstance(value, str) else 'entries'}; "
                           f"at most {context.get('max_length')} are allowed")  # fmt: skip
    quotes = isinstance(value, bool | int | float) and detail["type"] == "string_type"
    hint = "; put it in quotes to make it text" if quotes else ""
    return Problem(path, f"found {found}; expected {expected}{hint}")


def _unknown(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    near = nearest(name, known)
    hint = f"; did you mean `{near}`?" if near else "."
    return f"unknown field{hint} Allowed here: {', '.join(f'`{word}`' for word in known) or 'nothing'}"


def _choice(word: object, words: Sequence[object], found: str = "") -> str:
    expected = "one of " + ", ".join(f"`{choice}`" for choice in words)
    if word is None:
        return f"is missing; expected {expected}"
    near = nearest(word, [str(choice) for choice in words]) if isinstance(word, str) else None
    return f"found {found or _kind(word)}; expected {expected}" + (f"; did you mean `{near}`?" if near else "")


def _literal(annotation: Any) -> Any:
    if get_origin(annotation) is Literal:
        return annotation
    return next((found for arg in get_args(annotation) if (found := _literal(arg)) is not None), None)


def _tags(annotation: Any, tag_field: str) -> tuple[object, ...]:
    """The literal values of `tag_field` over all models of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return get_args(annotation.model_fields[tag_field].annotation)
    return tuple(tag for arg in get_args(annotation) for tag in _tags(arg, tag_field))
