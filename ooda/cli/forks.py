"""`ooda runs fork`, `rewind` and `diff`: other ways on from a step, going back, and what they came to."""

from __future__ import annotations

import argparse
import asyncio

from ooda.api.fork import fork_run
from ooda.cli.data import print_data
from ooda.cli.settings import session_for

__all__ = ["fork"]


def fork(args: argparse.Namespace) -> int:
    """Begin a new run with what another did up to a step."""
    with session_for(args) as session:
        made = asyncio.run(fork_run(session, args.run, args.at))
    if args.form != "text":
        print_data(made, args.form)
        return 0
    print(f"{made.run}: {made.events} events of {made.source}, up to step {made.step}")
    print(f"  workspace    {made.workspace}")
    if made.branch:
        print(f"  branch       {made.branch}")
    print(f"Go on with: ooda runs resume {made.run}")
    return 0
