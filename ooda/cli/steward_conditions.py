"""`ooda steward calendar` and `rules`: what changes the fleet's policy on some days or for some workspaces."""

from __future__ import annotations

import argparse
import asyncio
import sys

from ooda.agents.steward.document import Document, html_page, markdown
from ooda.agents.steward.reports import plan_text
from ooda.api.steward.conditions import calendar_days, calendar_document, checked_rules, rules_document
from ooda.cli.data import print_data
from ooda.cli.exits import EXIT
from ooda.cli.steward import seconds_of, session_of

__all__ = ["calendar", "rules"]

_DAY_S = 86_400


def calendar(args: argparse.Namespace) -> int:
    """The days off of calendars; exit 1 when one of them cannot be read."""
    ahead_days = seconds_of("--ahead", args.ahead) // _DAY_S
    with session_of(args) as session:
        found = asyncio.run(calendar_days(session, args.sources, ahead_days))
    _print(args.form, calendar_document(found), found)
    return EXIT["failed"] if any(one.problem for one in found) else EXIT["success"]


def rules(args: argparse.Namespace) -> int:
    """The rules of a file, checked."""
    with session_of(args) as session:
        book = checked_rules(session, args.file or "")
    _print(args.form, rules_document(book), book.rules)
    return EXIT["success"]


def _print(form: str, document: Document, plain: object) -> None:
    match form:
        case "json" | "jsonl":
            print_data(plain, form)
        case "markdown":
            sys.stdout.write(markdown(document))
        case "html":
            sys.stdout.write(html_page(document))
        case _:
            sys.stdout.write(plan_text(document))
