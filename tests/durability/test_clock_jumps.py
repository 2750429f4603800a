"""A clock that is set while a run goes on: nothing is repeated, the books agree, and going back is told."""

from __future__ import annotations

import pytest

from ooda.api.runs import replay_run
from ooda.api.session import Session
from ooda.clock import ManualClock
from ooda.events import Notified, Stopped, ToolReturned
from ooda.governance import audit
from ooda.models.request import ModelReply, ModelRequest
from ooda.models.scripted import say
from ooda.testing.runs import RunBench

pytestmark = pytest.mark.bubblewrap

PLAN = say("Plan.", ("update_plan", {"steps": [{"description": "Add instead of subtract"}]}))
MEND = say("Mend.", ("edit_file", {"path": "sums.py", "old": "a - b", "new": "a + b"}))
FINISH = say("Done.", ("finish", {"summary": "add() adds now."}))
HOUR_S = 3_600


@pytest.mark.parametrize(
    ("hours", "status"),
    [
        pytest.param(-26, "success", id="back by a day"),
        pytest.param(-2, "success", id="back over the hour"),
        pytest.param(0.01, "success", id="forward a little"),
        pytest.param(3, "success", id="forward past every hold and lease"),
        pytest.param(30, "timeout", id="forward past the run's own end"),
    ],
)
async def test_a_clock_that_jumps_in_the_middle_changes_no_fact(bench: RunBench, hours: float, status: str) -> None:
    """Only a jump past the wall-clock limit ends the run, before anything is pushed."""
    clock = ManualClock(1_790_000_000_000_000_000, step_ns=1_000_000)

    def jumping(request: ModelRequest) -> ModelReply:
        clock.advance(hours * HOUR_S)
        return MEND

    def session() -> Session:
        return Session.open(environ=bench.environ, cwd=bench.folder, overrides=bench.settings, clock=clock)

    with session() as own:
        ending = await bench.run(bench.task(), [PLAN, jumping, FINISH], session=own)
    run = ending.state.run
    assert ending.status == status, ending.reason
    if status == "timeout":
        assert "`wall_s`: 108000 of 86400" in ending.reason
        assert set(bench.branches()) == {"main"}
        return

    done = [event.tool for event in bench.heard if isinstance(event, ToolReturned)]
    assert done.count("edit_file") == done.count("git_commit") == done.count("git_push") == 1
    assert len([event for event in bench.heard if isinstance(event, Stopped)]) == 1
    told = [event for event in bench.heard if isinstance(event, Notified) and "clock shows" in event.message]
    assert len(told) == (hours < 0)
    with session() as own:
        spent, held = own.store.read(
            lambda tx: tx.execute(
                "SELECT SUM(spent_tokens), SUM(reserved_cost) FROM budget_windows WHERE span = 'life'"
            )
        )[0]
        charged = own.store.read(lambda tx: tx.execute("SELECT SUM(tokens) FROM charges"))[0][0]
        scopes = own.store.read(lambda tx: tx.execute("SELECT COUNT(*) FROM budget_windows WHERE span = 'life'"))[0][0]
        assert (spent, held) == (charged * scopes, 0)
        assert audit.verify(own.store).is_clean
        assert replay_run(own, run).divergence is None
