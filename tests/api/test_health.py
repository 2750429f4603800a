"""Governance out of reach: real servers are stopped in the middle, and each policy does what it says, no more."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooda.api import reviews
from ooda.api.launch import Live
from ooda.api.session import Session
from ooda.engines.local import Ending
from ooda.errors import ConfigError, CredentialError, RefusedError
from ooda.events import ModelFailed, Notified, ToolReturned, Usage
from ooda.governance.degraded import BANNER, LOG, LONGEST_NS, Outage, call_refusal, model_refusal
from ooda.governance.levels import Cell, Level, cell
from ooda.governance.operations import Operation
from ooda.models.request import ModelReply
from ooda.models.scripted import Script, ScriptedModel, say
from ooda.testing.runs import RunBench
from tests.services.supabase.fake import KEY, FakePostgrest

USED = Usage(input_tokens=100, output_tokens=10)
COST = 100 * 1_000 + 10 * 10_000
PLAN = say("P.", ("update_plan", {"steps": [{"description": "x"}], "files_to_modify": ["sums.py"]}), usage=USED)
MEND = say("M.", ("edit_file", {"path": "sums.py", "old": "a - b", "new": "a + b"}), usage=USED)
FINISH = say("Done.", ("finish", {"summary": "add() adds now."}), usage=USED)


class Redis:
    """A server of the test's own, which may be stopped, continued and killed."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--save", "", "--appendonly", "no", "--dir", str(folder)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert any("Ready to accept connections" in line for line in self._process.stdout)

    def signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path)
    yield server
    server.close()


class Breaking(ScriptedModel):
    """Does something right before it gives its reply number `at`."""

    def __init__(self, replies: list[Script], at: int, breaks: Callable[[], None]) -> None:
        super().__init__(replies, name="dear")
        self._at, self._breaks = at, breaks

    async def complete(self, request: Any, grant: Any, **more: Any) -> ModelReply:
        reply = await super().complete(request, grant, **more)
        if len(self.requests) == self._at:
            self._breaks()
        return reply


def made(folder: Path, policy: str, **settings: object) -> RunBench:
    prices = folder / "prices.toml"
    prices.write_text('[models]\n"dear" = { input = 1.0, output = 10.0 }\n')
    return RunBench(
        folder,
        settings={
            "sandbox.backend": "none",
            "budget.price_file": str(prices),
            "governance.degraded": policy,
            **settings,
        },
    )


def always_looks(live: Live) -> None:
    assert live.health is not None
    live.health.fresh_s = -1.0


async def broken(bench: RunBench, session: Session, server: Redis, number: int) -> Ending:
    """A run whose Redis is lost while the model writes its second reply."""
    model = Breaking([PLAN, MEND, FINISH], 2, lambda: server.signal(number))
    task = bench.task(limits={"reply_tokens": 1000})
    return await bench.run(task, model, session=session, meanwhile=always_looks)


def open_holds(session: Session) -> int:
    rows = session.store.read(
        lambda tx: tx.execute("SELECT count(*) FROM reservations WHERE state IN ('held', 'sent')")
    )
    return int(rows[0][0])


def degraded(session: Session) -> list[tuple[Any, ...]]:
    return session.store.read(
        lambda tx: tx.execute(
            "SELECT spent_cost, reserved_cost, cap_cost FROM budget_windows "
            "WHERE scope LIKE 'degraded%' AND span = 'life'"
        )
    )


LOST = {"stopped": signal.SIGSTOP, "killed": signal.SIGKILL}


@pytest.mark.parametrize("number", LOST.values(), ids=LOST)
async def test_fail_closed_lets_no_effect_and_no_model_call_happen(tmp_path: Path, redis: Redis, number: int) -> None:
    """The call that was allowed before is not carried out; no reply is asked for; nothing stays held."""
    bench = made(tmp_path, "fail_closed", **{"governance.redis_url": redis.url})
    with bench.session() as session:
        ending = await broken(bench, session, redis, number)

        assert ending.status == "refused"
        (edit,) = [e for e in bench.heard if isinstance(e, ToolReturned) and e.tool == "edit_file"]
        assert edit.status == "error"
        assert "`edit_file` was not carried out: governance cannot be reached (redis)" in edit.text.text
        failed = [event for event in bench.heard if isinstance(event, ModelFailed)]
        assert [event.error for event in failed] == ["refused"]
        assert open_holds(session) == 0
        assert degraded(session) == []
        assert bench.branches().keys() == {"main"}


async def test_sandbox_only_goes_on_inside_the_sandbox_under_a_small_budget(tmp_path: Path, redis: Redis) -> None:
    """Writes and tests happen, the push does not; each call is paid twice over: in the day and in the small budget;
    nothing is won."""
    bench = made(tmp_path, "sandbox_only", **{"governance.redis_url": redis.url})
    with bench.session() as session:
        ending = await broken(bench, session, redis, signal.SIGKILL)

        done = {e.tool: e for e in bench.heard if isinstance(e, ToolReturned)}
        assert done["edit_file"].status == "ok"
        assert "`git_push` was not carried out" in done["git_push"].text.text
        assert "reaches beyond the sandbox" in done["git_push"].text.text
        assert ending.status != "success"
        assert bench.branches().keys() == {"main"}
        assert degraded(session) == [(COST, 0, 500_000_000)]  # the third call; two were paid while Redis was there
        assert open_holds(session) == 0
        day = session.store.read(
            lambda tx: tx.execute("SELECT spent_cost FROM budget_windows WHERE scope = 'global' AND span LIKE 'day%'")
        )
        assert day == [(3 * COST,)]
        assert all(line.delta <= 0 for line in reviews.history(session, "coding"))
        audit = session.store.read(
            lambda tx: tx.execute("SELECT decision, subject FROM audit WHERE action = 'degraded'")
        )
        assert audit == [("begin", "redis")]


async def test_the_small_budget_is_a_cap(tmp_path: Path, redis: Redis) -> None:
    """The first call that would pass it is not made."""
    settings = {"governance.redis_url": redis.url, "governance.degraded_usd": "0.001"}
    bench = made(tmp_path, "sandbox_only", **settings)
    with bench.session() as session:
        ending = await broken(bench, session, redis, signal.SIGSTOP)
        assert ending.status == "budget_exceeded"
        assert "the budget of degraded:day:" in ending.reason
        assert open_holds(session) == 0


async def test_the_small_budgets_thresholds_are_told(tmp_path: Path, redis: Redis) -> None:
    """Like those of any other budget: in the journal, to people, and in the audit."""
    settings = {"governance.redis_url": redis.url, "governance.degraded_usd": "0.03"}
    bench = made(tmp_path, "sandbox_only", **settings)
    dear = Usage(input_tokens=15_000, output_tokens=1_000)  # 0.025 USD, 83 per cent
    finish = say("Done.", ("finish", {"summary": "add() adds now."}), usage=dear)
    with bench.session() as session:
        model = Breaking([PLAN, MEND, finish], 2, lambda: redis.signal(signal.SIGKILL))
        await bench.run(bench.task(limits={"reply_tokens": 1000}), model, session=session, meanwhile=always_looks)
        told = [e.details for e in bench.heard if isinstance(e, Notified) and e.kind_ == "budget_alert"]
        audit = session.store.read(lambda tx: tx.execute("SELECT subject FROM audit WHERE action = 'alert'"))
    assert [(details["scope"].partition(":")[0], details["percent"]) for details in told] == [("degraded", 80)]
    assert [subject.partition(":")[0] for (subject,) in audit] == ["degraded"]


async def test_what_comes_back_is_used_again_and_the_outage_is_over(tmp_path: Path, redis: Redis) -> None:
    """Stopped for one call only: the push happens, and the audit tells both ends."""
    bench = made(tmp_path, "sandbox_only", **{"governance.redis_url": redis.url})

    class Short(ScriptedModel):
        async def complete(self, request: Any, grant: Any, **more: Any) -> ModelReply:
            reply = await super().complete(request, grant, **more)
            if len(self.requests) == 2:
                redis.signal(signal.SIGSTOP)
            if len(self.requests) == 3:
                redis.signal(signal.SIGCONT)
            return reply

    with bench.session() as session:
        model = Short([PLAN, MEND, FINISH], name="dear")
        task = bench.task(limits={"reply_tokens": 1000})
        ending = await bench.run(task, model, session=session, meanwhile=always_looks)
        assert ending.status == "success"
        audit = session.store.read(lambda tx: tx.execute("SELECT decision FROM audit WHERE action = 'degraded'"))
        assert [row[0] for row in audit] == ["begin", "end"]
        assert not (session.places.state / "outage.json").exists()
        (line,) = reviews.history(session, "coding")
        assert (line.delta, line.ignored) == (0, "governance could not be reached, and nothing is won without it")


async def test_an_outage_of_more_than_an_hour_ends_the_patience(tmp_path: Path, redis: Redis) -> None:
    """Counted on this machine, from the first run that met it."""
    bench = made(tmp_path, "sandbox_only", **{"governance.redis_url": redis.url})
    with bench.session() as session:
        session.places.state.mkdir(parents=True, exist_ok=True)
        note = Outage(session.clock.now_ns() - LONGEST_NS - 1, "redis")
        (session.places.state / "outage.json").write_bytes(msgspec.json.encode(note))
        redis.signal(signal.SIGKILL)
        ending = await bench.run(bench.task(), ScriptedModel([PLAN], name="dear"), session=session)
        assert ending.status == "refused"
        assert "for more than 60 minutes" in ending.reason


# -- Supabase, before a run -------------------------------------------------------------------------------

FAULTS: dict[str, Any] = {
    "an error": lambda: (503, {}, b"{}"),
    "garbage": lambda: (200, {"content-range": "0-0/1"}, b"<html>"),
    "half a page": lambda: (200, {"content-range": "*/7"}, b"[]"),
}


def shared(fake: FakePostgrest) -> dict[str, object]:
    return {"governance.supabase_url": fake.url, "governance.supabase_service_role_key": KEY}


async def ran(bench: RunBench, said: list[str]) -> Ending:
    """A run that keeps what people are told."""
    watch = bench._watch
    bench._watch = lambda: msgspec.structs.replace(watch(), on_governance=said.append)  # type: ignore[method-assign]
    return await bench.run(bench.task(), ScriptedModel([PLAN, MEND, FINISH], name="dear"))


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("policy", ["fail_closed", "sandbox_only"])
async def test_an_agent_that_cannot_be_registered(tmp_path: Path, policy: str, fault: Any) -> None:
    """Closed: no run begins, nothing is recorded. Sandbox only: the requirement's line is said and the push refused."""
    said: list[str] = []
    async with FakePostgrest() as fake:
        fake.fault = fault
        bench = made(tmp_path, policy, **shared(fake))
        if policy == "fail_closed":
            with pytest.raises(RefusedError, match="Could not register with Governance"):
                await ran(bench, said)
            assert bench.heard == []
            return
        assert (await ran(bench, said)).status != "success"
    assert LOG == "⚠️ Could not register with Governance (degraded mode)"
    assert said.count(LOG) == 1
    assert bench.branches().keys() == {"main"}


async def test_a_rejected_key_is_a_mistake_under_every_policy(tmp_path: Path) -> None:
    """A wrong setting is no outage."""
    async with FakePostgrest() as fake:
        bench = made(tmp_path, "sandbox_only", **shared(fake) | {"governance.supabase_service_role_key": "wrong-key-0"})
        with pytest.raises(CredentialError, match="rejects the key"):
            await ran(bench, [])


# -- unconstrained ----------------------------------------------------------------------------------------


async def test_unconstrained_needs_two_settings_and_no_production_credential(tmp_path: Path) -> None:
    """Each refusal names what to change."""
    bench = made(tmp_path, "unconstrained")
    with pytest.raises(ConfigError, match=r"set `governance\.degraded_unconstrained` to true as well"):
        await ran(bench, [])
    bench.settings["governance.degraded_unconstrained"] = True
    bench.environ["KUBECONFIG"] = "/nowhere"
    with pytest.raises(ConfigError, match=r"`KUBECONFIG` could reach production"):
        await ran(bench, [])


async def test_unconstrained_does_everything_under_a_banner_at_every_step(tmp_path: Path) -> None:
    """The requirement's degraded mode: no permission check, no score; the push happens without a grant."""
    said: list[str] = []
    async with FakePostgrest() as fake:
        fake.fault = FAULTS["an error"]
        bench = made(tmp_path, "unconstrained", **shared(fake) | {"governance.degraded_unconstrained": True})
        ending = await ran(bench, said)
    assert ending.status == "success"
    assert said.count(LOG) == 1
    effects = [e for e in bench.heard if isinstance(e, ToolReturned) and e.tool in ("edit_file", "git_push")]
    assert said.count(BANNER) >= len(effects) + 3  # each effect, each of three model calls
    with bench.session() as session:
        assert [line.delta for line in reviews.history(session, "coding")] == [0]


# -- the rule itself --------------------------------------------------------------------------------------

POLICIES: list[Any] = ["fail_closed", "sandbox_only", "unconstrained"]


@given(
    policy=st.sampled_from(POLICIES),
    operation=st.sampled_from(list(Operation)),
    effect=st.sampled_from(["pure", "local", "keyed", "once"]),
    age_ns=st.integers(-LONGEST_NS, 3 * LONGEST_NS),
)
def test_a_stricter_policy_never_permits_more(policy: Any, operation: Operation, effect: Any, age_ns: int) -> None:
    """Reads always pass; closed passes nothing else; sandbox only passes what every agent may, for an hour at most."""
    outage = Outage(10 * LONGEST_NS - age_ns, "redis")
    now_ns = 10 * LONGEST_NS
    permitted = [call_refusal(word, outage, operation, effect, now_ns) == "" for word in POLICIES]
    assert permitted == sorted(permitted)
    assert call_refusal(policy, None, operation, effect, now_ns) == ""
    assert all(permitted) or effect != "pure"
    assert not permitted[0] or effect == "pure"
    if permitted[1] and effect != "pure":
        assert cell(operation, Level.SANDBOX_ONLY) is Cell.ALLOW
        assert 0 <= age_ns <= LONGEST_NS
    assert model_refusal("fail_closed", outage, now_ns)
    assert bool(model_refusal("sandbox_only", outage, now_ns)) == (not 0 <= age_ns <= LONGEST_NS)
