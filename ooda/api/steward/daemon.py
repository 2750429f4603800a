"""`ooda steward daemon`: passes at their times, on timers that outlive the process.

A timer is a row in the store, so a daemon that was down catches a missed pass up once; what a late pass does is
decided for its own instant, so it never acts outside a window. Several daemons may run: the deployment's lease lets
one act, the others stand by and take over when it is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import msgspec

from ooda.agents.steward.agent import LOG_SOURCES
from ooda.agents.steward.instants import MINUTE_NS, SECOND_NS, minute_of
from ooda.api.notices import DeliveryReport, delivering, said
from ooda.api.runs import started_of, text_of
from ooda.api.session import Session
from ooda.api.steward.logs import log_line, logging_to
from ooda.api.steward.open import PassOptions, opened_pass
from ooda.api.steward.tasks import Check, steward_task
from ooda.api.steward.tell import ADMINS
from ooda.config import Settings
from ooda.engines.local import Ending
from ooda.errors import LeaseLostError, OodaError, UserError
from ooda.services.coder import CoderClient
from ooda.store import Tx, outbox, runs
from ooda.store import steward as rows
from ooda.task import LoadedTask, parse_task

__all__ = ["Job", "StewardDaemon", "jobs_of"]

Connect = Callable[[], AbstractAsyncContextManager[CoderClient]]

_STANDBY_S = 30.0
_SOONEST_NS = MINUTE_NS
_TELL_AFTER = 3
"""Failed passes in a row until administrators are told."""
_LONGEST_WAIT_S = 3_600.0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of pass and how often it is made."""

    check: Check
    every_s: int
    execute: bool = True


def jobs_of(settings: Settings) -> tuple[Job, ...]:
    """The jobs that settings switch on: quiet hours, time to live (report only), autostop."""
    steward = settings.steward
    found = []
    if steward.quiet_hours.enabled:
        found.append(Job(check="quiet_hours", every_s=steward.quiet_hours_interval))
    if steward.ttl_monitor.enabled:
        found.append(Job(check="ttl", every_s=steward.ttl_monitor.check_interval, execute=False))
    if steward.autostop.enabled:
        found.append(Job(check="autostop", every_s=steward.autostop_interval))
    return tuple(found)


class StewardDaemon:
    """Makes the passes of one deployment until it is stopped."""

    def __init__(
        self,
        session: Session,
        connect: Connect,
        deployment: str,
        *,
        write: Callable[[str], None],
        jobs: tuple[Job, ...] | None = None,
    ) -> None:
        """`connect` opens a client for one pass; `write` takes the log, a line at a time."""
        self._session = session
        self._connect = connect
        self._deployment = deployment
        self._write = write
        self._jobs = jobs if jobs is not None else jobs_of(session.settings)
        self._stopping = asyncio.Event()
        self._failures: dict[str, int] = {}
        self._interrupt: Callable[[str], None] = lambda reason: None

    def stop(self, reason: str = "the daemon was asked to stop") -> None:
        """Make no further pass, and end the one that is under way in order."""
        self._stopping.set()
        self._interrupt(reason)

    async def run(self) -> None:
        """Make passes until `stop`."""
        if not self._jobs:
            raise UserError("quiet hours, time to live and autostop are all switched off; the daemon has nothing to do")
        self._log(
            f"Looking after {self._deployment}: "
            + ", ".join(f"{job.check} every {job.every_s} s" for job in self._jobs)
        )
        async with delivering(self._session, self._delivered) as deliverer:
            while not self._stopping.is_set():
                await self.tick()
                if deliverer is not None:
                    deliverer.poke()
                await self._sleep_until(min(self._timer(job).next_ns for job in self._jobs))

    async def tick(self) -> None:
        """Make every pass that is due now."""
        for job in self._jobs:
            if not self._stopping.is_set() and self._timer(job).next_ns <= self._session.clock.now_ns():
                await self._make(job)

    # -- one pass ---------------------------------------------------------------------------------------

    async def _make(self, job: Job) -> None:
        timer = self._timer(job)
        missed_ns = self._session.clock.now_ns() - timer.next_ns
        if timer.last_ns is not None and missed_ns > job.every_s * SECOND_NS:
            self._log(f"A pass of {job.check} was missed at {minute_of(timer.next_ns)}; one pass makes up for all")
        try:
            run, ending, next_ns = await self._carried(job, timer)
        except LeaseLostError as error:
            self._log(f"Standing by: {error}")
            self._set(job, timer, self._session.clock.now_ns() + int(_STANDBY_S * SECOND_NS), timer.last_run)
            return
        except OodaError as error:
            self._failed(job, str(error))
            self._set(job, timer, self._next(job, None), timer.last_run)
            return
        if ending.status == "waiting":
            self._log(f"Waiting for a person: {ending.reason}; `ooda approvals list` shows what for", "WARNING")
            next_ns = None
        if ending.status in ("failed", "refused"):
            self._failed(job, ending.reason)
        else:
            self._failures.pop(job.check, None)
        self._set(job, timer, self._next(job, next_ns), run)

    async def _carried(self, job: Job, timer: rows.Timer) -> tuple[str, Ending, int | None]:
        """One pass, or the one that was left waiting or killed: its run, its end, and when something changes."""
        async with self._connect() as client:
            run, task = self._unfinished(timer)
            task = task or steward_task(
                self._session.settings,
                job.check,
                execute=job.execute,
                tells_owners=self._session.settings.steward.autostop.notification_enabled,
            )
            options = PassOptions(run=run, client=client, heard=logging_to(self._write))
            async with opened_pass(self._session, task, options) as opened:
                self._interrupt = opened.engine.interrupt
                try:
                    ending = await opened.go()
                finally:
                    self._interrupt = lambda reason: None
                survey = opened.state.facts.get("survey")
                next_ns = survey.get("next_ns") if isinstance(survey, dict) else None
                return opened.run, ending, next_ns

    def _unfinished(self, timer: rows.Timer) -> tuple[str, LoadedTask | None]:
        """The last pass of a job, when it waits for a person or its process was killed."""
        if not timer.last_run:
            return "", None
        found = self._session.store.read(lambda tx: runs.find(tx, timer.last_run))
        if found is None or found.status not in ("waiting", "running", "starting"):
            return "", None
        started = started_of(self._session, timer.last_run)
        text = text_of(self._session)(started.task)
        return timer.last_run, parse_task(msgspec.json.decode(text), f"task of {timer.last_run}")

    def _failed(self, job: Job, reason: str) -> None:
        count = self._failures[job.check] = self._failures.get(job.check, 0) + 1
        self._log(reason, "ERROR", LOG_SOURCES[job.check])
        if count == _TELL_AFTER:
            text = f"{count} passes of {job.check} in a row have failed. The last one: {reason}"
            self._session.store.write_now(lambda tx: self._tell(tx, job, text))

    def _tell(self, tx: Tx, job: Job, text: str) -> None:
        now_ns = self._session.clock.now_ns()
        payload = {"notification_type": "steward_trouble", "message": text, "to": {}, "timestamp_ns": now_ns}
        id = f"steward-{job.check}-{now_ns}"
        outbox.enqueue(tx, id, ADMINS, msgspec.json.encode(payload).decode(), now_ns)

    def _delivered(self, report: DeliveryReport) -> None:
        level = "WARNING" if report.problems else "INFO"
        for line in said(report).splitlines():
            self._log(line.strip(), level, "NOTIFY")

    # -- time -------------------------------------------------------------------------------------------

    def _timer(self, job: Job) -> rows.Timer:
        found = self._session.store.read(lambda tx: rows.find_timer(tx, self._deployment, job.check))
        return found or rows.Timer(deployment=self._deployment, job=job.check, next_ns=0)

    def _next(self, job: Job, change_ns: int | None) -> int:
        """The next look: by the job's rhythm, or sooner, when the first decision of the fleet changes."""
        now_ns = self._session.clock.now_ns()
        rhythm_ns = now_ns + job.every_s * SECOND_NS
        if change_ns is None or not job.execute:
            return rhythm_ns
        return min(rhythm_ns, max(change_ns, now_ns + _SOONEST_NS))

    def _set(self, job: Job, timer: rows.Timer, next_ns: int, run: str) -> None:
        made = msgspec.structs.replace(timer, next_ns=next_ns, last_ns=self._session.clock.now_ns(), last_run=run)
        self._session.store.write_now(lambda tx: rows.set_timer(tx, made))

    async def _sleep_until(self, next_ns: int) -> None:
        wait_s = min(_LONGEST_WAIT_S, max(0.0, (next_ns - self._session.clock.now_ns()) / SECOND_NS))
        try:
            async with asyncio.timeout(wait_s):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _log(self, message: str, level: str = "INFO", source: str = "SCHEDULER") -> None:
        self._write(log_line(self._session.clock.now_ns(), source, message, level))
