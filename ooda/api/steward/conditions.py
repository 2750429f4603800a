"""What the steward's calendars and rules say, looked at by a person before they count. Needs no deployment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date, timedelta

import msgspec

from ooda.agents.steward.absences import DayOff, days_off
from ooda.agents.steward.configuration import policy_of
from ooda.agents.steward.document import Document, Table
from ooda.agents.steward.instants import utc
from ooda.agents.steward.rules import RuleBook, parse_rules
from ooda.api.session import Session
from ooda.api.steward.gather import json_file
from ooda.errors import ConfigError, IntegrationError
from ooda.services.calendar import calendar_text

__all__ = ["CalendarDays", "calendar_days", "calendar_document", "checked_rules", "rules_document"]


class CalendarDays(msgspec.Struct, frozen=True):
    """The days off of one calendar."""

    source: str
    """A file's path, or the host of an address, whose rest may be a secret."""
    days: tuple[DayOff, ...] = ()
    problem: str = ""
    """Why it cannot be read; empty when it can."""


async def calendar_days(session: Session, sources: Sequence[str], ahead_days: int) -> list[CalendarDays]:
    """The days off from today on, of these calendars or of the configured ones.

    Raises:
        ConfigError: none is named and none is configured.
    """
    chosen = tuple(sources) or session.settings.steward.policy.holidays
    if not chosen:
        raise ConfigError("no calendar is named, and `steward.policy.holidays` names none")
    today = utc(session.clock.now_ns()).date()
    return [await _days_of(source, today, today + timedelta(days=ahead_days)) for source in chosen]


async def _days_of(source: str, first: date, last: date) -> CalendarDays:
    shown = source.split("/")[2] if "://" in source else source
    try:
        text = await calendar_text(source)
        return CalendarDays(shown, await asyncio.to_thread(days_off, text, first, last))
    except (ConfigError, IntegrationError) as error:
        return CalendarDays(shown, problem=str(error))


def calendar_document(found: Sequence[CalendarDays]) -> Document:
    """As a report."""
    tables = tuple(
        Table(
            one.source,
            ("day", "", "what"),
            tuple((off.day.isoformat(), f"{off.day:%a}", off.title) for off in one.days),
            one.problem or "no days off in this time",
        )
        for one in found
    )
    return Document("Days off", ("Whole days on which the fleet is quiet.",), tables)


def checked_rules(session: Session, file: str = "") -> RuleBook:
    """The rules of a file, or of the configured one, each checked with the policy it leads to.

    Raises:
        ConfigError: there is no file, it cannot be read, or a rule has a mistake.
    """
    named = file or session.settings.steward.policy.rules_file
    if not named:
        raise ConfigError("no file of rules is named, and `steward.policy.rules_file` names none")
    return parse_rules(json_file(named, "steward.policy.rules_file"), policy_of(session.settings))


def rules_document(book: RuleBook) -> Document:
    """As a report: the first rule that fits a workspace counts."""
    rows = tuple(
        (str(number), rule.name, _compact(rule.when), _compact(rule.policy))
        for number, rule in enumerate(book.rules, start=1)
    )
    columns = ("", "rule", "when", "differs from the fleet's policy in")
    sentence = "The first rule that fits a workspace counts; `ooda steward quiet-hours --dry-run` shows which one does."
    return Document("Rules", (sentence,), (Table("Rules", columns, rows, "no rules"),))


def _compact(value: object) -> str:
    return msgspec.json.encode(value).decode()
