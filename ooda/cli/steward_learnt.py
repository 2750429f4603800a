"""`ooda steward predict` and `savings`: what past use and past stops teach. Nothing is decided here."""

from __future__ import annotations

import argparse
import asyncio
import sys

from ooda.agents.steward.document import Document, as_json, html_page, markdown
from ooda.agents.steward.reports import forecast_document, plan_text, savings_document
from ooda.api.steward.learnt import saved_by_stopping, stop_forecasts
from ooda.api.steward.looks import look_at
from ooda.cli.data import print_data
from ooda.cli.exits import EXIT
from ooda.cli.steward import seconds_of, session_of

__all__ = ["predict", "savings"]


def predict(args: argparse.Namespace) -> int:
    """Suggested stop times by owner."""
    with session_of(args) as session:
        found = stop_forecasts(session, user=args.user or "")
    plain = [{"owner": owner, "stop": forecast.local_time, **as_json(forecast)} for owner, forecast in found]
    return _print(args.form, forecast_document(found), plain)


def savings(args: argparse.Namespace) -> int:
    """Hours that were not run, and what they would have cost."""
    back_s = seconds_of("--since", args.since)
    with session_of(args) as session:
        report = asyncio.run(look_at(session, lambda client: saved_by_stopping(session, client, back_s)))
    return _print(args.form, savings_document(report), as_json(report))


def _print(form: str, document: Document, plain: object) -> int:
    match form:
        case "json":
            print_data(plain, "json")
        case "markdown":
            sys.stdout.write(markdown(document))
        case "html":
            sys.stdout.write(html_page(document))
        case _:
            sys.stdout.write(plan_text(document))
    return EXIT["success"]
