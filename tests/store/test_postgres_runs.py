"""Whole runs whose store is a PostgreSQL server: the same journal, books and audit as on SQLite."""

from pathlib import Path

import pytest

from ooda.api.people import answer_approval, waiting_for
from ooda.api.runs import entries_of
from ooda.governance.audit import verify
from ooda.models.request import ModelReply
from ooda.models.scripted import ScriptedModel, say
from ooda.testing.runs import RunBench
from tests.store.test_postgres import drop_connections

pytestmark = pytest.mark.bubblewrap

PLAN = say(
    "Plan.", ("update_plan", {"steps": [{"description": "Add instead of subtract"}], "files_to_modify": ["sums.py"]})
)
MEND = say("Mend.", ("edit_file", {"path": "sums.py", "old": "a - b", "new": "a + b"}))
FINISH = say("Done.", ("finish", {"summary": "add() adds now."}))


@pytest.fixture
def bench(tmp_path: Path, postgres_url: str) -> RunBench:
    return RunBench(tmp_path, settings={"store.url": postgres_url})


async def test_a_run_is_carried_to_its_pushed_branch(bench: RunBench) -> None:
    """Journal, money, notices, activities and audit stand on the server; nothing is written to a file beside it."""
    ending = await bench.run(bench.task(), [PLAN, MEND, FINISH])

    assert (ending.status, ending.state.facts["pushed"]) == ("success", True)
    with bench.session() as session:
        entries = entries_of(session, ending.state.run)
        activities = session.store.read(lambda tx: tx.execute("SELECT COUNT(*) FROM task_activities"))
        states = session.store.read(lambda tx: tx.execute("SELECT DISTINCT state FROM reservations"))
        assert not session.places.database.exists()
        assert verify(session.store, session.anchors, session.audit_key(make=False)).is_clean
    assert len(entries) == ending.state.next_seq
    assert activities[0][0] > 5
    assert states == [("settled",)]


ASK = """
[[rule]]
name = "ask-before-edits"
decision = "ask"
reason = "this test wants to be asked"
tools = ["edit_file"]
match = [{ tool = "edit_file", path = "a" }]
not_match = [{ tool = "read_file", path = "a" }]
"""


async def test_a_waiting_run_is_answered_by_another_process_and_resumed(tmp_path: Path, postgres_url: str) -> None:
    """The question, the answer and the lease are rows any machine can reach."""
    rules = tmp_path / "rules.toml"
    rules.write_text(ASK)
    bench = RunBench(tmp_path, settings={"store.url": postgres_url, "governance.rules_file": str(rules)})

    asked = await bench.run(bench.task(), [PLAN, MEND])
    with bench.session() as session:
        (question,) = waiting_for(session)
        answer_approval(session, question.id, "approve", "")
    ending = await bench.resume(asked.state.run, [FINISH])

    assert (asked.status, question.tool, ending.status) == ("waiting", "edit_file", "success")


async def test_a_connection_lost_during_a_run_costs_the_run_nothing(bench: RunBench, postgres_url: str) -> None:
    """Between two transactions it is made again: everything acknowledged is there, and no effect is repeated."""

    def lost(request: object) -> ModelReply:
        drop_connections(postgres_url)
        return MEND

    ending = await bench.run(bench.task(), ScriptedModel([PLAN, lost, FINISH]))

    assert ending.status == "success"
    assert len(bench.branches()) == 2
