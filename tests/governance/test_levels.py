"""Levels and the level x operation table."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooda.errors import ConfigError
from ooda.governance.levels import Cell, Environment, Level, Permit, cell, effective, level_named, permit
from ooda.governance.operations import Operation, strictest

LEVELS = st.sampled_from(Level)
OPERATIONS = st.sampled_from(Operation)
GRANTS = st.frozensets(OPERATIONS)
ENVIRONMENTS: st.SearchStrategy[Environment] = st.sampled_from(["preview", "staging", "production"])

FRESH = Level.SANDBOX_ONLY


@given(LEVELS, LEVELS, OPERATIONS, GRANTS, st.booleans(), ENVIRONMENTS)
def test_a_lower_level_never_permits_more(
    one: Level,
    other: Level,
    operation: Operation,
    grants: frozenset[Operation],
    low: bool,
    place: Environment,
) -> None:
    """For every operation, grant set and circumstance the answer never gets stricter on the way up."""
    below, above = sorted((one, other))
    at_below = permit(operation, below, grants, is_low_risk=low, environment=place).decision
    at_above = permit(operation, above, grants, is_low_risk=low, environment=place).decision
    assert strictest([at_below, at_above]) == at_below


@given(LEVELS, OPERATIONS, GRANTS, GRANTS)
def test_a_grant_never_takes_anything_away_and_never_lifts_a_deny(
    level: Level, operation: Operation, grants: frozenset[Operation], more: frozenset[Operation]
) -> None:
    """A grant turns ask into allow and touches nothing else."""
    few, many = permit(operation, level, grants).decision, permit(operation, level, grants | more).decision
    assert strictest([few, many]) == few
    assert (few == "deny") == (many == "deny")


@given(LEVELS, LEVELS, st.none() | LEVELS, st.none() | LEVELS)
def test_the_effective_level_is_the_lowest_of_all(
    granted: Level, eligible: Level, task: Level | None, degraded: Level | None
) -> None:
    """No ceiling can raise what another one lowers."""
    level = effective(granted, eligible, task, degraded)
    parts = [part for part in (granted, eligible, task, degraded) if part is not None]
    assert level in parts
    assert all(level <= part for part in parts)


FRESH_MAY = {
    Operation.READ_WORKSPACE,
    Operation.WRITE_WORKSPACE,
    Operation.RUN_IN_SANDBOX,
    Operation.DEPLOY_PREVIEW,
    Operation.READ_CLUSTER,
    Operation.SPAWN,
}
FRESH_MAY_WHEN_GRANTED = {
    Operation.USE_NETWORK,
    Operation.PUSH_FEATURE_BRANCH,
    Operation.OPEN_PULL_REQUEST,
    Operation.STOP_WORKSPACE,
    Operation.START_WORKSPACE,
    Operation.NOTIFY,
}


@pytest.mark.parametrize("operation", Operation)
def test_what_a_fresh_agent_may_do(operation: Operation) -> None:
    """Read-only, tests and sandbox deployments freely; by grant what reaches others; nothing of staging or prod."""
    alone = permit(operation, FRESH).decision
    granted = permit(operation, FRESH, {operation}).decision
    if operation in FRESH_MAY:
        assert (alone, granted) == ("allow", "allow")
    elif operation in FRESH_MAY_WHEN_GRANTED:
        assert (alone, granted) == ("ask", "allow")
    else:
        assert (alone, granted) == ("deny", "deny")


@pytest.mark.parametrize(
    ("operation", "lowest"),
    [
        (Operation.DEPLOY_PREVIEW, Level.SANDBOX_ONLY),
        (Operation.DEPLOY_STAGING, Level.STAGING_ACCESS),
        (Operation.PUSH_FEATURE_BRANCH, Level.STAGING_ACCESS),
        (Operation.DEPLOY_PRODUCTION, Level.PROD_FULL_ACCESS),
        (Operation.PUSH_PROTECTED_BRANCH, Level.PROD_FULL_ACCESS),
        (Operation.ROLLBACK, Level.PROD_FULL_ACCESS),
    ],
)
def test_the_lowest_level_that_may_do_it_ungranted(operation: Operation, lowest: Level) -> None:
    """The requirement's table, row by row."""
    allowed = [level for level in Level if permit(operation, level).decision == "allow"]
    assert allowed == [level for level in Level if level >= lowest]


@pytest.mark.parametrize("operation", [Operation.DEPLOY_PRODUCTION, Operation.PUSH_PROTECTED_BRANCH])
def test_prod_low_risk_changes_documentation_and_interface_only(operation: Operation) -> None:
    """`prod_low_risk` is exactly low-risk production changes; other changes are denied, not asked about."""
    assert permit(operation, Level.PROD_LOW_RISK, is_low_risk=True).decision == "allow"
    assert permit(operation, Level.PROD_LOW_RISK, {operation}).decision == "deny"
    assert permit(operation, Level.STAGING_ACCESS, is_low_risk=True).decision == "deny"


@pytest.mark.parametrize(
    ("place", "as_operation"),
    [("preview", Operation.DEPLOY_PREVIEW), ("staging", Operation.DEPLOY_STAGING)],
)
def test_a_rollback_needs_the_level_of_a_deployment_there(place: Environment, as_operation: Operation) -> None:
    """Undoing what an agent may deploy must not need more than deploying it."""
    for level in Level:
        undo = permit(Operation.ROLLBACK, level, environment=place).decision
        assert undo == permit(as_operation, level).decision


@pytest.mark.parametrize("level", Level)
def test_no_level_and_no_grant_changes_governance(level: Level) -> None:
    """Agents cannot decide promotions, appeals, budgets or approvals."""
    assert permit(Operation.CHANGE_GOVERNANCE, level, set(Operation)) == Permit(
        "deny", "agents cannot change governance; a person does it with the command line"
    )


def test_a_denial_names_the_level_that_would_do() -> None:
    """The message says what was asked, what is missing and what the run has."""
    assert permit(Operation.DEPLOY_STAGING, FRESH).reason == (
        "`deploy_staging` needs level staging_access; this run has sandbox_only"
    )
    assert permit(Operation.ROLLBACK, Level.PROD_LOW_RISK).reason == (
        "`rollback` needs level prod_full_access (or a change of documentation or interface only); "
        "this run has prod_low_risk"
    )


def test_every_pair_has_a_cell() -> None:
    """The table is total: no operation can be forgotten at some level."""
    assert all(isinstance(cell(o, lv), Cell) for o, lv in itertools.product(Operation, Level))


def test_a_level_is_found_by_its_word() -> None:
    """Settings name levels; a slip is answered with the nearest word."""
    assert [level_named(level.word) for level in Level] == list(Level)
    with pytest.raises(ConfigError, match="did you mean `staging_access`"):
        level_named("staging")
    with pytest.raises(ConfigError, match="known are `sandbox_only`"):
        level_named("root")
