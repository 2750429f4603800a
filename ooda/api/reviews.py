"""What people decide about agents: promotions, demotions and appeals, each a new event with a name under it.

Nothing is edited, and nothing here can be reached by an agent: the commands below it are its only callers. A decision
the record does not allow is refused with what is missing. Knows the store and the fold; must not know how it is shown.
"""

from __future__ import annotations

import msgspec

from ooda.api.session import Session
from ooda.api.standing import Registered, registered, share_reputation
from ooda.errors import ConfigError, RefusedError, nearest
from ooda.governance.audit import AuditFact
from ooda.governance.audit import append as append_audit
from ooda.governance.levels import Level
from ooda.governance.reputation import START, EventKind, ReputationEvent, Review, fold, review
from ooda.governance.reputation_store import Agent, agents, append, events_of, known_agent
from ooda.store import Tx

__all__ = ["Line", "appeal", "demote", "history", "promote", "refresh", "reviewed", "standings"]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a record, and what it did."""

    event: ReputationEvent
    delta: int
    score: int
    """After it."""
    ignored: str = ""
    """Why it changed nothing."""


def standings(session: Session) -> list[Registered]:
    """Every registered agent as it stands, by name."""
    return [registered(session, agent) for agent in session.store.read(agents)]


def reviewed(session: Session, name: str) -> tuple[Registered, Review]:
    """One agent, and whether it may be promoted now.

    Raises:
        ConfigError: nobody has that name.
    """
    found = registered(session, session.store.read(lambda tx: known_agent(tx, name)))
    return found, review(found.standing, session.clock.now_ns())


def history(session: Session, name: str) -> list[Line]:
    """An agent's events with what each did, the oldest first."""

    def work(tx: Tx) -> tuple[ReputationEvent, ...]:
        return events_of(tx, known_agent(tx, name).id)

    events = session.store.read(work)
    standing = fold(events)
    changes = dict(standing.changes)
    ignored = {found.id: found.why for found in standing.ignored}
    lines, score = [], START
    for event in events:
        score += (delta := changes.get(event.id, 0))
        lines.append(Line(event=event, delta=delta, score=score, ignored=ignored.get(event.id, "")))
    return lines


async def refresh(session: Session, name: str) -> None:
    """Bring the record to that of the shared store, where one is configured."""
    if session.settings.governance.supabase_url is not None:
        agent = session.store.read(lambda tx: known_agent(tx, name))
        await share_reputation(session, agent.name)


def promote(session: Session, name: str, level: Level, note: str) -> Registered:
    """Grant an agent the next level up.

    Raises:
        ConfigError: nobody has that name.
        RefusedError: the record does not carry it; the message lists what is missing.
    """

    def work(tx: Tx) -> Agent:
        agent = known_agent(tx, name)
        standing = fold(events_of(tx, agent.id))
        if level <= standing.granted:
            raise RefusedError(
                f"{agent.name} is granted {standing.granted.word} already; a promotion names the level above"
            )
        found = review(standing, session.clock.now_ns())
        if found.level is None:
            raise RefusedError(f"{agent.name} cannot be promoted to {level.word} now: {'; '.join(found.reasons)}")
        if found.level is not level:
            raise RefusedError(f"a promotion goes up one level: {agent.name} can be promoted to {found.level.word} now")
        _decide(session, tx, agent, "promoted", note, level=level.word)
        return agent

    return registered(session, session.store.write_now(work))


def demote(session: Session, name: str, level: Level, note: str) -> Registered:
    """Take an agent's level down, at once.

    Raises:
        ConfigError: nobody has that name.
        RefusedError: the level is not below the one it has.
    """

    def work(tx: Tx) -> Agent:
        agent = known_agent(tx, name)
        granted = fold(events_of(tx, agent.id)).granted
        if granted is Level.SANDBOX_ONLY:
            raise RefusedError(f"{agent.name} has {granted.word}, and there is no level below that")
        if level >= granted:
            raise RefusedError(f"{agent.name} is granted {granted.word}; a demotion names a level below that")
        _decide(session, tx, agent, "demoted", note, level=level.word)
        return agent

    return registered(session, session.store.write_now(work))


def appeal(session: Session, name: str, event: str, note: str) -> Registered:
    """Take the effect of an event back by another one.

    Raises:
        ConfigError: nobody has that name, or its record holds no such event.
        RefusedError: the event changed no score, or was taken back before.
    """

    def work(tx: Tx) -> Agent:
        agent = known_agent(tx, name)
        events = events_of(tx, agent.id)
        if event not in (known := [found.id for found in events]):
            near = nearest(event, known)
            hint = f"did you mean `{near}`?" if near else f"`ooda reputation history {agent.name}` lists its events"
            raise ConfigError(f"the record of {agent.name} holds no event {event!r}; {hint}")
        if event not in dict(fold(events).changes):
            raise RefusedError(f"event {event!r} changed no score, so there is nothing to take back")
        if any(found.takes_back == event for found in events):
            raise RefusedError(f"event {event!r} was taken back before")
        _decide(session, tx, agent, "appeal_granted", note, takes_back=event)
        return agent

    return registered(session, session.store.write_now(work))


def _decide(
    session: Session, tx: Tx, agent: Agent, kind: EventKind, note: str, *, level: str = "", takes_back: str = ""
) -> None:
    if not note.strip():
        raise ConfigError("`--note` is empty; say why: the record keeps it beside your name")
    by, now_ns = session.user, session.clock.now_ns()
    if by in ("", "unknown", "policy", "ooda"):
        raise RefusedError(
            f"a named person decides about agents, and this is {by or 'nobody'!r}; set OODA_USER to your name"
        )
    cause = session.redactor.redact(note).text
    event = ReputationEvent(
        id=session.ids.new("rep"), kind=kind, at_ns=now_ns, by=by, level=level, takes_back=takes_back, cause=cause
    )
    append(tx, agent.id, [event])
    fact = AuditFact(
        at_ns=now_ns,
        actor=by,
        action="reputation",
        run="",
        subject=agent.name,
        decision=kind,
        reason=cause,
        details={"level": level} if level else {"takes_back": takes_back},
    )
    append_audit(tx, fact)
