"""The fleet as one HTML page: a timeline of past use and coming stops, and the tables of the plan. No script.

The drawing carries its own colours for light and dark; what colours tell, shapes and the tables tell too.
"""

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
_LOOK = (
    ".fleet{--ink:#1d2430;--quiet:#5a6fd0;--use:#23855a;--ttl:#b3650a;--max:#b3261e;--now:#b3261e;--band:#5a6fd01f}"
    "@media (prefers-color-scheme:dark){.fleet{--ink:#dfe5ee;--quiet:#93a5ff;--use:#56c596;--ttl:#f0a848;"
    "--max:#ff8a80;--now:#ff8a80;--band:#93a5ff24}}"
    ".fleet{fill:var(--ink);font:12px system-ui,sans-serif;min-width:900px}"
    ".fleet .row:nth-of-type(even) .bg{fill:var(--ink);opacity:.035}.fleet .bg{opacity:0}"
    ".fleet .band{fill:var(--band)}.fleet .past{fill:var(--use)}.fleet .next{fill:var(--use);opacity:.38}"
    ".fleet .used{fill:var(--ink);stroke:Canvas;stroke-width:1.5}.fleet .quiet_hours{fill:var(--quiet)}"
    ".fleet .ttl{fill:var(--ttl)}.fleet .max_deadline{fill:var(--max)}.fleet .hour{stroke:var(--ink);opacity:.15}"
    ".fleet .now{stroke:var(--now);stroke-width:1.5}.fleet .now-text{fill:var(--now);font-weight:600}"
    ".scroll{overflow-x:auto}.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.4rem;padding:0;list-style:none;"
    "font-size:.85rem}.legend svg{width:22px;height:14px;min-width:0;vertical-align:-2px;margin-right:.35rem}"
)


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
        row = [f'<rect class="bg" y="{top}" width="{_WIDTH}" height="{_ROW}"/>']
        calendar = planner.calendar(seat.workspace.owner_tz) if planner.policy.enabled and not planner.problem else None
        if calendar is not None:
            row += [_quiet(now_ns, window, top) for window in _visible(calendar.ahead(now_ns - _BACK_NS), now_ns)]
        row += _use(now_ns, seat, stops[0].at_ns if stops else None, top)
        row += [_stop(now_ns, stop.at_ns, stop.cause, stop.by, top) for stop in stops]
        parts.append(f'<g class="row">{_name(seat, top)}{"".join(row)}</g>')
    height = _TOP + max(1, len(shown)) * _ROW + 6
    x = _x(now_ns, now_ns)
    parts.append(
        f'<line class="now" x1="{x}" y1="{_TOP - 8}" x2="{x}" y2="{height}"/>'
        f'<text class="now-text" x="{x}" y="{_TOP - 11}" text-anchor="middle">now</text>'
    )
    more = f"<p>{len(rows) - len(shown)} more running workspaces are not drawn.</p>" if len(rows) > len(shown) else ""
    said = f"{len(shown)} running workspaces, from {minute_of(now_ns - _BACK_NS)} to {minute_of(now_ns + _AHEAD_NS)}"
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Fleet timeline">'
        f'<svg class="fleet" viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="fleet-title fleet-desc">'
        f'<title id="fleet-title">Fleet timeline, times in UTC</title><desc id="fleet-desc">{said}; the tables below '
        f"hold the same.</desc><style>{_LOOK}</style>{''.join(parts)}</svg></div>{_legend()}{more}"
    )


def _legend() -> str:
    signs = (
        ('<rect class="band" width="22" height="14"/>', "quiet hours of its owner"),
        ('<rect class="past" y="2" width="22" height="10" rx="2"/>', "running"),
        ('<rect class="next" y="2" width="22" height="10" rx="2"/>', "will run, if nothing changes"),
        ('<circle class="used" cx="11" cy="7" r="3.5"/>', "last used"),
        (_mark("quiet_hours", 11, 7), "stop by quiet hours"),
        (_mark("ttl", 11, 7), "stop by time to live"),
        (_mark("max_deadline", 11, 7), "stop by the last deadline"),
    )
    drawn = (
        f'<li><svg class="fleet" viewBox="0 0 22 14" aria-hidden="true">{sign}</svg>{said}</li>' for sign, said in signs
    )
    return f'<ul class="legend">{"".join(drawn)}</ul>'


def _mark(cause: str, x: float, y: float, title: str = "") -> str:
    """A bar, a diamond or a triangle, so that nobody needs the colour."""
    points = {
        "quiet_hours": ((-2, -8), (2, -8), (2, 8), (-2, 8)),
        "ttl": ((0, -7), (6, 0), (0, 7), (-6, 0)),
        "max_deadline": ((-6, -6), (6, -6), (0, 7)),
    }[cause]
    shape = " ".join(f"{round(x + dx, 1)},{y + dy}" for dx, dy in points)
    return f'<polygon class="{cause}" points="{shape}">{f"<title>{title}</title>" if title else ""}</polygon>'


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
            f'<line class="hour" x1="{x}" y1="4" x2="{x}" y2="{_TOP + rows * _ROW}"/>'
        )
    return "".join(parts)


def _name(seat: Seat, top: int) -> str:
    title = seat.workspace.title
    short = title if len(title) <= 34 else title[:33] + "…"
    said = f"{seat.said.decision}: {reason_words(seat.said.reason)}"
    return f'<text x="0" y="{top + 14}">{html.escape(short)}<title>{html.escape(f"{title}, {said}")}</title></text>'


def _quiet(now_ns: int, window: Window, top: int) -> str:
    left, right = _x(now_ns, window.start_ns), _x(now_ns, window.end_ns)
    return f'<rect class="band" x="{left}" y="{top}" width="{round(right - left, 1)}" height="{_ROW}"/>'


def _use(now_ns: int, seat: Seat, stop_ns: int | None, top: int) -> list[str]:
    """What has run, what is to come, and when it was last used."""
    started = seat.workspace.started_ns if seat.workspace.started_ns is not None else now_ns - _BACK_NS
    ends = stop_ns if stop_ns is not None else now_ns + _AHEAD_NS
    parts = [_bar(now_ns, "past", started, now_ns, top)]
    if ends > now_ns:
        parts.append(_bar(now_ns, "next", now_ns, ends, top))
    used = seat.workspace.last_used_ns
    if used is not None and used >= now_ns - _BACK_NS:
        at = f'<circle class="used" cx="{_x(now_ns, used)}" cy="{top + 11}" r="3.5">'
        parts.append(f"{at}<title>last used {minute_of(used)}</title></circle>")
    return parts


def _bar(now_ns: int, look: str, from_ns: int, to_ns: int, top: int) -> str:
    left, right = _x(now_ns, from_ns), _x(now_ns, to_ns)
    width = round(max(1.0, right - left), 1)
    return f'<rect class="{look}" x="{left}" y="{top + 6}" width="{width}" height="10" rx="2"/>'


def _stop(now_ns: int, at_ns: int, cause: str, by: str, top: int) -> str:
    if at_ns > now_ns + _AHEAD_NS + MINUTE_NS:
        return ""
    said = html.escape(f"{minute_of(at_ns)} {reason_words(cause)} ({by})")
    return _mark(cause, _x(now_ns, at_ns), top + 11, said)
