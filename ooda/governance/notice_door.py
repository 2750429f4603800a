"""The door for delivery: a grant for one attempt to send one message that the store shows as claimed.

That a notice may be told was decided when it was queued: a run's by its gate, in the transaction of the event; the
steward's and the budgets' by their own code. What is decided here is this attempt: it is the claim's owner who sends,
to a receiver the settings name, with exactly this content, and no rule denies it. Each decision is audited in the
transaction of the claim. Grants made here are for channels and for `notify`; nothing else can be had from it.
"""

from __future__ import annotations

import msgspec

from ooda.governance.audit import AuditFact
from ooda.governance.audit import append as append_audit
from ooda.governance.grant import Grant, Mint
from ooda.governance.levels import Level
from ooda.governance.operations import Operation
from ooda.governance.rules import RuleSet
from ooda.store import Tx, messages
from ooda.store.messages import Message

__all__ = ["NoticeDoor", "NoticeRefused"]


class NoticeRefused(msgspec.Struct, frozen=True):
    """A message that may not be sent."""

    reason: str


class NoticeDoor:
    """Lets claimed messages out."""

    def __init__(self, rules: RuleSet, level: Level, actor: str) -> None:
        """`actor` is who delivers, for the audit."""
        self._rules = rules
        self._level = level
        self._actor = actor
        self._mint = Mint()

    def admit(
        self, tx: Tx, claimed: Message, arguments: str, *, host: str, knows_ids: bool, now_ns: int, deadline_ns: int
    ) -> Grant | NoticeRefused:
        """The grant for the attempt that was just claimed in this transaction.

        Args:
            arguments: what the content and the recipient are bound by.
            host: whom the channel talks to; a rule may name it.
            knows_ids: whether the receiver tells repetitions by the message's id.
        """
        refused = self._judged(tx, claimed, host)
        self._audit(tx, claimed, host, refused, now_ns)
        if refused:
            return NoticeRefused(refused)
        return self._mint.grant(
            kind="channel",
            run="",
            seq=0,
            call=claimed.id,
            tool=claimed.channel,
            definition=claimed.channel,
            arguments=arguments,
            operation=Operation.NOTIFY,
            effect="keyed" if knows_ids else "once",
            key=claimed.id,
            fence=claimed.attempts,
            deadline_ns=deadline_ns,
            targets=(host,),
        )

    def _judged(self, tx: Tx, claimed: Message, host: str) -> str:
        kept = messages.find(tx, claimed.id)
        if kept != claimed or kept.state != "sending":
            return f"message {claimed.id} is not claimed by this deliverer"
        facts = {"channel": claimed.channel, "kind": claimed.kind, "recipient": claimed.recipient, "host": host}
        ruled = self._rules.decide(Operation.NOTIFY, claimed.channel, facts, self._level)
        # A rule that asks was answered when the notice was queued; here it is too late to ask anybody.
        return f"rule `{ruled.rule}`: {ruled.reason}" if ruled.decision == "deny" else ""

    def _audit(self, tx: Tx, claimed: Message, host: str, refused: str, now_ns: int) -> None:
        append_audit(
            tx,
            AuditFact(
                at_ns=now_ns,
                actor=self._actor,
                action="notify",
                subject=claimed.channel,
                decision="refuse" if refused else "allow",
                reason=refused or f"attempt {claimed.attempts} at message {claimed.id}",
                details={"message": claimed.id, "kind": claimed.kind, "host": host},
            ),
        )
