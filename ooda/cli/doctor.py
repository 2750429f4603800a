"""`ooda doctor`: what this machine has, what is missing, and the command that mends it."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from ooda.api.diagnose import diagnose
from ooda.cli.data import print_data
from ooda.cli.exits import EXIT
from ooda.cli.settings import overrides_of
from ooda.cli.style import style_for

__all__ = ["doctor"]


def doctor(args: argparse.Namespace) -> int:
    """One line a check; exit code 1 when something that every run needs is missing."""
    probes = asyncio.run(diagnose(environ=os.environ, cwd=Path.cwd(), overrides=overrides_of(args)))
    if args.form != "text":
        print_data(probes, args.form)
    else:
        style = style_for(sys.stdout, args.color)
        width = max(len(probe.name) for probe in probes)
        for probe in probes:
            mark = style("ok ", "green") if probe.ok else style("no ", "red" if probe.is_needed else "yellow")
            print(f"{mark} {probe.name:<{width}}  {probe.detail}")
            if not probe.ok and probe.fix:
                print(f"    {'':<{width}}  → {probe.fix}")
    return EXIT["failed"] if any(probe.is_needed and not probe.ok for probe in probes) else EXIT["success"]
