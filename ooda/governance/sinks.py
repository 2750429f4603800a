"""Where data can do harm: sinks, the arguments that decide the harm, and what untrusted or secret data may steer.

The Rule of Two in code: of untrusted input, sensitive data and change or egress at most two may meet without a
person. A context that has read untrusted text may use a risky sink only on targets that the typed task named, so a
hostile log line can talk a model into a call but never into its target; secret data leaves only through a channel
the task named. Pure; knows labels and words, never what a tool does with them.
Source: the Rule of Two (Meta, 2025-10-31); docs/explanation/governance.md.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from ooda.governance.operations import Answer, Operation, Risk
from ooda.labels import Confidentiality, Integrity, Label

__all__ = ["SINKS", "Judged", "Sink", "judge"]


class Sink(msgspec.Struct, frozen=True):
    """What one operation can do with data."""

    risk: Risk
    deciding: tuple[str, ...] = ()
    """The arguments that decide what is hit. A call's argument of such a name is a target of it (`branch=main`),
    whatever else its tool reports, unless the tool itself holds it against the typed task before it acts."""
    is_egress: bool = False
    """Data leaves to where others read it."""
    is_change: bool = False
    """Something outside the sandbox is different afterwards."""


def _sink(operation: Operation, *deciding: str, egress: bool = False, change: bool = False) -> tuple[Operation, Sink]:
    return operation, Sink(operation.risk, deciding, egress, change)


SINKS: Final[dict[Operation, Sink]] = dict(
    [
        _sink(Operation.READ_WORKSPACE),
        _sink(Operation.WRITE_WORKSPACE),
        _sink(Operation.RUN_IN_SANDBOX),
        _sink(Operation.USE_NETWORK, "host", egress=True),
        _sink(Operation.PUSH_FEATURE_BRANCH, "remote", "branch", egress=True, change=True),
        _sink(Operation.PUSH_PROTECTED_BRANCH, "remote", "branch", egress=True, change=True),
        _sink(Operation.OPEN_PULL_REQUEST, "repository", "base", egress=True, change=True),
        _sink(Operation.DEPLOY_PREVIEW, "project", "environment", egress=True, change=True),
        _sink(Operation.DEPLOY_STAGING, "project", "environment", egress=True, change=True),
        _sink(Operation.DEPLOY_PRODUCTION, "project", "environment", egress=True, change=True),
        _sink(Operation.ROLLBACK, "project", "environment", change=True),
        _sink(Operation.READ_CLUSTER, "cluster", "namespace"),
        _sink(Operation.STOP_WORKSPACE, "workspace", change=True),
        _sink(Operation.START_WORKSPACE, "workspace", change=True),
        _sink(Operation.NOTIFY, "channel", "recipient", egress=True),
        _sink(Operation.SPAWN),
        _sink(Operation.CHANGE_GOVERNANCE, change=True),
    ]
)
"""Every operation as a sink."""


class Judged(msgspec.Struct, frozen=True):
    """What the labels say to a call."""

    decision: Answer
    reason: str


def judge(
    label: Label,
    operation: Operation,
    targets: Collection[str],
    task_targets: Collection[str],
    *,
    is_attended: bool = True,
) -> Judged:
    """Hold the label of the context that proposed a call against the sink it would reach.

    Args:
        targets: The values of the sink's deciding arguments, as the tool reads them from the call. A risky sink
            without any counts as aimed at something the task did not name.
        task_targets: What the typed task, or the operator's configuration, names. Compared as they stand.
        is_attended: Whether a person can be asked now. Where nobody can, untrusted text does not get to queue
            high-risk actions for later either.
    """
    sink = SINKS[operation]
    if operation is Operation.CHANGE_GOVERNANCE:
        return Judged("deny", "no text an agent has read may change governance")
    if not (sink.is_egress or sink.is_change):
        return Judged("allow", f"`{operation}` ends with the sandbox")
    strangers = sorted(set(targets) - set(task_targets))
    is_named = bool(targets) and not strangers
    what = ", ".join(f"`{stranger}`" for stranger in strangers) or "a target that is not stated"
    is_secret = label.confidentiality is Confidentiality.SECRET
    is_untrusted = label.integrity is Integrity.UNTRUSTED
    if is_secret and sink.is_egress and not is_named:
        return Judged("deny", f"this run has seen secrets, and the task does not name {what}, so nothing leaves to it")
    if is_untrusted and not is_named and sink.risk is Risk.HIGH and not is_attended:
        return Judged(
            "deny",
            f"untrusted text led to `{operation}` of {what}, which the task does not name, and nobody can be asked; "
            "name it in the task",
        )
    if is_secret and is_untrusted:
        # All three of the Rule of Two: a person, even where the task names the target.
        return Judged(
            "ask", f"this run has seen secrets and untrusted text; `{operation}` on top of both needs a person"
        )
    if is_named or label.integrity is Integrity.TRUSTED:
        return Judged("allow", "the task names every target" if is_named else "only trusted text led here")
    if not is_untrusted and sink.risk is not Risk.HIGH:
        return Judged("allow", f"no untrusted text led here, and `{operation}` is easily taken back")
    led = "untrusted text led" if is_untrusted else "text that no person wrote led"
    return Judged("ask", f"{led} to `{operation}` of {what}, which the task does not name")
