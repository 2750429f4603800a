"""The desk of one pass: what the Coder tools do, on one deployment, for one task. Implements `CoderDesk`.

The plan of the pass lives here; the loop is shown counts and small batches of it. Every build is written down before
it is asked for and settled afterwards, so that whoever comes after a crash asks Coder what became of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any, Literal

import msgspec

from ooda.agents.steward.configuration import ttl_policy_of
from ooda.agents.steward.fleet import Seat
from ooda.agents.steward.instants import HOUR_NS, MINUTE_NS, SECOND_NS, lasting, spelled, utc
from ooda.agents.steward.reports import plan_document, plan_text, reason_words
from ooda.agents.steward.ttl import TtlReport, analyze_ttl, ttl_text
from ooda.api.steward.builds import BuildMaker, unguarded
from ooda.api.steward.gather import Gathered, Gatherer
from ooda.api.steward.tell import Teller
from ooda.api.steward.undo import Undo, undo_plan
from ooda.clock import Clock
from ooda.config import Settings
from ooda.errors import CredentialError, IntegrationError, ToolFailedError
from ooda.governance.call import ProbeAnswer, ToolOutcome
from ooda.labels import TOOL
from ooda.services.coder import CoderClient
from ooda.services.coder import Workspace as SeenWorkspace
from ooda.store import Store, Tx
from ooda.store import steward as rows
from ooda.task import StewardTask
from ooda.tools.coder_desk import WantedBuild

__all__ = ["FleetDesk"]

_USES_KEPT_NS = 70 * 24 * HOUR_NS
_LINES_SHOWN = 200


class FleetDesk:
    """One pass over one deployment."""

    def __init__(
        self,
        client: CoderClient,
        store: Store,
        settings: Settings,
        task: StewardTask,
        clock: Clock,
        run: str,
        *,
        gatherer: Gatherer,
        guard: Callable[[], Awaitable[None]] = unguarded,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        """`guard` raises LeaseLostError for whoever may not build any more."""
        self._client = client
        self._store = store
        self._settings = settings
        self._task = task
        self._clock = clock
        self._run = run
        self._gatherer = gatherer
        self._maker = BuildMaker(
            client,
            store,
            clock,
            run,
            stops_per_minute=settings.steward.stops_per_minute,
            at_once=settings.steward.concurrency,
            guard=guard,
            sleep=sleep,
        )
        self._teller = Teller(client, store, clock, run)
        self.allowed = 0
        """Builds this pass may make; set by `begin`, or from the journal of a pass that goes on."""
        self.gathered: Gathered | None = None
        """The fleet as surveyed last."""
        self.undos: tuple[Undo, ...] = ()
        """What a rollback would do, as surveyed last."""
        self.ttl: TtlReport | None = None
        """The report of a `ttl` pass."""
        self.rejected = ""
        """What was said when Coder did not take the token; empty while it does."""
        self._seats: dict[str, Seat] = {}
        """The running workspaces of the last survey, by id."""
        self._queue: list[WantedBuild] | None = None
        self._tried: set[str] = set()

    # -- what the tools ask -----------------------------------------------------------------------------

    def targets(self) -> tuple[str, ...]:
        return (self._client.url,)

    def listed(self) -> list[str]:
        """The builds that are due, a line each, for whoever has to allow them."""
        queue = self._queue or []
        more = [f"… and {len(queue) - _LINES_SHOWN} more"] if len(queue) > _LINES_SHOWN else []
        shown = queue[:_LINES_SHOWN]
        return [
            *(
                f"  {wanted.transition} {self._title(wanted.workspace)}: {reason_words(wanted.cause)}"
                for wanted in shown
            ),
            *more,
        ]

    async def survey(self) -> ToolOutcome:
        return await self._plainly(self._survey())

    async def due(self, limit: int) -> ToolOutcome:
        return await self._plainly(self._due(limit))

    async def _due(self, limit: int) -> ToolOutcome:
        if self._queue is None:
            await self._survey()
        assert self._queue is not None
        batch = self._queue[:limit]
        left = len(self._queue) - len(batch)
        listed = [_shown(wanted) for wanted in batch]
        return ToolOutcome(
            status="ok" if batch else "no_data",
            text="\n".join(f"{wanted.transition} {wanted.workspace}: {wanted.cause}" for wanted in batch) or "none",
            data={"builds": listed, "left": left},
            label=TOOL,
        )

    def begin(self, count: int) -> ToolOutcome:
        self.allowed = count
        verb = "starting" if self.only_starts else "stopping"
        is_quiet = any(wanted.cause == "quiet_hours" for wanted in self._queue or ())
        says = f"{'Grace period ended, ' if is_quiet else ''}{verb} {count} workspaces"
        return ToolOutcome(text=says, data={"says": [says[0].upper() + says[1:]], "count": count}, label=TOOL)

    async def make(self, wanted: WantedBuild, key: str) -> ToolOutcome:
        self._take_off(wanted)
        made = sum(row.state != "left" for row in self._store.read(lambda tx: rows.of_run(tx, self._run)))
        if made >= self.allowed:
            raise ToolFailedError(f"this pass was allowed {self.allowed} builds and has made {made}; begin anew")
        try:
            return await self._made(wanted, key)
        except CredentialError as error:
            return self._rejected(error)
        except IntegrationError as error:
            if error.facts["status"] == 410:
                return _left(self._title(wanted.workspace), "it is gone")
            text = f"Failed to {wanted.transition} workspace {self._title(wanted.workspace)} ({error})"
            return ToolOutcome(status="error", text=text, data={"status": "error"}, label=TOOL)

    async def extend(self, wanted: WantedBuild, until: str, ttl_ms: int) -> ToolOutcome:
        return await self._plainly(self._extend(wanted, until, ttl_ms))

    async def _extend(self, wanted: WantedBuild, until: str, ttl_ms: int) -> ToolOutcome:
        self._take_off(wanted)
        title = self._title(wanted.workspace)
        seat = await self._gatherer.decide_again(wanted.workspace, self._seats.get(wanted.workspace))
        if seat is None or not self._gatherer.is_wanted(seat.workspace) or seat.workspace.build_id != wanted.build:
            return _left(title, "it has changed since it was looked at, or the task does not name it")
        try:
            if ttl_ms:
                await self._client.set_ttl(wanted.workspace, ttl_ms)
            if until:
                await self._client.extend(wanted.workspace, datetime.fromisoformat(until))
        except IntegrationError as error:
            text = f"Failed to extend workspace {title} ({error})"
            return ToolOutcome(status="error", text=text, data={"status": "error"}, label=TOOL)
        live = f" and lives {lasting(ttl_ms * 1_000_000)} from its next start on" if ttl_ms else ""
        says = f"Extended workspace {title}: it runs {f'until {until}' if until else 'without a deadline'}{live}"
        return ToolOutcome(text=says, data={"status": "made", "says": says}, label=TOOL)

    async def probe(self, wanted: WantedBuild, key: str) -> ProbeAnswer:
        return await self._maker.probe(wanted, key)

    async def follow(self) -> ToolOutcome:
        return await self._plainly(self._follow())

    async def _follow(self) -> ToolOutcome:
        ended = await self._maker.follow(_patience_s(self._task))
        text = f"{ended.done} builds have succeeded, {ended.failed} failed, {ended.open} are still under way"
        data = {"done": ended.done, "failed": ended.failed, "open": ended.open}
        return ToolOutcome(text=text, data=data, label=TOOL)

    async def tell(self, kind: Literal["warning", "stopped", "message", "admins"], text: str) -> ToolOutcome:
        return await self._plainly(self._tell(kind, text))

    async def _tell(self, kind: Literal["warning", "stopped", "message", "admins"], text: str) -> ToolOutcome:
        if kind == "admins":
            told = await self._teller.admins(text)
        else:
            if self.gathered is None:
                await self._survey()
            users = self.gathered.users if self.gathered is not None else {}
            seats = self.gathered.seats if self.gathered is not None else ()
            match kind:
                case "warning":
                    told = await self._teller.warn(seats, users)
                case "message":
                    told = await self._teller.message(seats, users, text)
                case "stopped":
                    told = await self._teller.stopped(users)
        return ToolOutcome(text=f"{told} notices are in the outbox", data={"told": told}, label=TOOL)

    async def tell_of_rejection(self) -> None:
        """Tell administrators, once a day, that Coder does not take the token: until it does, nothing is done."""
        if self.rejected and not self._task.dry_run:
            await self._teller.put_for_admins(f"Nothing is looked after at {self._client.url}. {self.rejected}")

    async def _plainly(self, work: Awaitable[ToolOutcome]) -> ToolOutcome:
        """A failure as our own account of it: no text of strangers, which would make everything after it ask a person,
        the notice to administrators first of all.
        """
        try:
            return await work
        except CredentialError as error:
            return self._rejected(error)
        except (IntegrationError, ToolFailedError) as error:
            return ToolOutcome(status="error", text=str(error), data={"status": "error"}, label=TOOL)

    def _rejected(self, error: CredentialError) -> ToolOutcome:
        self.rejected = str(error)
        return ToolOutcome(status="error", text=str(error), data={"status": "error", "is_fatal": True}, label=TOOL)

    # -- surveys ----------------------------------------------------------------------------------------

    @property
    def only_starts(self) -> bool:
        """Whether this pass takes stops back, and stops nothing."""
        return self._task.check in ("rollback", "start_all")

    async def _survey(self) -> ToolOutcome:
        await self._maker.settle_open()
        return await (self._survey_undo() if self.only_starts else self._survey_fleet())

    async def _survey_fleet(self) -> ToolOutcome:
        found = self.gathered = await self._gatherer.gather()
        running = [seat for seat in found.seats if seat.workspace.status == "running"]
        self._seats = {seat.workspace.id: seat for seat in running}
        due = [seat for seat in running if self._is_due(seat)]
        warned = [seat for seat in running if seat.said.decision == "warn"]
        self._remember(found, running)
        self._queue = self._wanted(self._change(seat) for seat in due)
        changes = [seat.said.next_ns for seat in running if seat.said.next_ns is not None]
        problems = list(found.problems)
        text = plan_text(plan_document(found.now_ns, found.seats, is_dry=self._task.dry_run))
        if self._task.check == "ttl":
            text = ttl_text(self._ttl(found))
        data = {
            "deployment": self._client.url,
            "fleet": found.fleet,
            "running": len(running),
            "due": len(self._queue),
            "warned": len(warned),
            "next_ns": min(changes, default=None),
            "says": self._says(found, running, due),
            "problems": [problem[:300] for problem in problems[:5]],
        }
        return ToolOutcome(text=text, data=data, label=TOOL)

    async def _survey_undo(self) -> ToolOutcome:
        self.undos = await undo_plan(
            self._client, self._store, self._task, self._clock.now_ns(), self._settings.steward.concurrency
        )
        due = [undo for undo in self.undos if not undo.why_not]
        self._queue = self._wanted(undo.wanted for undo in due)
        lines = [f"{undo.row.title}: {undo.why_not or 'is started again'}" for undo in self.undos]
        says = f"Found {len(self.undos)} stops to take back, {len(due)} of them can be"
        data = {
            "deployment": self._client.url,
            "fleet": len(self.undos),
            "running": 0,
            "due": len(self._queue),
            "warned": 0,
            "says": [says],
        }
        return ToolOutcome(text="\n".join([says, *lines[:_LINES_SHOWN]]), data=data, label=TOOL)

    def _change(self, seat: Seat) -> WantedBuild:
        """What this pass wants done with a workspace that is due."""
        task, seen = self._task, seat.workspace
        wanted = WantedBuild(
            workspace=seen.id,
            transition="stop",
            build=seen.build_id,
            number=seen.build_number,
            cause=seat.said.reason if task.check not in ("stop", "extend") else task.reason or "asked for",
        )
        if task.check != "extend":
            return wanted
        ends = [end for end in (seen.deadline_ns, seen.max_deadline_ns) if end is not None]
        later = min(ends) + task.threshold * SECOND_NS if ends else None
        if later is not None and seen.max_deadline_ns is not None:
            later = min(later, seen.max_deadline_ns)
        ttl_ms = seen.ttl_ms + task.threshold * 1_000 if seen.ttl_ms else 0
        until = spelled(later) if later is not None else ""
        return msgspec.structs.replace(wanted, transition="extend", until=until, ttl_ms=ttl_ms)

    def _is_due(self, seat: Seat) -> bool:
        if self._task.check == "notify":
            return False
        if self._task.check == "extend":
            return seat.workspace.deadline_ns is not None or bool(seat.workspace.ttl_ms)
        if self._task.check == "stop":
            # A person asked for it: no policy is needed, but a hold, a skewed clock or a mistake still keeps it.
            return seat.said.reason not in ("held_by_override", "clock_skew", "config_error", "dormant")
        return seat.said.decision == "stop"

    def _wanted(self, builds: Iterable[WantedBuild]) -> list[WantedBuild]:
        mine = self._store.read(lambda tx: rows.of_run(tx, self._run))
        done = {row.workspace for row in mine if row.state != "left"} | self._tried
        return [wanted for wanted in builds if wanted.workspace not in done]

    def _says(self, found: Gathered, running: list[Seat], due: list[Seat]) -> list[str]:
        lines = [f"Found {len(running)} running workspaces"]
        excluded = sum(seat.said.reason == "excluded_user" for seat in running)
        if excluded:
            lines.append(f"Excluded {excluded} workspaces (excluded users)")
        templates = sum(seat.said.reason == "excluded_template" for seat in running)
        if templates:
            lines.append(f"Excluded {templates} workspaces (excluded templates)")
        if self._task.check == "quiet_hours" and not due:
            until_ns = min((end for seat in running if (end := _grace_end(seat)) is not None), default=None)
            if until_ns is not None:
                lines.insert(0, f"Quiet hours started, grace period until {utc(until_ns):%H:%M:%S}")
        return lines

    def _ttl(self, found: Gathered) -> TtlReport:
        soon_s = self._task.threshold
        report = self.ttl = analyze_ttl(
            found.now_ns, (seat.workspace for seat in found.seats), ttl_policy_of(self._settings, soon_s=soon_s)
        )

        def keep(tx: Tx) -> None:
            for violation in report.violations:
                rows.see_violation(
                    tx,
                    rows.Violation(
                        deployment=self._client.url,
                        workspace=violation.id,
                        kind=violation.kind,
                        since_ns=violation.since_ns,
                        title=violation.workspace,
                        detail=violation.detail,
                        first_seen_ns=found.now_ns,
                        last_seen_ns=found.now_ns,
                    ),
                )

        self._store.write_now(keep)
        return report

    def _remember(self, found: Gathered, running: list[Seat]) -> None:
        """Keep when workspaces were last in use: what stop times are learnt from."""
        fresh = [
            (seat.workspace.id, seat.workspace.owner, seat.workspace.last_used_ns // MINUTE_NS * MINUTE_NS)
            for seat in running
            if seat.workspace.last_used_ns is not None and found.now_ns - seat.workspace.last_used_ns < 24 * HOUR_NS
        ]

        def keep(tx: Tx) -> None:
            for workspace, owner, used_ns in fresh:
                rows.add_use(tx, self._client.url, workspace, owner, used_ns)
            rows.forget_uses(tx, self._client.url, found.now_ns - _USES_KEPT_NS)

        self._store.write_now(keep)

    # -- builds -----------------------------------------------------------------------------------------

    async def _made(self, wanted: WantedBuild, key: str) -> ToolOutcome:
        if not self.only_starts:
            await self._maker.wait_for_turn()
            if self.gathered is None:
                # A pass that is gone on with: zones, roles, rules and holidays decide again too, not settings alone.
                await self._survey_fleet()
        planned = self._seats.get(wanted.workspace)
        if planned is None and not self.only_starts:
            return _left(self._title(wanted.workspace), "it does not run any more")
        seat = await self._gatherer.decide_again(wanted.workspace, planned)
        if seat is None:
            return _left(wanted.workspace, "it is gone")
        if not self._gatherer.is_wanted(seat.workspace):
            return _left(seat.workspace.title, "the task does not name it")
        if seat.workspace.build_id != wanted.build:
            return _left(seat.workspace.title, "it has changed since it was looked at")
        if not self._is_wanted(seat):
            return _left(seat.workspace.title, reason_words(seat.said.reason))
        latest = seat

        async def still(record: SeenWorkspace) -> bool:
            nonlocal latest
            again = await self._gatherer.decide_on(record, planned)
            latest = again or latest
            return again is not None and self._is_wanted(again)

        outcome = await self._maker.make(wanted, key, seat.workspace, still)
        if outcome.status != "made" or outcome.build is None:
            why = {"moved": "it has changed", "unwanted": reason_words(latest.said.reason)}
            return _left(seat.workspace.title, why.get(outcome.status, outcome.status))
        verb = "Started" if self.only_starts else "Stopped"
        says = f"{verb} workspace {seat.workspace.title} (reason: {reason_words(wanted.cause)})"
        data = {
            "status": "made",
            "says": says,
            "workspace": wanted.workspace,
            "title": seat.workspace.title,
            "build": outcome.build.id,
            "number": outcome.build.build_number,
            "cause": wanted.cause,
        }
        return ToolOutcome(text=says, data=data, label=TOOL)

    def _is_wanted(self, seat: Seat) -> bool:
        """Whether what was planned may still be done with a workspace as it is now."""
        if self.only_starts:
            return seat.workspace.dormant_ns is None
        return seat.workspace.status == "running" and self._is_due(seat)

    def _take_off(self, wanted: WantedBuild) -> None:
        self._tried.add(wanted.workspace)
        if self._queue is not None:
            self._queue = [other for other in self._queue if other.workspace != wanted.workspace]

    def _title(self, workspace: str) -> str:
        seat = self._seats.get(workspace)
        undo = next((undo for undo in self.undos if undo.row.workspace == workspace), None)
        return seat.workspace.title if seat is not None else undo.row.title if undo is not None else workspace


def _left(title: str, why: str) -> ToolOutcome:
    return ToolOutcome(text=f"{title} is left alone: {why}", data={"status": "left", "why": why}, label=TOOL)


def _grace_end(seat: Seat) -> int | None:
    """When quiet hours would stop a workspace whose grace runs; None where none runs, or something else is sooner."""
    said, seen, policy = seat.said, seat.workspace, seat.policy
    if said.next_ns is None:
        return None
    if (said.decision, said.reason) == ("warn", "quiet_hours"):
        return said.next_ns
    if said.reason != "in_grace":
        return None
    due_ns = said.next_ns + round(policy.warn_minutes * MINUTE_NS)
    overdue_ns = round(policy.overdue_grace_minutes * MINUTE_NS)
    ends = [end + overdue_ns for end in (seen.deadline_ns, seen.max_deadline_ns) if end is not None]
    return due_ns if due_ns not in ends else None


def _shown(wanted: WantedBuild) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "workspace": wanted.workspace,
        "build": wanted.build,
        "number": wanted.number,
        "cause": wanted.cause[:200],
    }
    if wanted.transition == "extend":
        shown |= {"until": wanted.until, "ttl_ms": wanted.ttl_ms}
    if wanted.transition == "start":
        shown |= {"template_version": wanted.template_version, "undoes": wanted.undoes}
    return shown


def _patience_s(task: StewardTask) -> float:
    return 900.0 if task.check in ("rollback", "start_all") else 600.0
