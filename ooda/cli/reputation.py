"""`ooda reputation`: how agents stand, why, and what people decide about them."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any

import msgspec

from ooda.api import reviews
from ooda.api.session import Session
from ooda.api.standing import Registered
from ooda.cli.data import print_data
from ooda.cli.settings import session_for
from ooda.cli.style import style_for, table, when
from ooda.governance.approval import escape
from ooda.governance.levels import level_named
from ooda.governance.reputation import Review

__all__ = ["appeal", "demote", "history", "promote", "show"]

_WIDTH = 24
_TOP = 200
"""The highest score there is."""


def show(args: argparse.Namespace) -> int:
    """All agents in a table, or one with what it needs for the next level."""
    with session_for(args) as session:
        if args.agent:
            asyncio.run(reviews.refresh(session, args.agent))
            agent, found = reviews.reviewed(session, args.agent)
            _one(args, agent, found)
            return 0
        agents = reviews.standings(session)
    if args.form != "text":
        print_data([_plain(agent) for agent in agents], args.form)
        return 0
    style = style_for(sys.stdout, args.color)
    rows = [
        (a.name, str(a.standing.score), _bar(a.standing.score), a.level.word, a.standing.granted.word,
         a.standing.eligible.word)
        for a in agents
    ]  # fmt: skip
    head = ("agent", "score", "0 to 200", "in force", "granted", "eligible")
    print(table(head, rows, style) if rows else "No agent is registered yet: the first run registers one.")
    return 0


def history(args: argparse.Namespace) -> int:
    """Every event with what it did, the newest last."""
    with session_for(args) as session:
        asyncio.run(reviews.refresh(session, args.agent))
        lines = reviews.history(session, args.agent)[-args.limit :]
    if args.form != "text":
        print_data(lines, args.form)
        return 0
    rows = []
    for line in lines:
        event = line.event
        about = " ".join(part for part in (event.run, event.operation, event.window, event.level) if part)
        by = f" by {escape(event.by)}" if event.by else ""
        took = f" of {event.takes_back}" if event.takes_back else ""
        why = f"no effect: {line.ignored}" if line.ignored else escape(event.cause.partition("\n")[0])
        rows.append((when(event.at_ns), event.id, event.kind + took + by, f"{line.delta:+d}", str(line.score),
                     " · ".join(part for part in (about, why) if part)))  # fmt: skip
    head = ("when", "event", "what", "change", "score", "about")
    print(table(head, rows, style_for(sys.stdout, args.color)) if rows else "Nothing has happened yet.")
    return 0


def promote(args: argparse.Namespace) -> int:
    """Grant the next level up."""
    return _decided(args, lambda session: reviews.promote(session, args.agent, level_named(args.level), args.note))


def demote(args: argparse.Namespace) -> int:
    """Take a level back."""
    return _decided(args, lambda session: reviews.demote(session, args.agent, level_named(args.level), args.note))


def appeal(args: argparse.Namespace) -> int:
    """Take the effect of one event back."""
    return _decided(args, lambda session: reviews.appeal(session, args.agent, args.event, args.note))


def _decided(args: argparse.Namespace, decide: Any) -> int:
    with session_for(args) as session:
        agent = _shared(session, args.agent, decide)
    if args.form != "text":
        print_data(_plain(agent), args.form)
    else:
        print(f"{agent.name}: score {agent.standing.score}, granted {agent.standing.granted.word}.")
    return 0


def _shared(session: Session, name: str, decide: Any) -> Registered:
    """Decide on the whole record, and give the decision to the other machines."""
    asyncio.run(reviews.refresh(session, name))
    agent: Registered = decide(session)
    asyncio.run(reviews.refresh(session, name))
    return agent


def _one(args: argparse.Namespace, agent: Registered, found: Review) -> None:
    if args.form != "text":
        next_level = found.level.word if found.level is not None else None
        print_data({**_plain(agent), "promotion": {"level": next_level, "missing": found.reasons}}, args.form)
        return
    style, standing = style_for(sys.stdout, args.color), agent.standing
    print(f"{style(agent.name, 'bold')} · {agent.id}")
    print(f"  score     {standing.score:>3}  {_bar(standing.score)}")
    print(f"  in force  {agent.level.word}: {agent.reason}")
    print(f"  granted   {standing.granted.word}, eligible {standing.eligible.word}")
    print(f"  counted   {standing.successes} successes on {standing.success_days} days at this level")
    if found.level is not None:
        who = "a named person grants it" if found.needs_person else "it is granted by itself"
        command = f"ooda reputation promote {agent.name} {found.level.word} --note WHY"
        print(f"  promotion to {found.level.word} is possible; {who}: {command}")
    for reason in found.reasons:
        print(f"  no promotion: {reason}")


def _bar(score: int) -> str:
    """The score as a bar with the thresholds of the levels marked."""
    filled = round(score / _TOP * _WIDTH)
    marks = {round(threshold / _TOP * _WIDTH) for threshold in (90, 130, 160)}
    return "".join("│" if at in marks else "█" if at < filled else "·" for at in range(_WIDTH))


def _plain(agent: Registered) -> dict[str, Any]:
    standing = agent.standing
    return {
        "id": str(agent.id),
        "agent": agent.name,
        "score": standing.score,
        "permission_level": agent.level.word,
        "granted": standing.granted.word,
        "eligible": standing.eligible.word,
        "successes": standing.successes,
        "success_days": standing.success_days,
        "ignored": msgspec.to_builtins(standing.ignored),
    }
