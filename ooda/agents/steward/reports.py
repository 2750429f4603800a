"""The steward's reports as documents: the plan of a pass, times to live, the autostop schedule, what was saved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ooda.agents.steward.autostop_schedule import AutostopLine
from ooda.agents.steward.cost import SavingsReport
from ooda.agents.steward.document import Document, Table
from ooda.agents.steward.fleet import Seat
from ooda.agents.steward.instants import lasting, minute_of
from ooda.agents.steward.ttl import TtlEntry, TtlReport
from ooda.agents.steward.usage import StopForecast

__all__ = [
    "autostop_document",
    "forecast_document",
    "plan_document",
    "plan_text",
    "reason_words",
    "savings_document",
    "ttl_document",
]

_WORDS = {
    "max_deadline": "maximum deadline",
    "ttl": "time to live is over",
    "quiet_hours": "quiet hours",
    "config_error": "policy has a mistake",
    "clock_skew": "clocks differ",
    "dormant": "dormant",
    "not_running": "not running",
    "held_by_override": "held",
    "active_connection": "open connection",
    "within_ttl": "within its time to live",
    "no_ttl": "no time to live",
    "excluded_user": "owner is excluded",
    "excluded_template": "template is excluded",
    "recently_used": "recently used",
    "in_grace": "in grace",
    "outside_quiet_hours": "outside quiet hours",
}
_ORDER = {"stop": 0, "warn": 1, "keep": 2}


def reason_words(reason: str) -> str:
    """A reason of the decision in words."""
    return _WORDS.get(reason, reason.replace("_", " "))


def plan_document(now_ns: int, seats: Iterable[Seat], *, is_dry: bool) -> Document:
    """Who is stopped, when, why, and what comes next; workspaces that do not run are counted only."""
    listed = tuple(seats)
    live = sorted(
        (seat for seat in listed if seat.workspace.status == "running"),
        key=lambda seat: (_ORDER[seat.said.decision], seat.said.next_ns or 0, seat.workspace.title),
    )
    counted = Counter(seat.said.decision for seat in live)
    verb = "would" if is_dry else "will"
    return Document(
        "Workspace stop plan",
        (
            f"{minute_of(now_ns)}: {len(live)} of {len(listed)} workspaces run; this pass {verb} stop "
            f"{counted['stop']}, warn {counted['warn']} and leave {counted['keep']} alone.",
        ),
        (
            Table(
                "Workspaces",
                ("workspace", "decision", "why", "next change", "policy"),
                tuple(_plan_row(now_ns, seat) for seat in live),
                empty="no workspace is running",
            ),
        ),
    )


def _plan_row(now_ns: int, seat: Seat) -> tuple[str, ...]:
    said = seat.said
    when = "" if said.next_ns is None else f"{minute_of(said.next_ns)} (in {lasting(said.next_ns - now_ns)})"
    return (seat.workspace.title, said.decision, reason_words(said.reason), when, seat.rule or "fleet")


def plan_text(document: Document) -> str:
    """A plan for a terminal: columns as wide as what stands in them."""
    lines = [*document.sentences, ""]
    for table in document.tables:
        if not table.rows:
            lines.append(table.empty)
            continue
        rows = [table.columns, *table.rows]
        widths = [max(len(row[at]) for row in rows) for at in range(len(table.columns))]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
    return "\n".join(lines) + "\n"


def ttl_document(report: TtlReport) -> Document:
    """Times to live: overdue, soon, violations."""
    sentences = [f"{minute_of(report.at_ns)}: {report.checked} running workspaces were looked at."]
    if report.is_executor_failing:
        sentences.append("Deadlines pass without a stop: Coder's own autostop seems to be failing.")
    columns = ("workspace", "ended", "ago", "time to live")
    return Document(
        "TTL Compliance Report",
        tuple(sentences),
        (
            Table(
                "Workspaces that should have stopped",
                columns,
                tuple(_ttl_row(entry, report.at_ns - entry.stop_ns) for entry in report.should_have_stopped),
            ),
            Table(
                "Workspaces stopping soon",
                ("workspace", "ends", "in", "time to live"),
                tuple(_ttl_row(entry, entry.stop_ns - report.at_ns) for entry in report.stopping_soon),
            ),
            Table(
                "Violations",
                ("workspace", "rule", "detail", "since"),
                tuple(
                    (found.workspace, found.kind.replace("_", " "), found.detail, minute_of(found.since_ns))
                    for found in report.violations
                ),
            ),
        ),
    )


def _ttl_row(entry: TtlEntry, span_ns: int) -> tuple[str, ...]:
    ttl = lasting(entry.ttl_ms * 1_000_000) if entry.ttl_ms else "not set"
    return (entry.workspace, minute_of(entry.stop_ns), lasting(span_ns), ttl)


def autostop_document(now_ns: int, lines: Iterable[AutostopLine]) -> Document:
    """The autostop schedule."""
    rows = []
    for line in lines:
        stops = [f"{minute_of(stop.at_ns)} {reason_words(stop.cause)} ({stop.by})" for stop in line.stops]
        notes = "; ".join(conflict.says for conflict in line.conflicts)
        rows.append((line.workspace.title, stops[0] if stops else "never", "; ".join(stops[1:]), line.policy, notes))
    return Document(
        "AutoStop Schedule",
        (f"{minute_of(now_ns)}: {len(rows)} workspaces are running.",),
        (Table("Schedule", ("workspace", "stops", "otherwise", "policy", "notes"), tuple(rows)),),
    )


def savings_document(report: SavingsReport) -> Document:
    """What stopping saved."""
    sentences = [f"{report.hours} workspace hours were not run, worth {report.usd} USD."]
    if report.unpriced:
        sentences.append("Nobody knows a price for: " + ", ".join(report.unpriced) + ".")
    rows = tuple(
        (row.template, str(row.stops), str(row.hours), "unknown" if row.usd is None else str(row.usd))
        for row in report.rows
    )
    return Document(
        "Saved by stopping", tuple(sentences), (Table("Templates", ("template", "stops", "hours", "USD"), rows),)
    )


def forecast_document(forecasts: Iterable[tuple[str, StopForecast]]) -> Document:
    """Suggested stop times and how far off they were."""
    rows = tuple(
        (
            owner,
            "weekend" if found.is_weekend else "working day",
            found.local_time,
            f"{found.error_minutes} min",
            f"{found.too_early_percent:g} %",
            str(found.days),
        )
        for owner, found in forecasts
    )
    columns = ("owner", "day", "suggested stop", "typical error", "too early on", "days seen")
    return Document(
        "Suggested stop times",
        ("Learnt from past days; each day's error was measured with that day left out.",),
        (Table("Owners", columns, rows, empty="nobody has been seen on five days of a kind yet"),),
    )
