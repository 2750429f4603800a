"""`ooda run`: what goes to which stream, in which form, and how each end is told to a script."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ooda.models.scripted import say
from ooda.testing.provider import Behaviour, broken, empty, silent
from tests.cli.home import FINISH, GOOD, NO_WALL, PLAN, Home

Make = Callable[..., Home]


def test_the_result_is_on_stdout_and_progress_on_stderr(home: Make) -> None:
    """Phases, steps, tools, cost and what is left while it runs; status and facts when it is over; no colours."""
    there = home(GOOD)
    done = there.run()

    assert done.code == 0
    assert done.out.startswith("success: Pushed feat/")
    assert {line.split()[0] for line in done.out.splitlines()[1:]} >= {"run", "branch", "commit", "cost"}
    phases = [line.split()[1] for line in done.err.splitlines() if line.startswith("──")]
    assert phases[:3] == ["initialise", "clone", "branch"]
    assert phases[-1] == "report"
    assert "    4 edit_file ✓ Edited `sums.py` at line 2.  [$0.000000 spent, $1.0000 left]" in done.err
    assert "\x1b" not in done.out + done.err
    assert there.commits() == [next(line.split()[1] for line in done.out.splitlines() if "commit" in line)]


def test_json_is_the_required_result_and_colours_are_for_people(home: Make) -> None:
    """One object on stdout, whatever progress looks like."""
    done = home(GOOD).run("--json", "--color", "always")

    result = done.json()
    assert (done.code, result["success"], result["status"], result["verified"]) == (0, True, "success", True)
    assert result["validation_result"]["tests_passed"] == 1
    assert "\x1b[" in done.err
    assert "\x1b" not in done.out


def test_whoever_runs_it_can_be_named(home: Make) -> None:
    """In a container the login name says nothing; journal and list carry the name that is set."""
    there = home(GOOD)
    done = there.ooda("run", there.task(), "--jsonl", "--quiet", *NO_WALL, environ={"OODA_USER": "ada"})

    assert (done.code, done.err) == (0, "")
    assert done.lines()[0]["event"]["run_by"] == "ada"
    assert [run["run_by"] for run in there.runs()] == ["ada"]


def test_jsonl_is_every_event_and_then_the_result(home: Make) -> None:
    """The task comes from standard input; nothing is on stderr when it shall be quiet; the journal's requests are
    those the provider got."""
    there = home(GOOD)
    task = Path(there.task()).read_text()
    done = there.ooda("run", "-", "--jsonl", "--quiet", *NO_WALL, stdin=task)

    *events, last = done.lines()
    assert (done.code, done.err) == (0, "")
    assert [line["seq"] for line in events] == list(range(len(events)))
    assert (events[0]["event"]["kind"], events[-1]["event"]["kind"]) == ("RunStarted", "Stopped")
    assert last["result"]["status"] == "success"
    asked = [line["event"]["messages"] for line in events if line["event"]["kind"] == "ModelAsked"]
    assert asked == [len(sent["messages"]) for sent in there.provider.requests]


WRITE = say("I write.", ("write_file", {"path": "README.md", "content": "# something\n"}))
NO_TESTS = {"README.md": "# nothing to test\n"}
ENDS: dict[str, tuple[tuple[Behaviour, ...], dict[str, Any], int, str]] = {
    "success": ((PLAN, WRITE, FINISH), {"validation": "none"}, 0, ""),
    "failed": ((), {"validation": ["true"], "repository": {"remote_url": "/nowhere.git"}}, 1, "runs show run-"),
    "refused": ((), {"grants": []}, 3, "another task is a new run"),
    "budget_exceeded": ((PLAN,), {"limits": {"tokens": 9000}}, 4, "--limit usd=2"),
    "step_limit": ((PLAN, WRITE), {"limits": {"steps": 4}}, 5, "--limit steps=400"),
    "stuck": ((empty(), empty(), empty()), {}, 5, "runs show run-"),
    "model_unavailable": ((broken(401, "Incorrect API key provided"),), {}, 6, "--model NAME"),
    "unverified": ((PLAN, WRITE, FINISH), {}, 7, "`validation:`"),
    "timeout": ((PLAN, silent()), {"limits": {"wall_clock": 1}}, 124, "--limit wall_clock=48h"),
}


@pytest.mark.parametrize("status", ENDS)
def test_every_end_has_its_exit_code_and_says_what_to_do_next(home: Make, status: str) -> None:
    """Refused, broke, stuck, unverified and undecided are told apart; nothing half done is pushed."""
    script, changes, code, advice = ENDS[status]
    there = home(script, files=NO_TESTS)
    done = there.run("--json", **changes)

    assert (done.code, done.json()["status"]) == (code, status)
    assert advice in done.err.splitlines()[-1]
    assert len(there.commits()) == (1 if status in ("success", "unverified") else 0)


def test_the_bare_request_of_the_requirement_ends_in_a_push_of_its_feature_branch(home: Make) -> None:
    """CodingAgentRequest as other programs send it: no kind, no grants; the base branch stays what it was."""
    there = home(GOOD)
    before = there.bench.git("rev-parse", "main")
    request = {
        "agent": {"model": "z-ai/glm-4.6:exacto", "instructions": None},
        "repository": {"remote_url": str(there.bench.remote), "branch": "main"},
        "task": {
            "id": "task-789",
            "project_id": "project-456",
            "company_id": "company-123",
            "title": "Make add add",
            "description": "add() subtracts.",
            "requirements": ["add() adds"],
            "tags": ["arithmetic"],
            "context": {},
        },
    }
    done = there.ooda("run", there.write("request.json", json.dumps(request)), "--json", "--quiet", *NO_WALL)

    result = done.json()
    assert (done.code, result["success"], result["workflow_id"]) == (0, True, result["run_id"])
    assert [result[name] for name in ("company_id", "project_id", "task_id")] == [
        "company-123",
        "project-456",
        "task-789",
    ]
    assert set(result["implementation_plan"]) == {
        "steps",
        "files_to_create",
        "files_to_modify",
        "estimated_steps",
        "validation_criteria",
    }
    assert set(result["validation_result"]) == {"success", "issues", "suggestions", "tests_passed", "tests_failed"}
    assert (result["error_message"], result["artifacts"]["llm_calls"]) == (None, len(there.provider.requests))
    assert set(there.bench.branches()) == {"main", result["branch_name"]}
    assert there.bench.git("rev-parse", result["branch_name"]).strip() == result["commit_hash"]
    assert there.bench.git("rev-parse", "main") == before


def test_a_request_that_grants_something_else_only_is_refused_before_it_costs_anything(home: Make) -> None:
    """A list that is written is meant: what does not stand in it is not granted."""
    there = home()
    done = there.run(grants=["use_network"])

    assert (done.code, there.provider.requests) == (3, [])
    assert "its `grants: [use_network]` leave that out" in done.out


def test_a_run_stopped_by_a_limit_goes_on_with_more(home: Make) -> None:
    """Another ceiling for the same run; a mistyped one is told before anything starts."""
    there = home(GOOD)
    assert there.run(limits={"steps": 4}).code == 5
    run = there.runs()[0]["run"]

    wrong = there.ooda("runs", "resume", run, "--limit", "stps=40", *NO_WALL)
    assert (wrong.code, wrong.out) == (2, "")
    assert "did you mean `steps`?" in wrong.err

    done = there.ooda("runs", "resume", run, "--limit", "steps=40", *NO_WALL)
    assert done.code == 0
    assert "    5 finish ✓ add() adds now.  [$0.000000 spent, $1.0000 left]" in done.err
    assert len(there.commits()) == 1


def test_a_run_goes_on_with_its_own_model_or_with_the_one_that_is_named(home: Make) -> None:
    """The model given on the command line is the run's, not the process's."""
    there = home([PLAN, broken(404, "no such model"), *GOOD[1:]])
    assert there.run("--model", "first").code == 6
    run = there.runs()[0]["run"]
    there.provider.then(FINISH)

    assert there.ooda("runs", "resume", run, "--limit", "steps=4", *NO_WALL).code == 5
    assert there.ooda("runs", "resume", run, "--model", "second", "--limit", "steps=40", *NO_WALL).code == 0
    assert [request["model"] for request in there.provider.requests] == ["first", "first", "first", "second"]
