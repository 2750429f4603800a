"""What passes the gate: proposed calls, what the gate needs to know of a tool, outcomes and verdicts.

The gate stands below the tools, so the little it asks of them is stated here as protocols; `ooda.tools` and
`ooda.testing` implement them.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, runtime_checkable

import msgspec

from ooda.events import CallRefused, Effect
from ooda.governance.grant import Grant
from ooda.governance.operations import Operation
from ooda.labels import UNTRUSTED, Label

__all__ = [
    "Allowed",
    "KeepsOutput",
    "KeepsWorkspace",
    "NeedsApproval",
    "Parsed",
    "ProbeAnswer",
    "ProposedCall",
    "Refused",
    "ReplacesFile",
    "Tool",
    "ToolOutcome",
    "Toolbox",
    "Verdict",
]

ProbeAnswer = Literal["happened", "did_not", "unknown"]


class ProposedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call somebody (a model, a policy, a person) wants made."""

    call: str
    tool: str
    arguments: str
    """JSON text as given."""
    approval: str = ""
    """Id of the approval a person gave for exactly this call."""


class Parsed(msgspec.Struct, frozen=True):
    """Validated arguments."""

    value: Any
    """What the tool's own parser made of them; opaque to the gate."""
    canonical: bytes
    """Canonical JSON: what hashes and approvals are bound to."""
    repaired: bool = False


class ToolOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool gives back, before redaction and cap."""

    status: Literal["ok", "error", "timeout", "no_data"] = "ok"
    text: str
    """What the decider reads."""
    data: Any = None
    """The same as facts (JSON-able, small) for policies, where there are any."""
    label: Label = UNTRUSTED
    spool: str = ""


class Tool(Protocol):
    """What the gate needs of a tool."""

    @property
    def name(self) -> str: ...
    @property
    def effect(self) -> Effect: ...
    @property
    def operation(self) -> Operation: ...
    @property
    def definition(self) -> str:
        """SHA-256 of name, description, schema, operation and effect: a changed tool needs new approvals."""
        ...

    @property
    def timeout_s(self) -> float:
        """Default deadline of one call."""
        ...

    @property
    def is_poll(self) -> bool:
        """Repeating the same call with the same result is how it is used; exempt from stuck detection."""
        ...

    @property
    def is_terminal(self) -> bool:
        """A call that succeeds ends the phase (`finish`, `update_plan` while planning)."""
        ...

    def parse(self, arguments: str) -> Parsed:
        """Repair what is unambiguous, validate. Raises ToolArgumentsError with a sentence for the model."""
        ...

    def targets(self, parsed: Parsed) -> tuple[str, ...]:
        """What in the outside world the call would touch (remote and branch, workspace, host); often nothing."""
        ...

    async def run(self, grant: Grant, parsed: Parsed) -> ToolOutcome:
        """Spend the grant and act. Raises ToolError for failures the model should read."""
        ...

    async def probe(self, parsed: Parsed, key: str) -> ProbeAnswer:
        """For effect `once`: did the call with this idempotency key happen? Reads only."""
        ...


@runtime_checkable
class ReplacesFile(Protocol):
    """A tool whose call may take the place of a file: a person who approves it has to know, and mean, which content."""

    async def replaces(self, parsed: Parsed) -> str:
        """What is there now, in words that hold its hash; empty for a call that replaces nothing. Reads only."""
        ...


class Toolbox(Protocol):
    """The tools of one run, bound to its sandbox, workspace and task."""

    @property
    def sandbox_id(self) -> str: ...
    def find(self, name: str) -> Tool | None: ...
    def names(self) -> tuple[str, ...]: ...


class Allowed(msgspec.Struct, frozen=True):
    """Carry it out with this grant. Never written down; the journal holds ToolStarted instead."""

    grant: Any
    """A `Grant` (Any only because msgspec does not know the type)."""
    parsed: Parsed
    rule: str = ""


class Refused(msgspec.Struct, frozen=True):
    """Not carried out; the decider is told `reason`."""

    why: Literal["arguments", "unknown_tool", "permission", "rule", "label", "budget", "hook", "approval"]
    reason: str
    operation: str = ""

    def event(self, call: ProposedCall) -> CallRefused:
        return CallRefused(call=call.call, tool=call.tool, why=self.why, reason=self.reason, operation=self.operation)


class NeedsApproval(msgspec.Struct, frozen=True):
    """A person has to answer first."""

    shown: str
    """Everything they decide on; non-printing and mixed-script characters escaped, nothing cut."""
    reason: str
    operation: str


Verdict = Allowed | Refused | NeedsApproval


class KeepsOutput(Protocol):
    """Where outputs longer than the cap are kept in full (at most 16 MiB each)."""

    def keep(self, call: str, text: str) -> str:
        """Store the text; gives the handle under which `read_output` finds it."""
        ...


class KeepsWorkspace(Protocol):
    """What keeps the workspace as it is around a call that may change it, so that the call can be undone."""

    async def before(self, grant: Grant) -> None:
        """Keep it before the call begins. Raises IntegrationError; the call is then not made."""
        ...

    async def after(self, grant: Grant) -> None:
        """Keep what the call made of it, where that has to be told from what others change."""
        ...
