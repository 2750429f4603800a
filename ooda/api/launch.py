"""From a task and a session to a running engine, and from its end to an outcome.

`start` and `resume` open what one run needs (lease, folders, sandbox, tools, model, gate), in an order in which
nothing is recorded before everything it needs is there, and close it again whatever happens.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from ooda.api.budgets import fallback_prices, no_door_yet, price_of, run_scopes, shared_budget
from ooda.api.chat import first_write_asks
from ooda.api.compare import comparing, replay_model
from ooda.api.enclosure import Enclosure
from ooda.api.health import DegradableBudget, Health
from ooda.api.hooks import HookRunner, hooks_for
from ooda.api.kinds import RunKind, kind_of
from ooda.api.lease import held_lease
from ooda.api.request import Launch
from ooda.api.runs import entries_of, intent_of
from ooda.api.session import Session
from ooda.api.snapshots import WorkspaceSnapshots
from ooda.api.standing import Registered, conduct_recorder, tell_shared
from ooda.config import model_environ
from ooda.engines.local import Ending, LocalEngine, PutBack
from ooda.engines.world import LocalWorld
from ooda.events import Body, Limits, Resumed, RunStarted, canonical
from ooda.governance.audit import AuditFact
from ooda.governance.audit import append as append_audit
from ooda.governance.gate import Gate
from ooda.governance.model_door import ModelDoor
from ooda.governance.model_spending import SharedBudget
from ooda.governance.operations import Operation, operation_named
from ooda.governance.policy import DoorPolicy
from ooda.governance.prices import PriceRow
from ooda.governance.recorder import Recorder
from ooda.governance.sent_mark import SentMark
from ooda.labels import TRUSTED, Integrity, Label, join
from ooda.models.fallback import FallbackModel
from ooda.models.http1 import Timeouts
from ooda.models.replay import ReplayModel
from ooda.models.request import ModelAccess
from ooda.models.retry import RetryPolicy
from ooda.models.select import open_model
from ooda.runtime.agent import LOOP_VERSION
from ooda.runtime.loop import Loop
from ooda.runtime.state import OpenCall, RunState
from ooda.sandbox import Sandbox, SandboxLimits, SandboxSpec, end_enclosures
from ooda.store import Lease
from ooda.task import ChatTask, LoadedTask, Task, parse_task
from ooda.tools.fleet_looks import FleetLooks
from ooda.tools.room import FolderSpool, ToolRoom
from ooda.tools.toolbox import BoundToolbox

__all__ = ["Live", "opened", "reloaded"]

_PATIENCE = RetryPolicy()


class Live:
    """A run that is open in this process."""

    def __init__(
        self,
        launch: Launch,
        session: Session,
        kind: RunKind,
        recorder: Recorder,
        engine: LocalEngine,
        world: LocalWorld,
        door: ModelDoor,
        sandbox: Sandbox,
        hooks: HookRunner | None = None,
        health: Health | None = None,
    ) -> None:
        self.launch = launch
        self.session = session
        self.kind = kind
        self.recorder = recorder
        self.engine = engine
        self.sandbox = sandbox
        self._world = world
        self._door = door
        self._hooks = hooks
        self.health = health
        self._turn_end: asyncio.Task[None] | None = None

    @property
    def run(self) -> str:
        return self.recorder.state.run

    @property
    def state(self) -> RunState:
        return self.recorder.state

    @property
    def model_name(self) -> str:
        """The model that is asked now."""
        return self._world.model_name

    async def switch_model(self, name: str) -> None:
        """Ask another model from the next call on.

        Raises:
            ConfigError, CredentialError: it has no price or cannot be reached; the one in use stays.
        """
        kind = msgspec.structs.replace(self.kind, model=name)
        access = _model(self.session, msgspec.structs.replace(self.launch, cassette=None), kind)
        prices = _prices(self.session, kind, access)
        await self._world.switch(access, prices[access.name])
        _let_fall_back(self._door, access, prices)
        self.kind = kind

    def interrupt_turn(self, reason: str) -> None:
        """End what runs now and hand back to the person (chat)."""
        if self._turn_end is None or self._turn_end.done():
            self._turn_end = asyncio.ensure_future(self.engine.interrupt_turn(reason))

    async def close(self) -> None:
        """Close the model's connections, unless the caller brought the model."""
        if self.launch.access is None:
            await self._world.close()

    async def go(self) -> Ending:
        """Start the run, or take it up again, and carry it to where it stops or waits.

        Raises:
            RefusedError: a hook of the operator's does not let it begin; nothing was recorded.
        """
        if self._hooks is None:
            return await self._go()
        is_new = not self.launch.run
        await self._hooks.begin("startup" if is_new else "resume", self.kind.agent.brief.text if is_new else "")
        ending = await self._go()
        await self._hooks.end(ending.status, ending.reason)
        return ending

    async def _go(self) -> Ending:
        enclosure = Body(msgspec.json.encode(self.sandbox.report).decode())
        if self.launch.run:
            limits = self.kind.limits if self.launch.limits is not None else None
            return await self.engine.resume(Resumed(by=self.session.user, limits=limits, enclosure=enclosure))
        task = self.launch.loaded
        agent = self.kind.agent
        return await self.engine.start(
            RunStarted(
                agent=agent.name,
                task=Body(task.canonical.decode()),
                task_digest=task.digest,
                rules=agent.rules,
                brief=agent.brief,
                limits=self.kind.limits,
                loop_version=LOOP_VERSION,
                model=self.kind.model,
                run_by=self.session.user,
                enclosure=enclosure,
                parent=self.launch.parent,
                cassette=self.launch.cassette.digest if self.launch.cassette else "",
            ),
            task_label(self.session, self.launch),
        )


@asynccontextmanager
async def opened(session: Session, launch: Launch) -> AsyncIterator[Live]:
    """Open everything a run needs; on leaving, end its processes and let go of its lease.

    Raises:
        SandboxError: no sandbox works here, or the run's image is missing.
        LeaseLostError: another process carries this run on.
        ConfigError, CredentialError: the model, its price or a credential is missing; nothing was recorded.
    """
    run = launch.run or session.ids.new("run")
    secrets = launch.loaded.resolve_secrets(session.environ)
    for name, value in secrets.items():
        session.register_secrets(name.replace(".", "_").replace(":", "_"), [value.get_secret_value()])
    places = session.places.run(run)
    kind = kind_of(session, launch, run, secrets)
    access = launch.access or _model(session, launch, kind)
    prices = _prices(session, kind, access)
    health = Health(session, run, kind.agent.name, launch.watch.on_governance)
    agent = await health.registered()
    for folder in (session.places.runs, places.folder, places.workspace, places.spool):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with (
        held_lease(session, run) as keeper,
        shared_budget(session) as shared,
        _fleet(session, launch.loaded.task) as fleet,
        await _sandbox(session, launch, kind, run, secrets) as sandbox,
    ):
        health.redis = shared
        governed = session.settings.governance
        budget = DegradableBudget(session, health, shared) if shared or governed.supabase_url is not None else None
        live = _assemble(
            session, launch, kind, run, agent, health, access, prices, budget, sandbox, keeper.lease, fleet
        )
        keeper.tell(live.engine.lose)
        session.open_runs += 1
        try:
            if launch.run and kind.setup and live.state.facts.get("environment"):
                await sandbox.prepare(kind.setup)  # prepared before the stop; found again by its lock files
            yield live
        finally:
            session.open_runs -= 1
            await live.close()
            if not live.state.is_alive:
                await tell_shared(session, agent)


@asynccontextmanager
async def _fleet(session: Session, task: Task) -> AsyncIterator[FleetLooks | None]:
    """What a conversation about a fleet may look at; None for every other run, which loads none of the steward."""
    if not isinstance(task, ChatTask) or task.about != "fleet":
        yield None
        return
    from ooda.api.steward.answers import fleet_answers

    async with fleet_answers(session) as looks:
        yield looks


def reloaded(session: Session, run: str, state_task: str) -> LoadedTask:
    """The task of a recorded run, as it was when it started; inline secrets are gone."""
    return parse_task(msgspec.json.decode(state_task), f"task of {run}")


def _assemble(
    session: Session,
    launch: Launch,
    kind: RunKind,
    run: str,
    agent: Registered,
    health: Health,
    access: ModelAccess,
    prices: Mapping[str, PriceRow],
    shared: SharedBudget | None,
    sandbox: Enclosure,
    lease: Lease,
    fleet: FleetLooks | None,
) -> Live:
    places = session.places.run(run)
    spool = FolderSpool(places.spool)
    cassette = launch.cassette
    recorder = Recorder(
        run=run,
        loop=Loop(kind.agent),
        store=session.store,
        redactor=session.redactor,
        clock=session.clock,
        fence=lease.fence,
        heard=launch.watch.heard,
        is_alone=lambda: session.open_runs == 1 and not session.store.is_remote,
        ended=conduct_recorder(session, agent, kind.topic, _is_checked, lambda: health.was_degraded),
    )
    if launch.run:
        recorder.load()
        kind = msgspec.structs.replace(kind, limits=_limits(launch, recorder.state))
    room = ToolRoom(
        run=run,
        clock=session.clock,
        sandbox=sandbox,
        git=kind.git,
        target=kind.target,
        validation=kind.validation,
        spool=spool,
        output_bytes=kind.limits.output_bytes,
        started_at_ns=cassette.started_ns if cassette else session.clock.now_ns(),
        prepare=(lambda: sandbox.prepare(kind.setup)) if kind.setup else None,
        fleet=fleet,
    )
    toolbox = BoundToolbox(kind.tools, room)
    hooks = hooks_for(session, run, kind.agent.name, kind.workspace)
    policy = _policy(session, launch, kind, run, agent, hooks)
    if health.outage is not None and health.policy == "unconstrained":
        policy = msgspec.structs.replace(policy, grants=frozenset(Operation))
    snapshots = None
    if kind.git is not None:
        snapshots = WorkspaceSnapshots(kind.git, is_owned=kind.target is not None, repeats=cassette is not None)
    gate = Gate(
        recorder=recorder,
        toolbox=toolbox,
        policy=policy,
        ids=session.ids,
        outputs=spool,
        hooks=(first_write_asks(recorder),) if kind.asks_first_write else (),
        workspace=snapshots,
        programs=hooks,
        reachable=health.refusal,
        level_now=health.level_now,
    )
    replay = access if isinstance(access, ReplayModel) else None
    door = ModelDoor(
        recorder=recorder,
        mint=gate.mint,
        policy=policy,
        ledger=session.ledger,
        model=access.name,
        price=prices[access.name],
        sent=SentMark(places.folder / "sent") if not session.store.is_remote else None,
        shared=shared,
    )
    _let_fall_back(door, access, prices)
    world = LocalWorld(
        recorder=recorder,
        door=door,
        model=access,
        schemas=toolbox.schemas,
        topic=kind.topic,
        temperature_milli=kind.temperature_milli,
        compare=comparing(replay, cassette, recorder.prompt) if replay is not None else None,
        on_piece=launch.watch.on_piece,
        on_attempt=launch.watch.on_attempt,
    )

    async def undo(call: OpenCall) -> PutBack:
        assert snapshots is not None
        return await snapshots.put_back(call.tool, intent_of(session, run, call.call))

    gate.notice = world.enqueue
    engine = LocalEngine(
        recorder,
        gate,
        world,
        owner=session.user,
        person=launch.person,
        undo=undo if snapshots is not None else None,
        undoes_at_once=snapshots is not None and cassette is not None,
    )
    return Live(launch, session, kind, recorder, engine, world, door, sandbox, hooks, health)


def task_label(session: Session, launch: Launch) -> Label:
    """Of the task's text: a person's, or, where a run started this one, of all that run has seen."""
    return join(entry.label for entry in entries_of(session, launch.parent)) if launch.parent else TRUSTED


def _limits(launch: Launch, state: RunState) -> Limits:
    """The ceilings of a run that is resumed: those of its journal, and over them what the caller changes."""
    return launch.limits.to_limits(state.limits) if launch.limits is not None else state.limits


def _model(session: Session, launch: Launch, kind: RunKind) -> ModelAccess:
    if launch.cassette is not None:
        return replay_model(session, launch.cassette, launch.run)
    settings, task = session.settings.model, launch.loaded.task
    return open_model(
        kind.model,
        base_url=launch.base_url or str(task.model.base_url or ""),  # the settings' is in `environ`
        environ=model_environ(session.settings, session.environ),
        backend=settings.backend,
        fallbacks=task.model.fallbacks if task.model.fallbacks is not None else settings.fallbacks,
        regrant=no_door_yet,
        policy=RetryPolicy(
            attempts=settings.attempts,
            unreachable_attempts=min(settings.attempts, _PATIENCE.unreachable_attempts),
            output_attempts=min(settings.attempts, _PATIENCE.output_attempts),
        ),
        timeouts=Timeouts(
            connect_s=settings.connect_timeout,
            first_byte_s=settings.first_byte_timeout,
            stall_s=settings.stall_timeout,
        ),
        probe_local=True,
    )


def _prices(session: Session, kind: RunKind, access: ModelAccess) -> Mapping[str, PriceRow]:
    """What the model costs, and those that are asked when it is unavailable."""
    return {access.name: price_of(session, access, kind.base_url), **fallback_prices(session, access)}


def _let_fall_back(door: ModelDoor, access: ModelAccess, prices: Mapping[str, PriceRow]) -> None:
    """Have the door decide each further model anew, at its own price."""
    door.price_of = prices.__getitem__
    if isinstance(access, FallbackModel):
        access.regrant = door.regrant


def _is_checked(state: RunState) -> bool:
    """Whether validators ran and passed; what a task without any did is nobody's merit."""
    validation = state.facts.get("validation")
    return isinstance(validation, Mapping) and bool(validation.get("verified"))


def _policy(
    session: Session, launch: Launch, kind: RunKind, run: str, agent: Registered, hooks: HookRunner | None
) -> DoorPolicy:
    level = agent.level
    grants = frozenset(operation_named(word) for word in kind.grants)
    version = canonical(
        [session.rules.digest, level.word, sorted(grants), list(kind.targets), hooks.digest if hooks else ""]
    )
    return DoorPolicy(
        actor=f"{kind.agent.name} agent of {run} for {session.user}",
        level=level,
        grants=grants,
        # A task another run wrote names nothing that a person has not named.
        named=kind.named if task_label(session, launch).integrity is Integrity.TRUSTED else tuple,
        rules=session.rules,
        version=hashlib.sha256(version).hexdigest()[:16],
        scopes=run_scopes(session, kind.agent.name, kind.topic, run, kind.limits, launch.parent),
        approval_ttl_s=session.settings.governance.approval_timeout,
        output_bytes=kind.limits.output_bytes,
        is_attended=launch.person is not None,
    )


async def _sandbox(session: Session, launch: Launch, kind: RunKind, run: str, secrets: Mapping[str, Any]) -> Enclosure:
    settings = session.settings.sandbox
    places = session.places.run(run)
    spec = SandboxSpec(
        run=run,
        workspace=kind.workspace,
        spool=places.spool,
        backend=settings.backend,
        image=kind.image or settings.image,
        runtime=settings.runtime,
        limits=SandboxLimits(
            memory_bytes=settings.memory,
            cpus=settings.cpus,
            pids=settings.pids,
            disk_bytes=settings.disk,
            tmp_bytes=settings.tmp,
            open_files=settings.open_files,
        ),
        network=kind.network,
        binds=kind.binds,
        env=kind.environment(secrets),
    )

    def audit(what: str, facts: Mapping[str, object]) -> None:
        fact = AuditFact(
            at_ns=session.clock.now_ns(),
            actor="ooda",
            action=what,
            run=run,
            subject="sandbox",
            decision=str(facts.get("decision", "")),
            reason="",
            details=dict(facts),
        )
        session.store.write_now(lambda tx: append_audit(tx, fact))

    if launch.run:
        for name in await end_enclosures(session.places.cache, run):
            audit("sandbox.taken_over", {"sandbox": name})
    return await Enclosure.opened(spec, cache_dir=session.places.cache, audit=audit)
