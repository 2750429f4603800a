"""`ooda run` and `ooda runs resume`: carry a run in this process, show it, print its result."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec

from ooda.api.cassette import Cassette, load_cassette
from ooda.api.demo import bundled
from ooda.api.launch import Live, opened, reloaded
from ooda.api.request import Launch, Watch
from ooda.api.result import Makings, recorded_makings, result_of
from ooda.api.runs import known_run, remove_leavings, started_of, text_of
from ooda.api.session import Session
from ooda.cli.exits import EXIT, NEXT
from ooda.cli.interrupts import Interruptible
from ooda.cli.progress import Progress
from ooda.cli.settings import limits_of, session_for
from ooda.cli.style import amount, is_terminal, style_for
from ooda.cli.terminal import TerminalPerson
from ooda.engines.local import Ending
from ooda.errors import ConfigError, RunCancelledError
from ooda.events import Entry, RunStarted, encode
from ooda.sandbox import end_own_enclosures
from ooda.task import LimitsSpec, LoadedTask, load_task

__all__ = ["carry", "resume", "run"]


def run(args: argparse.Namespace) -> int:
    """Start a run of a task file."""
    loaded = load_task(args.task)
    if not args.quiet:
        for warning in loaded.warnings:
            print(f"note: {warning}", file=sys.stderr)
    if loaded.task.kind == "steward":
        return _steward(args, loaded)
    cassette = load_cassette(Path(args.replay)) if args.replay else None
    with session_for(args) as session:
        return carry(session, args, loaded, cassette)


def _steward(args: argparse.Namespace, loaded: LoadedTask, run: str = "") -> int:
    """A pass of the steward: its policies need neither a model nor a sandbox, so its own command carries it."""
    from ooda.cli.steward import carry_task

    if args.model or args.base_url or args.replay:
        raise ConfigError("the steward decides by policy; leave `--model`, `--base-url` and `--replay` out")
    return carry_task(args, loaded, run)


def resume(args: argparse.Namespace) -> int:
    """Go on with an earlier run."""
    cassette = load_cassette(Path(args.replay)) if args.replay else None
    limits = limits_of(args)
    with session_for(args) as session:
        summary = known_run(session, args.run)
        if summary.agent == "steward":
            if summary.status == "success":
                from ooda.cli.steward import carried_before

                return carried_before(session, args)
            return _steward(
                args, reloaded(session, args.run, text_of(session)(started_of(session, args.run).task)), args.run
            )
        if summary.status == "success":  # killed after its end, perhaps: whoever resumes until it is done is done
            if not args.quiet:
                print(f"{args.run} succeeded before, there is nothing to resume. Its result:", file=sys.stderr)
            remove_leavings(session)
            makings, state = recorded_makings(session, args.run)
            _finish(session, args, makings, Ending(state, state.status, state.reason))
            return EXIT["success"]
        started = started_of(session, args.run)
        if cassette is None and started.cassette and not args.model and (recording := bundled(started.cassette)):
            cassette = load_cassette(recording)  # a demo that was cut off
        _same_cassette(args, started, cassette)
        args.model = args.model or started.model
        loaded = _task_of(args, started, reloaded(session, args.run, text_of(session)(started.task)))
        return carry(session, args, loaded, cassette, run=args.run, limits=limits)


def _same_cassette(args: argparse.Namespace, started: RunStarted, cassette: Cassette | None) -> None:
    """A run that takes its replies from a cassette goes on with that one, or live when it is told with which model."""
    if cassette is not None and cassette.digest != started.cassette:
        held = f"cassette {started.cassette[:12]}" if started.cassette else "a live model"
        raise ConfigError(
            f"run {args.run} takes its replies from {held}, and `{args.replay}` is cassette {cassette.digest[:12]}; "
            + ("name the other one" if started.cassette else "leave `--replay` out")
        )
    if cassette is None and started.cassette and not args.model:
        raise ConfigError(
            f"run {args.run} takes its replies from cassette {started.cassette[:12]}; give it again with "
            "`--replay FILE`, or go on with a live model: `--model NAME`"
        )


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
    limits: LimitsSpec | None = None,
) -> int:
    """Carry a run in this process to its end and print its result; gives the exit code."""
    style = style_for(sys.stderr, args.color)
    # On one terminal the result says status and reason once more.
    shows_end = args.form != "text" or not sys.stdout.isatty()
    attended = is_terminal() and not args.yes_unattended
    progress = None
    if not args.quiet:
        progress = Progress(sys.stderr, style, shows_end=shows_end, shows_questions=not attended)
    lines = _Lines() if args.form == "jsonl" else None

    def heard(seq: int, entry: Entry) -> None:
        if progress is not None:
            progress.heard(seq, entry)
        if lines is not None:
            lines.heard(seq, entry)

    launch = Launch(
        loaded=loaded,
        run=run,
        model=getattr(args, "model", None) or "",
        base_url=getattr(args, "base_url", None) or "",
        limits=limits,
        cassette=cassette,
        person=TerminalPerson(session.user, style) if attended else None,
        watch=Watch(heard=heard, on_attempt=progress.attempted if progress else None, on_governance=_warn),
    )
    if cassette is not None and not args.quiet:
        print("The model's replies come from a cassette; everything else is real.", file=sys.stderr)
    live, ending = asyncio.run(_carry(session, launch, progress))
    from ooda.cli.notices import deliver_at_end  # mail and TLS, wanted only now

    deliver_at_end(session, live.run, quiet=args.quiet)
    _finish(session, args, live.kind, ending)
    return EXIT[ending.status]


def _warn(text: str) -> None:
    """What people must see even where nothing else is shown."""
    print(text, file=sys.stderr, flush=True)


async def _carry(session: Session, launch: Launch, progress: Progress | None) -> tuple[Live, Ending]:
    cache = session.places.cache
    with Interruptible(quiet=progress is None, at_once=lambda: end_own_enclosures(cache)) as interruptible:
        try:
            async with opened(session, launch) as live:
                interruptible.interrupt = live.engine.interrupt
                if progress is not None:
                    progress.take_up(live.kind.limits, live.state.spent)
                    report = live.sandbox.report
                    missing = f", without {', '.join(report.missing)}" if report.missing else ""
                    print(f"{live.run} · sandbox {report.backend}{missing} · {live.kind.workspace}", file=sys.stderr)
                return live, await live.go()
        except asyncio.CancelledError:
            if not interruptible.reason:
                raise
            raise RunCancelledError(
                f"{interruptible.reason} before the run was taken up; nothing was recorded"
            ) from None


class _Lines:
    """Events as JSON lines on stdout."""

    def heard(self, seq: int, entry: Entry) -> None:
        line: dict[str, Any] = {"seq": seq, "at_ns": entry.at_ns, "event": msgspec.Raw(encode(entry.event))}
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()


def _finish(session: Session, args: argparse.Namespace, makings: Makings, ending: Ending) -> None:
    result = result_of(session, makings, ending.state)
    if args.form in ("json", "jsonl"):
        encoded = msgspec.json.encode({"result": result} if args.form == "jsonl" else result)
        print(encoded.decode() if args.form == "jsonl" else msgspec.json.format(encoded, indent=2).decode())
    else:
        state = ending.state
        print(f"{ending.status}: {ending.reason}")
        for name, value in (
            ("run", state.run),
            ("branch", state.facts.get("branch")),
            ("commit", state.facts.get("commit")),
            ("steps", state.spent.steps),
            ("model calls", state.spent.model_calls),
            ("tokens", f"{state.spent.tokens:,}"),
            ("cost", amount(state.spent.cost_nano)),
        ):
            if value not in (None, ""):
                print(f"  {name:<12} {value}")
    if (following := NEXT[ending.status]) and not args.quiet:
        print(following.format(run=ending.state.run), file=sys.stderr)
