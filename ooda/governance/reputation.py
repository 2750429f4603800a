"""Reputation: what an agent's record makes it eligible for, as a fold over events that are only ever appended.

    task_success +2   task_failure -3   budget_exceeded -10   permission_denied -8        (start 100, 0 to 200)

The score alone grants nothing. It makes a level *eligible*; *granted* goes up one step at a time by review, and comes
down by itself, at once, when the score no longer carries it. Caps keep the score from being farmed (a task counts
once, a success only when something outside the model checked it, ten points a day) and from being burnt by hostile
text (a denial counts once a run and operation). Nothing is edited: an appeal that is granted is an event that takes
another one back. Pure; knows no storage and no clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from ooda.governance.levels import Level

__all__ = [
    "ALERT_BELOW",
    "DEFAULT_POLICY",
    "DELTAS",
    "START",
    "EventKind",
    "Ignored",
    "Policy",
    "ReputationEvent",
    "Review",
    "Standing",
    "eligible",
    "fold",
    "review",
]

EventKind = Literal[
    "registered",
    "task_success",
    "task_failure",
    "budget_exceeded",
    "permission_denied",
    "promoted",
    "demoted",
    "appeal_granted",
]

DELTAS: Final[dict[EventKind, int]] = {
    "task_success": 2,
    "task_failure": -3,
    "budget_exceeded": -10,
    "permission_denied": -8,
}
START: Final = 100
ALERT_BELOW: Final = 70
"""A score that falls below this is worth telling people."""

_THRESHOLDS: Final = ((160, Level.PROD_FULL_ACCESS), (130, Level.PROD_LOW_RISK), (90, Level.STAGING_ACCESS))
_DAY_NS: Final = 86_400 * 10**9
_HOUR_NS: Final = 3_600 * 10**9


def eligible(score: int) -> Level:
    """The level a score carries: 0-89, 90-129, 130-159, 160 and more."""
    return next((level for threshold, level in _THRESHOLDS if score >= threshold), Level.SANDBOX_ONLY)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of scoring and review."""

    floor: int = 0
    ceiling: int = 200
    """Without one, a banked score would hide a dozen failures."""
    daily_gain: int = 10
    """Most points won in one UTC day; losses are not limited."""
    cool_down_h: int = 24
    """Hours after a demotion in which there is no promotion."""
    successes: int = 10
    """Counted successes a promotion to staging_access needs,"""
    success_days: int = 3
    """on as many different UTC days,"""
    clean_events: int = 20
    """and no denial among this many latest events that counted."""
    reviews_itself: bool = False
    """Whether staging_access is granted as soon as these hold, without a person."""
    decay_after_days: int | None = None
    """Idle days after which the score moves one point a day towards the start; None for never."""


DEFAULT_POLICY: Final = Policy()


class ReputationEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One fact in an agent's record."""

    id: str
    kind: EventKind
    at_ns: int
    run: str = ""
    task: str = ""
    """Task the event is about; a task wins points once."""
    operation: str = ""
    """Operation that was denied."""
    window: str = ""
    """Budget window that was exceeded; it costs points once per task."""
    is_checked: bool = False
    """The success had a side effect and passed a check outside the model (tests, a health check)."""
    is_by_person: bool = False
    """A denial that was a person's no to an approval; it costs nothing."""
    is_degraded: bool = False
    """It happened while governance could not be reached: nothing is won by it."""
    level: str = ""
    """Level a promotion grants, or a demotion leaves."""
    by: str = ""
    """Who promoted, demoted or granted the appeal: a person's name, or `policy`."""
    takes_back: str = ""
    """Event an appeal takes back."""
    cause: str = ""
    """One sentence for people."""


class Ignored(msgspec.Struct, frozen=True):
    """An event that changed nothing, and why."""

    id: str
    why: str


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where an agent stands after its events."""

    score: int = START
    granted: Level = Level.SANDBOX_ONLY
    successes: int = 0
    """Successes that counted, since the last change of level."""
    success_days: int = 0
    events_since_denial: int = 0
    """Counted events after the latest denial; all of them when there was none."""
    was_denied: bool = False
    demoted_at_ns: int | None = None
    last_at_ns: int = 0
    changes: tuple[tuple[str, int], ...] = ()
    """Each event that changed the score, with what it really changed after caps."""
    ignored: tuple[Ignored, ...] = ()

    @property
    def eligible(self) -> Level:
        return eligible(self.score)

    @property
    def effective(self) -> Level:
        """The level in force by reputation alone; ceilings come on top (`levels.effective`)."""
        return min(self.granted, self.eligible)

    @property
    def is_alarming(self) -> bool:
        """Whether the score is below the alert line."""
        return self.score < ALERT_BELOW


class Review(msgspec.Struct, frozen=True):
    """Whether a promotion is possible now."""

    level: Level | None
    """The next level up, when it may be granted."""
    needs_person: bool
    """A named person has to grant it."""
    reasons: tuple[str, ...] = ()
    """What stands against it, for people."""


def review(standing: Standing, now_ns: int, policy: Policy = DEFAULT_POLICY) -> Review:
    """Whether the next level up may be granted now, and what is missing."""
    if standing.granted is Level.PROD_FULL_ACCESS:
        return Review(None, False, ("it has the highest level already",))
    wanted = Level(standing.granted + 1)
    reasons: list[str] = []
    if standing.eligible < wanted:
        needed = next(threshold for threshold, level in _THRESHOLDS if level is wanted)
        reasons.append(f"{wanted.word} needs a score of {needed}; it is {standing.score}")
    if standing.demoted_at_ns is not None:
        left_ns = standing.demoted_at_ns + policy.cool_down_h * _HOUR_NS - now_ns
        if left_ns > 0:
            reasons.append(f"it was demoted less than {policy.cool_down_h} h ago; {-(-left_ns // _HOUR_NS)} h are left")
    if standing.successes < policy.successes:
        reasons.append(f"it needs {policy.successes} checked successes at its level; it has {standing.successes}")
    if standing.success_days < policy.success_days:
        reasons.append(f"they must lie on {policy.success_days} different days; they lie on {standing.success_days}")
    if standing.was_denied and standing.events_since_denial < policy.clean_events:
        reasons.append(
            f"the last {policy.clean_events} events must hold no denial; the latest is {standing.events_since_denial} "
            "events back"
        )
    needs_person = wanted is not Level.STAGING_ACCESS or not policy.reviews_itself
    return Review(None if reasons else wanted, needs_person, tuple(reasons))


def fold(events: Iterable[ReputationEvent], *, now_ns: int | None = None, policy: Policy = DEFAULT_POLICY) -> Standing:
    """The standing after all events, in the order given; every sequence is accepted.

    An event that breaks a rule (a promotion the review did not allow, an appeal against nothing) changes nothing and
    is listed in `ignored`, so that a forged or doubled row can be seen and does no harm.

    Args:
        now_ns: For decay, where it is switched on; without it the score is that of the last event's time.
    """
    books = _Books(policy)
    for event in events:
        books.add(event)
    if now_ns is not None:
        books.decay(now_ns)
    return books.standing()


class _Books:
    """The fold's working state."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.score = START
        self.granted = Level.SANDBOX_ONLY
        self.changed: dict[str, int] = {}
        self.ignored: list[Ignored] = []
        self.seen: set[str] = set()
        self.denied: list[tuple[str, int]] = []
        """Denials that counted, with the number of events before them."""
        self.successes: dict[str, int] = {}
        """Successes that counted at this level, with their day."""
        self.once: dict[tuple[str, ...], str] = {}
        """What may count once, with the event that counted."""
        self.gained: dict[int, int] = {}
        self.taken_back: set[str] = set()
        self.demotion: tuple[int, str] | None = None
        self.count = 0
        """Events that counted."""
        self.last_at_ns = 0

    def standing(self) -> Standing:
        return Standing(
            score=self.score,
            granted=self.granted,
            successes=len(self.successes),
            success_days=len(set(self.successes.values())),
            events_since_denial=self.count - self.denied[-1][1] - 1 if self.denied else self.count,
            was_denied=bool(self.denied),
            demoted_at_ns=self.demotion[0] if self.demotion else None,
            last_at_ns=self.last_at_ns,
            changes=tuple(self.changed.items()),
            ignored=tuple(self.ignored),
        )

    def add(self, event: ReputationEvent) -> None:
        if event.id in self.seen:
            self._ignore(event, "an event with this id came before")
            return
        self.seen.add(event.id)
        self.decay(event.at_ns)
        self.last_at_ns = max(self.last_at_ns, event.at_ns)
        match event.kind:
            case "registered":
                if len(self.seen) > 1:
                    self._ignore(event, "the agent was registered before")
            case "promoted":
                self._promote(event)
            case "demoted":
                self._lower(event)
            case "appeal_granted":
                self._take_back(event)
            case _:
                self._score(event)
        self._promote_itself(event)

    def decay(self, now_ns: int) -> None:
        """One point a day towards the start, after the idle days the policy names."""
        if self.policy.decay_after_days is None or not self.last_at_ns:
            return
        days = (now_ns - self.last_at_ns) // _DAY_NS - self.policy.decay_after_days
        if days > 0:
            towards = min(days, abs(START - self.score))
            self.score += towards if self.score < START else -towards
            self._demote(now_ns, "")

    # -- what an event does -----------------------------------------------------------------------------

    def _score(self, event: ReputationEvent) -> None:
        why_not = self._why_it_does_not_count(event)
        if why_not:
            self._ignore(event, why_not)
            return
        delta = DELTAS[event.kind]
        day = event.at_ns // _DAY_NS
        if delta > 0:
            delta = min(delta, self.policy.daily_gain - self.gained.get(day, 0))
        changed = self._move(delta)
        if event.kind == "task_success":
            self.gained[day] = self.gained.get(day, 0) + changed
            self.successes[event.id] = day
        elif event.kind == "permission_denied":
            self.denied.append((event.id, self.count))
        self.changed[event.id] = changed
        self.once[self._once(event)] = event.id
        self.count += 1
        self._demote(event.at_ns, event.id)

    def _why_it_does_not_count(self, event: ReputationEvent) -> str:
        if event.kind == "task_success" and event.is_degraded:
            return "governance could not be reached, and nothing is won without it"
        if event.kind == "task_success" and not event.is_checked:
            return "nothing outside the model checked the success, or it had no side effect"
        if event.kind == "permission_denied" and event.is_by_person:
            return "a person's no to an approval costs nothing"
        earlier = self.once.get(self._once(event))
        return f"the same was counted by event {earlier}" if earlier else ""

    @staticmethod
    def _once(event: ReputationEvent) -> tuple[str, ...]:
        """What counts once: a task's end, a denial per run and operation, a budget per task and window."""
        match event.kind:
            case "task_success":
                return ("success", event.task or event.id)
            case "task_failure":
                return ("failure", event.run or event.id, event.task)
            case "permission_denied":
                return ("denied", event.run or event.id, event.operation)
            case _:
                return ("budget", event.task or event.id, event.window)

    def _take_back(self, event: ReputationEvent) -> None:
        target = event.takes_back
        if not event.by:
            self._ignore(event, "an appeal is granted by a named person")
        elif target not in self.changed or target in self.taken_back:
            self._ignore(event, f"event {target or '(none named)'} is not there to be taken back")
        else:
            self.taken_back.add(target)
            self.changed[event.id] = self._move(-self.changed[target])
            self.denied = [denial for denial in self.denied if denial[0] != target]
            self.successes.pop(target, None)
            if self.demotion and self.demotion[1] == target:
                # The level stays where it is until it is reviewed, but it need not wait.
                self.demotion = None
            self._demote(event.at_ns, event.id)

    def _promote(self, event: ReputationEvent) -> None:
        found = review(self.standing(), event.at_ns, self.policy)
        if not event.by:
            self._ignore(event, "a promotion names who granted it")
        elif found.level is None:
            self._ignore(event, "; ".join(found.reasons))
        elif event.level != found.level.word:
            self._ignore(event, f"a promotion goes up one level, to {found.level.word}")
        elif found.needs_person and event.by == "policy":
            self._ignore(event, f"{found.level.word} is granted by a named person")
        else:
            self._grant(found.level)

    def _lower(self, event: ReputationEvent) -> None:
        """A person takes a level back, for a reason the score does not know; the cool-down follows as after any."""
        lower = next((level for level in Level if level.word == event.level), None)
        if not event.by:
            self._ignore(event, "a demotion names who made it")
        elif lower is None or lower >= self.granted:
            self._ignore(event, f"a demotion names a level below {self.granted.word}")
        else:
            self.granted = lower
            self.demotion = (event.at_ns, event.id)
            self.successes.clear()

    def _promote_itself(self, event: ReputationEvent) -> None:
        if self.policy.reviews_itself and event.kind == "task_success":
            found = review(self.standing(), event.at_ns, self.policy)
            if found.level is not None and not found.needs_person:
                self._grant(found.level)

    # -- small steps ------------------------------------------------------------------------------------

    def _grant(self, level: Level) -> None:
        self.granted = level
        self.successes.clear()

    def _move(self, delta: int) -> int:
        """Change the score within floor and ceiling; gives what really changed."""
        before = self.score
        self.score = max(self.policy.floor, min(self.policy.ceiling, self.score + delta))
        return self.score - before

    def _demote(self, at_ns: int, cause: str) -> None:
        if eligible(self.score) < self.granted:
            self.granted = eligible(self.score)
            self.demotion = (at_ns, cause)
            self.successes.clear()

    def _ignore(self, event: ReputationEvent, why: str) -> None:
        self.ignored.append(Ignored(event.id, why))
