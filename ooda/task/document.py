"""A YAML or JSON document as plain values, with the line of every value and the mistakes no model can see.

The two readers beside this file (`yaml_text`, `json_text`) feed one builder, which is bounded in depth, in count
and in what aliases expand to, so that no document can exhaust the machine. No message here repeats a value of the
document, since it may be a secret; keys are repeated.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

import msgspec

from ooda.problems import Path, Problem

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_VALUES", "Document", "DocumentBuilder", "MalformedError", "Mark"]

MAX_BYTES = 1 << 20
"""Largest document, and the most that aliases may expand it to."""
MAX_DEPTH = 32
MAX_VALUES = 20_000
MAX_PROBLEMS = 50
"""After so many mistakes reading stops: the file is something else."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class Mark(msgspec.Struct, frozen=True):
    """A position in the text, both one-based."""

    line: int
    column: int


class MalformedError(ValueError):
    """The text is no document at all, or not one this room reads; `problems` says where and why."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class Document(msgspec.Struct, frozen=True):
    """Plain values, where each stands, and the mistakes seen while reading (duplicate keys, unusable characters)."""

    data: Any
    marks: dict[Path, Mark]
    problems: tuple[Problem, ...]

    def mark(self, path: Path) -> Mark | None:
        """Position of the value at `path`, or of the nearest value around it."""
        while path not in self.marks and path:
            path = path[:-1]
        return self.marks.get(path)


class _Frame:
    """A list or mapping being filled."""

    def __init__(self, value: list[Any] | dict[str, Any], path: Path, mark: Mark, anchor: str | None) -> None:
        self.value, self.path, self.mark, self.anchor = value, path, mark, anchor
        self.key: str | None = None
        self.key_marks: dict[str, Mark] = {}
        self.size = 1


class _Anchor(msgspec.Struct, frozen=True):
    value: Any
    size: int


class DocumentBuilder:
    """What both syntaxes feed: values in document order. Bounded in depth, in count and in what aliases expand to."""

    def __init__(self) -> None:
        self._frames: list[_Frame] = []
        self._anchors: dict[str, _Anchor] = {}
        self._open_anchors: set[str] = set()
        self._marks: dict[Path, Mark] = {}
        self._problems: list[Problem] = []
        self._root: list[Any] = []

    @property
    def wants_key(self) -> bool:
        return bool(self._frames) and isinstance(self._frames[-1].value, dict) and self._frames[-1].key is None

    def document(self) -> Document:
        if not self._root or self._root[0] is None:
            raise MalformedError(Problem((), "the document is empty; expected a mapping with `kind` and its fields"))
        return Document(self._root[0], self._marks, tuple(self._problems))

    def key(self, text: str, mark: Mark) -> None:
        frame = self._frames[-1]
        if _CONTROL.search(text) or len(text) > 200:
            self.fail(mark, "a key holds a control character or is longer than 200 characters")
        first = frame.key_marks.get(text)
        frame.key_marks[text] = mark
        frame.key = text
        if first:
            self._complain(mark, f"is given twice, first on line {first.line}; keep one of them")

    def open(self, value: list[Any] | dict[str, Any], mark: Mark, anchor: str | None = None) -> None:
        if self.wants_key:
            self.fail(mark, "a list or mapping stands where a key is expected; keys are plain text")
        if len(self._frames) >= MAX_DEPTH:
            self.fail(mark, f"values are nested more than {MAX_DEPTH} deep")
        if anchor:
            self._open_anchors.add(anchor)
        self._frames.append(_Frame(value, self._path(), mark, anchor))

    def close(self) -> None:
        frame = self._frames.pop()
        if frame.anchor:
            self._open_anchors.discard(frame.anchor)
            self._anchors[frame.anchor] = _Anchor(frame.value, frame.size)
        self._add(frame.value, frame.mark, frame.size)

    def scalar(self, value: object, mark: Mark, anchor: str | None = None) -> None:
        size = 1
        if isinstance(value, str):
            size += len(value)
            if found := _CONTROL.search(value):
                self._complain(mark, f"holds the character U+{ord(found[0]):04X}, which cannot be printed; remove it")
                value = _CONTROL.sub("", value)
        elif isinstance(value, float) and abs(value) == float("inf"):
            self._complain(mark, "is a number too large to hold; put it in quotes if it is text")
            value = 0
        elif isinstance(value, int) and abs(value) >= 1 << 63:
            self._complain(mark, "is a number of more than 64 bits; put it in quotes if it is text")
            value = 0
        if anchor:
            self._anchors[anchor] = _Anchor(value, size)
        self._add(value, mark, size)

    def alias(self, name: str, mark: Mark) -> None:
        if name in self._open_anchors:
            self.fail(mark, "an alias stands inside the value it repeats")
        if name not in self._anchors:
            self.fail(mark, "an alias (`*…`) names no anchor above it; put the text in quotes if it is no alias")
        if self.wants_key:
            self.fail(mark, "an alias stands where a key is expected; keys are plain text")
        anchor = self._anchors[name]
        self._add(anchor.value, mark, anchor.size)

    def fail(self, mark: Mark, message: str) -> NoReturn:
        raise MalformedError(*self._problems, Problem((), message, mark.line, mark.column))

    def _complain(self, mark: Mark, message: str) -> None:
        self._problems.append(Problem(self._path(), message, mark.line))
        if len(self._problems) >= MAX_PROBLEMS:
            raise MalformedError(*self._problems)

    def _path(self) -> Path:
        if not self._frames:
            return ()
        frame = self._frames[-1]
        return (*frame.path, frame.key if frame.key is not None else len(frame.value))

    def _add(self, value: object, mark: Mark, size: int) -> None:
        path = self._path()
        if len(self._marks) >= MAX_VALUES:
            self.fail(mark, f"the document holds more than {MAX_VALUES:,} values")
        if not self._frames:
            self._root.append(value)
        else:
            frame = self._frames[-1]
            frame.size += size
            if frame.size > MAX_BYTES:
                self.fail(mark, f"the aliases expand the document beyond {MAX_BYTES:,} characters")
            if isinstance(frame.value, list):
                frame.value.append(value)
            else:
                assert frame.key is not None
                mark = frame.key_marks[frame.key]
                frame.value.setdefault(frame.key, value)
                frame.key = None
        self._marks.setdefault(path, mark)
