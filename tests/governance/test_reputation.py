"""Reputation as a fold over events."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooda.governance.levels import Level
from ooda.governance.reputation import (
    DELTAS,
    START,
    EventKind,
    Policy,
    ReputationEvent,
    Review,
    Standing,
    eligible,
    fold,
    review,
)

DAY = 86_400 * 10**9
HOUR = DAY // 24


class Record:
    """Events with ids and times of their own."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.events: list[ReputationEvent] = []
        self.policy = policy or Policy()
        self.now = 100 * DAY

    def add(self, kind: EventKind, after_ns: int = HOUR, **more: Any) -> str:
        self.now += after_ns
        name = f"e{len(self.events)}"
        more.setdefault("task", f"t{len(self.events)}")
        more.setdefault("run", f"r{len(self.events)}")
        more.setdefault("is_checked", kind == "task_success")
        self.events.append(ReputationEvent(id=name, kind=kind, at_ns=self.now, **more))
        return name

    def successes(self, count: int, per_day: int = 5) -> None:
        for number in range(count):
            self.add("task_success", after_ns=DAY if number % per_day == 0 else HOUR // 4)

    @property
    def standing(self) -> Standing:
        return fold(self.events, policy=self.policy)

    def promote(self, level: Level, by: str = "alice") -> None:
        self.add("promoted", level=level.word, by=by)


def at_level(level: Level) -> Record:
    """An agent that has earned a level the long way."""
    record = Record()
    for step in list(Level)[1 : level + 1]:
        record.successes(20)
        record.promote(step)
    assert record.standing.granted is level
    return record


@pytest.mark.parametrize(
    ("score", "level"),
    [
        (0, Level.SANDBOX_ONLY),
        (89, Level.SANDBOX_ONLY),
        (90, Level.STAGING_ACCESS),
        (129, Level.STAGING_ACCESS),
        (130, Level.PROD_LOW_RISK),
        (159, Level.PROD_LOW_RISK),
        (160, Level.PROD_FULL_ACCESS),
        (200, Level.PROD_FULL_ACCESS),
    ],
)
def test_the_score_bands_are_the_requirements(score: int, level: Level) -> None:
    """0-89, 90-129, 130-159, 160 and more."""
    assert eligible(score) is level


@given(st.integers(-50, 300), st.integers(-50, 300))
def test_a_lower_score_never_carries_more(one: int, other: int) -> None:
    """Monotone in the score."""
    assert eligible(min(one, other)) <= eligible(max(one, other))


def test_a_new_agent_has_score_100_and_the_lowest_level() -> None:
    """Both sentences of the requirement hold at once: the score carries staging_access, nothing is granted yet."""
    record = Record()
    record.add("registered")
    assert (record.standing.score, record.standing.granted) == (100, Level.SANDBOX_ONLY)
    assert (record.standing.eligible, record.standing.effective) == (Level.STAGING_ACCESS, Level.SANDBOX_ONLY)


@pytest.mark.parametrize(("kind", "delta"), DELTAS.items())
def test_an_event_is_worth_what_the_requirement_says(kind: EventKind, delta: int) -> None:
    """+2, -3, -10, -8."""
    record = Record()
    record.add(kind)
    assert record.standing.score == START + delta
    assert DELTAS == {"task_success": 2, "task_failure": -3, "budget_exceeded": -10, "permission_denied": -8}


def test_a_task_wins_points_once() -> None:
    """Running an easy task again and again earns nothing."""
    record = Record()
    record.add("task_success", task="t")
    record.add("task_success", task="t")
    assert record.standing.score == 102
    assert record.standing.ignored[0].why == "the same was counted by event e0"


def test_a_success_counts_only_when_something_outside_the_model_checked_it() -> None:
    """The model's own claim is worth nothing."""
    record = Record()
    record.add("task_success", is_checked=False)
    assert (record.standing.score, record.standing.successes) == (100, 0)


def test_at_most_ten_points_are_won_a_day() -> None:
    """By UTC day; the next day counts anew."""
    record = Record()
    record.successes(9, per_day=9)
    assert record.standing.score == 110
    record.add("task_success", after_ns=DAY)
    assert record.standing.score == 112


def test_losses_have_no_daily_limit_and_stop_at_the_floor() -> None:
    """The score stays within 0 and 200."""
    record = Record()
    for _ in range(20):
        record.add("budget_exceeded")
    assert record.standing.score == 0
    assert record.standing.is_alarming
    banked = Record()
    banked.successes(300)
    assert banked.standing.score == 200
    banked.add("task_failure")
    assert banked.standing.score == 197


def test_a_denial_costs_once_a_run_and_operation() -> None:
    """Hostile text must not burn an agent to zero by having it knock at the same door."""
    record = Record()
    for _ in range(50):
        record.add("permission_denied", run="r", operation="deploy_production", task="t")
    assert record.standing.score == 92
    record.add("permission_denied", run="r", operation="rollback", task="t")
    assert record.standing.score == 84


def test_a_persons_no_costs_nothing() -> None:
    """Asking is what an agent should do."""
    record = Record()
    record.add("permission_denied", is_by_person=True)
    assert record.standing.score == 100
    assert not record.standing.was_denied


def test_a_budget_costs_once_a_task_and_window() -> None:
    """Every further call of the same task in the same hour is refused for the same reason."""
    record = Record()
    for window in ("hour 5", "hour 5", "hour 6"):
        record.add("budget_exceeded", task="t", window=window)
    assert record.standing.score == 80


def test_a_promotion_needs_successes_days_and_no_recent_denial() -> None:
    """And the review says what is missing, for people."""
    record = Record()
    record.add("task_failure")
    record.add("permission_denied")
    found = review(record.standing, record.now)
    assert found == Review(
        None,
        True,
        (
            "staging_access needs a score of 90; it is 89",
            "it needs 10 checked successes at its level; it has 0",
            "they must lie on 3 different days; they lie on 0",
            "the last 20 events must hold no denial; the latest is 0 events back",
        ),
    )
    record.successes(19)
    assert review(record.standing, record.now).reasons == (
        "the last 20 events must hold no denial; the latest is 19 events back",
    )
    record.successes(1)
    assert review(record.standing, record.now) == Review(Level.STAGING_ACCESS, True)


def test_a_promotion_goes_up_one_level_and_the_next_is_earned_anew() -> None:
    """Successes before a promotion do not count for the next."""
    record = Record()
    record.successes(40)
    record.promote(Level.PROD_FULL_ACCESS)
    record.promote(Level.STAGING_ACCESS)
    record.promote(Level.PROD_LOW_RISK)
    assert record.standing.granted is Level.STAGING_ACCESS
    assert [ignored.why for ignored in record.standing.ignored] == [
        "a promotion goes up one level, to staging_access",
        "it needs 10 checked successes at its level; it has 0; they must lie on 3 different days; they lie on 0",
    ]
    assert at_level(Level.PROD_FULL_ACCESS).standing.effective is Level.PROD_FULL_ACCESS


def test_production_is_granted_by_a_named_person_whatever_the_settings() -> None:
    """Staging may be granted by policy; both production levels never."""
    record = Record(Policy(reviews_itself=True))
    record.successes(40)
    assert record.standing.granted is Level.STAGING_ACCESS
    record.successes(10)
    record.promote(Level.PROD_LOW_RISK, by="policy")
    record.promote(Level.PROD_LOW_RISK, by="")
    assert record.standing.granted is Level.STAGING_ACCESS
    record.promote(Level.PROD_LOW_RISK, by="alice")
    assert record.standing.granted is Level.PROD_LOW_RISK


def test_without_the_setting_staging_needs_a_person_too() -> None:
    """The default."""
    record = Record()
    record.successes(20)
    record.promote(Level.STAGING_ACCESS, by="policy")
    assert record.standing.granted is Level.SANDBOX_ONLY


def test_a_demotion_is_at_once_and_stays_when_the_score_recovers() -> None:
    """Down by itself, up only by review, and not within a day."""
    record = at_level(Level.STAGING_ACCESS)
    while record.standing.score >= 90:
        record.add("budget_exceeded")
    assert record.standing.granted is Level.SANDBOX_ONLY
    fell = record.now
    record.successes(60, per_day=60)
    for _ in range(3):
        record.successes(10, per_day=5)
    assert record.standing.score >= 90
    assert record.standing.granted is Level.SANDBOX_ONLY
    assert record.standing.demoted_at_ns == fell
    soon = review(record.standing, fell + HOUR)
    assert "it was demoted less than 24 h ago; 23 h are left" in soon.reasons
    assert review(record.standing, record.now).level is Level.STAGING_ACCESS


def test_a_demotion_can_pass_several_levels() -> None:
    """The score decides how far."""
    record = at_level(Level.PROD_LOW_RISK)
    for _ in range(12):
        record.add("budget_exceeded")
    assert record.standing.granted is eligible(record.standing.score) is Level.SANDBOX_ONLY


def test_an_appeal_takes_back_what_an_event_really_changed() -> None:
    """An event is appended, none is edited; the books are as if it had not been, within floor and ceiling."""
    record = Record()
    lost = record.add("permission_denied")
    record.add("appeal_granted", takes_back=lost, by="alice")
    assert record.standing.score == 100
    assert not record.standing.was_denied
    assert record.standing.changes == (("e0", -8), ("e1", 8))


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"takes_back": "e0"}, "an appeal is granted by a named person"),
        ({"takes_back": "nothing", "by": "alice"}, "event nothing is not there to be taken back"),
        ({"by": "alice"}, "event (none named) is not there to be taken back"),
    ],
)
def test_an_appeal_without_a_person_or_an_event_changes_nothing(more: dict[str, str], why: str) -> None:
    """Agents decide no appeals."""
    record = Record()
    record.add("permission_denied")
    record.add("appeal_granted", **more)
    assert record.standing.score == 92
    assert record.standing.ignored[-1].why == why


def test_an_event_is_taken_back_once() -> None:
    """Two approvers at once do not pay twice."""
    record = Record()
    lost = record.add("budget_exceeded")
    record.add("appeal_granted", takes_back=lost, by="alice")
    record.add("appeal_granted", takes_back=lost, by="bob")
    assert record.standing.score == 100


def test_an_appeal_against_the_event_that_demoted_ends_the_cool_down() -> None:
    """The level is still reviewed before it comes back."""
    record = at_level(Level.STAGING_ACCESS)
    lost = ""
    while record.standing.granted is Level.STAGING_ACCESS:
        lost = record.add("budget_exceeded")
    record.add("appeal_granted", takes_back=lost, by="alice")
    assert record.standing.demoted_at_ns is None
    assert record.standing.granted is Level.SANDBOX_ONLY


def test_decay_is_off_and_moves_towards_the_start_when_it_is_on() -> None:
    """One point a day after fourteen idle days, from both sides, never past the start."""
    for kind, towards in (("task_success", -1), ("task_failure", 1)):
        record = Record()
        record.add(kind)  # type: ignore[arg-type]
        score = record.standing.score
        later = record.now + 15 * DAY
        much_later = record.now + 500 * DAY
        policy = Policy(decay_after_days=14)
        assert fold(record.events, now_ns=much_later).score == score
        assert fold(record.events, now_ns=later, policy=policy).score == score + towards
        assert fold(record.events, now_ns=much_later, policy=policy).score == START


def test_the_same_row_twice_counts_once() -> None:
    """A retried insert does no harm."""
    record = Record()
    record.add("budget_exceeded")
    assert fold([*record.events, *record.events]).score == 90


KINDS: st.SearchStrategy[EventKind] = st.sampled_from(
    ["registered", "task_success", "task_failure", "budget_exceeded", "permission_denied", "promoted", "appeal_granted"]
)
EVENTS = st.lists(
    st.builds(
        ReputationEvent,
        id=st.integers(0, 60).map(str),
        kind=KINDS,
        at_ns=st.integers(0, 30 * DAY),
        run=st.sampled_from(["", "r1", "r2"]),
        task=st.integers(0, 40).map(str),
        operation=st.sampled_from(["", "deploy_staging"]),
        window=st.sampled_from(["", "h1"]),
        is_checked=st.booleans(),
        is_by_person=st.booleans(),
        level=st.sampled_from(["", *(level.word for level in Level)]),
        by=st.sampled_from(["", "policy", "alice"]),
        takes_back=st.integers(0, 60).map(str),
    ),
    max_size=60,
)
POLICIES = st.builds(
    Policy,
    reviews_itself=st.booleans(),
    successes=st.integers(0, 3),
    success_days=st.integers(0, 2),
    clean_events=st.integers(0, 3),
    decay_after_days=st.none() | st.integers(0, 5),
)


@given(EVENTS, POLICIES)
def test_every_sequence_of_events_is_accepted_and_keeps_the_bounds(
    events: list[ReputationEvent], policy: Policy
) -> None:
    """Total; the score stays within its bounds, and granted never above what the score carries."""
    standing = fold(events, now_ns=40 * DAY, policy=policy)
    assert policy.floor <= standing.score <= policy.ceiling
    assert standing.granted <= standing.eligible
    assert standing.effective is standing.granted


@given(EVENTS, POLICIES, EVENTS)
def test_only_a_promotion_ever_raises_a_level(
    events: list[ReputationEvent], policy: Policy, more: list[ReputationEvent]
) -> None:
    """Without a person, or the setting for staging, no record lifts an agent."""
    nobody = [event for event in (*events, *more) if event.kind != "promoted"]
    standing = fold(nobody, policy=policy)
    assert standing.granted <= (Level.STAGING_ACCESS if policy.reviews_itself else Level.SANDBOX_ONLY)


@given(EVENTS)
def test_a_day_never_wins_more_than_ten_points(events: list[ReputationEvent]) -> None:
    """However many tasks succeed."""
    wins = [event for event in events if event.kind == "task_success"]
    standing = fold(wins)
    by_id = {event.id: event for event in reversed(wins)}
    gained: dict[int, int] = {}
    for name, change in standing.changes:
        day = by_id[name].at_ns // DAY
        gained[day] = gained.get(day, 0) + change
    assert all(points <= 10 for points in gained.values())
