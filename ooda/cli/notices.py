"""`ooda notices`: what is on its way to people, what never arrived, and delivering it."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from ooda.api.notices import (
    deliver,
    listed_messages,
    open_deliverer,
    planned,
    put_test_notice,
    retry_messages,
    said,
    shown_message,
)
from ooda.api.session import Session
from ooda.cli.data import print_data
from ooda.cli.exits import EXIT
from ooda.cli.settings import session_for
from ooda.cli.style import style_for, table, when
from ooda.errors import OodaError

__all__ = ["deliver_at_end", "deliver_now", "list_messages", "retry", "show", "test"]


def list_messages(args: argparse.Namespace) -> int:
    """Messages, the newest first."""
    with session_for(args) as session:
        found = listed_messages(session, state=args.state or "", channel=args.channel or "", limit=args.limit)
    if args.form != "text":
        print_data(found, args.form)
        return EXIT["success"]
    style = style_for(sys.stdout, args.color)
    rows = [
        (one.id, one.channel, one.recipient, one.kind, one.state, str(one.attempts), when(one.created_ns), one.failure)
        for one in found
    ]
    head = ("MESSAGE", "CHANNEL", "TO", "KIND", "STATE", "ATTEMPTS", "SINCE", "LAST FAILURE")
    print(table(head, rows, style) if rows else "There are no such messages.")
    return EXIT["success"]


def show(args: argparse.Namespace) -> int:
    """One message: what it tells, every attempt, every answer."""
    with session_for(args) as session:
        found = shown_message(session, args.message)
    if args.form != "text":
        print_data(found, args.form)
        return EXIT["success"]
    style, one = style_for(sys.stdout, args.color), found.message
    print(style(one.id, "bold") + f" · {one.kind} over {one.channel} {one.recipient}".rstrip() + f" · {one.state}")
    for attempt in found.attempts:
        print(f"  {attempt.attempt}. {when(attempt.started_ns)} {attempt.outcome or 'under way'} {attempt.detail}")
    for notice in found.notices:
        print(f"  tells {notice.id}" + (f" of {notice.run}" if notice.run else ""))
        print(f"    {notice.payload}")
    if one.state == "dead":
        print(f"Try it again: ooda notices retry {one.id}")
    return EXIT["success"]


def retry(args: argparse.Namespace) -> int:
    """Put dead letters back on their way, and deliver."""
    with session_for(args) as session:
        chosen = retry_messages(session, args.messages, channel=args.channel or "")
        print(f"{len(chosen)} messages are on their way again.", file=sys.stderr)
        return _delivered(session, args) if chosen else EXIT["success"]


def test(args: argparse.Namespace) -> int:
    """Send a test message over a channel."""
    with session_for(args) as session:
        id = put_test_notice(session, args.channel)
        asyncio.run(deliver(session))
        found = shown_message(session, id)
    for attempt in found.attempts:
        print(f"{id}: {attempt.outcome} · {attempt.detail}")
    return EXIT["success"] if found.message.state == "sent" else EXIT["failed"]


def deliver_now(args: argparse.Namespace) -> int:
    """Deliver what is due, or only say what would go where."""
    with session_for(args) as session:
        if not args.dry_run:
            return _delivered(session, args)
        found = planned(session)
        waiting = listed_messages(session, state="waiting")
    if args.form != "text":
        print_data({"notices": found, "messages": waiting}, args.form)
        return EXIT["success"]
    for notice in found:
        to = ", ".join(notice.receivers) or (f"nobody: {notice.missing}" if notice.missing else "nobody (no route)")
        print(f"{notice.notice} · {notice.kind} → {to}")
    for one in waiting:
        print(f"{one.id} · {one.kind} → {one.channel} {one.recipient}".rstrip() + f" · due {when(one.due_ns)}")
    if not found and not waiting:
        print("Nothing waits to be delivered.")
    return EXIT["success"]


def _delivered(session: Session, args: argparse.Namespace) -> int:
    if getattr(args, "watch", False):
        asyncio.run(_serve(session))
        return EXIT["success"]
    report = asyncio.run(deliver(session, wait_s=getattr(args, "wait", 0) or 0))
    if args.form != "text":
        print_data(report, args.form)
    else:
        print(said(report) or "Nothing was to be delivered.")
    return EXIT["failed"] if report.dead else EXIT["success"]


async def _serve(session: Session) -> None:
    deliverer, stopping = open_deliverer(session), asyncio.Event()
    if not deliverer.channels:
        print("No channel is configured; see the settings `notify.*`.", file=sys.stderr)
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    print(f"Delivering over {', '.join(deliverer.channels)}; interrupt to end.", file=sys.stderr)
    await deliverer.serve(stopping, lambda report: print(said(report), flush=True))


def deliver_at_end(session: Session, run: str, *, quiet: bool) -> None:
    """Deliver what a run has queued, for at most `notify.end_wait`. What goes wrong is said and never fails the run."""
    wait_s = session.settings.notify.end_wait
    try:
        report = asyncio.run(deliver(session, run=run, wait_s=wait_s)) if wait_s else None
    except KeyboardInterrupt:
        report = None
        if not quiet:
            print("notices stay queued: `ooda notices deliver`", file=sys.stderr)
    except OodaError as error:
        report = None
        print(f"note: notices could not be delivered, they stay queued: {error}", file=sys.stderr)
    if report is not None and (report.waiting or report.dead or report.problems) and not quiet:
        print(said(report), file=sys.stderr)
        if report.waiting:
            print("They stay queued: `ooda notices deliver`, or a daemon, goes on.", file=sys.stderr)
