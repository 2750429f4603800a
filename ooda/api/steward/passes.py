"""One pass of the steward from its task to a result: what every command, function and timer calls.

Gives values; who shows them is the caller's. A pass that waits for a person, or that was killed, is gone on with
instead of being begun anew, so that a cron line does not pile up questions.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ooda.agents.steward.document import as_json
from ooda.agents.steward.fleet import Seat
from ooda.agents.steward.instants import spelled
from ooda.agents.steward.ttl import TtlReport
from ooda.api.runs import is_carried, known_run, started_of, state_of, text_of
from ooda.api.session import Session
from ooda.api.steward.open import Pass, PassOptions, opened_pass
from ooda.api.steward.undo import Undo
from ooda.engines.local import Ending
from ooda.store import runs
from ooda.store import steward as rows
from ooda.task import LoadedTask, StewardTask, parse_task

__all__ = [
    "PassResult",
    "build_words",
    "carry_pass",
    "make_pass",
    "recorded_pass",
    "recorded_task",
    "seat_words",
    "unfinished",
]

_CARRIED = ("waiting", "running", "starting")
_FRESH_NS = 3_600_000_000_000
_LOOK = 200


class PassResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one pass."""

    run: str
    status: str
    """As a run's: success, failed, refused, waiting …"""
    reason: str
    check: str
    is_dry: bool
    deployment: str
    at_ns: int
    """The instant that was decided for."""
    fleet: int
    """Workspaces of the deployment, prebuilt ones not counted."""
    seats: tuple[Seat, ...] = ()
    """The workspaces of the task and what is decided about each; empty where the pass did not come to it."""
    undos: tuple[Undo, ...] = ()
    """Of a rollback: the stops that were looked at."""
    ttl: TtlReport | None = None
    builds: tuple[rows.BuildRow, ...] = ()
    """Every build this pass asked for, in order."""
    problems: tuple[str, ...] = ()
    """What administrators should know."""
    next_ns: int | None = None
    """When the first decision of the fleet changes."""
    facts: dict[str, Any] = {}
    """Counts the pass kept: made, left, errors, warned, notification_failures."""

    def plain(self) -> dict[str, Any]:
        """The result as JSON-able values."""
        shown: dict[str, Any] = {
            "run": self.run,
            "status": self.status,
            "reason": self.reason,
            "check": self.check,
            "dry_run": self.is_dry,
            "deployment": self.deployment,
            "at": spelled(self.at_ns),
            "fleet": self.fleet,
            "running": sum(seat.workspace.status == "running" for seat in self.seats),
            "counts": {name: self.count(name) for name in ("stop", "warn", "keep")},
            "workspaces": [seat_words(seat) for seat in self.seats],
            "builds": [build_words(row) for row in self.builds],
            "problems": list(self.problems),
        }
        if self.undos:
            shown["undo"] = [
                {"workspace": undo.row.title, "stop": undo.row.build, "why_not": undo.why_not} for undo in self.undos
            ]
        if self.ttl is not None:
            shown["ttl"] = as_json(self.ttl)
        return shown

    def count(self, decision: str) -> int:
        """Running workspaces with this decision."""
        return sum(seat.workspace.status == "running" and seat.said.decision == decision for seat in self.seats)


def seat_words(seat: Seat) -> dict[str, Any]:
    """One workspace and its decision as JSON-able values."""
    said = seat.said
    return {
        "workspace": seat.workspace.title,
        "id": seat.workspace.id,
        "template": seat.workspace.template,
        "status": seat.workspace.status,
        "decision": said.decision,
        "reason": said.reason,
        "next_change": spelled(said.next_ns) if said.next_ns is not None else None,
        "rule": seat.rule or None,
    }


def build_words(row: rows.BuildRow) -> dict[str, Any]:
    """One build of ours as JSON-able values."""
    return {
        "workspace": row.title,
        "id": row.workspace,
        "transition": row.transition,
        "state": row.state,
        "cause": row.cause,
        "build": row.build or None,
        "after_build": row.after_build,
        "template_version": row.template_version,
        "asked": spelled(row.asked_ns),
        "ended": spelled(row.ended_ns) if row.ended_ns is not None else None,
        "detail": row.detail,
        "run": row.run,
        "key": row.key,
    }


async def make_pass(session: Session, loaded: LoadedTask, options: PassOptions | None = None) -> PassResult:
    """Carry one pass to where it stops or waits. Raises as `opened_pass`."""
    async with opened_pass(session, loaded, options) as opened:
        return await carry_pass(session, opened, loaded)


async def carry_pass(session: Session, opened: Pass, loaded: LoadedTask) -> PassResult:
    """The same for a pass that the caller has opened, to interrupt it perhaps."""
    ending = await opened.go()
    await opened.desk.tell_of_rejection()
    return _result(session, opened, loaded, ending)


def _result(session: Session, opened: Pass, loaded: LoadedTask, ending: Ending) -> PassResult:
    task, desk, facts = loaded.task, opened.desk, opened.state.facts
    assert isinstance(task, StewardTask)
    gathered, survey = desk.gathered, facts.get("survey")
    survey = survey if isinstance(survey, dict) else {}
    return PassResult(
        run=opened.run,
        status=ending.status,
        reason=ending.reason,
        check=task.check,
        is_dry=task.dry_run,
        deployment=desk.targets()[0],
        at_ns=gathered.now_ns if gathered is not None else session.clock.now_ns(),
        fleet=gathered.fleet if gathered is not None else int(survey.get("fleet", 0)),
        seats=gathered.seats if gathered is not None else (),
        undos=desk.undos,
        ttl=desk.ttl,
        builds=tuple(session.store.read(lambda tx: rows.of_run(tx, opened.run))),
        problems=gathered.problems if gathered is not None else tuple(survey.get("problems", ())),
        next_ns=survey.get("next_ns"),
        facts={name: value for name, value in facts.items() if name != "survey"},
    )


def recorded_task(session: Session, run: str) -> LoadedTask:
    """The task of an earlier pass.

    Raises:
        ConfigError: there is no such run.
    """
    known_run(session, run)
    text = text_of(session)(started_of(session, run).task)
    return parse_task(msgspec.json.decode(text), f"task of {run}")


def recorded_pass(session: Session, run: str) -> PassResult:
    """What came of an earlier pass, from its journal and our record of builds; the fleet as it was then is gone.

    Raises:
        ConfigError: there is no such run.
    """
    task, summary = recorded_task(session, run).task, known_run(session, run)
    assert isinstance(task, StewardTask)
    facts = state_of(session, run).facts
    survey = facts.get("survey")
    survey = survey if isinstance(survey, dict) else {}
    return PassResult(
        run=run,
        status=summary.status,
        reason=summary.reason,
        check=task.check,
        is_dry=task.dry_run,
        deployment=str(survey.get("deployment", "")),
        at_ns=summary.created_ns,
        fleet=int(survey.get("fleet", 0)),
        builds=tuple(session.store.read(lambda tx: rows.of_run(tx, run))),
        problems=tuple(survey.get("problems", ())),
        next_ns=survey.get("next_ns"),
        facts={name: value for name, value in facts.items() if name != "survey"},
    )


def unfinished(session: Session, loaded: LoadedTask) -> str:
    """The latest pass of the very same task that waits for a person, or was cut off within the last hour; or "".

    An older one that was cut off is left: what it had asked for is settled by whoever looks next, and what is due now
    is decided anew.
    """
    now_ns = session.clock.now_ns()
    for status in _CARRIED:
        for found in session.store.read(lambda tx, status=status: runs.listed(tx, limit=_LOOK, status=status)):  # type: ignore[misc]
            is_fresh = status == "waiting" or now_ns - found.updated_ns < _FRESH_NS
            if found.agent != "steward" or not is_fresh or is_carried(session, found.run):
                continue
            if started_of(session, found.run).task_digest == loaded.digest:
                return found.run
    return ""
