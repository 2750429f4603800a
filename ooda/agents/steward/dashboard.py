"""The fleet as one HTML page: a timeline of past use and coming stops, and the tables of the plan. No script."""

from __future__ import annotations

import html
from collections.abc import Iterable

from ooda.agents.steward.decision import Planner
from ooda.agents.steward.document import Document, html_page
from ooda.agents.steward.fleet import Seat
from ooda.agents.steward.instants import DAY_NS, HOUR_NS, MINUTE_NS, minute_of, utc
from ooda.agents.steward.policy import Policy
from ooda.agents.steward.quiet_calendar import Window
from ooda.agents.steward.reports import reason_words
from ooda.agents.steward.stops import coming_stops

__all__ = ["dashboard", "timeline"]

_BACK_NS = 12 * HOUR_NS
_AHEAD_NS = 36 * HOUR_NS
_WIDTH, _NAMES, _ROW, _TOP = 1_200, 260, 22, 30
_MOST_ROWS = 400


def dashboard(now_ns: int, seats: Iterable[Seat], *documents: Document) -> str:
    """One page: the timeline of running workspaces, then the tables of all documents."""
    first = documents[0]
    whole = Document(first.title, first.sentences, tuple(table for found in documents for table in found.tables))
    return html_page(whole, timeline(now_ns, seats))


def timeline(now_ns: int, seats: Iterable[Seat]) -> str:
    """An SVG of the last twelve and the next thirty-six hours: quiet windows, use, stops and warnings.

    Of large fleets the first 400 workspaces, those that stop soonest, are drawn.
    """
    planners: dict[Policy, Planner] = {}
    rows = []
    for seat in seats:
        if seat.workspace.status == "running":
            planner = planners.setdefault(seat.policy, Planner(seat.policy))
            stops = coming_stops(planner, now_ns, seat.workspace)
            rows.append((stops[0].at_ns if stops else now_ns + DAY_NS * 365, seat, planner, stops))
    rows.sort(key=lambda row: (row[0], row[1].workspace.title))
    shown = rows[:_MOST_ROWS]
    parts = [_hours(now_ns, len(shown))]
    for at, (_, seat, planner, stops) in enumerate(shown):
        top = _TOP + at * _ROW
        parts.append(_name(seat, top))
        calendar = planner.calendar(seat.workspace.owner_tz) if planner.policy.enabled and not planner.problem else None
        if calendar is not None:
            parts += [_quiet(now_ns, window, top) for window in _visible(calendar.ahead(now_ns - _BACK_NS), now_ns)]
        parts.append(_use(now_ns, seat, stops[0].at_ns if stops else None, top))
        parts += [_stop(now_ns, stop.at_ns, stop.cause, stop.by, top) for stop in stops]
    height = _TOP + max(1, len(shown)) * _ROW + 6
    x = _x(now_ns, now_ns)
    parts.append(f'<line x1="{x}" y1="{_TOP - 8}" x2="{x}" y2="{height}" stroke="#d33" stroke-width="1.5"/>')
    more = f"<p>{len(rows) - len(shown)} more running workspaces are not drawn.</p>" if len(rows) > len(shown) else ""
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="Fleet timeline" font-size="12" '
        f'fill="currentColor">{"".join(parts)}</svg>{more}'
    )


def _visible(windows: Iterable[Window], now_ns: int) -> Iterable[Window]:
    for window in windows:
        if window.start_ns > now_ns + _AHEAD_NS:
            return
        yield window


def _x(now_ns: int, at_ns: int) -> float:
    share = (at_ns - now_ns + _BACK_NS) / (_BACK_NS + _AHEAD_NS)
    return round(_NAMES + min(1.0, max(0.0, share)) * (_WIDTH - _NAMES), 1)


def _hours(now_ns: int, rows: int) -> str:
    first = now_ns - _BACK_NS
    first += -first % (6 * HOUR_NS)
    parts = []
    for at_ns in range(first, now_ns + _AHEAD_NS, 6 * HOUR_NS):
        x, text = _x(now_ns, at_ns), utc(at_ns).strftime("%a %H:%M")
        parts.append(
            f'<text x="{x + 2}" y="14">{text}</text>'
            f'<line x1="{x}" y1="4" x2="{x}" y2="{_TOP + rows * _ROW}" stroke="currentColor" opacity=".15"/>'
        )
    return "".join(parts)


def _name(seat: Seat, top: int) -> str:
    title = seat.workspace.title
    short = title if len(title) <= 34 else title[:33] + "…"
    said = f"{seat.said.decision}: {reason_words(seat.said.reason)}"
    return f'<text x="0" y="{top + 14}">{html.escape(short)}<title>{html.escape(f"{title}, {said}")}</title></text>'


def _quiet(now_ns: int, window: Window, top: int) -> str:
    left, right = _x(now_ns, window.start_ns), _x(now_ns, window.end_ns)
    return f'<rect x="{left}" y="{top}" width="{round(right - left, 1)}" height="{_ROW}" fill="#5a6fd0" opacity=".16"/>'


def _use(now_ns: int, seat: Seat, stop_ns: int | None, top: int) -> str:
    started = seat.workspace.started_ns if seat.workspace.started_ns is not None else now_ns - _BACK_NS
    left, right = _x(now_ns, started), _x(now_ns, stop_ns if stop_ns is not None else now_ns + _AHEAD_NS)
    bar = (
        f'<rect x="{left}" y="{top + 5}" width="{round(max(1.0, right - left), 1)}" height="10" rx="2" '
        'fill="#3a9d6e" opacity=".75"/>'
    )
    used = seat.workspace.last_used_ns
    if used is None or used < now_ns - _BACK_NS:
        return bar
    x = _x(now_ns, used)
    return (
        f'{bar}<circle cx="{x}" cy="{top + 10}" r="3" fill="#0b5"><title>last used {minute_of(used)}</title></circle>'
    )


def _stop(now_ns: int, at_ns: int, cause: str, by: str, top: int) -> str:
    if at_ns > now_ns + _AHEAD_NS + MINUTE_NS:
        return ""
    x = _x(now_ns, at_ns)
    said = html.escape(f"{minute_of(at_ns)} {reason_words(cause)} ({by})")
    colour = {"quiet_hours": "#5a6fd0", "ttl": "#d98a1f", "max_deadline": "#c33"}[cause]
    return f'<rect x="{x - 2}" y="{top + 2}" width="4" height="16" fill="{colour}"><title>{said}</title></rect>'
