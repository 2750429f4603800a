"""YAML text into a document, as the 1.2 core schema reads it.

`yes`, `on`, `NO` and dates are text; only `true` and `false` are booleans, so that nobody's country becomes `false`.
Tags are refused, never carried out; merge keys and second documents are refused with a sentence. Works on the
parser's events, so nothing recurses on the depth of the input.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from ooda.problems import Problem
from ooda.task.document import MAX_DEPTH, Document, DocumentBuilder, MalformedError, Mark

__all__ = ["read_yaml"]

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def read_yaml(text: str) -> Document:
    """Parse one YAML document.

    Raises:
        MalformedError: not YAML, more than this room reads, too deep, too large when expanded, or empty.
    """
    builder = DocumentBuilder()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    documents = 0
    try:
        for event in yaml.parse(text, Loader=loader):
            at = event.start_mark
            mark = Mark(at.line + 1, at.column + 1) if at else Mark(1, 1)
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    builder.fail(mark, "a second document begins (`---`); one task per file")
                continue
            _feed(event, mark, builder)
    except yaml.YAMLError as error:
        raise MalformedError(_yaml_problem(error, text)) from None
    return builder.document()


def _feed(event: Any, mark: Mark, builder: DocumentBuilder) -> None:
    if getattr(event, "tag", None) is not None:
        builder.fail(mark, "a tag (`!…`) is not read; remove it, or put the text in quotes")
    match event:
        case yaml.MappingStartEvent():
            builder.open({}, mark, event.anchor)
        case yaml.SequenceStartEvent():
            builder.open([], mark, event.anchor)
        case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
            builder.close()
        case yaml.AliasEvent():
            builder.alias(event.anchor or "", mark)
        case yaml.ScalarEvent():
            value = _resolve(event.value) if event.implicit[0] else event.value
            if not builder.wants_key:
                builder.scalar(value, mark, event.anchor)
            elif event.value == "<<" and event.implicit[0]:
                builder.fail(mark, "merge keys (`<<`) are not read; write the fields out")
            elif not isinstance(value, str):
                builder.fail(mark, "a key is a number, boolean or empty; keys are text (put it in quotes)")
            else:
                builder.key(value, mark)


def _resolve(text: str) -> object:
    """A plain scalar by the core schema of YAML 1.2. Numbers with leading zeros stay text: they are identifiers."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if len(text) <= 400 and _INT.fullmatch(text):
        return int(text, 0)
    if len(text) <= 400 and _FLOAT.fullmatch(text):
        return float(text)
    return text


_QUOTED = re.compile(r"""\s*(['"`]).{4,}""", re.DOTALL)


_ADVICE = (
    ("mapping values are not allowed", "a second `:` on one line; put the value in quotes"),
    ("could not find expected ':'", "a `:` or the right indentation is missing here or on the line above"),
    ("did not find expected key", "a `:` or the right indentation is missing here or on the line above"),
    ("unexpected end of stream", "a quote or bracket opened here or above is never closed"),
    ("expected ',' or '", "a `,` or the closing bracket is missing"),
    # Newer parsers look ahead and stop at a depth of their own before the builder sees the first value.
    ("exceeded maximum nesting depth", f"values are nested more than {MAX_DEPTH} deep"),
)


def _yaml_problem(error: yaml.YAMLError, text: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read")
    # The parser's own sentence, without the piece of the document some of them quote.
    what = next((advice for words, advice in _ADVICE if words in said), _QUOTED.sub("", said))
    if mark is None:
        return Problem((), f"this is not YAML: {what}")
    lines = text.splitlines()
    if mark.line < len(lines) and "\t" in lines[mark.line][: mark.column + 1]:
        what = "a tab stands where YAML wants spaces"
    return Problem((), f"this is not YAML: {what}", mark.line + 1, mark.column + 1)
