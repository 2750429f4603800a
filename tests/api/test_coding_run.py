"""The coding agent from task to pushed branch: a scripted model, everything else real."""

from __future__ import annotations

import msgspec
import pytest

from ooda.api.result import result_of
from ooda.errors import ConfigError
from ooda.events import CallRefused, Notified, PhaseEntered, ToolReturned
from ooda.models.scripted import ScriptedModel, say
from ooda.task import parse_task
from ooda.testing.runs import RunBench

pytestmark = pytest.mark.bubblewrap

PLAN = say(
    "Plan.", ("update_plan", {"steps": [{"description": "Add instead of subtract"}], "files_to_modify": ["sums.py"]})
)
MEND = say("Mend.", ("edit_file", {"path": "sums.py", "old": "a - b", "new": "a + b"}))
FINISH = say("Done.", ("finish", {"summary": "add() adds now."}))


async def test_a_run_ends_with_one_commit_on_a_pushed_branch(bench: RunBench) -> None:
    """Clone, branch, plan, implement, validate, commit, push, report: success is what the validators saw."""
    ending = await bench.run(bench.task(), [PLAN, MEND, FINISH])

    assert (ending.status, ending.state.facts["pushed"]) == ("success", True)
    branch = ending.state.facts["branch"]
    assert branch.startswith("feat/") and branch.endswith("-make-add-add")
    assert set(bench.branches()) == {"main", branch}
    assert bench.git("rev-list", "--count", f"main..{branch}").strip() == "1"
    message = bench.git("log", "-1", "--format=%B", branch)
    assert message.startswith("Make add add\n\nadd() adds now.") and "Ooda-Task: T-1" in message
    assert "a + b" in bench.git("show", f"{branch}:sums.py")


async def test_phases_come_in_the_required_order_and_each_is_noticed(bench: RunBench) -> None:
    """The nine phases, and the requirement's notification types."""
    await bench.run(bench.task(), [PLAN, MEND, FINISH])

    phases = [event.phase for event in bench.heard if isinstance(event, PhaseEntered)]
    assert phases == ["initialise", "clone", "branch", "plan", "implement", "validate", "commit", "push", "report"]
    kinds = [event.kind_ for event in bench.heard if isinstance(event, Notified)]
    assert sorted(set(kinds)) == sorted(
        {
            "workflow_started",
            "repo_cloned",
            "branch_created",
            "plan_created",
            "implementation_started",
            "implementation_step",
            "validation_started",
            "validation_completed",
            "changes_committed",
            "changes_pushed",
            "workflow_completed",
        }
    )


async def test_a_failed_validation_starts_another_round_with_what_it_said(bench: RunBench) -> None:
    """The model hears the issues; only the round that passes is committed."""
    wrong = say("Guess.", ("edit_file", {"path": "sums.py", "old": "a - b", "new": "a * b"}))
    again = say("Now right.", ("edit_file", {"path": "sums.py", "old": "a * b", "new": "a + b"}))
    model = ScriptedModel([PLAN, wrong, FINISH, again, FINISH])

    ending = await bench.run(bench.task(), model)

    assert (ending.status, ending.state.round) == ("success", 2)
    briefs = [m["content"] for m in msgspec.json.decode(b"[" + bytes(model.requests[3].messages) + b"]")]
    assert "Validation of your last round failed" in briefs[-1] and "test_adds" in briefs[-1]


async def test_rounds_that_never_pass_end_at_the_limit_and_push_nothing(bench: RunBench) -> None:
    """A broken change is never pushed."""
    wrong = say("Guess.", ("write_file", {"path": "note.txt", "content": "x\n"}))
    task = bench.task(limits={"rounds": 2})

    ending = await bench.run(task, [PLAN, wrong, FINISH, FINISH])

    assert ending.status == "step_limit"
    assert set(bench.branches()) == {"main"}


async def test_a_repository_without_tests_ends_unverified(tmp_path: object) -> None:
    """Done and pushed, but nothing could check it: its own status and exit code."""
    bench = RunBench(tmp_path, {"README.md": "# nothing to test\n"})  # type: ignore[arg-type]
    write = say("Write.", ("write_file", {"path": "README.md", "content": "# something\n"}))

    ending = await bench.run(bench.task(), [PLAN, write, FINISH])

    assert ending.status == "unverified" and "no tests were found" in ending.reason
    assert len(bench.branches()) == 2


async def test_validation_none_is_success_without_a_check(tmp_path: object) -> None:
    """The task says that nothing can check it."""
    bench = RunBench(tmp_path, {"README.md": "# nothing to test\n"})  # type: ignore[arg-type]
    write = say("Write.", ("write_file", {"path": "README.md", "content": "# something\n"}))

    ending = await bench.run(bench.task(validation="none"), [PLAN, write, FINISH])

    assert ending.status == "success"


@pytest.mark.parametrize("grants", [[], ["open_pull_request"]], ids=["nothing", "something else"])
async def test_a_task_that_leaves_the_push_out_is_refused_before_money_is_spent(
    bench: RunBench, grants: list[str]
) -> None:
    """The refusal names what was given and the word to add."""
    ending = await bench.run(bench.task(grants=grants), [])

    assert ending.status == "refused"
    assert f"`grants: [{', '.join(grants)}]`" in ending.reason and "add `push_feature_branch`" in ending.reason
    assert ending.state.spent.model_calls == 0


async def test_a_bare_coding_agent_request_runs_to_its_push(bench: RunBench) -> None:
    """The requirement's own document, with nothing of ours in it: its feature branch is pushed, main stays."""
    request = {
        "agent": {"model": "z-ai/glm-4.6:exacto", "instructions": None},
        "repository": {"remote_url": str(bench.remote), "branch": "main"},
        "task": {
            "id": "task-789",
            "project_id": "project-456",
            "company_id": "company-123",
            "title": "Make add add",
            "description": "add() subtracts.",
            "requirements": ["add() adds"],
            "tags": ["bug"],
            "context": {},
        },
    }
    before = bench.git("rev-parse", "main")

    ending = await bench.run(parse_task(request, "request"), [PLAN, MEND, FINISH])

    assert (ending.status, ending.state.facts["pushed"]) == ("success", True)
    assert set(bench.branches()) == {"main", ending.state.facts["branch"]}
    assert bench.git("rev-parse", "main") == before


async def test_a_wrong_branch_names_those_of_the_remote(bench: RunBench) -> None:
    """The run fails with one sentence that helps."""
    task = bench.task(repository={"remote_url": str(bench.remote), "branch": "mian"})

    ending = await bench.run(task, [])

    assert ending.status == "failed" and "main" in ending.reason


async def test_an_empty_repository_says_so(tmp_path: object) -> None:
    """There is nothing to start from."""
    bench = RunBench(tmp_path, {})  # type: ignore[arg-type]

    ending = await bench.run(bench.task(), [])

    assert ending.status == "failed" and "empty" in ending.reason


async def test_a_run_that_changes_nothing_fails_and_pushes_nothing(bench: RunBench) -> None:
    """A claim without a change is not success."""
    task = bench.task(validation=["true"])

    ending = await bench.run(task, [PLAN, FINISH])

    assert ending.status == "failed" and "without changing a file" in ending.reason
    assert set(bench.branches()) == {"main"}


async def test_a_rejected_push_fails_and_can_be_resumed(bench: RunBench) -> None:
    """A hook of the remote declines; when it no longer does, the same run pushes its one commit."""
    hook = bench.remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho no pushes today >&2\nexit 1\n")
    hook.chmod(0o755)

    ending = await bench.run(bench.task(), [PLAN, MEND, FINISH])
    assert ending.status == "failed" and "no pushes today" in ending.reason
    assert set(bench.branches()) == {"main"}

    hook.unlink()
    again = await bench.resume(ending.state.run, [])
    assert again.status == "success"
    branch = again.state.facts["branch"]
    assert bench.git("rev-list", "--count", f"main..{branch}").strip() == "1"


async def test_calls_the_model_gets_wrong_are_told_and_the_run_goes_on(bench: RunBench) -> None:
    """Bad JSON, an unknown tool and wrong arguments are results, not ends."""
    confused = say(
        "Hm.", ("edit_fiel", {"path": "sums.py"}), ("read_file", '{"path": '), ("read_file", {"file": "sums.py"})
    )

    ending = await bench.run(bench.task(), [PLAN, confused, MEND, FINISH])

    refused = [event for event in bench.heard if isinstance(event, CallRefused)]
    assert ending.status == "success"
    assert [event.why for event in refused] == ["unknown_tool", "arguments", "arguments"]
    assert "edit_file" in refused[0].reason


async def test_a_tool_of_another_phase_is_not_available(bench: RunBench) -> None:
    """Nothing is written while planning."""
    early = say("Too early.", ("write_file", {"path": "x", "content": "x"}))

    ending = await bench.run(bench.task(), [early, PLAN, MEND, FINISH])

    refused = [event for event in bench.heard if isinstance(event, CallRefused)]
    assert ending.status == "success" and "phase `plan`" in refused[0].reason


async def test_setup_commands_prepare_what_later_commands_find(bench: RunBench) -> None:
    """They run once after the clone; what they make is shown to the agent's commands and to validation."""
    script = "printf '#!/bin/sh\\necho prepared\\n' > /environment/bin/tell"
    make = f"mkdir -p /environment/bin && {script} && chmod +x /environment/bin/tell"
    task = bench.task(environment={"setup": [make]}, validation=['test "$(tell)" = prepared'])
    ask = say("Is it there?", ("run_shell_command", {"command": "tell"}))

    first = await bench.run(task, [PLAN, ask, MEND, FINISH])
    again = await bench.run(task, [PLAN, MEND, FINISH])

    told = [e.text.text for e in bench.heard if isinstance(e, ToolReturned) and e.tool == "run_shell_command"]
    prepared = [e.data.text for e in bench.heard if isinstance(e, ToolReturned) and e.tool == "prepare_environment"]
    assert (first.status, again.status) == ("success", "success")
    assert "prepared" in told[0]
    assert ['"reused":false' in prepared[0], '"reused":true' in prepared[1]] == [True, True]


async def test_setup_that_fails_ends_the_run_before_the_model_is_asked(bench: RunBench) -> None:
    """With what the command said."""
    ending = await bench.run(bench.task(environment={"setup": ["echo no such thing >&2; exit 3"]}), [])

    assert ending.status == "failed" and "no such thing" in ending.reason
    assert ending.state.spent.model_calls == 0


async def test_the_result_is_the_required_one(bench: RunBench) -> None:
    """CodingAgentResult with run id, cost, tokens, artifacts and verified."""
    with bench.session() as session:
        ending = await bench.run(bench.task(), [PLAN, MEND, FINISH], session=session)
        result = result_of(session, bench.live.kind, ending.state)

    assert result["success"] is True and result["verified"] is True
    assert result["validation_result"] == {
        "success": True,
        "issues": [],
        "suggestions": [],
        "tests_passed": 1,
        "tests_failed": 0,
    }
    assert result["implementation_plan"]["steps"] == ["Add instead of subtract"]
    assert result["implementation_plan"]["files_to_modify"] == ["sums.py"]
    assert result["commit_hash"] == bench.branches()[result["branch_name"]]
    assert (result["task_id"], result["company_id"], result["error_message"]) == ("T-1", "local", None)
    assert result["artifacts"]["llm_calls"] == 3


async def test_an_unpriced_model_is_refused_with_the_line_to_add(bench: RunBench) -> None:
    """Money is capped, so a model nobody knows the price of is not asked; nothing is recorded."""

    class Unknown(ScriptedModel):
        is_loopback = False

    with pytest.raises(ConfigError, match="has no known price"):
        await bench.run(bench.task(), Unknown([PLAN], name="nobody/knows-1"))
