"""`ooda steward quiet-hours --demo`: a made-up fleet and evening; with `--execute` all of it, and its rollback."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from ooda.api.steward.passes import PassResult
from ooda.api.steward.tasks import Check
from ooda.cli.data import print_data
from ooda.cli.exits import EXIT
from ooda.cli.settings import overrides_of
from ooda.testing.evening import evening

__all__ = ["demo"]

_STORY: tuple[tuple[int, int, Check, str], ...] = (
    (17, 45, "quiet_hours", "Quiet hours begin at 18:00 UTC, and stop what is idle an hour later"),
    (18, 35, "quiet_hours", "Half an hour before a stop its owner is told"),
    (19, 5, "quiet_hours", "The grace is over; what was used lately, and who is on call, is left alone"),
    (19, 20, "rollback", "And if that was a mistake: what the last pass stopped is started again"),
    (19, 30, "quiet_hours", "Whoever starts a workspace at night has an hour of grace from then on"),
)


def demo(args: argparse.Namespace) -> int:
    """Show what one pass would do, or play the evening."""
    with tempfile.TemporaryDirectory(prefix="ooda-steward-demo-") as folder:
        return asyncio.run(_play(args, Path(folder)))


async def _play(args: argparse.Namespace, folder: Path) -> int:
    from ooda.cli.steward import shown

    write = (lambda line: None) if args.quiet or args.form == "jsonl" else _to_stderr
    async with evening(folder, overrides_of(args), write) as played:
        if not args.execute:
            played.at(19, 5)
            played.say("A made-up fleet on Friday at 19:05 UTC; `--demo --execute` plays the whole evening")
            result = await played.carry("quiet_hours", execute=False, timezone=args.timezone)
            _print(args, result, shown(result))
            return EXIT[result.status]
        results = []
        for hour, minute, check, said in _STORY:
            played.at(hour, minute)
            played.say(said)
            zone = args.timezone if check == "quiet_hours" else None
            results.append(await played.carry(check, execute=True, timezone=zone))
        if args.form != "text":
            print_data([result.plain() for result in results], args.form)
        else:
            print("\n".join(f"{result.check:<11} {result.status}: {result.reason}" for result in results))
        return max(EXIT[result.status] for result in results)


def _print(args: argparse.Namespace, result: PassResult, text: str) -> None:
    if args.form != "text":
        print_data(result.plain(), args.form)
    else:
        sys.stdout.write(text)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
