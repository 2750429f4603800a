"""`ooda runs gc`: remove old runs and what nobody names any more."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ooda.amounts import parse_bytes, parse_duration
from ooda.api.retention import Collected, Keep, collect
from ooda.cli.data import print_data
from ooda.cli.exits import EXIT
from ooda.cli.settings import session_for
from ooda.errors import ConfigError

__all__ = ["gc"]


def gc(args: argparse.Namespace) -> int:
    """Remove what is not kept."""
    if args.max_runs is not None and args.max_runs < 0:
        raise ConfigError(f"`--max-runs {args.max_runs}`: a number of runs to keep, 0 or more")
    keep = Keep(
        age_s=_age(args.keep, "--keep"),
        failure_age_s=_age(args.keep_failures, "--keep-failures"),
        count=args.max_runs,
        total_bytes=_bytes(args.max_size) if args.max_size else None,
    )
    with session_for(args) as session:
        done = collect(
            session, keep, is_dry=args.dry_run, export_to=Path(args.export).absolute() if args.export else None
        )
    if args.form != "text":
        print_data(done, args.form)
    else:
        print(_told(done, is_dry=args.dry_run))
    if done.note and not args.quiet:
        print(f"note: {done.note}", file=sys.stderr)
    return EXIT["success"]


def _told(done: Collected, *, is_dry: bool) -> str:
    verb = "would be removed" if is_dry else "removed"
    lines = [f"  {run}" for run in done.runs]
    lines += [f"  {run} stays: {why}" for run, why in done.kept.items()]
    lines += [f"  exported {path}" for path in done.exported]
    lines.append(
        f"{len(done.runs)} runs, {done.folders} folders of runs that never began and {done.blobs} blobs {verb}: "
        f"{done.freed_bytes / 1e6:,.1f} MB"
    )
    return "\n".join(lines)


def _age(given: str, option: str) -> int | None:
    """Seconds; None for `ever`."""
    if given == "ever":
        return None
    try:
        return parse_duration(given)
    except ValueError as error:
        raise ConfigError(f"`{option} {given}`: {error}; write it as 30d or 12h, or `ever`") from error


def _bytes(given: str) -> int:
    try:
        return parse_bytes(given)
    except ValueError as error:
        raise ConfigError(f"`--max-size {given}`: {error}; write it as 5GB or 512MiB") from error
