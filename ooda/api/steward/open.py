"""From a steward task and a session to a running engine: client, desk, gate and loop of one pass.

A pass needs neither a model nor a sandbox: policies decide, and what is done is done on Coder through the gate. A
pass that may build holds the deployment's own lease besides its run's, so that of several stewards one acts.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from random import random

import msgspec
from pydantic import SecretStr

from ooda.api.health import Health
from ooda.api.hooks import HookRunner, hooks_for
from ooda.api.kinds import agent_for
from ooda.api.lease import held_lease
from ooda.api.session import Session
from ooda.api.standing import Registered, conduct_recorder, tell_shared
from ooda.api.steward.builds import unguarded
from ooda.api.steward.desk import FleetDesk
from ooda.api.steward.gather import Connections, Gatherer
from ooda.config import Settings
from ooda.engines.local import Ending, LocalEngine, Person
from ooda.engines.notices import Topic
from ooda.engines.policy_world import PolicyWorld
from ooda.errors import ConfigError, CredentialError, TaskSpecError
from ooda.events import Body, Entry, Limits, Resumed, RunStarted, canonical
from ooda.governance.approval import escape, shown_text
from ooda.governance.call import NeedsApproval, Parsed, ProposedCall, Refused, Tool
from ooda.governance.gate import Gate, Hook
from ooda.governance.levels import Level
from ooda.governance.operations import operation_named
from ooda.governance.policy import DoorPolicy
from ooda.governance.recorder import Recorder
from ooda.runtime.agent import LOOP_VERSION, AgentSpec
from ooda.runtime.loop import Loop
from ooda.runtime.state import RunState
from ooda.services.coder import CoderClient, checked_url
from ooda.task import LoadedTask, StewardTask
from ooda.tools.all import CODER
from ooda.tools.room import FolderSpool, ToolRoom
from ooda.tools.toolbox import BoundToolbox

__all__ = ["Pass", "PassOptions", "coder_client", "deployment_lease", "opened_pass"]

Sleep = Callable[[float], Awaitable[None]]
_STEPS = 20_000
"""A pass over a large fleet takes more steps than a conversation; each stop is one."""


class PassOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller may bring to a pass."""

    run: str = ""
    """An earlier pass to go on with; empty for a new one."""
    person: Person | None = None
    heard: Callable[[int, Entry], None] = lambda seq, entry: None
    client: CoderClient | None = None
    """The caller's own client, closed by the caller; one from the settings otherwise."""
    connections: Connections | None = None
    sleep: Sleep = asyncio.sleep


class Pass:
    """A pass that is open in this process."""

    def __init__(
        self,
        session: Session,
        loaded: LoadedTask,
        agent: AgentSpec,
        recorder: Recorder,
        engine: LocalEngine,
        desk: FleetDesk,
        *,
        limits: Limits,
        is_resumed: bool,
        hooks: HookRunner | None = None,
    ) -> None:
        self._session = session
        self._loaded = loaded
        self._agent = agent
        self._recorder = recorder
        self._limits = limits
        self._is_resumed = is_resumed
        self._hooks = hooks
        self.engine = engine
        self.desk = desk

    @property
    def run(self) -> str:
        return self._recorder.state.run

    @property
    def state(self) -> RunState:
        return self._recorder.state

    async def go(self) -> Ending:
        """Carry the pass to where it stops, or waits for a person.

        Raises:
            RefusedError: a hook of the operator's does not let it begin; nothing was recorded.
        """
        if self._hooks is None:
            return await self._go()
        await self._hooks.begin("resume" if self._is_resumed else "startup")
        ending = await self._go()
        await self._hooks.end(ending.status, ending.reason)
        return ending

    async def _go(self) -> Ending:
        if self._is_resumed:
            return await self.engine.resume(Resumed(by=self._session.user))
        return await self.engine.start(
            RunStarted(
                agent=self._agent.name,
                task=Body(self._loaded.canonical.decode()),
                task_digest=self._loaded.digest,
                rules=self._agent.rules,
                brief=self._agent.brief,
                limits=self._limits,
                loop_version=LOOP_VERSION,
                run_by=self._session.user,
            )
        )


def coder_client(settings: Settings, *, url: str = "", token: str = "", sleep: Sleep = asyncio.sleep) -> CoderClient:
    """A client of the configured deployment, or of the one that is named.

    Raises:
        ConfigError: no address is set, or it is not safe for a token.
        CredentialError: no token is set.
    """
    address = url or settings.coder.url
    if not address:
        raise ConfigError("there is no Coder deployment; set `CODER_URL` (or `coder.url`) to its address")
    secret = SecretStr(token) if token else settings.coder.token
    if secret is None:
        raise CredentialError("there is no Coder token; set `CODER_TOKEN` to one (`coder tokens create`)")
    return CoderClient(str(address), secret, sleep=sleep, jitter=random)


def deployment_lease(url: str) -> str:
    """Name of the lease whose holder may build on a deployment."""
    return f"steward:{url}"


@asynccontextmanager
async def opened_pass(session: Session, loaded: LoadedTask, options: PassOptions | None = None) -> AsyncIterator[Pass]:
    """Open everything a pass needs; on leaving, let go of its leases.

    Raises:
        ConfigError, CredentialError: no deployment, no token; nothing was recorded.
        LeaseLostError: another steward is acting on this deployment.
    """
    options = options or PassOptions()
    task = loaded.task
    if not isinstance(task, StewardTask):
        raise TaskSpecError(f"the steward carries out tasks of kind `steward`, not `{task.kind}`")
    if session.settings.steward.dry_run and not task.dry_run:
        raise ConfigError(
            "`steward.dry_run` (`DRY_RUN`) is on, so nothing may be stopped or started; switch it off, or do a dry run"
        )
    run = options.run or session.ids.new("run")
    async with AsyncExitStack() as stack:
        client = options.client
        if client is None:
            client = await stack.enter_async_context(coder_client(session.settings, sleep=options.sleep))
        if task.deployment is not None and checked_url(task.deployment) != client.url:
            raise ConfigError(
                f"the task is about the Coder deployment {task.deployment}, and {client.url} is configured; set "
                "`CODER_URL` to the task's, or make a new task"
            )
        session.register_secrets(
            "coder_token", [token.get_secret_value()] if (token := session.settings.coder.token) else []
        )
        acting = None
        if not task.dry_run:
            acting = await stack.enter_async_context(held_lease(session, deployment_lease(client.url)))
        health = Health(session, run, task.kind)
        agent = await health.registered()
        keeper = await stack.enter_async_context(held_lease(session, run))
        guard = acting.hold if acting is not None else None
        opened = _assembled(session, loaded, task, client, options, run, agent, health, keeper.lease.fence, guard)
        keeper.tell(opened.engine.lose)
        if acting is not None:
            acting.tell(opened.engine.lose)
        session.open_runs += 1
        try:
            yield opened
        finally:
            session.open_runs -= 1
            if not opened.state.is_alive:
                await tell_shared(session, agent)


def _assembled(
    session: Session,
    loaded: LoadedTask,
    task: StewardTask,
    client: CoderClient,
    options: PassOptions,
    run: str,
    registered: Registered,
    health: Health,
    fence: int,
    guard: Callable[[], Awaitable[None]] | None,
) -> Pass:
    settings, agent = session.settings, agent_for(session.settings, task)
    topic = Topic(company_id="local", project_id="steward", task_id=run)
    recorder = Recorder(
        run=run,
        loop=Loop(agent),
        store=session.store,
        redactor=session.redactor,
        clock=session.clock,
        fence=fence,
        heard=options.heard,
        is_alone=lambda: session.open_runs == 1 and not session.store.is_remote,
        # No model decides here: Coder's own word that a build is done is the check.
        ended=conduct_recorder(session, registered, topic, lambda state: not task.dry_run, lambda: health.was_degraded),
    )
    if options.run:
        recorder.load()
        _same_deployment(recorder.state, client.url)
    desk = FleetDesk(
        client,
        session.store,
        settings,
        task,
        session.clock,
        run,
        gatherer=Gatherer(
            client,
            session.store,
            settings,
            task,
            session.clock,
            needs_users="notify" in task.grants and not task.dry_run,
            connections=options.connections,
        ),
        guard=guard or unguarded,
        sleep=options.sleep,
    )
    desk.allowed = int(recorder.state.facts.get("allowed", 0))
    spool = FolderSpool(session.places.run(run).spool)
    room = ToolRoom(run=run, clock=session.clock, spool=spool, coder=desk)
    limits = task.limits.to_limits(msgspec.structs.replace(settings.limit_defaults(), steps=_STEPS))
    hooks = hooks_for(session, run, agent.name, session.places.run(run).workspace)
    gate = Gate(
        recorder=recorder,
        toolbox=BoundToolbox(CODER, room),
        policy=_policy(
            session,
            task,
            client.url,
            run,
            limits,
            level=registered.level,
            hooks=hooks,
            is_attended=options.person is not None,
        ),
        ids=session.ids,
        outputs=spool,
        hooks=(_blast_radius(settings, desk),),
        programs=hooks,
        reachable=health.refusal,
        level_now=health.level_now,
    )
    world = PolicyWorld(recorder, topic)
    gate.notice = world.enqueue
    engine = LocalEngine(recorder, gate, world, owner=session.user, person=options.person)
    return Pass(
        session, loaded, agent, recorder, engine, desk, limits=limits, is_resumed=bool(options.run), hooks=hooks
    )


def _same_deployment(state: RunState, url: str) -> None:
    survey = state.facts.get("survey")
    surveyed = survey.get("deployment", url) if isinstance(survey, dict) else url
    if surveyed != url:
        raise ConfigError(
            f"{state.run} was begun on the Coder deployment {surveyed}, and {url} is configured; set `CODER_URL` to "
            "the former to go on with it"
        )


def _policy(
    session: Session,
    task: StewardTask,
    deployment: str,
    run: str,
    limits: Limits,
    *,
    level: Level,
    hooks: HookRunner | None,
    is_attended: bool,
) -> DoorPolicy:
    grants = frozenset(operation_named(word) for word in task.grants)
    version = canonical([session.rules.digest, level.word, sorted(grants), deployment, hooks.digest if hooks else ""])
    return DoorPolicy(
        actor=f"steward agent of {run} for {session.user}",
        level=level,
        grants=grants,
        named=lambda: (deployment, *([task.message[:2_000]] if task.message else [])),
        rules=session.rules,
        version=hashlib.sha256(version).hexdigest()[:16],
        approval_ttl_s=session.settings.governance.approval_timeout,
        output_bytes=limits.output_bytes,
        is_attended=is_attended,
    )


def _blast_radius(settings: Settings, desk: FleetDesk) -> Hook:
    """More builds in one pass than its share of the fleet need a person: a plan that large may be a mistake."""
    steward = settings.steward

    def hook(call: ProposedCall, tool: Tool, parsed: Parsed) -> Refused | NeedsApproval | None:
        # Starts take stops back that were allowed before; a stop is what harms whoever works.
        if tool.name != "coder_begin_builds" or desk.only_starts:
            return None
        count, fleet = parsed.value.count, parsed.value.fleet
        cap = max(steward.blast_count, fleet * steward.blast_percent // 100)
        if count <= cap:
            return None
        reason = (
            f"this pass is about to make {count} builds on a fleet of {fleet}, more than the {cap} it may without a "
            f"person (`steward.blast_count`, `steward.blast_percent`)"
        )
        shown = shown_text(tool.name, tool.operation, reason, tool.targets(parsed), parsed.canonical)
        return NeedsApproval("\n".join([shown, *map(escape, desk.listed())]), reason, tool.operation)

    return hook
