"""The steward for Python programs, by the requirement's names: plain functions that come back when they are done.

    from ooda.api.steward.controller import WorkspaceController, analyze_ttl_compliance

    controller = WorkspaceController("https://coder.example.com", token)
    for seen in controller.get_running_workspaces({"idle_s": 28_800}):
        controller.stop_workspace(seen.id, reason="idle for eight hours")

Each call is a pass like any other: through the gate, under the caps, holds and exclusions of the settings, on record.
They may be called with or without a running event loop. Log lines go to the logger `ooda.steward`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from pydantic import SecretStr

from ooda.agents.steward.autostop_schedule import AutostopLine, autostop_text, schedule
from ooda.agents.steward.fleet import workspace_of
from ooda.agents.steward.records import Workspace
from ooda.agents.steward.ttl import TtlReport
from ooda.api.session import Session
from ooda.api.steward.builds import BuildMaker
from ooda.api.steward.configured import steward_session
from ooda.api.steward.filters import WorkspaceFilter, picked
from ooda.api.steward.logs import logging_to
from ooda.api.steward.looks import look_at
from ooda.api.steward.open import PassOptions, coder_client
from ooda.api.steward.passes import PassResult, make_pass
from ooda.api.steward.status import WorkspaceStatus, workspace_status
from ooda.api.steward.tasks import Check, steward_task
from ooda.api.steward.tell import Teller
from ooda.errors import ConfigError, CredentialError, OodaError
from ooda.services.coder import kind_of

__all__ = [
    "ErrorHandling",
    "StopOutcome",
    "WorkspaceController",
    "analyze_ttl_compliance",
    "display_autostop_schedule",
    "emergency_start_all",
    "execute_autostop_batch",
    "get_autostop_workspaces",
    "handle_api_error",
    "rollback_last_operation",
]

T = TypeVar("T")

_LOG = logging.getLogger("ooda.steward")
_DAY_S = 86_400


class StopOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the wish to stop one workspace."""

    workspace: str
    """`owner/name`, or the id of one that was not found."""
    id: str
    status: Literal["stopped", "left", "failed", "waiting", "dry_run"]
    """left: it did not run, was held or changed meanwhile; waiting: so many stops need a person's yes."""
    build: str = ""
    """Id of our stop build, where there is one."""
    detail: str = ""
    run: str = ""
    """The pass; `ooda runs show RUN` tells all of it."""


class ErrorHandling(msgspec.Struct, frozen=True, kw_only=True):
    """What was done about a failure, and what may be done."""

    kind: str
    """never_sent, busy, unknown, protocol, forbidden, not_found, conflict, not_ready, rejected, credentials; other."""
    is_retryable: bool
    """Whether the same call may succeed later."""
    retry_after_s: float | None
    """As long as the server asked for."""
    settled: bool
    """Whether Coder was asked what became of builds whose outcome was not known."""
    admins_told: bool


class WorkspaceController:
    """One deployment, by address and token; everything else from the settings.

    Args:
        coder_url, token: Instead of the configured ones.
        settings: Overrides by dotted name, as `{"steward.stops_per_minute": 5}`.
        environ, cwd: Where settings are read from; this process's by default.
    """

    def __init__(
        self,
        coder_url: str = "",
        token: str | SecretStr = "",
        *,
        settings: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Asks nothing yet."""
        secret = token.get_secret_value() if isinstance(token, SecretStr) else token
        given = {"CODER_URL": coder_url, "CODER_TOKEN": secret}
        self._environ = {**(os.environ if environ is None else environ), **{k: v for k, v in given.items() if v}}
        self._settings = dict(settings or {})
        self._cwd = cwd

    def __repr__(self) -> str:
        return f"WorkspaceController({self._environ.get('CODER_URL', '')!r})"

    # -- by the requirement's names ---------------------------------------------------------------------

    def stop_workspace(self, workspace_id: str, reason: str = "Automated stop") -> StopOutcome:
        """Stop one workspace, by id or `owner/name`. Raises as `bulk_stop_workspaces`."""
        return self.bulk_stop_workspaces([workspace_id], reason)[0]

    def bulk_stop_workspaces(self, workspace_ids: Iterable[str], reason: str = "Bulk stop") -> tuple[StopOutcome, ...]:
        """Stop several; one outcome for each, in order.

        Raises:
            CredentialError: Coder does not take the token.
            IntegrationError: the fleet cannot be read.
            LeaseLostError: another steward is acting on the deployment.
        """
        wanted = list(dict.fromkeys(workspace_ids))
        if not wanted:
            return ()
        result = self.carry("stop", workspaces=wanted, reason=reason)
        return tuple(_outcome(name, result) for name in wanted)

    def get_workspace_status(self, workspace_id: str) -> WorkspaceStatus:
        """How one workspace stands and what the policies say of it. Raises ConfigError when there is none."""
        return self.run(
            lambda session: look_at(session, lambda client: workspace_status(session, client, workspace_id))
        )

    def get_running_workspaces(self, filters: WorkspaceFilter | Mapping[str, Any] | None = None) -> list[Workspace]:
        """Those that run and pass the filters; keys of a mapping are the fields of `WorkspaceFilter`.

        Raises:
            ConfigError: a filter nobody knows, or a value of the wrong type.
        """
        wanted = _filter(filters)

        async def look(session: Session) -> list[Workspace]:
            listing = await look_at(session, lambda client: client.fleet(workspace_of))
            return picked(listing.rows, wanted, session.clock.now_ns())

        return self.run(look)

    def notify_users(self, workspace_ids: Iterable[str], message: str) -> int:
        """Tell the owners of these workspaces something; how many notices were put into the outbox."""
        result = self.carry("notify", workspaces=list(workspace_ids), message=message)
        return int(result.facts.get("warned", 0))

    # -- what the functions below are made of -----------------------------------------------------------

    def carry(self, check: Check, *, execute: bool = True, **task: Any) -> PassResult:
        """One pass to where it stops or waits; `task` as for `steward_task`."""

        async def carried(session: Session) -> PassResult:
            loaded = steward_task(session.settings, check, execute=execute, **task)
            return await make_pass(session, loaded, PassOptions(heard=logging_to(_LOG.info)))

        return self.run(carried)

    def run(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Do something in a session of its own, whether or not an event loop runs in this thread."""

        async def done() -> T:
            with steward_session(
                environ=self._environ, cwd=self._cwd or Path.cwd(), overrides=self._settings
            ) as session:
                return await work(session)

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(done())
        return _in_a_thread(lambda: asyncio.run(done()))


def analyze_ttl_compliance(
    controller: WorkspaceController | None = None, *, user: str | None = None, threshold_s: int | None = None
) -> TtlReport:
    """Which workspaces should have stopped, which stop soon, and which break the rules about times to live."""
    result = (controller or WorkspaceController()).carry("ttl", execute=False, user=user, threshold_s=threshold_s)
    if result.ttl is None:
        raise _failed(result)
    return result.ttl


def get_autostop_workspaces(controller: WorkspaceController | None = None) -> tuple[AutostopLine, ...]:
    """Running workspaces that something will stop: when, by what, and where policies contradict each other."""
    return tuple(line for line in _schedule(controller or WorkspaceController())[1] if line.first is not None)


def display_autostop_schedule(controller: WorkspaceController | None = None) -> str:
    """Print when each workspace will be stopped; gives the text."""
    text = autostop_text(*_schedule(controller or WorkspaceController()))
    print(text, end="")  # noqa: T201 - what the function is for
    return text


def execute_autostop_batch(
    controller: WorkspaceController | None = None, *, batch_size: int | None = None
) -> PassResult:
    """Stop what is due, a batch at a time; the setting's batch size unless one is given."""
    return (controller or WorkspaceController()).carry("autostop", batch_size=batch_size)


def rollback_last_operation(controller: WorkspaceController | None = None) -> PassResult:
    """Start again what the last pass stopped, where our stop is still its latest build."""
    return (controller or WorkspaceController()).carry("rollback")


def emergency_start_all(controller: WorkspaceController | None = None, *, since_s: int = _DAY_S) -> PassResult:
    """Start again everything the steward stopped in the last hours, under the same condition."""
    return (controller or WorkspaceController()).carry("start_all", threshold_s=since_s)


def handle_api_error(
    error: BaseException, workspace_id: str, operation: str, controller: WorkspaceController | None = None
) -> ErrorHandling:
    """Log a failure, find out what became of it where that is not known, and tell administrators of critical ones.

    Critical are a token that is not taken, and a refusal for want of a permission. Nothing is sent again.
    """
    _LOG.error("Failed to %s workspace %s (%s)", operation, workspace_id, error)
    kind = "credentials" if isinstance(error, CredentialError) else kind_of(error) or "other"
    facts = error.facts if isinstance(error, OodaError) else {}
    retry_after_s = facts.get("retry_after_s")
    is_critical, is_open = kind in ("credentials", "forbidden"), kind in ("unknown", "protocol")
    if is_critical or is_open:
        text = f"{operation} of workspace {workspace_id} was refused: {error}"
        (controller or WorkspaceController()).run(lambda session: _recover(session, text if is_critical else ""))
    return ErrorHandling(
        kind=kind,
        is_retryable=bool(facts.get("retryable", False)),
        retry_after_s=float(retry_after_s) if isinstance(retry_after_s, int | float) else None,
        settled=is_open,
        admins_told=is_critical,
    )


async def _recover(session: Session, text: str) -> None:
    async with coder_client(session.settings) as client:
        if text:
            await Teller(client, session.store, session.clock, "").put_for_admins(text)
            return
        steward = session.settings.steward
        maker = BuildMaker(
            client,
            session.store,
            session.clock,
            "",
            stops_per_minute=steward.stops_per_minute,
            at_once=steward.concurrency,
        )
        await maker.settle_open()


def _schedule(controller: WorkspaceController) -> tuple[int, tuple[AutostopLine, ...]]:
    result = controller.carry("autostop", execute=False)
    if result.status != "success":
        raise _failed(result)

    async def look(session: Session) -> Any:
        return await look_at(session, lambda client: client.templates())

    templates = {template.id: template for template in controller.run(look)}
    return result.at_ns, schedule(result.at_ns, result.seats, templates)


def _failed(result: PassResult) -> OodaError:
    return OodaError(f"the pass {result.run} ended {result.status}: {result.reason}")


def _outcome(name: str, result: PassResult) -> StopOutcome:
    seat = next((seat for seat in result.seats if name in (seat.workspace.id, seat.workspace.title)), None)
    id, title = (seat.workspace.id, seat.workspace.title) if seat is not None else (name, name)
    row = next((row for row in result.builds if row.workspace == id), None)
    status: Literal["stopped", "left", "failed", "waiting", "dry_run"]
    if row is not None and row.state in ("made", "done"):
        status, detail = "stopped", row.detail
    elif row is not None and row.state in ("failed", "error", "asked"):
        status, detail = "failed", row.detail or result.reason
    elif seat is None and result.status == "success":
        status, detail = "failed", "there is no such workspace, or the token may not see it"
    elif result.is_dry:
        status, detail = "dry_run", f"{seat.said.decision}: {seat.said.reason}" if seat is not None else result.reason
    elif result.status in ("waiting", "failed", "refused"):
        status, detail = ("waiting" if result.status == "waiting" else "failed"), result.reason
    else:
        status, detail = "left", row.detail if row is not None else _why(seat)
    return StopOutcome(
        workspace=title, id=id, status=status, build=row.build if row else "", detail=detail, run=result.run
    )


def _why(seat: Any) -> str:
    return "" if seat is None else seat.said.reason if seat.workspace.status == "running" else seat.workspace.status


def _filter(given: WorkspaceFilter | Mapping[str, Any] | None) -> WorkspaceFilter:
    if isinstance(given, WorkspaceFilter):
        return given
    known = WorkspaceFilter.__struct_fields__
    unknown = sorted(set(given or {}) - set(known))
    if unknown:
        raise ConfigError(f"there is no filter {unknown[0]!r}; known are {', '.join(known)}")
    try:
        return msgspec.convert(dict(given or {}), WorkspaceFilter)
    except msgspec.ValidationError as error:
        raise ConfigError(f"the filters cannot be used: {error}") from error


def _in_a_thread(work: Callable[[], T]) -> T:
    found: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]
