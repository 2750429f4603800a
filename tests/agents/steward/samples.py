"""Short ways to write instants, workspaces and policies in tests."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ooda.agents.steward import Policy, StopDecision, Workspace, decide
from ooda.agents.steward.instants import ns_of, spelled

__all__ = ["at", "decided", "workspace"]


def at(text: str) -> int:
    """`2026-11-20 19:30` (UTC, or with an offset behind it) as an instant."""
    when = datetime.fromisoformat(text)
    return ns_of(when if when.tzinfo else datetime.fromisoformat(text + "+00:00"))


def workspace(**given: Any) -> Workspace:
    """A running workspace of alice, started in the morning of 20 November 2026 and last used at noon."""
    times = {"started": "2026-11-20 08:00", "last_used": "2026-11-20 12:00"} | {
        name: given.pop(name)
        for name in ("started", "last_used", "deadline", "max_deadline", "dormant")
        if name in given
    }
    instants = {f"{name}_ns": at(text) if text else None for name, text in times.items()}
    return Workspace(**{"owner": "alice", "name": "box", "template": "dev", "status": "running", **instants, **given})


def decided(now: str, policy: Policy | None = None, seen: Workspace | None = None, **given: Any) -> tuple[str, ...]:
    """The decision at `now` as words; its last is the next change, empty for none."""
    server = given.pop("server_now", None)
    said: StopDecision = decide(
        at(now), policy or Policy(), seen or workspace(**given), at(server) if server is not None else None
    )
    return said.decision, said.reason, spelled(said.next_ns)[:16].replace("T", " ") if said.next_ns is not None else ""
