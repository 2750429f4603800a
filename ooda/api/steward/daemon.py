"""`ooda steward daemon`: passes at their times, on timers that outlive the process, by one leader at a time.

A timer is a row in the store, so a daemon that was down catches a missed pass up once; what a late pass does is
decided for its own instant, so it never acts outside a window. Several daemons may run: the leader's lease lets one
act, the others stand by and take over when it is gone. A pass besides holds the deployment's lease, as those of
single commands do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import msgspec

from ooda.agents.steward.agent import LOG_SOURCES
from ooda.agents.steward.instants import MINUTE_NS, SECOND_NS, minute_of
from ooda.api.lease import held_lease
from ooda.api.notices import DeliveryReport, delivering, said
from ooda.api.session import Session
from ooda.api.steward.logs import log_line, logging_to
from ooda.api.steward.metrics import metrics, prometheus
from ooda.api.steward.open import PassOptions, opened_pass
from ooda.api.steward.passes import PassResult, carry_pass, unfinished
from ooda.api.steward.tasks import Check, steward_task
from ooda.api.steward.tell import ADMINS
from ooda.config import Settings
from ooda.errors import LeaseLostError, OodaError, UserError
from ooda.services.coder import CoderClient
from ooda.store import Tx, outbox
from ooda.store import steward as rows

__all__ = ["Job", "StewardDaemon", "jobs_of"]

Connect = Callable[[], AbstractAsyncContextManager[CoderClient]]

_STANDBY_S = 5.0
"""Between two looks at whether the leader is still there."""
_AGAIN_NS = 30 * SECOND_NS
"""To the next try when a single command acts on the deployment."""
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
        standby_s: float = _STANDBY_S,
    ) -> None:
        """`connect` opens a client for one pass; `write` takes the log, a line at a time."""
        self._session = session
        self._connect = connect
        self._deployment = deployment
        self._write = write
        self._jobs = jobs if jobs is not None else jobs_of(session.settings)
        self._standby_s = standby_s
        self._stopping = asyncio.Event()
        self._woken = asyncio.Event()
        self._failures: dict[str, int] = {}
        self._interrupt: Callable[[str], None] = lambda reason: None
        self._lost: OodaError | None = None
        self.is_leading = False
        """Whether this daemon is the one that acts."""

    def stop(self, reason: str = "the daemon was asked to stop") -> None:
        """Make no further pass, and end the one that is under way in order."""
        self._stopping.set()
        self._woken.set()
        self._interrupt(reason)

    async def run(self, *, once: bool = False) -> None:
        """Stand by or make passes, until `stop`; `once` makes those that are due and ends."""
        if not self._jobs:
            raise UserError("quiet hours, time to live and autostop are all switched off; the daemon has nothing to do")
        is_standing_by = False
        while not self._stopping.is_set():
            try:
                async with held_lease(self._session, f"steward-daemon:{self._deployment}") as keeper:
                    self._lost, self.is_leading = None, True
                    keeper.tell(self._lose)
                    await self._lead(once=once)
                if once:
                    return
            except LeaseLostError as error:
                if once:
                    raise
                if not is_standing_by:
                    self._log(f"Standing by: {error}")
                is_standing_by = True
                await self._wait(self._standby_s)
            else:
                is_standing_by = False
            finally:
                self.is_leading = False

    async def tick(self) -> None:
        """Make every pass that is due now."""
        for job in self._jobs:
            if not self._is_ending and self._timer(job).next_ns <= self._session.clock.now_ns():
                await self._make(job)

    def exposition(self) -> str:
        """The counters and how the daemon stands, as Prometheus text."""
        label = f'deployment="{self._deployment}"'
        lines = [
            "# HELP ooda_steward_is_leader Whether this daemon is the one that acts.",
            "# TYPE ooda_steward_is_leader gauge",
            f"ooda_steward_is_leader{{{label}}} {int(self.is_leading)}",
        ]
        for name, words in (("last", "made last"), ("next", "due next")):
            lines += [
                f"# HELP ooda_steward_{name}_pass_timestamp_seconds When a pass of the job was {words}.",
                f"# TYPE ooda_steward_{name}_pass_timestamp_seconds gauge",
            ]
            for job in self._jobs:
                timer = self._timer(job)
                at_ns = timer.last_ns if name == "last" else timer.next_ns
                value = (at_ns or 0) // SECOND_NS
                lines.append(f'ooda_steward_{name}_pass_timestamp_seconds{{{label},job="{job.check}"}} {value}')
        return prometheus(metrics(self._session, self._deployment), self._deployment) + "\n".join(lines) + "\n"

    # -- leading ----------------------------------------------------------------------------------------

    async def _lead(self, *, once: bool) -> None:
        listed = ", ".join(f"{job.check} every {job.every_s} s" for job in self._jobs)
        self._log(f"Looking after {self._deployment}: {listed}")
        async with delivering(self._session, self._delivered) as deliverer:
            while not self._is_ending:
                await self.tick()
                if deliverer is not None:
                    deliverer.poke()
                if once:
                    break
                next_ns = min(self._timer(job).next_ns for job in self._jobs)
                await self._wait((next_ns - self._session.clock.now_ns()) / SECOND_NS)
        if self._lost is not None:
            raise self._lost

    def _lose(self, error: OodaError) -> None:
        self._lost = error
        self._woken.set()
        self._interrupt("another daemon leads now")

    @property
    def _is_ending(self) -> bool:
        return self._stopping.is_set() or self._lost is not None

    # -- one pass ---------------------------------------------------------------------------------------

    async def _make(self, job: Job) -> None:
        timer = self._timer(job)
        missed_ns = self._session.clock.now_ns() - timer.next_ns
        if timer.last_ns is not None and missed_ns > job.every_s * SECOND_NS:
            self._log(f"A pass of {job.check} was missed at {minute_of(timer.next_ns)}; one pass makes up for all")
        try:
            result = await self._carried(job)
        except LeaseLostError as error:
            self._log(f"{job.check} is put off: {error}")
            self._set(job, self._session.clock.now_ns() + _AGAIN_NS, timer.last_run)
            return
        except OodaError as error:
            self._failed(job, str(error))
            self._set(job, self._next(job, None), timer.last_run)
            return
        if result.status == "cancelled":
            return  # it stays due: whoever comes next makes it
        next_ns = result.next_ns
        if result.status == "waiting":
            self._log(f"Waiting for a person: {result.reason}; `ooda approvals list` shows what for", "WARNING")
            next_ns = None
        if result.status in ("failed", "refused"):
            self._failed(job, result.reason)
        else:
            self._failures.pop(job.check, None)
        self._set(job, self._next(job, next_ns), result.run)

    async def _carried(self, job: Job) -> PassResult:
        """One pass, or the one that was left waiting or killed."""
        settings = self._session.settings
        task = steward_task(
            settings, job.check, execute=job.execute, tells_owners=settings.steward.autostop.notification_enabled
        )
        run = unfinished(self._session, task) if job.execute else ""
        async with self._connect() as client:
            options = PassOptions(run=run, client=client, heard=logging_to(self._write))
            async with opened_pass(self._session, task, options) as opened:
                self._interrupt = opened.engine.interrupt
                try:
                    return await carry_pass(self._session, opened, task)
                finally:
                    self._interrupt = lambda reason: None

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

    def _set(self, job: Job, next_ns: int, run: str) -> None:
        made = rows.Timer(
            deployment=self._deployment,
            job=job.check,
            next_ns=next_ns,
            last_ns=self._session.clock.now_ns(),
            last_run=run,
        )
        self._session.store.write_now(lambda tx: rows.set_timer(tx, made))

    async def _wait(self, seconds: float) -> None:
        """Until then, or until something happens."""
        try:
            async with asyncio.timeout(min(_LONGEST_WAIT_S, max(0.0, seconds))):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()

    def _log(self, message: str, level: str = "INFO", source: str = "SCHEDULER") -> None:
        self._write(log_line(self._session.clock.now_ns(), source, message, level))
