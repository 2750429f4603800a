"""The prefix of a prompt: which events it is made of, and the hash that chains them.

Shared by the core, which names a prefix in `CallModel` without rendering it, and by the prompt, which renders it.
"""

from __future__ import annotations

import hashlib

import msgspec

from ooda.events import (
    RUNTIME,
    ApprovalAnswered,
    Body,
    CallRefused,
    ChildStopped,
    Compacted,
    Event,
    Foreign,
    ModelReplied,
    Observed,
    PhaseEntered,
    RunStarted,
    SkillActivated,
    ToolInterrupted,
    ToolReturned,
    UserMessage,
    encode,
)

__all__ = ["CONTEXT_KINDS", "by_digest", "chain", "words_of"]

CONTEXT_KINDS: frozenset[type] = frozenset(
    {
        RunStarted,
        UserMessage,
        Observed,
        PhaseEntered,
        ModelReplied,
        ApprovalAnswered,
        CallRefused,
        ToolReturned,
        ToolInterrupted,
        Compacted,
        SkillActivated,
        ChildStopped,
    }
)
"""Events the prompt is made of; `RunState.context_hash` chains exactly these."""


def chain(previous: str, event: Event | Foreign) -> str:
    """The context hash after one more event: the same wherever the prompt is rendered.

    A derived brief is inline in the core and may be a reference in the journal, so it counts by its digest.
    """
    if isinstance(event, PhaseEntered):
        event = by_digest(event)
    return hashlib.sha256(previous.encode() + encode(event)).hexdigest()


def by_digest(event: PhaseEntered) -> PhaseEntered:
    """The event with its brief named by digest: the same whether the brief is inline or a reference."""
    return msgspec.structs.replace(event, brief=Body(event.brief.digest))


def words_of(answered: ApprovalAnswered) -> str:
    """What the decider reads when a person's answer is the result of a call; empty when it is not."""
    match answered.answer:
        case "reject":
            return f"A person ({answered.by}) refused this call" + (f": {answered.note}" if answered.note else ".")
        case "happened" if answered.by == RUNTIME:
            return "It was found out that this call had its effect before the interruption."
        case "happened":
            return f"A person ({answered.by}) confirmed that this call had its effect before the interruption."
        case _:
            return ""
