"""What people answer outside a run's own process: approvals and decisions, in the store and the audit."""

from __future__ import annotations

from ooda.api.session import Session
from ooda.errors import ConfigError, ToolError, nearest
from ooda.governance.audit import AuditFact
from ooda.governance.audit import append as append_audit
from ooda.store import Tx, approvals
from ooda.store.approvals import Answer, Approval
from ooda.tools.all import ALL

__all__ = ["answer_approval", "known_question", "waiting_for"]


def waiting_for(session: Session) -> list[Approval]:
    """Questions without an answer, the oldest first."""
    return session.store.read(approvals.waiting)


def answer_approval(
    session: Session, approval: str, answer: Answer, note: str, *, by: str = "", arguments: str | None = None
) -> Approval:
    """Record a person's answer, once, with its audit entry.

    Args:
        by: Who answers; whoever runs this process by default.
        arguments: For `modify`: the call's arguments as the person wants them, a JSON object. They are decided anew.

    Raises:
        RefusedError: there is no such question, it was answered before, or it has expired.
        ConfigError: the arguments are not such as the tool takes.
    """
    now_ns, who = session.clock.now_ns(), by or session.user
    if arguments is not None:
        arguments = _checked(session, approval, arguments)
    # Nothing secret is kept, whoever typed it; a note is read by the model besides.
    note = session.redactor.redact(note).text

    def work(tx: Tx) -> Approval:
        row = approvals.answer(tx, approval, answer, by=who, at_ns=now_ns, note=note, edited_arguments=arguments)
        fact = AuditFact(
            at_ns=now_ns,
            actor=who,
            action="answer",
            run=row.run,
            subject=approval,
            decision=answer,
            reason=note,
            details={"shown": row.shown_hash},
        )
        append_audit(tx, fact)
        return row

    return session.store.write_now(work)


def known_question(session: Session, approval: str) -> Approval:
    """The question with this id.

    Raises:
        ConfigError: there is none; the nearest one that waits is named.
    """
    row = session.store.read(lambda tx: approvals.find(tx, approval))
    if row is None:
        near = nearest(approval, [waiting.id for waiting in waiting_for(session)])
        hint = f"did you mean `{near}`?" if near else "`ooda approvals list` shows those that wait"
        raise ConfigError(f"there is no question {approval!r}; {hint}")
    return row


def _checked(session: Session, approval: str, arguments: str) -> str:
    """Edited arguments in canonical form, if the tool takes them."""
    row = known_question(session, approval)
    tool = next((tool for tool in ALL if tool.name == row.tool), None)
    if tool is None:
        raise ConfigError(f"a call of `{row.tool}` cannot be changed; approve, reject or stop it")
    try:
        return tool.parse(arguments).canonical.decode()
    except ToolError as error:
        raise ConfigError(f"these are no arguments of `{row.tool}`: {error}") from error
