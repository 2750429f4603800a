"""Who acts: an agent is registered before its run, its level is its own, and the run's end goes into its record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ooda.api import reviews
from ooda.api.session import Session
from ooda.api.standing import agent_name, register, share_reputation
from ooda.errors import ConfigError, IntegrationError, RefusedError
from ooda.events import CallRefused, Notified, ToolReturned
from ooda.governance.levels import Level
from ooda.governance.reputation import ReputationEvent
from ooda.governance.reputation_store import append, events_of, get_or_create_agent, known_agent
from ooda.models.scripted import Script, ScriptedModel, say
from ooda.store import Tx, outbox
from ooda.testing.runs import RunBench
from tests.services.supabase.fake import KEY, FakePostgrest

DAY = 86_400 * 10**9
NO_WALL = {"sandbox.backend": "none"}
PLAN = say("Plan.", ("update_plan", {"steps": [{"description": "x"}], "files_to_modify": ["sums.py"]}))
MEND = say("Mend.", ("edit_file", {"path": "sums.py", "old": "a - b", "new": "a + b"}))
FINISH = say("Done.", ("finish", {"summary": "add() adds now."}))
BELOW = """
[[rule]]
name = "no-pushes"
decision = "deny"
reason = "no pushes from below staging"
operations = ["push_feature_branch"]
below = "staging_access"
match = [{ tool = "git_push", operation = "push_feature_branch" }]
not_match = [{ tool = "read_file", operation = "read_workspace" }]
"""
GOOD: tuple[Script, ...] = (PLAN, MEND, FINISH)
HARM = say("Clean up.", ("run_shell_command", {"command": "rm -rf / --no-preserve-root"}))


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., RunBench]:
    """A bench with these settings."""

    def make(**settings: object) -> RunBench:
        return RunBench(tmp_path, settings={**NO_WALL, **settings})

    return make


def lines(session: Session) -> list[tuple[str, int, int]]:
    """The coding agent's record: kind, change and score."""
    return [(line.event.kind, line.delta, line.score) for line in reviews.history(session, "coding")]


def notices(session: Session, kind: str) -> list[dict[str, Any]]:
    pending = session.store.read(lambda tx: outbox.pending(tx, 2**62))
    return [msgspec.json.decode(n.payload) for n in pending if n.channel.endswith(kind)]


def earn(session: Session, successes: int) -> None:
    """Put checked successes into an agent's record, five a day, ending now."""
    start = session.clock.now_ns() - (successes // 5 + 1) * DAY
    events = [
        ReputationEvent(
            id=f"old{n}",
            kind="task_success",
            at_ns=start + n // 5 * DAY + n,
            run=f"r{n}",
            task=f"t{n}",
            is_checked=True,
        )
        for n in range(successes)
    ]

    def work(tx: Tx) -> None:
        append(tx, get_or_create_agent(tx, "coding_agent", start).id, events)

    session.store.write_now(work)


async def test_a_run_registers_its_agent_and_a_checked_success_counts_once(made: Callable[..., RunBench]) -> None:
    """Score 100 and `sandbox_only` at first; +2 for what validators passed and what was pushed; the same task again
    wins nothing."""
    bench = made()
    with bench.session() as session:
        assert (await bench.run(bench.task(), GOOD, session=session)).status == "success"
        (agent,) = reviews.standings(session)
        assert (agent.name, agent.standing.score, agent.level) == ("coding_agent", 102, Level.SANDBOX_ONLY)
        bench.git("update-ref", "refs/heads/main", "main")
        again = await bench.run(bench.task(), [PLAN, MEND, FINISH], session=session)
        assert again.status == "success"
        assert lines(session) == [("task_success", 2, 102), ("task_success", 0, 102)]
        audited = session.store.read(
            lambda tx: tx.execute(
                "SELECT subject, decision, details FROM audit WHERE action = 'reputation' ORDER BY seq"
            )
        )
        assert audited[0] == ("coding_agent", "task_success", '{"delta":2}')


async def test_a_success_that_nothing_checked_or_that_changed_nothing_outside_wins_nothing(
    tmp_path: Path,
) -> None:
    """`validation: none` is a success of the task and no merit of the agent."""
    bench = RunBench(tmp_path, {"README.md": "# nothing to test\n"}, NO_WALL)
    write = say("I write.", ("write_file", {"path": "README.md", "content": "# something\n"}))
    with bench.session() as session:
        ending = await bench.run(bench.task(validation="none"), [PLAN, write, FINISH], session=session)
        assert ending.status == "success"
        assert lines(session) == [("task_success", 0, 100)]
        (line,) = reviews.history(session, "coding")
        assert line.ignored == "nothing outside the model checked the success, or it had no side effect"


async def test_a_denial_costs_once_a_run_and_is_told_at_once(made: Callable[..., RunBench]) -> None:
    """-8 for the operation, however often it was tried; the notice is in the journal and in the outbox; a failure
    costs 3 on top."""
    bench = made()
    with bench.session() as session:
        ending = await bench.run(bench.task(limits={"steps": 6}), [PLAN, HARM, HARM, HARM, HARM], session=session)
        assert ending.status == "step_limit"
        refused = [e for e in bench.heard if isinstance(e, CallRefused)]
        told = [e for e in bench.heard if isinstance(e, Notified) and e.kind_ == "permission_denied"]
        assert len(refused) > 1
        assert len(told) == 1
        assert told[0].details["operation"] == "run_in_sandbox"
        assert len(notices(session, "permission_denied")) == 1
        assert lines(session) == [("permission_denied", -8, 92), ("task_failure", -3, 89)]


async def test_an_exceeded_budget_costs_ten(made: Callable[..., RunBench]) -> None:
    """Once for the task and the window that was full."""
    bench = made()
    with bench.session() as session:
        ending = await bench.run(bench.task(limits={"tokens": 9000}), GOOD, session=session)
        assert ending.status == "budget_exceeded"
        assert lines(session) == [("budget_exceeded", -10, 90)]
        (line,) = reviews.history(session, "coding")
        assert line.event.window == "life"
        assert (await bench.resume(ending.state.run, GOOD, session=session)).status == "budget_exceeded"
        assert lines(session) == [("budget_exceeded", -10, 90)]


async def test_a_score_that_falls_below_seventy_is_told_once(made: Callable[..., RunBench]) -> None:
    """With the score and the level; while it stays below, nothing is said again."""
    bench = made()
    with bench.session() as session:
        agent = await register(session, "coding")
        old = [ReputationEvent(id=f"f{n}", kind="task_failure", at_ns=n + 1, run=f"r{n}") for n in range(9)]
        session.store.write_now(lambda tx: append(tx, agent.id, old))
        first = await bench.run(bench.task(limits={"steps": 4}), [PLAN, FINISH], session=session)
        assert first.status == "step_limit"
        assert notices(session, "reputation_alert") == []  # 70 is not below 70
        await bench.run(bench.task(limits={"steps": 4}), [PLAN, FINISH], session=session)
        await bench.run(bench.task(limits={"steps": 4}), [PLAN, FINISH], session=session)
        (notice,) = notices(session, "reputation_alert")
        assert notice["message"] == "The reputation score of coding_agent fell to 67, below 70"
        assert notice["details"]["permission_level"] == "sandbox_only"


def test_a_level_is_earned_granted_by_a_person_and_lost_at_once(made: Callable[..., RunBench]) -> None:
    """The record decides what may be granted; a denial that takes the score below the line takes the level too."""
    with made().session() as session:
        earn(session, 20)
        with pytest.raises(RefusedError, match="goes up one level"):
            reviews.promote(session, "coding", Level.PROD_LOW_RISK, "in a hurry")
        assert (
            reviews.promote(session, "coding", Level.STAGING_ACCESS, "twenty clean tasks").level is Level.STAGING_ACCESS
        )
        with pytest.raises(RefusedError, match="checked successes at its level"):
            reviews.promote(session, "coding", Level.PROD_LOW_RISK, "again")

        down = [
            ReputationEvent(id=f"d{n}", kind="budget_exceeded", at_ns=0, task=f"x{n}", window="life") for n in range(6)
        ]
        session.store.write_now(lambda tx: append(tx, known_agent(tx, "coding").id, down))
        agent, review = reviews.reviewed(session, "coding")
        assert (agent.standing.score, agent.level) == (80, Level.SANDBOX_ONLY)
        assert any("was demoted less than 24 h ago" in reason for reason in review.reasons)

        reviews.appeal(session, "coding", "d5", "the cap was set wrongly")
        assert reviews.reviewed(session, "coding")[0].standing.score == 90
        with pytest.raises(RefusedError, match="taken back before"):
            reviews.appeal(session, "coding", "d5", "twice")


def test_a_person_takes_a_level_back(made: Callable[..., RunBench]) -> None:
    """At once, with a name and a reason, whatever the score says; the cool-down follows."""
    with made().session() as session:
        earn(session, 20)
        reviews.promote(session, "coding", Level.STAGING_ACCESS, "earned")
        assert reviews.demote(session, "coding", Level.SANDBOX_ONLY, "it deployed at night").level is Level.SANDBOX_ONLY
        agent, review = reviews.reviewed(session, "coding")
        assert agent.standing.score == 140
        assert any("demoted less than 24 h ago" in reason for reason in review.reasons)
        with pytest.raises(RefusedError, match="below that"):
            reviews.demote(session, "coding", Level.STAGING_ACCESS, "again")


def test_nobody_in_particular_decides_nothing(made: Callable[..., RunBench]) -> None:
    """A promotion has a person's name under it."""
    bench = made()
    bench.environ["OODA_USER"] = "policy"
    with bench.session() as session:
        earn(session, 20)
        with pytest.raises(RefusedError, match="set OODA_USER to your name"):
            reviews.promote(session, "coding", Level.STAGING_ACCESS, "x")


@pytest.mark.parametrize(
    ("setting", "successes", "level"),
    [
        (None, 0, Level.SANDBOX_ONLY),
        ("sandbox_only", 20, Level.SANDBOX_ONLY),
        ("staging_access", 0, Level.STAGING_ACCESS),
        ("prod_full_access", 0, Level.STAGING_ACCESS),
        ("prod_full_access", 20, Level.PROD_LOW_RISK),
    ],
)
async def test_the_operators_level_is_a_review_and_the_score_stays_the_ceiling(
    made: Callable[..., RunBench], setting: str | None, successes: int, level: Level
) -> None:
    """Neither the setting nor the score alone gives a level."""
    bench = made(**({"governance.level": setting} if setting else {}))
    with bench.session() as session:
        earn(session, successes)
        assert (await register(session, "coding")).level is level


# -- Supabase ---------------------------------------------------------------------------------------------


def shared(fake: FakePostgrest) -> dict[str, object]:
    return {"governance.supabase_url": fake.url, "governance.supabase_service_role_key": KEY}


async def test_machines_that_share_a_project_share_the_record(tmp_path: Path) -> None:
    """Each store gets what the other has added, under the id the project gave; nothing counts twice."""
    async with FakePostgrest() as fake:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
        one, two = (RunBench(tmp_path / name, settings={**NO_WALL, **shared(fake)}) for name in ("one", "two"))
        with one.session() as first, two.session() as second:
            assert (await one.run(one.task(), GOOD, session=first)).status == "success"
            there = await register(second, "coding")
            assert there.standing.score == 102
            (row,) = fake.tables["agents"]
            assert str(there.id) == row["id"]
            await two.run(two.task(limits={"steps": 4}), [PLAN, FINISH], session=second)
            assert (await register(first, "coding")).standing.score == 99
            assert len(fake.tables["reputation_events"]) == 2


async def test_what_could_not_be_told_is_told_with_the_next_registration(tmp_path: Path) -> None:
    """The local record is complete in the meantime."""
    async with FakePostgrest() as fake:
        bench = RunBench(tmp_path, settings={**NO_WALL, **shared(fake)})
        with bench.session() as session:
            await register(session, "coding")

            def down(live: object) -> None:
                fake.fault = lambda: (503, {}, b"{}")

            assert (await bench.run(bench.task(), GOOD, session=session, meanwhile=down)).status == "success"
            assert (lines(session), fake.tables["reputation_events"]) == ([("task_success", 2, 102)], [])
            with pytest.raises(IntegrationError):
                await share_reputation(session, agent_name("coding"))
            fake.fault = lambda: None
            await share_reputation(session, agent_name("coding"))
            assert [row["kind"] for row in fake.tables["reputation_events"]] == ["task_success"]
            record = session.store.read(lambda tx: events_of(tx, known_agent(tx, "coding").id))
            assert [event.id for event in record] == [row["id"] for row in fake.tables["reputation_events"]]


async def test_a_level_that_is_lost_while_a_run_is_under_way_is_lost_for_its_next_effect(
    made: Callable[..., RunBench], tmp_path: Path
) -> None:
    """Another run's failures take it away between this run's decision and its push: what it may no longer do it does
    not do, and the audit says so; what the lower level allows goes on."""
    rules = tmp_path / "rules.toml"
    rules.write_text(BELOW)
    bench = made(**{"governance.level": "staging_access", "governance.rules_file": str(rules)})
    with bench.session() as session:

        class Demoting(ScriptedModel):
            async def complete(self, request: Any, grant: Any, **more: Any) -> Any:
                if len(self.requests) == 1:
                    fail(session, 4)  # 88: below the 90 that staging needs
                return await super().complete(request, grant, **more)

        ending = await bench.run(bench.task(), Demoting(GOOD), session=session)

        done = {e.tool: e for e in bench.heard if isinstance(e, ToolReturned)}
        assert done["edit_file"].status == "ok"
        assert done["git_push"].status == "error"
        said = done["git_push"].text.text
        assert "lowered to sandbox_only after it was decided, and no pushes from below staging" in said
        assert ending.status != "success"
        assert bench.branches().keys() == {"main"}
        rows = session.store.read(
            lambda tx: tx.execute(
                "SELECT subject, decision FROM audit WHERE action = 'refuse' AND run = ?", (ending.state.run,)
            )
        )
    assert ("git_push", "level") in rows


def fail(session: Session, times: int) -> None:
    """Failures of other runs, now."""
    now_ns = session.clock.now_ns()
    events = [
        ReputationEvent(id=f"bad{n}", kind="task_failure", at_ns=now_ns + n, run=f"b{n}", task=f"b{n}")
        for n in range(times)
    ]
    session.store.write_now(lambda tx: append(tx, get_or_create_agent(tx, "coding_agent", now_ns).id, events))


REVIEWS: dict[str, tuple[Callable[[Session], object], str]] = {
    "a level it has": (
        lambda session: reviews.promote(session, "coding", Level.SANDBOX_ONLY, "x"),
        "is granted sandbox_only already; a promotion names the level above",
    ),
    "two levels at once": (
        lambda session: reviews.promote(session, "coding", Level.PROD_LOW_RISK, "x"),
        "a promotion goes up one level: coding_agent can be promoted to staging_access now",
    ),
    "no word why": (
        lambda session: reviews.promote(session, "coding", Level.STAGING_ACCESS, "  "),
        "`--note` is empty; say why",
    ),
    "below the lowest": (
        lambda session: reviews.demote(session, "coding", Level.SANDBOX_ONLY, "x"),
        "has sandbox_only, and there is no level below that",
    ),
}


@pytest.mark.parametrize(("decide", "why"), REVIEWS.values(), ids=REVIEWS)
def test_a_review_that_cannot_be_meant_is_refused_and_changes_nothing(
    made: Callable[..., RunBench], decide: Callable[[Session], object], why: str
) -> None:
    """The message says what could be meant."""
    with made().session() as session:
        earn(session, 15)
        before = lines(session)
        with pytest.raises((RefusedError, ConfigError), match=why):
            decide(session)
        assert lines(session) == before
        assert reviews.promote(session, "coding", Level.STAGING_ACCESS, "ten good weeks").level is Level.STAGING_ACCESS
