"""Calls made as the gate makes them: parsed, granted, spent."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ooda.governance.call import ToolOutcome
from ooda.governance.grant import Grant, Mint
from ooda.tools.all import ALL
from ooda.tools.room import ToolRoom
from ooda.tools.toolbox import BoundTool, BoundToolbox


def granted(bound: BoundTool, canonical: bytes, seq: int = 1, **facts: Any) -> Grant:
    """A grant for exactly this call, as the gate makes it."""
    named: dict[str, Any] = {
        "kind": "tool",
        "run": "run-1",
        "seq": seq,
        "call": f"call-{seq}",
        "tool": bound.name,
        "definition": bound.definition,
        "arguments": hashlib.sha256(canonical).hexdigest(),
        "operation": bound.operation,
        "effect": bound.effect,
        "key": f"key-{seq}",
        "fence": 1,
        "deadline_ns": 0,
    }
    return Mint().grant(**{**named, **facts})


@dataclass
class Bench:
    """One run's tools, ready to be called by name."""

    room: ToolRoom
    workspace: Path
    seq: int = 0

    def __post_init__(self) -> None:
        self.toolbox = BoundToolbox(ALL, self.room)

    def refit(self, **changes: Any) -> None:
        """Another room for the calls to come."""
        self.room = replace(self.room, **changes)
        self.toolbox = BoundToolbox(ALL, self.room)

    async def __call__(self, name: str, **arguments: Any) -> ToolOutcome:
        tool = self.toolbox.find(name)
        assert tool is not None
        parsed = tool.parse(json.dumps(arguments))
        self.seq += 1
        return await tool.run(granted(tool, parsed.canonical, self.seq), parsed)
