"""What the command lines of all rooms share: a command, its output's form, settings for one command. argparse only."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["leaf", "with_output", "with_settings"]


def leaf(commands: Any, name: str, command: str, help: str, **options: Any) -> argparse.ArgumentParser:
    """Add one command.

    Args:
        commands: What `add_subparsers` gave.
        command: `module:function` below `ooda.cli`, imported when the command is run.
        help: Begins in lower case, without a full stop.
    """
    made: argparse.ArgumentParser = commands.add_parser(
        name, help=help, description=help[0].upper() + help[1:] + ".", **options
    )
    made.set_defaults(command=command)
    return made


def with_settings(leaf: argparse.ArgumentParser) -> None:
    """`--set NAME=VALUE`."""
    leaf.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="overrides", help="a setting, for this command"
    )


def with_output(leaf: argparse.ArgumentParser) -> None:
    """`--json`, `--jsonl`, `--quiet`, `--color`."""
    form = leaf.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_const", const="json", dest="form", help="the result as one JSON object")
    form.add_argument("--jsonl", action="store_const", const="jsonl", dest="form", help="events as JSON lines")
    leaf.add_argument("--quiet", "-q", action="store_true", help="no progress on stderr")
    leaf.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="colours (NO_COLOR is kept)")
    leaf.set_defaults(form="text")
