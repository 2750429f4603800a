"""`ooda steward decide`: decision records on standard input, decisions on standard output. Reads no clock."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import BinaryIO

from ooda.agents.steward.lines import decide_lines
from ooda.cli.exits import EXIT, USAGE
from ooda.errors import ConfigError

__all__ = ["decide", "lines_of"]


def decide(args: argparse.Namespace) -> int:
    """Answer every record with its decision; what is no record, with an error that names the field."""
    if args.file == "-":
        return _answer(sys.stdin.buffer, is_strict=args.strict)
    try:
        with open(args.file, "rb") as file:
            return _answer(file, is_strict=args.strict)
    except OSError as error:
        raise ConfigError(f"{args.file!r} cannot be read: {error.strerror}") from error


def _answer(stream: BinaryIO, *, is_strict: bool) -> int:
    has_error = False
    for answer in decide_lines(lines_of(stream)):
        has_error = has_error or '"error":' in answer
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()
    return USAGE if is_strict and has_error else EXIT["success"]


def lines_of(stream: BinaryIO) -> Iterator[str]:
    """Lines of any bytes: those that are no UTF-8 are answered as such, and stop nothing."""
    for line in stream:
        yield line.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
