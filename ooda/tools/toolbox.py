"""Declarations bound to one run: what the gate looks tools up in and the only place where a grant meets a tool.

A bound tool spends its grant before anything else, against its own name, definition and the exact arguments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from ooda.errors import ConfigError, RefusedError, nearest
from ooda.events import Effect
from ooda.governance.call import Parsed, ProbeAnswer, ToolOutcome
from ooda.governance.grant import Grant
from ooda.governance.operations import Operation
from ooda.runtime.agent import Traits
from ooda.tools.declare import ToolDeclaration
from ooda.tools.room import CallFacts, ToolRoom

__all__ = ["BoundTool", "BoundToolbox"]


class BoundTool:
    """One tool of one run. Implements `ooda.governance.call.Tool`."""

    def __init__(self, declaration: ToolDeclaration, room: ToolRoom) -> None:
        self.declaration = declaration
        self._room = room

    @property
    def name(self) -> str:
        return self.declaration.name

    @property
    def effect(self) -> Effect:
        return self.declaration.effect

    @property
    def operation(self) -> Operation:
        return self.declaration.operation

    @property
    def definition(self) -> str:
        return self.declaration.definition

    @property
    def timeout_s(self) -> float:
        return self.declaration.timeout_s

    @property
    def is_poll(self) -> bool:
        return self.declaration.is_poll

    @property
    def is_terminal(self) -> bool:
        return self.declaration.is_terminal

    def parse(self, arguments: str) -> Parsed:
        """Raises ToolArgumentsError with a sentence for the model."""
        return self.declaration.parse(arguments)

    def targets(self, parsed: Parsed) -> tuple[str, ...]:
        return self.declaration.aims(self._room, parsed.value)

    async def run(self, grant: Grant, parsed: Parsed) -> ToolOutcome:
        """Spend the grant and act.

        Raises:
            RefusedError: the grant is spent, foreign, or for another tool, definition or arguments.
            ToolError: for failures the model should read.
        """
        grant.spend(self.name, kind="tool", arguments=hashlib.sha256(parsed.canonical).hexdigest())
        if grant.definition != self.definition:
            raise RefusedError(f"the grant for `{self.name}` is for another version of it; decide the call anew")
        facts = CallFacts(seq=grant.seq, id=grant.call, key=grant.key, deadline_ns=grant.deadline_ns)
        room = self._room.for_call(facts)
        arguments = {name: getattr(parsed.value, name) for name in type(parsed.value).model_fields}
        return await self.declaration.function(room, **arguments)

    async def replaces(self, parsed: Parsed) -> str:
        """What is there that the call would take the place of; empty where it cannot be read or nothing is."""
        if self.declaration.replaces is None:
            return ""
        return await self.declaration.replaces(self._room, parsed.value)

    async def probe(self, parsed: Parsed, key: str) -> ProbeAnswer:
        return await self.declaration.probe(self._room, parsed.value, key)


class BoundToolbox:
    """The tools of one run, bound to its room. Implements `ooda.governance.call.Toolbox`."""

    def __init__(self, declarations: Iterable[ToolDeclaration], room: ToolRoom) -> None:
        self.room = room
        self._tools: dict[str, BoundTool] = {}
        self._schemas: dict[tuple[str, ...], bytes] = {}
        for declaration in declarations:
            if declaration.name in self._tools:
                raise ConfigError(f"two tools are called `{declaration.name}`; rename one of them")
            self._tools[declaration.name] = BoundTool(declaration, room)

    @property
    def sandbox_id(self) -> str:
        """Id of the run's sandbox, empty for a run without one."""
        return self.room.sandbox.id if self.room.sandbox is not None else ""

    def find(self, name: str) -> BoundTool | None:
        return self._tools.get(name)

    def names(self) -> tuple[str, ...]:
        return tuple(self._tools)

    def schemas(self, names: tuple[str, ...]) -> bytes:
        """The JSON array of these tools for a model request: encoded once per selection, then the same bytes.

        Raises:
            ConfigError: a name is not among the tools of this run.
        """
        if names not in self._schemas:
            for name in names:
                if name not in self._tools:
                    near = nearest(name, self._tools)
                    raise ConfigError(
                        f"no tool is called `{name}`; this run has {', '.join(f'`{known}`' for known in self._tools)}"
                        + (f". Did you mean `{near}`?" if near else "")
                    )
            encoded = (self._tools[name].declaration.schema for name in names)
            self._schemas[names] = b"[" + b",".join(encoded) + b"]"
        return self._schemas[names]

    def traits(self) -> Mapping[str, Traits]:
        """What the loop needs to know of each tool."""
        return {name: tool.declaration.traits for name, tool in self._tools.items()}
