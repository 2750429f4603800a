"""Results as data: `--json` is one indented document, `--jsonl` one object a line."""

from __future__ import annotations

import sys

import msgspec

__all__ = ["print_data"]


def print_data(value: object, form: str) -> None:
    """Print a result, or each item of a list of results where lines are asked for."""
    if form == "jsonl":
        for item in value if isinstance(value, list | tuple) else (value,):
            sys.stdout.write(msgspec.json.encode(item).decode() + "\n")
    else:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
    sys.stdout.flush()
