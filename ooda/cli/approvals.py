"""`ooda approvals` and `ooda runs decide`: what waits for a person, and their answers."""

from __future__ import annotations

import argparse
import sys

import msgspec

from ooda.api.people import answer_approval, waiting_for
from ooda.cli.settings import session_for
from ooda.cli.style import style_for, when
from ooda.errors import ConfigError

__all__ = ["answer", "decide", "list_waiting"]


def list_waiting(args: argparse.Namespace) -> int:
    """Questions without an answer, in full: nothing a person decides on is cut."""
    with session_for(args) as session:
        found = waiting_for(session)
    if args.form != "text":
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return 0
    style = style_for(sys.stdout, args.color)
    for approval in found:
        print(style(f"{approval.id}", "bold") + f" · {approval.run} · until {when(approval.expires_ns)}")
        print(approval.shown + "\n")
    if not found:
        print("Nothing waits for a person.")
    return 0


def answer(args: argparse.Namespace) -> int:
    """Answer one; the run is told when it is resumed, or at once where it waits for it."""
    with session_for(args) as session:
        row = answer_approval(session, args.approval, args.answer, args.note)
    print(f"{row.id}: {row.state}. Go on with: ooda runs resume {row.run}")
    return 0


def decide(args: argparse.Namespace) -> int:
    """Say whether an interrupted effect happened."""
    with session_for(args) as session:
        found = [a for a in waiting_for(session) if a.run == args.run and a.call == args.call and a.ask == "decision"]
        if not found:
            raise ConfigError(
                f"nothing about call {args.call!r} of {args.run} waits for a decision; `ooda approvals list`"
            )
        row = answer_approval(session, found[0].id, args.answer, "")
    print(f"{row.call}: {row.state}. Go on with: ooda runs resume {row.run}")
    return 0
