"""An agent in a test: any phases and tools, a scripted model, the real gate, journal and engine, no sandbox.

    bench = AgentBench(folder, phases, (my_tool,))
    ending = await bench.run([say("…", ("my_tool", {}))])

Public: users test their agents and deciders with what we test ours with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ooda.api.hooks import hooks_for
from ooda.api.session import Session
from ooda.clock import Clock
from ooda.engines.local import Ending, LocalEngine, Person
from ooda.engines.world import LocalWorld, Spawner, Topic
from ooda.events import Body, Entry, Event, Foreign, Limits, Resumed, RunStarted
from ooda.governance.budget import Scope
from ooda.governance.call import Tool
from ooda.governance.gate import Gate
from ooda.governance.levels import Level
from ooda.governance.model_door import ModelDoor
from ooda.governance.operations import Operation
from ooda.governance.policy import DoorPolicy
from ooda.governance.recorder import Recorder
from ooda.governance.sent_mark import SentMark
from ooda.models.request import ModelAccess
from ooda.models.scripted import Script, ScriptedModel
from ooda.runtime.agent import LOOP_VERSION, AgentSpec, Phase, Traits
from ooda.runtime.loop import Loop
from ooda.store import is_alive, leases, process_owner
from ooda.tools.declare import ToolDeclaration
from ooda.tools.room import FolderSpool, ToolRoom
from ooda.tools.toolbox import BoundToolbox

__all__ = ["AgentBench", "ToolDouble"]


class ToolDouble:
    """A toolbox of declared tools and of ready-made ones (an external program's double, for instance)."""

    def __init__(self, box: BoundToolbox, extra: Sequence[Tool]) -> None:
        self._box = box
        self._extra = {tool.name: tool for tool in extra}

    @property
    def sandbox_id(self) -> str:
        return self._box.sandbox_id

    def find(self, name: str) -> Tool | None:
        """The tool of this name."""
        return self._extra.get(name) or self._box.find(name)

    def names(self) -> tuple[str, ...]:
        """All names, the ready-made ones last."""
        return (*self._box.names(), *self._extra)

    def schemas(self, names: tuple[str, ...]) -> bytes:
        """What a model is shown of the declared tools; external programs and children are told of in its rules."""
        return self._box.schemas(tuple(name for name in names if name not in self._extra and ":" not in name))


class AgentBench:
    """A home folder and the runs of one agent made in it.

    Args:
        named: What the task names in the outside world.
        room: What the tools work with beside run and clock: a sandbox, a repository, a desk.
        children: Runs sub-agents.
    """

    def __init__(
        self,
        folder: Path,
        phases: tuple[Phase, ...],
        tools: tuple[ToolDeclaration, ...] = (),
        *,
        extra: Sequence[Tool] = (),
        limits: Limits = Limits(),  # noqa: B008 - a frozen value
        grants: Iterable[Operation] = (),
        scopes: tuple[Scope, ...] = (),
        level: Level = Level.SANDBOX_ONLY,
        named: tuple[str, ...] = (),
        room: Mapping[str, Any] | None = None,
        children: Spawner | None = None,
        clock: Clock | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.folder = folder
        self.limits = limits
        self.heard: list[Event | Foreign] = []
        """Every event of every run, as it was committed."""
        self._tools = tools
        self._extra = tuple(extra)
        self.engine: LocalEngine | None = None
        """Carries the run that is under way: to interrupt it, for instance."""
        self._grants = frozenset(grants)
        self._scopes = scopes
        self._level = level
        self._named = named
        self._room = room or {}
        self._children = children
        self._clock = clock
        self._settings = settings or {}
        traits = {tool.name: tool.traits for tool in tools}
        traits |= {tool.name: Traits(effect=tool.effect, is_poll=tool.is_poll) for tool in self._extra}
        self.agent = AgentSpec(
            name="test", phases=phases, rules=Body("You act."), brief=Body("Do the task."), traits=traits
        )

    def session(self) -> Session:
        """A session in this folder; close it."""
        environ = {"HOME": str(self.folder)}
        return Session.open(environ=environ, cwd=self.folder, overrides=self._settings, clock=self._clock)

    async def run(
        self, model: ModelAccess | Iterable[Script] = (), *, person: Person | None = None, run: str = ""
    ) -> Ending:
        """Start a run, or go on with `run`, and carry it to where it stops or waits."""
        access: ModelAccess = model if hasattr(model, "complete") else ScriptedModel(model)  # type: ignore[assignment]
        with self.session() as session:
            name = run or session.ids.new("run")
            owner = process_owner(session.ids.new("own"))
            lease = session.store.write_now(
                lambda tx: leases.take(tx, name, owner, 60, session.clock.now_ns(), is_alive)
            )
            try:
                engine = self.engine = self._engine(session, name, lease.fence, access, person, is_new=not run)
                if run:
                    return await engine.resume(Resumed(by="test", limits=self.limits))
                return await engine.start(self._started())
            finally:
                session.store.write_now(lambda tx: leases.release(tx, lease))

    def _started(self) -> RunStarted:
        return RunStarted(
            agent=self.agent.name,
            task=Body("{}"),
            task_digest="",
            rules=self.agent.rules,
            brief=self.agent.brief,
            limits=self.limits,
            loop_version=LOOP_VERSION,
        )

    def _engine(
        self, session: Session, run: str, fence: int, access: ModelAccess, person: Person | None, *, is_new: bool
    ) -> LocalEngine:
        def heard(seq: int, entry: Entry) -> None:
            self.heard.append(entry.event)

        recorder = Recorder(
            run=run,
            loop=Loop(self.agent),
            store=session.store,
            redactor=session.redactor,
            clock=session.clock,
            fence=fence,
            heard=heard,
        )
        if not is_new:
            recorder.load()
        box = BoundToolbox(self._tools, ToolRoom(run=run, clock=session.clock, **self._room))
        toolbox = ToolDouble(box, self._extra)
        policy = DoorPolicy(
            actor="test",
            rules=session.rules,
            version="test",
            level=self._level,
            grants=self._grants,
            named=lambda: self._named,
            scopes=self._scopes,
            is_attended=person is not None,
        )
        places = session.places.run(run)
        places.spool.mkdir(parents=True, exist_ok=True)
        gate = Gate(
            recorder=recorder,
            toolbox=toolbox,
            policy=policy,
            ids=session.ids,
            outputs=FolderSpool(places.spool),
            programs=hooks_for(session, run, self.agent.name, places.workspace),
        )
        price = session.prices.find(access.name, "http://127.0.0.1")
        assert price is not None, "a loopback model costs nothing"
        door = ModelDoor(
            recorder=recorder,
            mint=gate.mint,
            policy=policy,
            ledger=session.ledger,
            model=access.name,
            price=price,
            sent=SentMark(places.folder / "sent"),
        )
        world = LocalWorld(
            recorder=recorder,
            door=door,
            model=access,
            schemas=toolbox.schemas,
            topic=Topic(company_id="test", project_id="test", task_id=run),
            spawner=self._children,
        )
        return LocalEngine(recorder, gate, world, owner="test", person=person)
