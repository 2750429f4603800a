"""What a chat session is made of: its hook for the first write."""

from __future__ import annotations

from ooda.governance.approval import shown_text
from ooda.governance.call import NeedsApproval, Parsed, ProposedCall, Refused, Tool
from ooda.governance.gate import Hook
from ooda.governance.recorder import Recorder

__all__ = ["first_write_asks"]


def first_write_asks(recorder: Recorder) -> Hook:
    """A hook that asks before the first change of a session; one yes covers the session, and stands in the store."""

    def hook(call: ProposedCall, tool: Tool, parsed: Parsed) -> Refused | NeedsApproval | None:
        if tool.effect == "pure" or _is_approved(recorder):
            return None
        reason = "this is the first change in this folder; a yes covers the session"
        shown = shown_text(tool.name, tool.operation, reason, tool.targets(parsed), parsed.canonical)
        return NeedsApproval(shown, reason, tool.operation)

    return hook


def _is_approved(recorder: Recorder) -> bool:
    run = recorder.state.run
    found = recorder.read(
        lambda tx: tx.execute(
            "SELECT 1 FROM approvals WHERE run = ? AND state IN ('approve', 'modify') LIMIT 1", (run,)
        )
    )
    return bool(found)
