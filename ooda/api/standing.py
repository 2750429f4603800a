"""Who acts: the registered agent of a run, the level its record gives it, and what a run's end adds to that record.

An agent is registered by name (`coding_agent`) before its run begins. The level in force is the lowest of what was
granted, what the score carries and what the operator allows. What a run's conduct says is appended in the transaction
of its end; a Supabase project that is configured gets the same events, and gives those of other machines.
Knows stores of reputation and notices; must not know how a run is carried out.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import msgspec

from ooda.api.session import Session
from ooda.engines.notices import Topic, put_fact
from ooda.errors import IntegrationError
from ooda.events import decode
from ooda.governance.audit import AuditFact
from ooda.governance.audit import append as append_audit
from ooda.governance.conduct import TELLING, conduct_of, events_of
from ooda.governance.levels import Level, effective, level_named
from ooda.governance.reputation import ALERT_BELOW, Standing, fold
from ooda.governance.reputation_store import Agent, Change, append, get_or_create_agent, merge
from ooda.governance.reputation_store import events_of as record_of
from ooda.runtime.state import RunState
from ooda.services.supabase import PostgrestClient, SupabaseReputation
from ooda.store import Tx

__all__ = ["Registered", "agent_name", "conduct_recorder", "register", "registered", "share_reputation", "tell_shared"]


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """An agent as it stands when its run begins."""

    id: UUID
    name: str
    standing: Standing
    level: Level
    """The level in force."""
    allowed: Level | None = None
    """What the operator's configuration says instead of reviews: it counts as one, and as a ceiling."""

    @property
    def reason(self) -> str:
        """Where the level comes from, in one sentence."""
        granted = self.allowed if self.allowed is not None else self.standing.granted
        where = "`governance.level`" if self.allowed is not None else "review"
        if self.standing.eligible < granted:
            return (
                f"{self.name} has level {self.level.word}: {where} grants {granted.word}, and its score of "
                f"{self.standing.score} carries {self.standing.eligible.word}"
            )
        return f"{self.name} has level {self.level.word}, granted by {where}; its score is {self.standing.score}"


def agent_name(kind: str) -> str:
    """The name under which agents of a kind are registered."""
    return f"{kind}_agent"


@asynccontextmanager
async def shared_reputation(session: Session) -> AsyncIterator[SupabaseReputation | None]:
    """The Supabase project of the settings; None where there is none."""
    governance = session.settings.governance
    if governance.supabase_url is None or governance.supabase_service_role_key is None:
        yield None
        return
    store = SupabaseReputation(PostgrestClient(str(governance.supabase_url), governance.supabase_service_role_key))
    try:
        yield store
    finally:
        await store.close()


async def register(session: Session, kind: str) -> Registered:
    """The agent of this kind, registered now if it was not, with the level it has.

    Raises:
        IntegrationError, CredentialError, ConfigError: the shared store of reputation does not answer, or not so.
    """
    name = agent_name(kind)
    agent = await share_reputation(session, name)
    return registered(session, agent)


def registered(session: Session, agent: Agent) -> Registered:
    """How a known agent stands, from this store alone."""
    standing = session.store.read(lambda tx: fold(record_of(tx, agent.id)))
    word = session.settings.governance.level
    allowed = level_named(word) if word is not None else None
    level = effective(standing.granted if allowed is None else allowed, standing.eligible)
    return Registered(id=agent.id, name=agent.name, standing=standing, level=level, allowed=allowed)


async def share_reputation(session: Session, name: str) -> Agent:
    """Register the agent here and in the shared store, and bring both records to the same events."""
    async with shared_reputation(session) as shared:
        if shared is None:
            return await session.store.write(lambda tx: get_or_create_agent(tx, name, session.clock.now_ns()))
        theirs_id = await shared.get_or_create_agent(name)
        theirs = await shared.events(theirs_id)

        def work(tx: Tx) -> Agent:
            agent = get_or_create_agent(tx, name, session.clock.now_ns(), theirs_id)
            merge(tx, agent.id, theirs)
            return agent

        agent = await session.store.write(work)
        known = {event.id for event in theirs}
        ours = session.store.read(lambda tx: record_of(tx, agent.id))
        if missing := [event for event in ours if event.id not in known]:
            await shared.append(theirs_id, missing)
        return agent


async def tell_shared(session: Session, agent: Registered) -> None:
    """Give the shared store what a run has added; one that is down gets it with the next registration."""
    if session.settings.governance.supabase_url is not None:
        with contextlib.suppress(IntegrationError):
            await share_reputation(session, agent.name)


def conduct_recorder(
    session: Session,
    agent: Registered,
    topic: Topic,
    is_checked: Callable[[RunState], bool],
    is_degraded: Callable[[], bool] = lambda: False,
) -> Callable[[Tx, RunState], None]:
    """What a run's recorder calls when it ends: adds to the agent's record what the journal says of it.

    Args:
        is_checked: Whether something outside the model checked what the run did.
        is_degraded: Whether governance could not be reached at some time of the run.
    """

    def ended(tx: Tx, state: RunState) -> None:
        run, at_ns = state.run, session.clock.now_ns()
        marks = ", ".join("?" * len(TELLING))
        rows = tx.execute(
            f"SELECT kind, body FROM events WHERE run = ? AND kind IN ({marks}) ORDER BY seq",  # noqa: S608 - marks
            (run, *TELLING),
        )
        conduct = conduct_of(
            (decode(bytes(body), kind) for kind, body in rows),
            run=run,
            task=f"{topic.company_id}/{topic.project_id}/{topic.task_id}",
            status=state.status,
            reason=session.redactor.redact(state.reason).text,
            is_checked=is_checked(state),
            is_degraded=is_degraded(),
        )
        events = events_of(conduct, at_ns)
        if not events:
            return
        change = append(tx, agent.id, events)
        for event in events:
            _audit(session, tx, agent, run, event.kind, dict(change.after.changes).get(event.id, 0), event.cause)
        _tell(session, tx, agent, topic, state, change, at_ns)

    return ended


def _audit(session: Session, tx: Tx, agent: Registered, run: str, kind: str, delta: int, cause: str) -> None:
    append_audit(
        tx,
        AuditFact(
            at_ns=session.clock.now_ns(),
            actor="ooda",
            action="reputation",
            run=run,
            subject=agent.name,
            decision=kind,
            reason=cause,
            details={"delta": delta},
        ),
    )


def _tell(
    session: Session, tx: Tx, agent: Registered, topic: Topic, state: RunState, change: Change, at_ns: int
) -> None:
    """A score below the line, and a level that was lost, are told once, when it happens."""
    before, after = change.before, change.after
    told: list[tuple[str, str, str]] = []
    if after.is_alarming and not before.is_alarming:
        message = f"The reputation score of {agent.name} fell to {after.score}, below {ALERT_BELOW}"
        told.append(("score", "warning", message))
    if after.granted < before.granted:
        lost = f"{agent.name} lost level {before.granted.word} and has {after.granted.word}"
        message = f"{lost}; its score is {after.score}"
        told.append(("level", "critical", message))
    for what, severity, message in told:
        details = {
            "severity": severity,
            "agent": agent.name,
            "agent_id": str(agent.id),
            "score": after.score,
            "permission_level": after.effective.word,
        }
        put_fact(
            tx,
            session.redactor,
            topic,
            notice=f"reputation-{what}-{state.run}-{state.next_seq}",
            kind="reputation_alert",
            message=message,
            details=details,
            run=state.run,
            seq=state.next_seq,
            at_ns=at_ns,
        )
