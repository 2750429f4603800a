"""`ooda steward …`, the commands that make a pass: quiet hours, time to live, autostop, stop, rollback and the like.

Log lines go to stderr as they happen, the result to stdout. Nothing is decided here.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from ooda.agents.steward.autostop_schedule import autostop_text, schedule
from ooda.agents.steward.document import Document, as_json, html_page, markdown
from ooda.agents.steward.instants import minute_of
from ooda.agents.steward.reports import autostop_document, plan_document, plan_text, ttl_document
from ooda.agents.steward.ttl import ttl_text
from ooda.amounts import parse_duration
from ooda.api.session import Session
from ooda.api.steward.configured import steward_session
from ooda.api.steward.filters import WorkspaceFilter, picked
from ooda.api.steward.logs import logging_to
from ooda.api.steward.looks import look_at, ttl_history
from ooda.api.steward.open import PassOptions, opened_pass
from ooda.api.steward.passes import PassResult, carry_pass, recorded_pass, unfinished
from ooda.api.steward.tasks import Check, steward_task
from ooda.cli.data import print_data
from ooda.cli.exits import EXIT, NEXT
from ooda.cli.interrupts import Interruptible
from ooda.cli.settings import overrides_of
from ooda.cli.style import is_terminal, style_for, table
from ooda.cli.terminal import TerminalPerson
from ooda.errors import ConfigError, RunCancelledError, UserError
from ooda.task import LoadedTask, StewardTask

__all__ = [
    "autostop",
    "bulk_stop",
    "bump_ttl",
    "carried",
    "carried_before",
    "carry_task",
    "filter_of",
    "notify",
    "quiet_hours",
    "rollback",
    "seconds_of",
    "session_of",
    "shown",
    "start_all",
    "stop",
    "stop_picked",
    "ttl",
]


def session_of(args: argparse.Namespace, *, readonly: bool = False) -> Session:
    """The session of this command, an `agents_config.json` included; close it."""
    return steward_session(environ=os.environ, cwd=Path.cwd(), overrides=overrides_of(args), readonly=readonly)


# -- the three agents -----------------------------------------------------------------------------------------------


def quiet_hours(args: argparse.Namespace) -> int:
    """One pass for quiet hours, on the configured fleet or a made-up one."""
    if args.demo:
        from ooda.cli.steward_demo import demo

        return demo(args)
    return _pass(args, "quiet_hours", timezone=args.timezone, user=args.user, workspaces=args.workspaces)


def ttl(args: argparse.Namespace) -> int:
    """The TTL compliance report, or the violations seen so far."""
    if args.history:
        return _ttl_history(args)
    args.execute = args.tells = False
    threshold = seconds_of("--threshold", args.threshold) if args.threshold else None
    with session_of(args) as session:
        result = carried(session, args, _task(session, args, "ttl", user=args.user, threshold_s=threshold))
    report = result.ttl
    if report is None:
        return _ended(args, result)
    if args.form == "json":
        print_data(as_json(report), "json")
    elif args.form == "text":
        sys.stdout.write(ttl_text(report))
    else:
        _print_document(ttl_document(report), args.form)
    return EXIT[result.status]


def _ttl_history(args: argparse.Namespace) -> int:
    with session_of(args) as session:
        found = ttl_history(session, seconds_of("--since", args.since), user=args.user or "")
    if args.form != "text":
        print_data(as_json(found), "json")
        return EXIT["success"]
    rows = [
        (row.title, row.kind.replace("_", " "), row.detail, minute_of(row.since_ns), minute_of(row.last_seen_ns))
        for row in found
    ]
    print(table(("workspace", "rule", "detail", "since", "last seen"), rows, style_for(sys.stdout, args.color)))
    return EXIT["success"]


def autostop(args: argparse.Namespace) -> int:
    """The autostop schedule, what of it is due, or its execution."""
    args.execute = args.mode == "execute"
    if args.batch_size is not None and not 1 <= args.batch_size <= 1_000:
        raise ConfigError(f"`--batch-size {args.batch_size}`: expected 1 to 1000")
    with session_of(args) as session:
        task = _task(session, args, "autostop", user=args.user, batch_size=args.batch_size)
        result = carried(session, args, task)
        if result.status != "success" or args.mode != "schedule":
            return _ended(args, result)
        templates = asyncio.run(look_at(session, lambda client: client.templates()))
    lines = schedule(result.at_ns, result.seats, {template.id: template for template in templates})
    if args.form == "json":
        print_data(as_json(lines), "json")
    elif args.form == "text":
        sys.stdout.write(autostop_text(result.at_ns, lines))
    else:
        _print_document(autostop_document(result.at_ns, lines), args.form)
    return EXIT[result.status]


# -- control --------------------------------------------------------------------------------------------------------


def stop(args: argparse.Namespace) -> int:
    """Stop one workspace."""
    return _pass(args, "stop", workspaces=args.workspaces, reason=args.reason)


def bulk_stop(args: argparse.Namespace) -> int:
    """Stop those named, or those that pass the filters."""
    wanted = filter_of(args)
    if wanted.is_empty:
        raise UserError("name the workspaces to stop, or filter them (`--idle 8h`, `--owner ada`); all is too many")
    with session_of(args) as session:
        return stop_picked(session, args, wanted)


def stop_picked(session: Session, args: argparse.Namespace, wanted: WorkspaceFilter) -> int:
    """Stop the running workspaces that pass a filter; those it names and that do not run are named."""
    found = asyncio.run(look_at(session, lambda client: _picked(session, client, wanted)))
    if not found:
        print("No running workspace passes.", file=sys.stderr)
        return EXIT["success"]
    task = _task(session, args, "stop", workspaces=[seen.id for seen in found], reason=args.reason)
    return _ended(args, carried(session, args, task))


async def _picked(session: Session, client: Any, wanted: WorkspaceFilter) -> list[Any]:
    from ooda.agents.steward.fleet import workspace_of

    listing = await client.fleet(workspace_of)
    return picked(listing.rows, wanted, session.clock.now_ns())


def notify(args: argparse.Namespace) -> int:
    """Tell owners something."""
    args.execute = args.tells = True
    return _pass(args, "notify", workspaces=args.workspaces, message=args.message)


def rollback(args: argparse.Namespace) -> int:
    """Take back the last pass that stopped anything."""
    return _pass(args, "rollback", user=args.user)


def start_all(args: argparse.Namespace) -> int:
    """Take back every stop of the last hours."""
    return _pass(args, "start_all", user=args.user, threshold_s=seconds_of("--since", args.since))


def bump_ttl(args: argparse.Namespace) -> int:
    """Let workspaces run longer; without names, show how long each may."""
    args.tells = False
    if not args.workspaces:
        args.history, args.threshold, args.user = False, "365d", None
        return ttl(args)
    return _pass(args, "extend", workspaces=args.workspaces, threshold_s=seconds_of("--by", args.by))


# -- one pass -------------------------------------------------------------------------------------------------------


def carry_task(args: argparse.Namespace, loaded: LoadedTask, run: str = "") -> int:
    """A steward task from a file, or an earlier pass that is gone on with."""
    with session_of(args) as session:
        return _ended(args, carried(session, args, loaded, run=run))


def carried_before(session: Session, args: argparse.Namespace) -> int:
    """Show the result of a pass that succeeded before; whoever resumes until it is done is done."""
    if not args.quiet:
        print(f"{args.run} succeeded before, there is nothing to resume. Its result:", file=sys.stderr)
    return _ended(args, recorded_pass(session, args.run))


def _pass(args: argparse.Namespace, check: Check, **more: Any) -> int:
    with session_of(args) as session:
        return _ended(args, carried(session, args, _task(session, args, check, **more)))


def _task(session: Session, args: argparse.Namespace, check: Check, **more: Any) -> LoadedTask:
    is_held_back = args.execute and session.settings.steward.dry_run
    if is_held_back and not args.quiet:
        print("note: `steward.dry_run` (`DRY_RUN`) is on, so this is a dry run", file=sys.stderr)
    tells = getattr(args, "tells", True) and session.settings.steward.autostop.notification_enabled
    if check == "notify":
        tells = True
    return steward_task(session.settings, check, execute=args.execute, tells_owners=tells, **more)


def carried(session: Session, args: argparse.Namespace, loaded: LoadedTask, *, run: str = "") -> PassResult:
    """Carry a pass to where it stops or waits; one of the same task that was cut off is gone on with."""
    result = asyncio.run(_carried(session, args, loaded, run))
    if not result.is_dry:
        from ooda.cli.notices import deliver_at_end  # mail and TLS, wanted only now

        deliver_at_end(session, result.run, quiet=args.quiet)
    return result


async def _carried(session: Session, args: argparse.Namespace, loaded: LoadedTask, run: str) -> PassResult:
    quiet = args.quiet or args.form == "jsonl"
    attended = is_terminal() and not args.yes_unattended
    assert isinstance(loaded.task, StewardTask)
    earlier = run or ("" if loaded.task.dry_run else unfinished(session, loaded))
    if earlier and not run and not quiet:
        print(f"note: going on with {earlier}, which was not finished", file=sys.stderr)
    options = PassOptions(
        run=earlier,
        person=TerminalPerson(session.user, style_for(sys.stderr, args.color)) if attended else None,
        heard=logging_to(_to_stderr) if not quiet else lambda seq, entry: None,
    )
    with Interruptible(quiet=args.quiet) as interruptible:
        try:
            async with opened_pass(session, loaded, options) as opened:
                interruptible.interrupt = opened.engine.interrupt
                return await carry_pass(session, opened, loaded)
        except asyncio.CancelledError:
            if not interruptible.reason:
                raise
            raise RunCancelledError(f"{interruptible.reason} before the pass began; nothing was recorded") from None


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# -- rendering ------------------------------------------------------------------------------------------------------


def _ended(args: argparse.Namespace, result: PassResult) -> int:
    """Print a result and give its exit code."""
    if args.form in ("json", "jsonl"):
        print_data(result.plain(), args.form)
    elif args.form in ("markdown", "html"):
        _print_document(plan_document(result.at_ns, result.seats, is_dry=result.is_dry), args.form)
    else:
        sys.stdout.write(shown(result))
    if (following := NEXT[result.status]) and not args.quiet:
        print(following.format(run=result.run), file=sys.stderr)
    return EXIT[result.status]


def shown(result: PassResult) -> str:
    """A result for a terminal: the plan or what was taken back, what was done, how it ended."""
    parts = []
    if result.check in ("rollback", "start_all"):
        parts += [f"{undo.row.title}: {undo.why_not or 'is started again'}" for undo in result.undos]
    elif result.seats:
        parts.append(plan_text(plan_document(result.at_ns, result.seats, is_dry=result.is_dry)))
    parts += [f"{row.transition} {row.title}: {row.state}{_detail(row.detail)}" for row in result.builds]
    parts += [f"problem: {problem}" for problem in result.problems]
    parts.append(f"{result.status}: {result.reason}\n  run  {result.run}")
    return "\n".join(parts) + "\n"


def _detail(text: str) -> str:
    return f" ({text})" if text else ""


def _print_document(document: Document, form: str) -> None:
    sys.stdout.write(html_page(document) if form == "html" else markdown(document))


def filter_of(args: argparse.Namespace) -> WorkspaceFilter:
    """The filter that the options of a command say."""
    return WorkspaceFilter(
        workspaces=tuple(getattr(args, "workspaces", ())),
        owner=args.owner,
        template=args.template,
        name=args.name,
        organization=args.organization,
        idle_s=seconds_of("--idle", args.idle) if args.idle else None,
        up_s=seconds_of("--up", args.up) if args.up else None,
        no_deadline=args.no_deadline,
        unhealthy=args.unhealthy,
        outdated=args.outdated,
    )


def seconds_of(option: str, given: str) -> int:
    """A length of time on the command line, in seconds.

    Raises:
        ConfigError: it is none.
    """
    try:
        return parse_duration(given)
    except ValueError as error:
        raise ConfigError(f"`{option} {given}`: {error}; write it as 2h or 90m") from error
