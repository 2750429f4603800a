"""Whether governance can be reached, looked at before a run and again before every effect, and what follows if not.

Governance is what a run shares with others: the record of its agent on Supabase, the budget on Redis. A part that is
down, takes more than two seconds, or answers garbage is out of reach; a rejected key or a missing table is a mistake
of the settings and stops the run under every policy. What may then happen is `ooda.governance.degraded`'s to say.
The outage is noted beside the runs, so that its hour counts for this machine and not for each run anew.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from ooda.api.session import Session
from ooda.api.standing import Registered, agent_name, register, registered, shared_reputation
from ooda.config.catalogue import value_of
from ooda.errors import ConfigError, IntegrationError, RefusedError
from ooda.events import Effect
from ooda.governance.audit import AuditFact
from ooda.governance.audit import append as append_audit
from ooda.governance.budget import Alert, Cap, Exceeded, ReserveRequest, Scope
from ooda.governance.degraded import BANNER, LOG, DegradedPolicy, Outage, call_refusal, model_refusal
from ooda.governance.levels import Level
from ooda.governance.operations import Operation
from ooda.governance.redis_ledger import RedisBudget
from ooda.governance.reputation_store import get_or_create_agent, known_agent
from ooda.store import Tx

__all__ = ["DegradableBudget", "Health", "refuse_unconstrained"]

_PRODUCTION = ("coder.token", "vercel.token", "triage.kubeconfig", "store.url")
_PRODUCTION_VARIABLES = (
    "GITHUB_TOKEN", "GITLAB_TOKEN", "VERCEL_TOKEN", "CODER_TOKEN", "KUBECONFIG", "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY", "GOOGLE_APPLICATION_CREDENTIALS", "AZURE_CLIENT_SECRET",
)  # fmt: skip
_DAY_NS = 86_400 * 10**9


def refuse_unconstrained(session: Session) -> None:
    """Refuse `unconstrained` where it is not meant, or where something could be broken with it.

    Raises:
        ConfigError: the second setting is missing, or a production credential is within reach.
    """
    governance = session.settings.governance
    if governance.degraded != "unconstrained":
        return
    if not governance.degraded_unconstrained:
        raise ConfigError(
            "`governance.degraded` is `unconstrained`: while governance cannot be reached nothing would be checked. If "
            "that is meant, set `governance.degraded_unconstrained` to true as well; else choose `sandbox_only`",
            setting="governance.degraded_unconstrained",
        )
    found = [f"`{name}`" for name in _PRODUCTION if value_of(session.settings, name)]
    found += [f"`{name}`" for name in _PRODUCTION_VARIABLES if session.environ.get(name)]
    if found:
        raise ConfigError(
            f"`governance.degraded` is `unconstrained`, and {', '.join(found)} could reach production; take it away, "
            "or choose `sandbox_only`",
            setting="governance.degraded",
        )


class Health:
    """Governance as one run finds it.

    Args:
        say: Told what people must see: the outage, its end, the banner of every step without constraints.
    """

    def __init__(self, session: Session, run: str, kind: str, say: Callable[[str], None] = lambda text: None) -> None:
        refuse_unconstrained(session)
        self.policy: DegradedPolicy = session.settings.governance.degraded
        self.was_degraded = False
        """At some time of this run governance could not be reached."""
        self.fresh_s = 5.0
        """For how long a good answer counts."""
        self.redis: RedisBudget | None = None
        self._session, self._run, self._kind, self._say = session, run, kind, say
        self._outage: Outage | None = None
        self._good_s = float("-inf")

    @property
    def outage(self) -> Outage | None:
        """Since when what cannot be reached; None while all can."""
        return self._outage

    async def registered(self) -> Registered:
        """The run's agent, from the shared record, or from this store's own where the policy lets that do.

        Raises:
            RefusedError: governance cannot be reached, and the policy is `fail_closed`, or its hour is over.
            ConfigError, CredentialError: the settings are wrong.
        """
        try:
            agent = await register(self._session, self._kind)
        except IntegrationError as error:
            await self.lose("supabase", error)
            assert self._outage is not None
            if why := model_refusal(self.policy, self._outage, self._session.clock.now_ns()):
                raise RefusedError(f"Could not register with Governance: {why}. {error}") from error
            self._say(LOG)
            return await self._alone()
        self._good_s = time.monotonic()
        return agent

    async def _alone(self) -> Registered:
        name, now_ns = agent_name(self._kind), self._session.clock.now_ns()
        known = await self._session.store.write(lambda tx: get_or_create_agent(tx, name, now_ns))
        level = Level.PROD_FULL_ACCESS if self.policy == "unconstrained" else Level.SANDBOX_ONLY
        return msgspec.structs.replace(registered(self._session, known), level=level)

    async def refusal(self, operation: Operation, effect: Effect) -> str:
        """Why an effect may not happen now; empty when it may. Looks again unless it has just looked."""
        await self.look()
        if self._outage is not None and self.policy == "unconstrained":
            self._say(BANNER)
        return call_refusal(self.policy, self._outage, operation, effect, self._session.clock.now_ns())

    def level_now(self) -> Level:
        """The level of the run's agent as its record stands in this store."""
        if self._outage is not None and self.policy == "unconstrained":
            return Level.PROD_FULL_ACCESS
        agent = self._session.store.read(lambda tx: known_agent(tx, agent_name(self._kind)))
        return registered(self._session, agent).level

    def model_refusal(self) -> str:
        """Why no model may be asked now; empty when one may."""
        if self._outage is None:
            return ""
        if self.policy == "unconstrained":
            self._say(BANNER)
        return model_refusal(self.policy, self._outage, self._session.clock.now_ns())

    async def look(self) -> None:
        """Ask every configured part whether it is there."""
        if time.monotonic() - self._good_s < self.fresh_s and self._outage is None:
            return
        try:
            if self.redis is not None:
                await self.redis.ping()
        except IntegrationError as error:
            await self.lose("redis", error)
            return
        try:
            async with shared_reputation(self._session) as shared:
                if shared is not None:
                    await shared.get_or_create_agent(agent_name(self._kind))
        except IntegrationError as error:
            await self.lose("supabase", error)
            return
        await self.find()

    async def lose(self, part: str, error: IntegrationError) -> None:
        """Something cannot be reached."""
        self.was_degraded = True
        self._good_s = float("-inf")
        if self._outage is not None:
            return
        self._outage = self._noted() or Outage(self._session.clock.now_ns(), part)
        with contextlib.suppress(OSError):
            self._note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._note.write_bytes(msgspec.json.encode(self._outage))
        self._say(f"governance cannot be reached ({part}); `governance.degraded` is `{self.policy}`: {error}")
        await self._audit("begin", part, str(error))

    async def find(self) -> None:
        """Everything can be reached."""
        self._good_s = time.monotonic()
        if self._outage is not None or self._note.exists():
            self._note.unlink(missing_ok=True)
        if self._outage is not None:
            self._outage = None
            self._say("governance can be reached again")
            await self._audit("end", "", "governance can be reached again")

    @property
    def _note(self) -> Path:
        return self._session.places.state / "outage.json"

    def _noted(self) -> Outage | None:
        """The outage an earlier run of this machine found; a damaged note counts as one without end."""
        try:
            return msgspec.json.decode(self._note.read_bytes(), type=Outage)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError):
            return Outage(0, "an outage whose note is damaged")

    async def _audit(self, decision: str, part: str, reason: str) -> None:
        fact = AuditFact(
            at_ns=self._session.clock.now_ns(),
            actor="ooda",
            action="degraded",
            run=self._run,
            subject=part,
            decision=decision,
            reason=self._session.redactor.redact(reason).text,
            details={"policy": self.policy},
        )
        await self._session.store.write(lambda tx: append_audit(tx, fact))


class DegradableBudget:
    """The shared budget, or while it cannot be reached a small one in this store. Implements `SharedBudget`.

    What is spent meanwhile stands in the store's own windows as always and is told to the shared budget when that is
    back, so it counts into the day; the small budget comes on top.
    """

    def __init__(self, session: Session, health: Health, shared: RedisBudget | None) -> None:
        self._session, self._health, self._shared = session, health, shared
        self._held: dict[str, list[str]] = {}
        """Reservations of the small budget by the call's."""
        self._alerts: list[Alert] = []
        """Thresholds the small budget has passed."""

    async def hold(self, key: str) -> Exceeded | None:
        return await self._taken("hold", key)

    async def again(self, key: str) -> Exceeded | None:
        return await self._taken("again", key)

    async def sent(self, key: str) -> bool:
        return True if self._shared is None or key in self._held else await self._shared.sent(key)

    async def flush(self) -> tuple[Alert, ...]:
        await self._settle()
        try:
            shared = await self._shared.flush() if self._shared is not None else ()
        except IntegrationError:
            if not self._alerts:
                raise
            shared = ()  # it is told at the next chance; what the small budget passed is told now
        told, self._alerts = (*self._alerts, *shared), []
        return told

    async def _taken(self, op: str, key: str) -> Exceeded | None:
        if self._shared is not None:
            try:
                refused = await (self._shared.hold(key) if op == "hold" else self._shared.again(key))
            except IntegrationError as error:
                await self._health.lose("redis", error)
                if self._health.policy == "fail_closed":
                    raise
            else:
                if self._health.outage is not None:
                    await self._health.look()
                if self._health.outage is None:
                    return refused
                if refused is not None:
                    return refused
        elif self._health.outage is not None:
            await self._health.look()
        if self._health.outage is None:
            return None
        if why := self._health.model_refusal():
            raise IntegrationError(why, service="governance", operation=op, status=None, retryable=False)
        return None if self._health.policy == "unconstrained" else await self._hold_here(key)

    async def _hold_here(self, key: str) -> Exceeded | None:
        ledger, now_ns = self._session.ledger, self._session.clock.now_ns()
        held = self._held.setdefault(key, [])
        own = f"{key}-degraded-{len(held)}"
        cap = Cap(self._session.settings.governance.degraded_nano)
        scope = Scope("degraded", f"day:{now_ns // _DAY_NS}", cap)

        def work(tx: Tx) -> Exceeded | None:
            standing = ledger.find(tx, key)
            if standing is None:
                raise RefusedError(f"there is no reservation {key!r} to hold", key=key)
            wanted = ReserveRequest(
                key=own,
                scopes=(scope,),
                cost_nano=standing.cost_nano,
                tokens=standing.tokens,
                now_ns=now_ns,
                expires_ns=standing.expires_ns,
                is_sent=True,
            )
            found = ledger.reserve(tx, wanted)
            return found if isinstance(found, Exceeded) else None

        refused = await self._session.store.write(work)
        if refused is None:
            held.append(own)
        return refused

    async def _settle(self) -> None:
        """Exchange what the small budget holds for what the calls have cost."""
        if not self._held:
            return

        def work(tx: Tx) -> tuple[list[str], list[Alert]]:
            done: list[str] = []
            alerts: list[Alert] = []
            for key, held in self._held.items():
                standing = self._session.ledger.find(tx, key)
                if standing is not None and standing.state in ("held", "sent"):
                    continue
                rows = tx.execute("SELECT sum(cost_nano), sum(tokens) FROM charges WHERE key = ?", (key,))
                cost, tokens = (int(amount or 0) for amount in rows[0])
                for number, own in enumerate(held):  # one per attempt: the first stands for all they cost
                    paid = (cost, tokens) if number == 0 else (0, 0)
                    alerts += self._session.ledger.settle(tx, own, *paid).alerts
                done.append(key)
            return done, alerts

        closed, alerts = await self._session.store.write(work)
        self._alerts += alerts
        for key in closed:
            del self._held[key]
