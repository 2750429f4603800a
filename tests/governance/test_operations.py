"""The closed list of operations."""

import itertools

import pytest

from ooda.errors import ConfigError
from ooda.governance.operations import Answer, Operation, Risk, operation_named, strictest


def test_every_operation_has_a_risk_and_a_description() -> None:
    """Approvals and reports show both; a new member without them must not pass."""
    assert all(isinstance(operation.risk, Risk) for operation in Operation)
    assert all(operation.description.endswith(".") for operation in Operation)


def test_the_list_is_the_contracts_list() -> None:
    """Journals and task specs hold these words; none may vanish or change."""
    assert [operation.value for operation in Operation] == [
        "read_workspace",
        "write_workspace",
        "run_in_sandbox",
        "use_network",
        "push_feature_branch",
        "push_protected_branch",
        "open_pull_request",
        "deploy_preview",
        "deploy_staging",
        "deploy_production",
        "rollback",
        "read_cluster",
        "stop_workspace",
        "start_workspace",
        "notify",
        "spawn",
        "change_governance",
    ]


@pytest.mark.parametrize(
    ("word", "expected"),
    [(operation.value, operation) for operation in Operation]
    + [("deploy_sandbox", Operation.DEPLOY_PREVIEW), ("deploy_prod", Operation.DEPLOY_PRODUCTION)],
)
def test_an_operation_is_found_by_its_word_or_the_words_of_the_ops_logs(word: str, expected: Operation) -> None:
    """Names come from task specs and from older logs."""
    assert operation_named(word) is expected


def test_an_unknown_operation_is_refused_with_the_nearest_word() -> None:
    """A typing slip in a task spec must not silently grant nothing."""
    with pytest.raises(ConfigError, match="did you mean `push_feature_branch`"):
        operation_named("push_feature_brnch")
    with pytest.raises(ConfigError, match="known are `read_workspace`"):
        operation_named("zzz")


@pytest.mark.parametrize("answers", list(itertools.product(["allow", "ask", "deny"], repeat=3)), ids="-".join)
def test_the_strictest_answer_wins_whatever_the_order(answers: tuple[Answer, ...]) -> None:
    """Deny beats ask beats allow; position never matters."""
    expected = "deny" if "deny" in answers else "ask" if "ask" in answers else "allow"
    assert strictest(answers) == expected


def test_no_answer_at_all_is_allow() -> None:
    """Rules are a courtesy: where none speaks, the level has already decided."""
    assert strictest([]) == "allow"
