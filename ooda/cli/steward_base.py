"""`ooda steward audit|dashboard|last-seen`: the scripts the steward grew out of, on the same client and policies."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import msgspec

from ooda.agents.steward.autostop_schedule import schedule
from ooda.agents.steward.dashboard import dashboard as page_of
from ooda.agents.steward.document import Document, Table, as_json, html_page, markdown
from ooda.agents.steward.instants import SECOND_NS, lasting, minute_of
from ooda.agents.steward.reports import autostop_document, plan_document, plan_text, ttl_document
from ooda.agents.steward.ttl import analyze_ttl
from ooda.api.steward.audits import FleetAudit, LastSeen, audit_fleet
from ooda.api.steward.audits import last_seen as seen_last
from ooda.api.steward.looks import look_at
from ooda.api.steward.passes import make_pass
from ooda.api.steward.tasks import steward_task
from ooda.cli.data import print_data
from ooda.cli.exits import EXIT
from ooda.cli.steward import filter_of, seconds_of, session_of, stop_picked
from ooda.errors import ConfigError, UserError

__all__ = ["audit", "dashboard", "last_seen"]


def audit(args: argparse.Namespace) -> int:
    """Look the fleet over, or stop what is idle."""
    wanted = filter_of(args)
    if args.stop and wanted.is_empty:
        raise UserError("`--stop` wants to know which: `--idle 8h`, `--owner ada`, or another filter")
    with session_of(args) as session:
        if args.stop:
            return stop_picked(session, args, wanted)
        found = asyncio.run(look_at(session, lambda client: audit_fleet(client, session.clock.now_ns(), wanted)))
    if args.form != "text":
        entries = [
            {"at": entry.time, "user": entry.user.username if entry.user else None, "says": entry.description}
            for entry in found.entries
        ]
        rows = [{**as_json(row.workspace), "findings": list(row.findings)} for row in found.workspaces]
        print_data({"workspaces": rows, "entries": msgspec.to_builtins(entries), "note": found.note}, args.form)
    else:
        sys.stdout.write(plan_text(_audit_document(found)))
    return EXIT["success"]


def _audit_document(found: FleetAudit) -> Document:
    wrong = sum(bool(row.findings) for row in found.workspaces)
    rows = tuple(
        (
            row.workspace.title,
            row.workspace.template,
            row.workspace.status,
            minute_of(row.workspace.last_used_ns) if row.workspace.last_used_ns is not None else "never",
            "; ".join(row.findings),
        )
        for row in found.workspaces
    )
    columns = ("workspace", "template", "status", "last used", "findings")
    sentences = [f"{minute_of(found.at_ns)}: {len(rows)} workspaces were looked at, {wrong} have findings."]
    sentences += [found.note] if found.note else []
    return Document("Workspace audit", tuple(sentences), (Table("Workspaces", columns, rows, empty="no workspace"),))


def last_seen(args: argparse.Namespace) -> int:
    """Users by when they were last seen."""
    with session_of(args) as session:
        now_ns = session.clock.now_ns()
        found = asyncio.run(look_at(session, lambda client: seen_last(client, user=args.user or "")))
    if args.inactive:
        since_ns = now_ns - seconds_of("--inactive", args.inactive) * SECOND_NS
        found = tuple(one for one in found if max(one.seen_ns or 0, one.used_ns or 0) < since_ns)
    if args.form == "json":
        print_data(as_json(found), "json")
        return EXIT["success"]
    document = _seen_document(now_ns, found)
    render = {"text": plan_text, "markdown": markdown, "html": html_page}[args.form]
    sys.stdout.write(render(document))
    return EXIT["success"]


def _seen_document(now_ns: int, found: tuple[LastSeen, ...]) -> Document:
    def ago(at_ns: int | None) -> str:
        return "never" if at_ns is None else f"{lasting(now_ns - at_ns)} ago"

    rows = tuple(
        (one.user, one.status, ago(one.seen_ns), ago(one.used_ns), str(one.workspaces), ", ".join(one.running))
        for one in found
    )
    columns = ("user", "status", "last seen", "last use", "workspaces", "running")
    return Document(
        "Last seen", (f"{minute_of(now_ns)}: {len(rows)} users.",), (Table("Users", columns, rows, empty="nobody"),)
    )


def dashboard(args: argparse.Namespace) -> int:
    """One HTML page of the fleet: timeline, plan, schedule, times to live."""
    with session_of(args) as session:
        result = asyncio.run(make_pass(session, steward_task(session.settings, "autostop")))
        if result.status != "success":
            print(f"{result.status}: {result.reason}", file=sys.stderr)
            return EXIT[result.status]
        templates = asyncio.run(look_at(session, lambda client: client.templates()))
    seats, at_ns = result.seats, result.at_ns
    lines = schedule(at_ns, seats, {template.id: template for template in templates})
    page = page_of(
        at_ns,
        seats,
        plan_document(at_ns, seats, is_dry=True),
        autostop_document(at_ns, lines),
        ttl_document(analyze_ttl(at_ns, (seat.workspace for seat in seats))),
    )
    if args.output == "-":
        sys.stdout.write(page)
        return EXIT["success"]
    try:
        Path(args.output).write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"`--output {args.output}` cannot be written: {error.strerror}") from error
    print(f"{args.output}: {len(seats)} workspaces", file=sys.stderr)
    return EXIT["success"]
