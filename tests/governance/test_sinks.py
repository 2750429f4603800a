"""Labels against sinks: the Rule of Two."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooda.governance.operations import Operation, Risk, strictest
from ooda.governance.sinks import SINKS, judge
from ooda.labels import Confidentiality, Integrity, Label

OPERATIONS = st.sampled_from(Operation)
LABELS = st.builds(Label, st.sampled_from(Integrity), st.sampled_from(Confidentiality))
TARGETS = st.frozensets(st.sampled_from(["git@host:acme/app", "feat/1", "prod", "#alerts", "evil.test"]))

UNTRUSTED = Label(Integrity.UNTRUSTED, Confidentiality.INTERNAL)
TOOL = Label(Integrity.TOOL, Confidentiality.INTERNAL)
TRUSTED = Label(Integrity.TRUSTED, Confidentiality.INTERNAL)
SECRET_TRUSTED = Label(Integrity.TRUSTED, Confidentiality.SECRET)
SECRET_UNTRUSTED = Label(Integrity.UNTRUSTED, Confidentiality.SECRET)

RISKY = [operation for operation in Operation if SINKS[operation].is_egress or SINKS[operation].is_change]


def test_every_operation_is_a_sink_of_its_own_risk() -> None:
    """The table is total, and what changes or leaks is never low-risk."""
    assert set(SINKS) == set(Operation)
    assert all(sink.risk is operation.risk for operation, sink in SINKS.items())
    assert all(SINKS[operation].risk > Risk.LOW for operation in RISKY)
    assert all(SINKS[operation].deciding for operation in RISKY if operation is not Operation.CHANGE_GOVERNANCE)


@given(LABELS, LABELS, OPERATIONS, TARGETS, TARGETS, st.booleans())
def test_worse_labels_never_allow_more(
    one: Label, other: Label, operation: Operation, targets: frozenset[str], named: frozenset[str], attended: bool
) -> None:
    """Joining a context with any other data can only make the answer stricter."""
    before = judge(one, operation, targets, named, is_attended=attended).decision
    after = judge(one.join(other), operation, targets, named, is_attended=attended).decision
    assert strictest([before, after]) == after


@given(LABELS, OPERATIONS, TARGETS, TARGETS, TARGETS, st.booleans())
def test_naming_more_targets_never_makes_it_stricter(
    label: Label,
    operation: Operation,
    targets: frozenset[str],
    few: frozenset[str],
    more: frozenset[str],
    attended: bool,
) -> None:
    """What a person writes into the task only ever helps."""
    with_few = judge(label, operation, targets, few, is_attended=attended).decision
    with_more = judge(label, operation, targets, few | more, is_attended=attended).decision
    assert strictest([with_few, with_more]) == with_few


@given(OPERATIONS, TARGETS, TARGETS, st.booleans(), st.sampled_from(Confidentiality))
def test_untrusted_text_never_picks_a_risky_target_alone(
    operation: Operation, targets: frozenset[str], named: frozenset[str], attended: bool, secrecy: Confidentiality
) -> None:
    """The whole point: without a person, an untrusted context reaches risky sinks only on targets the task names."""
    said = judge(Label(Integrity.UNTRUSTED, secrecy), operation, targets, named, is_attended=attended).decision
    if operation in RISKY and said == "allow":
        assert targets
        assert targets <= named


@pytest.mark.parametrize("operation", RISKY)
def test_untrusted_secret_and_change_together_need_a_person_even_on_a_named_target(operation: Operation) -> None:
    """Two of the three may meet, never all three."""
    assert judge(SECRET_UNTRUSTED, operation, ["a"], ["a"]).decision in ("ask", "deny")


@pytest.mark.parametrize(
    ("label", "operation", "named", "attended", "decision"),
    [
        (UNTRUSTED, Operation.RUN_IN_SANDBOX, False, True, "allow"),
        (SECRET_UNTRUSTED, Operation.WRITE_WORKSPACE, False, False, "allow"),
        (UNTRUSTED, Operation.READ_CLUSTER, False, True, "allow"),
        (UNTRUSTED, Operation.PUSH_FEATURE_BRANCH, True, False, "allow"),
        (UNTRUSTED, Operation.PUSH_FEATURE_BRANCH, False, True, "ask"),
        (UNTRUSTED, Operation.PUSH_FEATURE_BRANCH, False, False, "ask"),
        (UNTRUSTED, Operation.DEPLOY_PRODUCTION, True, False, "allow"),
        (UNTRUSTED, Operation.DEPLOY_PRODUCTION, False, True, "ask"),
        (UNTRUSTED, Operation.DEPLOY_PRODUCTION, False, False, "deny"),
        (TOOL, Operation.STOP_WORKSPACE, False, False, "ask"),
        (TOOL, Operation.NOTIFY, False, False, "allow"),
        (TRUSTED, Operation.DEPLOY_PRODUCTION, False, False, "allow"),
        (SECRET_TRUSTED, Operation.NOTIFY, False, True, "deny"),
        (SECRET_TRUSTED, Operation.NOTIFY, True, True, "allow"),
        (SECRET_TRUSTED, Operation.STOP_WORKSPACE, False, True, "allow"),
        (SECRET_UNTRUSTED, Operation.USE_NETWORK, False, True, "deny"),
        (SECRET_UNTRUSTED, Operation.STOP_WORKSPACE, False, False, "deny"),
        (SECRET_UNTRUSTED, Operation.STOP_WORKSPACE, False, True, "ask"),
        (TRUSTED, Operation.CHANGE_GOVERNANCE, True, True, "deny"),
    ],
)
def test_the_table(label: Label, operation: Operation, named: bool, attended: bool, decision: str) -> None:
    """Integrity x confidentiality x risk x whether the task named the target."""
    said = judge(label, operation, ["the-target"], ["the-target"] if named else ["another"], is_attended=attended)
    assert said.decision == decision


def test_a_risky_call_without_a_stated_target_is_not_named_by_the_task() -> None:
    """A tool that forgets to report its targets gets the strict answer."""
    said = judge(UNTRUSTED, Operation.NOTIFY, [], ["#alerts"])
    assert said.decision == "ask"
    assert "a target that is not stated" in said.reason


def test_the_reason_names_the_stranger() -> None:
    """The approver reads which target the task did not name."""
    said = judge(UNTRUSTED, Operation.USE_NETWORK, ["evil.test", "pypi.org"], ["pypi.org"])
    assert said.reason == "untrusted text led to `use_network` of `evil.test`, which the task does not name"
