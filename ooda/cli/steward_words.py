"""The words of `ooda steward` and `ooda fake`: argparse only, so that `ooda --help` stays quick."""

from __future__ import annotations

import argparse
from typing import Any

from ooda.cli.leaves import leaf, with_output, with_settings

__all__ = ["fake_commands", "steward_commands"]


def steward_commands(commands: Any) -> None:
    """Add `ooda steward …`."""
    steward = commands.add_parser(
        "steward", help="look after a fleet of Coder workspaces: quiet hours, time to live, autostop, rollback"
    ).add_subparsers(title="commands", metavar="COMMAND", required=True)
    _agents(steward)
    _control(steward)
    _holds(steward)
    _undo(steward)
    _base(steward)
    _learnt(steward)
    _conditions(steward)
    _service(steward)


def fake_commands(commands: Any) -> None:
    """Add `ooda fake …`."""
    fake = commands.add_parser("fake", help="stand-ins for real systems, to try things on").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    made = leaf(fake, "coder", "fake:coder", "serve a Coder deployment on this machine until interrupted")
    made.add_argument("--workspaces", type=int, default=500, metavar="N", help="size of the fleet (default 500)")
    made.add_argument("--seed", type=int, default=7, metavar="N", help="the same fleet for the same seed (default 7)")
    made.add_argument("--port", type=int, default=0, metavar="N", help="port on 127.0.0.1 (default: a free one)")
    made.add_argument("--spec", metavar="FILE", help="hold every request and answer against this OpenAPI document")
    made.add_argument(
        "--faults", type=float, default=0.0, metavar="SHARE", help="let this share of the requests fail, from 0 to 1"
    )
    made.add_argument(
        "--build-time", type=float, metavar="SECONDS", help="how long a start or stop takes (default: 20 and 10)"
    )
    made.add_argument("--json", action="store_true", help="say address and token as one JSON object")


def _agents(steward: Any) -> None:
    made = leaf(steward, "quiet-hours", "steward:quiet_hours", "stop what runs in quiet hours, after its grace")
    _mode(made)
    made.add_argument("--timezone", metavar="TZ", help="IANA time zone instead of the configured one")
    made.add_argument("--demo", action="store_true", help="on a made-up fleet, needing nothing else")
    _who(made)
    _tells(made)
    _pass_output(made)
    made = leaf(steward, "ttl", "steward:ttl", "which workspaces should have stopped, or stop soon, by time to live")
    made.add_argument("--report", action="store_true", help="the report; what this command does anyway")
    made.add_argument("--dry-run", action="store_true", help="it never stops anything; accepted for scripts")
    made.add_argument("--threshold", metavar="TIME", help="how soon counts as stopping soon, as 2h")
    made.add_argument("--history", action="store_true", help="the violations that were seen, instead")
    made.add_argument("--since", default="30d", metavar="TIME", help="of --history: how far back (default 30d)")
    _user(made)
    _report_output(made)
    made = leaf(
        steward, "autostop", "steward:autostop", "when each workspace is stopped and why; carry out what is due"
    )
    mode = made.add_mutually_exclusive_group()
    mode.add_argument("--schedule", action="store_const", const="schedule", dest="mode", help="the schedule (default)")
    mode.add_argument("--list-pending", action="store_const", const="pending", dest="mode", help="what is due now")
    mode.add_argument("--execute", action="store_const", const="execute", dest="mode", help="stop what is due")
    mode.add_argument("--dry-run", action="store_const", const="pending", dest="mode", help="as --list-pending")
    made.set_defaults(mode="schedule")
    made.add_argument("--batch-size", type=int, metavar="N", help="builds under way at once (default: the setting)")
    _user(made)
    _tells(made)
    _report_output(made)


def _control(steward: Any) -> None:
    made = leaf(
        steward, "status", "steward_looks:status", "the deployment, the token and the steward; or one workspace"
    )
    made.add_argument("workspace", nargs="?", help="`owner/name` or id")
    _look_output(made)
    made = leaf(steward, "running", "steward_looks:running", "workspaces that run, those that pass every filter")
    _filters(made)
    _look_output(made)
    made = leaf(steward, "stop", "steward:stop", "stop one workspace now")
    made.add_argument("workspaces", nargs=1, metavar="WORKSPACE", help="`owner/name` or id")
    _mode(made, is_acting=True)
    _reason(made)
    _tells(made)
    _pass_output(made)
    made = leaf(
        steward, "bulk-stop", "steward:bulk_stop", "stop several workspaces: those named, or those that pass filters"
    )
    made.add_argument("workspaces", nargs="*", metavar="WORKSPACE", help="`owner/name` or id")
    _filters(made)
    _mode(made)
    _reason(made)
    _tells(made)
    _pass_output(made)
    made = leaf(steward, "notify", "steward:notify", "tell the owners of workspaces something")
    made.add_argument("workspaces", nargs="+", metavar="WORKSPACE", help="`owner/name` or id")
    made.add_argument("--message", "-m", required=True, help="what they are told")
    _pass_output(made)


def _holds(steward: Any) -> None:
    made = leaf(steward, "hold", "steward_looks:hold", "keep a workspace, an owner or the fleet from being stopped")
    _scope(made)
    until = made.add_mutually_exclusive_group(required=True)
    until.add_argument("--until", metavar="TIME", help="RFC 3339, as 2026-11-21T18:00:00Z")
    until.add_argument("--for", dest="lasting", metavar="TIME", help="as 12h")
    made.add_argument("--reason", default="", help="why, for the record")
    _look_output(made)
    made = leaf(steward, "release", "steward_looks:release", "end a hold before its time")
    _scope(made)
    _look_output(made)
    made = leaf(steward, "holds", "steward_looks:holds", "the holds in force")
    _look_output(made)


def _undo(steward: Any) -> None:
    made = leaf(steward, "rollback", "steward:rollback", "start again what the last pass stopped, where it is still so")
    made.add_argument("--last", action="store_true", help="the last pass that stopped anything; the default")
    _mode(made, is_acting=True)
    _user(made)
    _tells(made)
    _pass_output(made)
    made = leaf(
        steward, "start-all", "steward:start_all", "start again everything the steward stopped lately (emergency)"
    )
    made.add_argument("--since", default="24h", metavar="TIME", help="how far back (default 24h)")
    _mode(made, is_acting=True)
    _user(made)
    _tells(made)
    _pass_output(made)
    made = leaf(
        steward, "operations", "steward_looks:operations", "every build the steward asked for, and what came of it"
    )
    made.add_argument("--since", default="7d", metavar="TIME", help="how far back (default 7d)")
    _look_output(made)


def _base(steward: Any) -> None:
    made = leaf(
        steward, "audit", "steward_base:audit", "every workspace with what is wrong with it; perhaps stop the idle"
    )
    made.add_argument("--stop", action="store_true", help="stop the running ones among --idle; needs --execute")
    _filters(made)
    _mode(made)
    _reason(made)
    _tells(made)
    _pass_output(made)
    made = leaf(steward, "dashboard", "steward_base:dashboard", "the fleet as one HTML page")
    made.add_argument("--output", "-o", default="-", metavar="FILE", help="default: standard output")
    with_settings(made)
    made = leaf(steward, "last-seen", "steward_base:last_seen", "when each user was last seen, and what of theirs runs")
    made.add_argument("--inactive", metavar="TIME", help="only those not seen for so long, as 30d")
    _user(made)
    _report_output(made)
    made = leaf(steward, "bump-ttl", "steward:bump_ttl", "let workspaces run longer; without names, show times to live")
    made.add_argument("workspaces", nargs="*", metavar="WORKSPACE", help="`owner/name` or id")
    made.add_argument("--by", default="1h", metavar="TIME", help="how much longer (default 1h)")
    _mode(made, is_acting=True)
    _pass_output(made)


def _learnt(steward: Any) -> None:
    made = leaf(
        steward, "predict", "steward_learnt:predict", "good stop times learnt from past use, with their error shown"
    )
    _user(made)
    _report_output(made)
    made = leaf(steward, "savings", "steward_learnt:savings", "what stopping saved: hours, and money where prices are")
    made.add_argument("--since", default="30d", metavar="TIME", help="how far back (default 30d)")
    _report_output(made)


def _conditions(steward: Any) -> None:
    made = leaf(
        steward, "calendar", "steward_conditions:calendar", "days off that calendars name, on which the fleet is quiet"
    )
    made.add_argument(
        "sources", nargs="*", metavar="CALENDAR", help="iCalendar file or https URL (default: the configured ones)"
    )
    made.add_argument("--ahead", default="400d", metavar="TIME", help="how far ahead (default 400d)")
    _report_output(made)
    made = leaf(steward, "rules", "steward_conditions:rules", "check and show the rules that choose a policy")
    made.add_argument("file", nargs="?", help="JSON file of rules (default: the configured one)")
    _report_output(made)


def _service(steward: Any) -> None:
    made = leaf(steward, "daemon", "steward_daemon:daemon", "make every pass at its time until interrupted")
    made.add_argument("--once", action="store_true", help="make the passes that are due now, and end")
    made.add_argument("--metrics-port", type=int, metavar="N", help="serve Prometheus metrics on 127.0.0.1:N")
    with_settings(made)
    made = leaf(steward, "metrics", "steward_looks:metrics", "the steward's counters")
    made.add_argument("--since", metavar="TIME", help="count only what happened since, as 24h")
    made.add_argument("--prometheus", action="store_true", help="in Prometheus' text format")
    _look_output(made)
    made = leaf(steward, "decide", "steward_decide:decide", "answer decision records, JSON lines in, JSON lines out")
    made.add_argument("file", nargs="?", default="-", help="file of records; standard input when left out or -")
    made.add_argument("--strict", action="store_true", help="exit 2 when a line was not a record")


# -- parts ----------------------------------------------------------------------------------------------------------


def _mode(made: argparse.ArgumentParser, *, is_acting: bool = False) -> None:
    mode = made.add_mutually_exclusive_group()
    default = "" if is_acting else " (default)"
    mode.add_argument(
        "--dry-run", action="store_false", dest="execute", help=f"show what would be done and do nothing{default}"
    )
    mode.add_argument(
        "--execute", action="store_true", dest="execute", help="do it" + (" (default)" if is_acting else "")
    )
    made.set_defaults(execute=is_acting)


def _user(made: argparse.ArgumentParser) -> None:
    made.add_argument("--user", metavar="NAME", help="only workspaces of this user")


def _who(made: argparse.ArgumentParser) -> None:
    _user(made)
    made.add_argument(
        "--workspace", action="append", default=[], dest="workspaces", metavar="NAME", help="only this one; repeatable"
    )


def _tells(made: argparse.ArgumentParser) -> None:
    made.add_argument("--no-notify", action="store_false", dest="tells", help="tell neither owners nor administrators")


def _reason(made: argparse.ArgumentParser) -> None:
    made.add_argument("--reason", help="why, for the record")


def _scope(made: argparse.ArgumentParser) -> None:
    made.add_argument("workspace", nargs="?", help="`owner/name` or id")
    made.add_argument("--owner", metavar="NAME", help="everything of this user")
    made.add_argument("--fleet", action="store_true", help="everything")


def _filters(made: argparse.ArgumentParser) -> None:
    made.add_argument("--owner", metavar="NAME", help="of this user")
    made.add_argument("--template", metavar="GLOB", help="of these templates")
    made.add_argument("--name", metavar="GLOB", help="with these names")
    made.add_argument("--organization", metavar="GLOB", help="of these organizations")
    made.add_argument("--idle", metavar="TIME", help="not used for so long, as 8h")
    made.add_argument("--up", metavar="TIME", help="running for so long, as 24h")
    made.add_argument("--no-deadline", action="store_true", help="without a deadline")
    made.add_argument("--unhealthy", action="store_true", help="whose agents do not answer")
    made.add_argument("--outdated", action="store_true", help="not on their template's active version")


def _pass_output(made: argparse.ArgumentParser) -> None:
    with_output(made)
    with_settings(made)
    made.add_argument(
        "--yes-unattended", action="store_true", help="never ask at the terminal: what needs a person waits"
    )


def _look_output(made: argparse.ArgumentParser) -> None:
    with_output(made)
    with_settings(made)


def _report_output(made: argparse.ArgumentParser) -> None:
    form = made.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_const", const="json", dest="form", help="as --format json")
    form.add_argument(
        "--format", choices=("text", "json", "markdown", "html"), dest="form", help="how it looks (default text)"
    )
    made.add_argument("--quiet", "-q", action="store_true", help="no log lines on stderr")
    made.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="colours (NO_COLOR is kept)")
    made.add_argument(
        "--yes-unattended", action="store_true", help="never ask at the terminal: what needs a person waits"
    )
    made.set_defaults(form="text")
    with_settings(made)
