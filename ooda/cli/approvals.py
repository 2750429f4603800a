"""`ooda approvals` and `ooda runs decide`: what waits for a person, and their answers."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from ooda.api.approval_links import link_token
from ooda.api.approval_server import PATH, answering
from ooda.api.people import answer_approval, known_question, waiting_for
from ooda.api.runs import known_run
from ooda.api.session import Session
from ooda.cli.data import print_data
from ooda.cli.settings import session_for
from ooda.cli.style import style_for, when
from ooda.errors import ConfigError
from ooda.governance.approval import escape
from ooda.store import approvals
from ooda.store.approvals import Answer

__all__ = ["answer", "decide", "link", "list_waiting", "serve", "show"]

_MOST = 1 << 20


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


def show(args: argparse.Namespace) -> int:
    """One question, with all it is bound to and what was answered."""
    with session_for(args) as session:
        row = known_question(session, args.approval)
    if args.form != "text":
        print_data(row, args.form)
        return 0
    style = style_for(sys.stdout, args.color)
    print(style(row.id, "bold") + f" · {row.run} · {row.state}")
    print(row.shown)
    facts = {
        "asked": when(row.asked_ns),
        "until": when(row.expires_ns) if row.expires_ns < approvals.NEVER_NS else "it is answered",
        "answered": f"{when(row.answered_ns)} by {escape(row.answered_by)}" if row.answered_ns else "",
        "note": escape(row.note),
        "edited": escape(row.edited_arguments or ""),
        "used": when(row.used_ns) if row.used_ns else "",
        "labels": row.labels,
        "policy": row.policy,
        "arguments": row.arguments_hash,
        "shown": row.shown_hash,
    }
    for name, value in facts.items():
        if value:
            print(f"  {name:<10} {value}")
    return 0


def answer(args: argparse.Namespace) -> int:
    """Answer one; the run is told when it is resumed, or at once where it waits for it."""
    arguments = _edited(args.modify) if args.modify else None
    with session_for(args) as session:
        known_question(session, args.approval)
        word: Answer = "modify" if args.modify else args.answer
        row = answer_approval(session, args.approval, word, args.note, arguments=arguments)
    print(f"{row.id}: {row.state}. Go on with: ooda runs resume {row.run}")
    return 0


def _edited(source: str) -> str:
    try:
        text = sys.stdin.read(_MOST + 1) if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"`--modify {source}` cannot be read: {error}") from error
    if len(text) > _MOST:
        raise ConfigError(f"`--modify {source}` has more than {_MOST:,} characters")
    return text


def link(args: argparse.Namespace) -> int:
    """Print the link by which one person answers one question."""
    with session_for(args) as session:
        token = link_token(session, known_question(session, args.approval).id, args.person)
    print(f"{args.url.rstrip('/')}{PATH}{token}")
    return 0


def serve(args: argparse.Namespace) -> int:
    """Answer links until it is interrupted."""
    if args.host not in ("127.0.0.1", "::1", "localhost"):
        print(
            f"ooda: {args.host} is not this machine alone, and nothing is encrypted here; put a TLS proxy before it",
            file=sys.stderr,
        )
    with session_for(args) as session, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(session, args))
    return 0


async def _serve(session: Session, args: argparse.Namespace) -> None:
    async with answering(session, args.host, args.port, tuple(args.names)) as url:
        print(f"answering links at {url}{PATH}", flush=True)
        ended = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        await ended.wait()


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
