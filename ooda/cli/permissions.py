"""`ooda permissions`: what agents may do now, and what the gate would say to a call."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ooda.api.permissions import Explanation, explain, matrix
from ooda.cli.data import print_data
from ooda.cli.settings import session_for
from ooda.cli.style import Style, style_for, table
from ooda.errors import UserError
from ooda.governance.approval import escape
from ooda.governance.levels import Level
from ooda.labels import Label
from ooda.task import load_task

__all__ = ["drawn", "show", "why"]

_LOOKS = {"allow": "green", "ask": "yellow", "deny": "red"}
_WORDS = {"allow": "ALLOWED", "ask": "ASKS A PERSON", "deny": "REFUSED"}


def show(args: argparse.Namespace) -> int:
    """Every operation by level, and what the agent may do at the one it has."""
    loaded = load_task(args.task) if args.task else None
    with session_for(args) as session:
        agent, rows = matrix(session, kind=args.agent, task=loaded.task if loaded else None)
    if args.form != "text":
        print_data({"agent": agent.name, "level": agent.level.word, "operations": rows}, args.form)
        return 0
    style = style_for(sys.stdout, args.color)
    print(f"{agent.reason}.\n")
    head = ("operation", "risk", *(f"[{lv.word}]" if lv is agent.level else lv.word for lv in Level), "now")
    print(table(head, [(row.operation, row.risk, *row.cells, row.now) for row in rows], style))
    return 0


def why(args: argparse.Namespace) -> int:
    """Which rule, level, label or grant decides about a call."""
    loaded = load_task(args.task) if args.task else None
    with session_for(args) as session:
        found = explain(
            session,
            args.call,
            kind=args.agent,
            task=loaded.task if loaded else None,
            folder=loaded.folder if loaded else Path.cwd(),
            run=args.run or "",
            label=_label(args.label) if args.label else None,
            is_attended=not args.unattended,
        )
    if args.form != "text":
        print_data(found, args.form)
    else:
        print(drawn(found, style_for(sys.stdout, args.color)))
    return 0


def _label(word: str) -> Label:
    try:
        return Label.parse(word if "/" in word else f"{word}/internal")
    except KeyError:
        raise UserError(
            f"there is no label {word!r}; it is `trusted`, `tool` or `untrusted`, with `/public`, `/internal` or "
            "`/secret` behind it"
        ) from None


def drawn(found: Explanation, style: Style) -> str:
    """The chain from the call to the verdict."""
    lines = [style(escape(found.tool), "bold") + f" · {found.operation} · effect {found.effect}"]
    if found.arguments:
        lines.append(f"  {escape(found.arguments)}")
    lines += [f"  target {escape(target)}" for target in found.targets if target]
    lines.append(f"  by {found.level_from}; the task grants {', '.join(found.grants) or 'nothing'}")
    for said in found.chain:
        mark = "●" if said.judge == found.decided_by else "○"
        lines.append("  │")
        lines.append(
            f"  {mark} {said.judge:<7} {style(f'{said.decision:<5}', _LOOKS[said.decision])} "
            + " · ".join(part for part in (escape(said.by), escape(said.reason)) if part)
        )
    others = [rule for rule in found.matched if not any(said.by == rule for said in found.chain)]
    if others:
        lines.append(f"            also matched: {', '.join(map(escape, others))}")
    lines.append("  │")
    verdict = style(_WORDS[found.verdict], "bold", _LOOKS[found.verdict])
    lines.append(f"  ▼ {verdict} ({found.decided_by}): {escape(found.reason)}")
    return "\n".join(lines)
