"""What a chat session is made of: its hook for the first write, what was said in it, whether its model can be asked."""

from __future__ import annotations

import msgspec

from ooda.api.runs import entries_of, text_of
from ooda.api.session import Session
from ooda.config import model_environ
from ooda.events import ModelAsked, ModelReplied, RunStarted, UserMessage
from ooda.governance.approval import shown_text
from ooda.governance.call import NeedsApproval, Parsed, ProposedCall, Refused, Tool
from ooda.governance.gate import Hook
from ooda.governance.recorder import Recorder
from ooda.models.select import resolve_endpoint

__all__ = ["Said", "SaidBefore", "check_model", "first_write_asks", "said_before"]


class Said(msgspec.Struct, frozen=True):
    """One message of a conversation."""

    text: str
    is_person: bool


class SaidBefore(msgspec.Struct, frozen=True, kw_only=True):
    """How an earlier session stood when it was left."""

    messages: tuple[Said, ...]
    model: str
    """The model that was asked last."""


def said_before(session: Session, run: str) -> SaidBefore:
    """The words of an earlier session, in order; calls and their results are left out.

    Raises:
        JournalError: its journal is damaged.
    """
    text = text_of(session)
    messages, model = [], ""
    for entry in entries_of(session, run):
        match entry.event:
            case RunStarted() as event:
                messages.append(Said(text(event.brief), is_person=True))
                model = event.model
            case UserMessage() as event:
                messages.append(Said(text(event.text), is_person=True))
            case ModelAsked() as event:
                model = event.model
            case ModelReplied() as event if not event.content.is_empty:
                messages.append(Said(text(event.content), is_person=False))
    return SaidBefore(messages=tuple(messages), model=model)


def check_model(session: Session, model: str, base_url: str) -> None:
    """See that a model can be asked before anybody types to it; connects to nothing but servers on this machine.

    Args:
        model: Empty for the configured one.
        base_url: Empty for the configured one.

    Raises:
        CredentialError: no endpoint or no key; the message says what to set.
        ConfigError: the URL is none.
    """
    if session.settings.model.backend == "litellm":
        return  # it finds its own way by the model's name
    resolve_endpoint(
        model or session.settings.model.name,
        base_url=base_url,
        environ=model_environ(session.settings, session.environ),
        probe_local=True,
    )


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
