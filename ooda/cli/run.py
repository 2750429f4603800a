"""`ooda run` and `ooda runs resume`: carry a run in this process, show it, print its result."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from ooda.api.cassette import Cassette, load_cassette
from ooda.api.launch import Live, opened, reloaded
from ooda.api.request import Launch, Watch
from ooda.api.result import result_of
from ooda.api.runs import known_run, started_of
from ooda.api.session import Session
from ooda.cli.exits import EXIT
from ooda.cli.progress import Progress
from ooda.cli.settings import session_for
from ooda.cli.style import amount, is_terminal, style_for
from ooda.cli.terminal import TerminalPerson
from ooda.engines.local import Ending
from ooda.errors import ConfigError
from ooda.events import Entry, RunStarted, encode
from ooda.task import LoadedTask, load_task

__all__ = ["carry", "resume", "run"]


def run(args: argparse.Namespace) -> int:
    """Start a run of a task file."""
    loaded = load_task(args.task)
    for warning in loaded.warnings:
        print(f"note: {warning}", file=sys.stderr)
    cassette = load_cassette(Path(args.replay)) if args.replay else None
    with session_for(args) as session:
        return carry(session, args, loaded, cassette)


def resume(args: argparse.Namespace) -> int:
    """Go on with an earlier run."""
    cassette = load_cassette(Path(args.replay)) if args.replay else None
    with session_for(args) as session:
        known_run(session, args.run)
        started = started_of(session, args.run)
        body = started.task
        text = session.store.blobs.get(body.ref.digest) if body.ref else body.text
        loaded = _task_of(args, started, reloaded(session, args.run, text))
        return carry(session, args, loaded, cassette, run=args.run)


def _task_of(args: argparse.Namespace, started: RunStarted, recorded: LoadedTask) -> LoadedTask:
    """The recorded task, or the same task from its file when that is given for its secrets."""
    if not args.task:
        return recorded
    given = load_task(args.task)
    if given.digest != started.task_digest:
        raise ConfigError(
            f"`{args.task}` is another task than {args.run} was started with; "
            "resume without `--task`, or start a new run"
        )
    return given


def carry(
    session: Session,
    args: argparse.Namespace,
    loaded: LoadedTask,
    cassette: Cassette | None,
    *,
    run: str = "",
) -> int:
    """Carry a run in this process to its end and print its result; gives the exit code."""
    style = style_for(sys.stderr, args.color)
    progress = None if args.quiet else Progress(sys.stderr, style)
    lines = _Lines() if args.form == "jsonl" else None

    def heard(seq: int, entry: Entry) -> None:
        if progress is not None:
            progress.heard(seq, entry)
        if lines is not None:
            lines.heard(seq, entry)

    attended = is_terminal() and not args.yes_unattended
    launch = Launch(
        loaded=loaded,
        run=run,
        model=getattr(args, "model", None) or "",
        base_url=getattr(args, "base_url", None) or "",
        cassette=cassette,
        person=TerminalPerson(session.user, style) if attended else None,
        watch=Watch(heard=heard, on_attempt=progress.attempted if progress else None),
    )
    if cassette is not None and not args.quiet:
        print("The model's replies come from a cassette; everything else is real.", file=sys.stderr)
    live, ending = asyncio.run(_carry(session, launch, args.quiet))
    _finish(session, args, live, ending)
    return EXIT[ending.status]


async def _carry(session: Session, launch: Launch, quiet: bool) -> tuple[Live, Ending]:
    async with opened(session, launch) as live:
        if not quiet:
            report = live.sandbox.report
            missing = f", without {', '.join(report.missing)}" if report.missing else ""
            print(f"{live.run} · sandbox {report.backend}{missing} · {live.kind.workspace}", file=sys.stderr)
        with _interruptible(live, quiet):
            return live, await live.go()


class _interruptible:
    """The first SIGINT or SIGTERM ends the run cleanly; the second one ends the process at once."""

    def __init__(self, live: Live, quiet: bool) -> None:
        self._live = live
        self._quiet = quiet
        self._seen = False

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled, number)

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    def _signalled(self, number: int) -> None:
        if self._seen:
            os._exit(128 + number)
        self._seen = True
        if not self._quiet:
            print("\nStopping: finishing the journal. Again to end at once.", file=sys.stderr, flush=True)
        self._live.engine.interrupt(f"interrupted by {signal.Signals(number).name}")


class _Lines:
    """Events as JSON lines on stdout."""

    def heard(self, seq: int, entry: Entry) -> None:
        line: dict[str, Any] = {"seq": seq, "at_ns": entry.at_ns, "event": msgspec.Raw(encode(entry.event))}
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()


def _finish(session: Session, args: argparse.Namespace, live: Live, ending: Ending) -> None:
    result = result_of(session, live.kind, ending.state)
    if args.form in ("json", "jsonl"):
        encoded = msgspec.json.encode({"result": result} if args.form == "jsonl" else result)
        print(encoded.decode() if args.form == "jsonl" else msgspec.json.format(encoded, indent=2).decode())
    else:
        state = ending.state
        print(f"{ending.status}: {ending.reason}")
        for name, value in (
            ("run", live.run),
            ("branch", state.facts.get("branch")),
            ("commit", state.facts.get("commit")),
            ("steps", state.spent.steps),
            ("model calls", state.spent.model_calls),
            ("tokens", f"{state.spent.tokens:,}"),
            ("cost", amount(state.spent.cost_nano)),
        ):
            if value not in (None, ""):
                print(f"  {name:<12} {value}")
    if ending.status not in ("success", "unverified") and not args.quiet:
        print(f"To go on: ooda runs resume {live.run}", file=sys.stderr)
