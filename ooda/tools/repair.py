"""Tool arguments as models send them: the text made into one JSON object where there is only one way to read it.

Pure. Repairs wrapping and punctuation (a code fence, an object encoded twice, trailing commas, raw line breaks in
a string), never content: cut-off JSON, two different values for one key and numbers that are none are refused.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ooda.errors import ToolArgumentsError

__all__ = ["MAX_BYTES", "Object", "parse_object"]

MAX_BYTES = 8 << 20
"""Longest argument text read: one file at its limit of 5 MiB, escaped."""

_FENCE = re.compile(r"\A\s*```[a-zA-Z0-9]*[ \t]*\n(.*?)\n?```\s*\Z", re.DOTALL)
_STRING_OR_COMMA = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=\s*[}\]])', re.DOTALL)

Object = dict[str, Any]


def parse_object(text: str) -> tuple[Object, bool]:
    """The JSON object in `text`, and whether it took a repair to read it. An empty text is the empty object.

    Raises:
        ToolArgumentsError: `text` is not one JSON object, even after every unambiguous repair.
    """
    if len(text) > MAX_BYTES:
        raise ToolArgumentsError(
            f"the arguments are {len(text)} characters long; at most {MAX_BYTES} are read. Send less at once"
        )
    try:
        value, repaired = _load(text)
    except RecursionError as error:
        raise ToolArgumentsError("the arguments are nested too deeply to be read; send a flat object") from error
    if not isinstance(value, dict):
        raise ToolArgumentsError(f"the arguments are a JSON {_kind(value)} ({_cut(text)}); a JSON object is expected")
    return value, repaired


def _load(text: str) -> tuple[Any, bool]:
    if not text.strip() or text.strip() == "null":
        return {}, bool(text.strip())
    try:
        value = _strict(text)
        repaired = False
    except ValueError as error:
        value = _mended(text, error)
        repaired = True
    if isinstance(value, str) and (inner := value.strip()).startswith(("{", "`")):
        return _load(inner)[0], True
    return value, repaired


def _mended(text: str, error: ValueError) -> Any:
    fenced = _FENCE.match(text)
    body = fenced.group(1) if fenced else text
    body = _STRING_OR_COMMA.sub(lambda found: "" if found.group() == "," else found.group(), body)
    try:
        return _strict(body, strict=False)
    except ValueError:
        raise ToolArgumentsError(
            f"the arguments are not valid JSON ({error}); given was {_cut(text)}. Send one complete JSON object"
        ) from error


def _strict(text: str, *, strict: bool = True) -> Any:
    """Raises ValueError, also for what Python would read although JSON does not know it."""
    return (_STRICT if strict else _WITH_LINE_BREAKS).decode(text)


def _unique(pairs: list[tuple[str, Any]]) -> Object:
    found: Object = {}
    for key, value in pairs:
        if key in found and found[key] != value:
            raise ValueError(f"the key `{key}` stands there twice with different values")
        found[key] = value
    return found


def _no_constant(word: str) -> Any:
    raise ValueError(f"`{word}` is no JSON number")


# Made once: `json.loads` with a hook builds a decoder and its scanner anew for every text.
_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
_WITH_LINE_BREAKS = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, strict=False)


def _kind(value: object) -> str:
    names = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


def _cut(text: str, limit: int = 120) -> str:
    return repr(text if len(text) <= limit else text[:limit] + "…")
