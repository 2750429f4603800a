"""Information-flow labels: who could have written a text, and who may read it.

Two small lattices. Integrity falls and confidentiality rises when texts are joined, so the label of a
context is the join of everything it has seen, through compaction and sub-agents.
Source: the Rule of Two (Meta, 2025-10-31); docs/explanation/governance.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

import msgspec

__all__ = ["TOOL", "TRUSTED", "UNTRUSTED", "Confidentiality", "Integrity", "Label", "join"]


class Integrity(IntEnum):
    """Who could have written it. Lower is worse."""

    UNTRUSTED = 0
    """Anything a third party can write: file content, logs, web pages, command output."""
    TOOL = 1
    """Our own structured numbers and enumerations."""
    TRUSTED = 2
    """The operator, the task form, project policy."""


class Confidentiality(IntEnum):
    """Who may read it. Higher is narrower."""

    PUBLIC = 0
    INTERNAL = 1
    SECRET = 2


class Label(msgspec.Struct, frozen=True, order=False):
    """Integrity and confidentiality of one piece of data."""

    integrity: Integrity = Integrity.UNTRUSTED
    confidentiality: Confidentiality = Confidentiality.INTERNAL

    def join(self, other: Label) -> Label:
        """The label of data made from both: the lower integrity, the higher confidentiality."""
        if other.integrity >= self.integrity and other.confidentiality <= self.confidentiality:
            return self
        return Label(min(self.integrity, other.integrity), max(self.confidentiality, other.confidentiality))

    def __str__(self) -> str:
        return _WORDS[self.integrity][self.confidentiality]

    @classmethod
    def parse(cls, text: str) -> Label:
        """The inverse of `str()`; raises KeyError on an unknown word."""
        integrity, _, confidentiality = text.partition("/")
        return cls(Integrity[integrity.upper()], Confidentiality[confidentiality.upper()])


_WORDS = tuple(tuple(f"{i.name.lower()}/{c.name.lower()}" for c in Confidentiality) for i in Integrity)

TRUSTED = Label(Integrity.TRUSTED, Confidentiality.INTERNAL)
TOOL = Label(Integrity.TOOL, Confidentiality.INTERNAL)
UNTRUSTED = Label(Integrity.UNTRUSTED, Confidentiality.INTERNAL)


def join(labels: Iterable[Label]) -> Label:
    """The join of all labels; of none, fully trusted and public."""
    result = Label(Integrity.TRUSTED, Confidentiality.PUBLIC)
    for label in labels:
        result = result.join(label)
    return result
