"""`ooda demo`: the coding agent mends a bundled project. Only the model's replies are recorded; all else is real."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from ooda.api.cassette import load_cassette
from ooda.api.demo import DEMO, MENDING, prepare, pushed
from ooda.cli.exits import EXIT
from ooda.cli.run import carry
from ooda.cli.settings import session_for
from ooda.cli.style import style_for
from ooda.task import load_task

__all__ = ["demo"]


def demo(args: argparse.Namespace) -> int:
    """Make a repository of the example, and run its task on it with the bundled cassette."""
    args.yes_unattended = True
    if args.folder:
        return _play(args, Path(args.folder))
    folder = Path(tempfile.mkdtemp(prefix="ooda-demo-"))
    is_kept = False
    try:
        code = _play(args, folder)
        is_kept = code != EXIT["success"]  # it can be resumed, and then its remote is still needed
        return code
    finally:
        if not is_kept:
            shutil.rmtree(folder)


def _play(args: argparse.Namespace, folder: Path) -> int:
    recording = MENDING if args.mend else DEMO
    task = prepare(folder)
    if not args.quiet:
        print(f"The example is a repository in {folder}; its remote is {folder / 'remote.git'}.", file=sys.stderr)
    with session_for(args) as session:
        code = carry(session, args, load_task(task), load_cassette(recording))
    if not args.quiet and args.form == "text":
        style = style_for(sys.stderr, args.color)
        print("\n" + "\n".join(style(line, *_look(line)) for line in pushed(folder).splitlines()), file=sys.stderr)
    return code


def _look(line: str) -> tuple[str, ...]:
    """How a line of a diff is painted."""
    if line.startswith(("+++", "---", "diff ", "index ")):
        return ("bold",)
    return {"+": ("green",), "-": ("red",), "@": ("cyan",)}.get(line[:1], ())
