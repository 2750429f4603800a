"""JSON text into a document.

RFC 8259 by hand for what the standard parser does not tell: where each value stands and which keys are given twice.
Texts, numbers and words are left to the standard parser.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from json import JSONDecoder
from typing import Any, NoReturn

from ooda.task.document import Document, DocumentBuilder, Mark

__all__ = ["read_json"]


def read_json(text: str) -> Document:
    """Parse one JSON document.

    Raises:
        MalformedError: not JSON, too deep, too large, or empty.
    """
    builder = DocumentBuilder()
    _Reader(text, builder).read()
    return builder.document()


class _Reader:
    """One pass over the text."""

    _SPACE = re.compile(r"[ \t\n\r]*")

    def __init__(self, text: str, builder: DocumentBuilder) -> None:
        self._text, self._builder = text, builder
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._decoder = JSONDecoder(parse_constant=self._no_constant)

    def read(self) -> None:
        at = self._space(0)
        if at == len(self._text):
            return
        at = self._space(self._value(at))
        if at < len(self._text):
            self._fail(at, "more text follows the end of the document")

    def _value(self, at: int) -> int:
        """Read one value; gives the position after it. Recursion is bounded by the builder's depth."""
        match self._text[at : at + 1]:
            case "{":
                return self._container(at, {}, "}")
            case "[":
                return self._container(at, [], "]")
            case _:
                value, end = self._scalar(at)
                self._builder.scalar(value, self._mark(at))
                return end

    def _container(self, at: int, value: list[Any] | dict[str, Any], end: str) -> int:
        self._builder.open(value, self._mark(at))
        at = self._space(at + 1)
        first = True
        while self._text[at : at + 1] != end or not first:
            if self._builder.wants_key:
                at = self._key(at)
            at = self._space(self._value(at))
            match self._text[at : at + 1]:
                case ",":
                    at, first = self._space(at + 1), False
                case found if found == end:
                    break
                case _:
                    self._fail(at, f"expected `,` or `{end}`")
        self._builder.close()
        return at + 1

    def _key(self, at: int) -> int:
        if self._text[at : at + 1] != '"':
            self._fail(at, "expected a key in double quotes (no comma before `}`, no comments)")
        text, end = self._scalar(at)
        self._builder.key(str(text), self._mark(at))
        at = self._space(end)
        if self._text[at : at + 1] != ":":
            self._fail(at, "expected `:` after the key")
        return self._space(at + 1)

    def _scalar(self, at: int) -> tuple[object, int]:
        if self._text[at : at + 1] not in set('"-0123456789tfn'):
            self._fail(at, "expected a value: text in double quotes, a number, `true`, `false`, `null`, `[` or `{`")
        try:
            value, end = self._decoder.raw_decode(self._text, at)
        except ValueError as error:  # JSONDecodeError, or a number of thousands of digits
            position = getattr(error, "pos", at)
            is_text = self._text[at] == '"'
            self._fail(position, "this text has no end, or holds a raw line break or an unknown `\\` escape"
                       if is_text else "expected a number, `true`, `false` or `null`")  # fmt: skip
        return value, end

    def _no_constant(self, name: str) -> NoReturn:
        raise ValueError(name)

    def _space(self, at: int) -> int:
        found = self._SPACE.match(self._text, at)
        return found.end() if found else at

    def _mark(self, at: int) -> Mark:
        line = bisect_right(self._starts, at)
        return Mark(line, at - self._starts[line - 1] + 1)

    def _fail(self, at: int, message: str) -> NoReturn:
        mark = self._mark(min(at, len(self._text)))
        self._builder.fail(mark, f"this is not JSON: {message}")
