"""`ooda approvals` and `ooda runs decide`: what waits for a person, and their answers."""

from __future__ import annotations

import argparse
import sys

from ooda.api.people import answer_approval, waiting_for
from ooda.api.runs import known_run
from ooda.api.session import Session
from ooda.cli.data import print_data
from ooda.cli.settings import session_for
from ooda.cli.style import style_for, when
from ooda.errors import ConfigError, nearest
from ooda.store import approvals

__all__ = ["answer", "decide", "list_waiting"]


def list_waiting(args: argparse.Namespace) -> int:
    """Questions without an answer, in full: nothing a person decides on is cut."""
    with session_for(args) as session:
        found = waiting_for(session)
    if args.form != "text":
        print_data(found, args.form)
        return 0
    style = style_for(sys.stdout, args.color)
    for approval in found:
        until = f" · until {when(approval.expires_ns)}" if approval.expires_ns < approvals.NEVER_NS else ""
        print(style(f"{approval.id}", "bold") + f" · {approval.run}{until}")
        print(approval.shown + "\n")
    if not found:
        print("Nothing waits for a person.")
    return 0


def answer(args: argparse.Namespace) -> int:
    """Answer one; the run is told when it is resumed, or at once where it waits for it."""
    with session_for(args) as session:
        _known(session, args.approval)
        row = answer_approval(session, args.approval, args.answer, args.note)
    print(f"{row.id}: {row.state}. Go on with: ooda runs resume {row.run}")
    return 0


def _known(session: Session, approval: str) -> None:
    if session.store.read(lambda tx: approvals.find(tx, approval)) is None:
        near = nearest(approval, [waiting.id for waiting in waiting_for(session)])
        hint = f"did you mean `{near}`?" if near else "`ooda approvals list` shows those that wait"
        raise ConfigError(f"there is no question {approval!r}; {hint}")


def decide(args: argparse.Namespace) -> int:
    """Say whether an interrupted effect happened."""
    with session_for(args) as session:
        known_run(session, args.run)
        asked = [a for a in waiting_for(session) if a.run == args.run and a.ask == "decision"]
        found = [a for a in asked if a.call == args.call]
        if not found:
            calls = ", ".join(f"`{a.call}`" for a in asked)
            hint = f"calls of this run that do: {calls}" if calls else "no call of this run does"
            raise ConfigError(f"nothing about call {args.call!r} of {args.run} waits for a decision; {hint}")
        row = answer_approval(session, found[0].id, args.answer, "")
    print(f"{row.call}: {row.state}. Go on with: ooda runs resume {row.run}")
    return 0
