"""What each judge says to a call, side by side: level, rules, labels. Pure.

The gate decides by these and `ooda permissions explain` draws them, so that an explanation cannot differ from the
decision it explains. Knows the judges; must not know runs, approvals or grants.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from ooda.governance.levels import Permit, cell, permit
from ooda.governance.operations import Answer, Operation, strictest
from ooda.governance.policy import DoorPolicy
from ooda.governance.rules import RuleDecision
from ooda.governance.sinks import Judged, judge
from ooda.labels import Label

__all__ = ["Judge", "Said", "Weighed", "weigh"]

Judge = Literal["level", "rules", "labels"]


class Said(msgspec.Struct, frozen=True):
    """One judge's answer."""

    judge: Judge
    decision: Answer
    reason: str
    by: str = ""
    """What in it decided: the cell of the table, the rule, the label."""


class Weighed(msgspec.Struct, frozen=True):
    """All answers to one call."""

    operation: Operation
    permitted: Permit
    ruled: RuleDecision
    judged: Judged
    level: str
    label: str

    @property
    def decision(self) -> Answer:
        """The strictest of them."""
        return strictest((self.permitted.decision, self.ruled.decision, self.judged.decision))

    @property
    def asking(self) -> str:
        """Why a person is asked, by the first judge who wants it; empty when none does."""
        found = (said.reason for said in (self.permitted, self.ruled, self.judged) if said.decision == "ask")
        return next(found, "")

    def said(self) -> Iterator[Said]:
        """The answers in the order in which they are asked."""
        yield Said("level", self.permitted.decision, self.permitted.reason, self.level)
        yield Said("rules", self.ruled.decision, self.ruled.reason, self.ruled.rule)
        yield Said("labels", self.judged.decision, self.judged.reason, self.label)


def weigh(
    policy: DoorPolicy, tool: str, operation: Operation, canonical: bytes, targets: tuple[str, ...], label: Label
) -> Weighed:
    """Ask every judge about a call with validated arguments."""
    return Weighed(
        operation,
        permit(operation, policy.level, policy.grants),
        policy.rules.decide(operation, tool, canonical, policy.level),
        judge(label, operation, targets, policy.named(), is_attended=policy.is_attended),
        f"{policy.level.word}, {operation}: {cell(operation, policy.level)}",
        str(label),
    )
