"""`ooda steward status|running|hold|release|holds|operations|metrics`: looks, and overrides by people. No pass."""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import datetime
from typing import Any

from ooda.agents.steward.autostop_schedule import autostop_text
from ooda.agents.steward.document import as_json
from ooda.agents.steward.fleet import workspace_of
from ooda.agents.steward.instants import SECOND_NS, lasting, minute_of, ns_of
from ooda.agents.steward.records import Workspace
from ooda.agents.steward.reports import reason_words
from ooda.api.session import Session
from ooda.api.steward import holds as held
from ooda.api.steward.filters import picked
from ooda.api.steward.looks import deployment_of, look_at, operations_since
from ooda.api.steward.metrics import metrics as counted
from ooda.api.steward.metrics import prometheus
from ooda.api.steward.passes import build_words
from ooda.api.steward.status import FleetStatus, WorkspaceStatus, find_workspace, fleet_status, workspace_status
from ooda.cli.data import print_data
from ooda.cli.exits import EXIT
from ooda.cli.steward import filter_of, seconds_of, session_of
from ooda.cli.style import style_for, table
from ooda.errors import ConfigError, UserError

__all__ = ["hold", "holds", "metrics", "operations", "release", "running", "status"]


def status(args: argparse.Namespace) -> int:
    """The whole, or one workspace."""
    with session_of(args) as session:
        if args.workspace:
            one = asyncio.run(look_at(session, lambda client: workspace_status(session, client, args.workspace)))
            return _print(args, as_json(one), lambda: _workspace(one, session.clock.now_ns()))
        whole = asyncio.run(look_at(session, lambda client: fleet_status(session, client)))
        return _print(args, as_json(whole), lambda: _fleet(whole, session.clock.now_ns()))


def _fleet(found: FleetStatus, now_ns: int) -> str:
    ends = found.token_ends_ns
    token = "not known" if ends is None else f"{minute_of(ends)} (in {lasting(ends - now_ns)})"
    lines = [
        f"{found.deployment}  Coder {found.version}",
        f"  token of    {found.user} ({', '.join(found.roles) or 'no role'}), ends {token}",
        f"  clock       {found.clock_ahead_s:+.1f} s to ours",
        f"  workspaces  {found.workspaces}: " + ", ".join(f"{count} {word}" for word, count in found.statuses.items()),
        f"  our builds  {found.open_builds} still open",
    ]
    lines += [
        f"  hold        {_scope_words(row.scope, row.title or row.target)} until {minute_of(row.until_ns)}"
        for row in found.holds
    ]
    lines += [f"  next        {timer.job} at {minute_of(timer.next_ns)}" for timer in found.timers]
    return "\n".join([*lines, *(f"  {name} {count}" for name, count in found.counters.items())])


def _workspace(found: WorkspaceStatus, now_ns: int) -> str:
    said = found.said
    change = f", next change {minute_of(said.next_ns)}" if said.next_ns is not None else ""
    lines = [
        f"{found.workspace}  {found.status}",
        f"  id        {found.id}",
        f"  template  {found.template}",
        f"  build     {found.build_number} ({found.transition} by {found.initiator})",
        f"  last use  {minute_of(found.last_used_ns)} ({lasting(now_ns - found.last_used_ns)} ago)",
        f"  decision  {said.decision}: {reason_words(said.reason)}{change}",
    ]
    if found.schedule is not None:
        lines += ["  " + line for line in autostop_text(now_ns, [found.schedule]).splitlines()[2:]]
    return "\n".join([*lines, *(f"  ours      {_operation(row)}" for row in found.operations)])


def running(args: argparse.Namespace) -> int:
    """Those that run and pass the filters."""
    wanted = filter_of(args)
    with session_of(args) as session:
        now_ns = session.clock.now_ns()
        listing = asyncio.run(look_at(session, lambda client: client.fleet(workspace_of)))
        found = picked(listing.rows, wanted, now_ns)
    if args.form != "text":
        print_data([as_json(seen) for seen in found], args.form)
        return EXIT["success"]
    columns = ("workspace", "template", "up", "last used", "ends")
    print(table(columns, [_running_row(seen, now_ns) for seen in found], style_for(sys.stdout, args.color)))
    return EXIT["success"]


def _running_row(seen: Workspace, now_ns: int) -> tuple[str, ...]:
    ends = [end for end in (seen.deadline_ns, seen.max_deadline_ns) if end is not None]
    return (
        seen.title,
        seen.template,
        lasting(now_ns - seen.started_ns) if seen.started_ns is not None else "",
        f"{lasting(now_ns - seen.last_used_ns)} ago" if seen.last_used_ns is not None else "never",
        minute_of(min(ends)) if ends else "never",
    )


# -- holds ----------------------------------------------------------------------------------------------------------


def hold(args: argparse.Namespace) -> int:
    """Make a hold."""
    with session_of(args) as session:
        scope, target, title = _scope(session, args)
        until_ns = _until(args, session.clock.now_ns())
        made = held.hold(session, deployment_of(session), scope, target, until_ns, reason=args.reason, title=title)
    said = f"{_scope_words(made.scope, title or target)} is not stopped before {minute_of(made.until_ns)}"
    return _print(args, as_json(made), lambda: said)


def release(args: argparse.Namespace) -> int:
    """End holds of a scope; exit 1 when there was none."""
    with session_of(args) as session:
        scope, target, title = _scope(session, args)
        ended = held.release(session, deployment_of(session), scope, target)
    _print(args, {"released": ended}, lambda: f"{ended} holds of {_scope_words(scope, title or target)} were released")
    return EXIT["success"] if ended else EXIT["failed"]


def holds(args: argparse.Namespace) -> int:
    """Those in force."""
    with session_of(args, readonly=False) as session:
        found = held.live_holds(session, deployment_of(session))
    if args.form != "text":
        print_data([as_json(row) for row in found], args.form)
        return EXIT["success"]
    rows = [
        (_scope_words(row.scope, row.title or row.target), minute_of(row.until_ns), row.made_by, row.reason)
        for row in found
    ]
    print(table(("held", "until", "by", "reason"), rows, style_for(sys.stdout, args.color)))
    return EXIT["success"]


def _scope(session: Session, args: argparse.Namespace) -> tuple[held.Scope, str, str]:
    """What is meant: its scope, its id or name, and what people call it."""
    if sum((bool(args.workspace), bool(args.owner), args.fleet)) != 1:
        raise UserError("say what is held: a workspace (`ada/api`), `--owner ada`, or `--fleet`")
    if args.fleet:
        return "fleet", "", ""
    if args.owner:
        return "owner", args.owner, args.owner
    # By id: a workspace that is renamed stays held.
    found = asyncio.run(look_at(session, lambda client: find_workspace(client, args.workspace)))
    return "workspace", found.id, f"{found.owner_name}/{found.name}"


def _until(args: argparse.Namespace, now_ns: int) -> int:
    if args.lasting:
        return now_ns + seconds_of("--for", args.lasting) * SECOND_NS
    try:
        at = datetime.fromisoformat(args.until)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ConfigError(f"`--until {args.until}`: write it with its zone, as 2026-11-21T18:00:00Z")
    return ns_of(at)


def _scope_words(scope: str, target: str) -> str:
    return {"fleet": "the fleet", "owner": f"everything of {target}", "workspace": target}[scope]


# -- the record -----------------------------------------------------------------------------------------------------


def operations(args: argparse.Namespace) -> int:
    """Every build of ours, the oldest first."""
    with session_of(args) as session:
        found = operations_since(session, seconds_of("--since", args.since))
    if args.form != "text":
        print_data([build_words(row) for row in found], args.form)
        return EXIT["success"]
    for row in found:
        print(_operation(row))
    return EXIT["success"]


def _operation(row: Any) -> str:
    detail = f" ({row.detail})" if row.detail else ""
    return f"{minute_of(row.asked_ns)}  {row.transition} {row.title}: {row.cause}; {row.state}{detail}  {row.run}"


def metrics(args: argparse.Namespace) -> int:
    """The counters."""
    with session_of(args) as session:
        deployment = deployment_of(session)
        since = seconds_of("--since", args.since) if args.since else None
        from_ns = session.clock.now_ns() - since * SECOND_NS if since is not None else 0
        found = counted(session, deployment, from_ns)
    if args.prometheus:
        sys.stdout.write(prometheus(found, deployment))
        return EXIT["success"]
    return _print(args, found, lambda: "\n".join(f"{name} {count}" for name, count in found.items()))


def _print(args: argparse.Namespace, plain: object, text: Any) -> int:
    if args.form != "text":
        print_data(plain, args.form)
    else:
        print(text())
    return EXIT["success"]
