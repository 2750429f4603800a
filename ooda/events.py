"""The events of a run: every fact a journal can hold, immutable, each with a literal `kind`.

An event is written once, by the runner, as one journal row; state, prompts, replays, audits and exports are
readings of these. *Input* events come from outside the core (a reply, a result, an answer, a timer). *Derived*
events are conclusions the core draws from an input event (a phase entered, a decision, a limit); they are written
in the same transaction right after it, and a replay recomputes and compares them.

Texts travel as `Body`: inline up to 4 KiB, by reference to a content-addressed blob above. Integers only, no
floats, so that the canonical JSON of a row has one spelling.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal, get_args

import msgspec

from ooda.labels import UNTRUSTED, Label

__all__ = [
    "DERIVED",
    "INLINE_BYTES",
    "RUNTIME",
    "SCHEMA_VERSION",
    "ApprovalAnswered",
    "ApprovalAsked",
    "BlobRef",
    "Body",
    "CallRefused",
    "ChildStarted",
    "ChildStopped",
    "Compacted",
    "Decided",
    "Effect",
    "Entry",
    "Event",
    "Foreign",
    "LimitReached",
    "Limits",
    "ModelAsked",
    "ModelFailed",
    "ModelReplied",
    "Notified",
    "Observed",
    "Patched",
    "PhaseEntered",
    "Resumed",
    "RunStarted",
    "SkillActivated",
    "Status",
    "Stopped",
    "TimerFired",
    "TimerSet",
    "ToolCall",
    "ToolInterrupted",
    "ToolReturned",
    "ToolStarted",
    "Usage",
    "UserMessage",
    "canonical",
    "decode",
    "encode",
    "is_derived",
]

SCHEMA_VERSION = 1_000
"""Major version x 1000 + minor. A newer major is refused untouched; unknown kinds of the same major are kept."""

INLINE_BYTES = 4096
"""Texts above this many UTF-8 bytes are stored as blobs."""

Effect = Literal["pure", "local", "keyed", "once"]
"""What may happen to an interrupted call: done again, shown, done again under its key, probed."""

Status = Literal[
    "success",
    "unverified",
    "failed",
    "refused",
    "budget_exceeded",
    "step_limit",
    "stuck",
    "model_unavailable",
    "timeout",
    "cancelled",
]
"""How a run stopped. Judged by validators and the journal, never by the model's own claim."""


class BlobRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """A body kept outside the row, by content."""

    digest: str
    """Lowercase hexadecimal SHA-256 of the UTF-8 bytes."""
    size_bytes: int
    tokens: int = 0
    head: str = ""
    """First line, for a reader."""
    tail: str = ""


class Body(msgspec.Struct, frozen=True, omit_defaults=True):
    """A text of any length: inline, or by reference when `ref` is set."""

    text: str = ""
    ref: BlobRef | None = None

    @property
    def is_empty(self) -> bool:
        return not self.text and self.ref is None

    @property
    def digest(self) -> str:
        """SHA-256 of the text, the same whether inline or by reference."""
        return self.ref.digest if self.ref else hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        return self.ref.size_bytes if self.ref else len(self.text.encode())


EMPTY = Body()


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens of one model call in four buckets.

    `input_tokens` is everything sent, `cached_input_tokens` and `cache_write_tokens` are parts of it;
    `output_tokens` is everything generated, `reasoning_tokens` a part of it.
    """

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Ceilings of one run; zero or less never means "unlimited"."""

    steps: int = 200
    rounds: int = 10
    wall_s: int = 86_400
    """Active seconds: time spent waiting for a person or stopped does not count."""
    tokens: int = 20_000_000
    cost_nano: int = 1_000_000_000
    """Nano-USD; the default is 1 USD."""
    reply_tokens: int = 8_192
    """`max_tokens` of each model reply."""
    context_tokens: int = 200_000
    """The model's window; compaction starts at three quarters of it."""
    output_bytes: int = 16_384
    """Tool output shown to the model per call."""


class ToolCall(msgspec.Struct, frozen=True):
    """One request to a tool. `arguments` is the JSON text exactly as given."""

    id: str
    tool: str
    arguments: Body


class _Event(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind"):
    """Base of all events; the tag is the class name."""


class RunStarted(_Event, tag=True, frozen=True, kw_only=True):
    """The first event of every journal."""

    agent: str
    """Kind of the agent: coding, ops, triage, steward, chat, or a name registered by an application."""
    task: Body
    """The task spec as canonical JSON, secrets replaced by references."""
    task_digest: str
    rules: Body
    """The system prompt: who the agent is and what holds always. Pinned through compaction."""
    brief: Body
    """The task as the model reads it. Pinned through compaction."""
    limits: Limits
    loop_version: int
    model: str = ""
    run_by: str = ""
    """Who started it: an operating-system user or an API caller; named by the audit."""
    parent: str = ""
    enclosure: Body = EMPTY
    """What stands around its commands (backend, image, probes, what is missing), as JSON."""
    cassette: str = ""
    """SHA-256 of the cassette whose model replies this run replays; empty when live."""
    forked: str = ""
    """Where this journal's beginning was copied from, as `run@seq:hash` of the last event before the fork."""


class UserMessage(_Event, tag=True, frozen=True, kw_only=True):
    """A person said something to the run."""

    text: Body
    author: str = ""


class Observed(_Event, tag=True, frozen=True, kw_only=True):
    """Something read from the world outside a tool call, or said by the runtime (source `ooda`)."""

    source: str
    text: Body


class PhaseEntered(_Event, tag=True, frozen=True, kw_only=True):
    """Derived: a phase of the agent begins."""

    phase: str
    round: int
    brief: Body = EMPTY
    """What the decider is told; a message to the model when the phase is decided by one."""
    tools: tuple[str, ...] = ()


class ModelAsked(_Event, tag=True, frozen=True, kw_only=True):
    """The intent of a model call: reservation taken, nothing sent yet."""

    ask: str
    model: str
    upto_seq: int
    prefix_hash: str
    digest: str
    """Chain hash of the normalised messages: what a replay compares."""
    messages: int
    input_bytes: int
    reply_tokens: int
    reservation: str = ""
    key: str = ""
    """Idempotency key it is sent under, when that is not the reservation: the one of an attempt that was cut off."""


class ModelReplied(_Event, tag=True, frozen=True, kw_only=True):
    """The model's answer, priced and settled."""

    ask: str
    model: str
    message: Body
    """The assistant message as encoded JSON, sent back byte for byte in later requests."""
    content: Body
    calls: tuple[ToolCall, ...] = ()
    usage: Usage
    cost_nano: int
    finish: str
    """The provider's finish reason: stop, tool_calls, length, content_filter, refusal."""
    latency_ms: int = 0


class ModelFailed(_Event, tag=True, frozen=True, kw_only=True):
    """A model call ended without a usable reply."""

    ask: str
    error: Literal["unavailable", "overflow", "output", "credential", "budget", "refused", "cancelled", "interrupted"]
    message: str
    cost_nano: int = 0
    """Charged all the same when something was sent and no usage came back."""
    tokens: int = 0


class Decided(_Event, tag=True, frozen=True, kw_only=True):
    """Derived: what the decider of the phase chose."""

    phase: str
    step: int
    reason: str = ""
    actions: tuple[str, ...] = ()
    """`id tool` of each call, in order."""
    done: bool = False
    goto: str = ""
    facts: dict[str, Any] = {}


class CallRefused(_Event, tag=True, frozen=True, kw_only=True):
    """The gate did not let a call through; the decider is told why."""

    call: str
    tool: str
    why: Literal["arguments", "unknown_tool", "permission", "rule", "label", "budget", "hook", "approval"]
    reason: str
    operation: str = ""


class ApprovalAsked(_Event, tag=True, frozen=True, kw_only=True):
    """A person has to answer before a call (or about an effect whose outcome is unknown)."""

    approval: str
    call: str
    tool: str
    ask: Literal["action", "decision"] = "action"
    shown: Body
    """Exactly what the person is shown; its digest is bound to the answer."""
    expires_at_ns: int


class ApprovalAnswered(_Event, tag=True, frozen=True, kw_only=True):
    """The answer. `happened` and `did_not` answer a decision about an unknown outcome."""

    approval: str
    call: str
    answer: Literal["approve", "modify", "reject", "stop", "expired", "happened", "did_not"]
    by: str
    note: str = ""
    arguments: Body | None = None
    """The approver's edit: a new call with a new hash, decided anew."""


class ToolStarted(_Event, tag=True, frozen=True, kw_only=True):
    """The intent of an effect: written before it, in one transaction with its reservation."""

    call: str
    tool: str
    definition: str
    """Hash of the tool's definition."""
    arguments: str
    """Hash of the canonical arguments."""
    operation: str
    effect: Effect
    key: str
    targets: tuple[str, ...] = ()
    approval: str = ""


class ToolReturned(_Event, tag=True, frozen=True, kw_only=True):
    """The one answer to a call."""

    call: str
    tool: str
    status: Literal["ok", "error", "timeout", "no_data"]
    text: Body
    """What the decider reads: redacted, capped."""
    data: Body = EMPTY
    """The same as canonical JSON where the tool gives structured facts."""
    duration_ms: int = 0
    spool: str = ""
    """Handle of the full output, when it was longer than what is shown."""


class ToolInterrupted(_Event, tag=True, frozen=True, kw_only=True):
    """A call that had started and never answered, closed on resume or at an end."""

    call: str
    tool: str
    outcome: Literal["not_repeated", "did_not", "unknown"]
    text: Body


class TimerSet(_Event, tag=True, frozen=True, kw_only=True):
    timer: str
    at_ns: int


class TimerFired(_Event, tag=True, frozen=True, kw_only=True):
    timer: str


class Compacted(_Event, tag=True, frozen=True, kw_only=True):
    """Derived: everything before `keep_from_seq` leaves the prompt, except what is pinned."""

    keep_from_seq: int
    reason: str


class SkillActivated(_Event, tag=True, frozen=True, kw_only=True):
    name: str
    digest: str
    body: Body


class ChildStarted(_Event, tag=True, frozen=True, kw_only=True):
    call: str
    run: str
    agent: str


class ChildStopped(_Event, tag=True, frozen=True, kw_only=True):
    call: str
    run: str
    status: Status
    text: Body
    cost_nano: int = 0
    tokens: int = 0


class LimitReached(_Event, tag=True, frozen=True, kw_only=True):
    """Derived: a ceiling of the run was met."""

    limit: Literal["steps", "rounds", "wall_s", "tokens", "cost_nano", "stuck"]
    value: int
    cap: int


class Notified(_Event, tag=True, frozen=True, kw_only=True):
    """A notice was put into the outbox, in this transaction."""

    notice: str
    kind_: str = msgspec.field(name="type")
    message: str
    details: dict[str, Any] = {}


class Stopped(_Event, tag=True, frozen=True, kw_only=True):
    """The end of the run, or of this stretch of it: all but success can be resumed."""

    status: Status
    reason: str


class Resumed(_Event, tag=True, frozen=True, kw_only=True):
    """An owner took the run up again."""

    by: str
    limits: Limits | None = None
    enclosure: Body = EMPTY


class Patched(_Event, tag=True, frozen=True, kw_only=True):
    """New loop behaviour entered this run."""

    name: str


Event = (
    RunStarted
    | UserMessage
    | Observed
    | PhaseEntered
    | ModelAsked
    | ModelReplied
    | ModelFailed
    | Decided
    | CallRefused
    | ApprovalAsked
    | ApprovalAnswered
    | ToolStarted
    | ToolReturned
    | ToolInterrupted
    | TimerSet
    | TimerFired
    | Compacted
    | SkillActivated
    | ChildStarted
    | ChildStopped
    | LimitReached
    | Notified
    | Stopped
    | Resumed
    | Patched
)

DERIVED = (PhaseEntered, Decided, Compacted, LimitReached)
"""Kinds only the core concludes; a replay recomputes and compares them."""

RUNTIME = "ooda"
"""Source of an Observed event that the runtime itself says (a nudge); derived as well."""


def is_derived(event: Event | Foreign) -> bool:
    """Whether the core concluded this event, rather than being given it."""
    return isinstance(event, DERIVED) or (isinstance(event, Observed) and event.source == RUNTIME)


class Foreign(msgspec.Struct, frozen=True):
    """An event of a kind this version does not know (same major version): kept verbatim, folded as nothing."""

    kind: str
    body: bytes


class Entry(msgspec.Struct, frozen=True):
    """An event with when it happened and who could have written it: one journal row before it is sealed."""

    event: Event | Foreign
    at_ns: int
    label: Label = UNTRUSTED


_KINDS = {kind.__name__: kind for kind in get_args(Event)}
_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def canonical(value: object) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8. Equal values give equal bytes."""
    return _ENCODER.encode(value)


def encode(event: Event | Foreign) -> bytes:
    """The event as canonical JSON, `kind` included."""
    return event.body if isinstance(event, Foreign) else _ENCODER.encode(event)


def decode(body: bytes, kind: str) -> Event | Foreign:
    """The inverse of `encode`. Raises msgspec.ValidationError when a known kind has a wrong shape."""
    return _DECODER.decode(body) if kind in _KINDS else Foreign(kind, body)
