"""The coding agent: nine phases from a task to a pushed branch. Data and pure functions; no loop of its own.

Fixed phases (clone, branch, validate, commit, push, report) are policies that make one tool call; plan and implement
are decided by a model. A round is one implement and validate; a failed validation starts another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ooda.agents.coding.report import validation_text
from ooda.agents.policies import call_once, keep, one_call, tool_action
from ooda.events import Body
from ooda.prompts import render
from ooda.runtime.agent import AgentSpec, Phase, Traits
from ooda.runtime.decide import Decision, ModelDecider, Notice, PolicyDecider, Result, Situation
from ooda.task import CodingTask

__all__ = ["MODEL_TOOLS", "PLAN_TOOLS", "coding_agent"]

PLAN_TOOLS = (
    "list_directory",
    "read_file",
    "search_files",
    "run_shell_command",
    "read_output",
    "update_plan",
)
MODEL_TOOLS = (
    "list_directory",
    "read_file",
    "search_files",
    "write_file",
    "edit_file",
    "run_shell_command",
    "poll_process",
    "stop_process",
    "read_output",
    "update_plan",
    "finish",
)


def coding_agent(task: CodingTask, traits: Mapping[str, Traits]) -> AgentSpec:
    """The agent for one coding task.

    Args:
        task: A parsed task; its secrets are references.
        traits: What the loop needs to know of every tool of the run.
    """
    work = task.task
    instructions = task.agent.instructions
    extra = [f"Tags: {', '.join(work.tags)}"] if work.tags else []
    extra += [f"{name}: {value}" for name, value in work.context.items()]
    return AgentSpec(
        name="coding",
        rules=Body(
            render("coding_rules", instructions=f"\nFrom the operator:\n{instructions}" if instructions else "")
        ),
        brief=Body(
            render(
                "coding_task",
                id=work.id,
                title=work.title,
                description=work.description or "(no description)",
                requirements="\n".join(f"- {line}" for line in work.requirements) or "- (none listed)",
                extra="\n" + "\n".join(extra) if extra else "",
            )
        ),
        traits=traits,
        phases=_phases(task),
        success=lambda situation: _success(task, situation),
        stopped=_stopped,
    )


def _phases(task: CodingTask) -> tuple[Phase, ...]:
    return (
        Phase(
            name="initialise",
            decider=PolicyDecider(lambda situation: _initialise(task, situation)),
            entered=lambda situation: Notice("workflow_started", f"Work on “{task.task.title}” begins"),
        ),
        Phase(
            name="clone",
            decider=PolicyDecider(lambda situation: _clone(task, situation)),
            tools=("git_clone", "prepare_environment"),
        ),
        Phase(
            name="branch",
            decider=one_call(lambda s: tool_action("git_branch"), _branched),
            tools=("git_branch",),
        ),
        Phase(
            name="plan",
            decider=ModelDecider(exit=_planned),
            tools=PLAN_TOOLS,
            brief=lambda s: Body(render("coding_plan", branch=str(s.facts.get("branch", "")))),
        ),
        Phase(
            name="implement",
            decider=ModelDecider(exit=_finished),
            tools=MODEL_TOOLS,
            brief=_implement_brief,
            entered=lambda s: Notice("implementation_started", f"Implementation, round {s.round}", {"round": s.round}),
            stepped=_stepped,
            is_round=True,
        ),
        Phase(
            name="validate",
            decider=one_call(lambda s: tool_action("run_validation"), _validated),
            tools=("run_validation",),
            entered=lambda s: Notice("validation_started", f"Validation of round {s.round}", {"round": s.round}),
        ),
        Phase(
            name="commit",
            decider=one_call(lambda s: tool_action("git_commit", message=_commit_message(task, s)), _committed),
            tools=("git_commit",),
        ),
        Phase(
            name="push",
            decider=one_call(lambda s: tool_action("git_push"), _pushed),
            tools=("git_push",),
        ),
        Phase(name="report", decider=PolicyDecider(lambda situation: Decision(done=True, reason="report"))),
    )


def _initialise(task: CodingTask, situation: Situation) -> Decision:
    if "push_feature_branch" not in task.grants:
        return Decision(
            stop="refused",
            reason=f"This task ends with a push, and its `grants: [{', '.join(task.grants)}]` leave that out. "
            "Leave `grants` out of the task or add `push_feature_branch`, and run it again.",
        )
    return Decision(done=True, reason="the task is understood")


def _clone(task: CodingTask, situation: Situation) -> Decision:
    """Clone; then, where the task says so, prepare the environment (its commands may need the repository's files)."""
    last = situation.results[-1] if situation.results else None
    if last is not None and last.tool == "git_clone" and last.is_ok and task.environment.setup:
        cloned = _cloned(situation, last)
        actions = (tool_action("prepare_environment"),)
        return msgspec.structs.replace(cloned, done=False, actions=actions)
    if last is not None and last.tool == "prepare_environment":
        return call_once(
            situation,
            lambda s: tool_action("prepare_environment"),
            lambda s, result: Decision(
                done=True, reason="the environment is ready", facts=keep(environment=result.facts().get("key"))
            ),
        )
    return call_once(situation, lambda s: tool_action("git_clone"), _cloned)


def _cloned(situation: Situation, result: Result) -> Decision:
    facts = result.facts()
    return Decision(
        done=True,
        facts=keep(base_commit=facts.get("commit"), base_branch=facts.get("branch")),
        notices=(Notice("repo_cloned", f"Cloned {facts.get('branch', '')} at {facts.get('commit', '')[:12]}", facts),),
    )


def _branched(situation: Situation, result: Result) -> Decision:
    branch = str(result.facts().get("branch", ""))
    return Decision(
        done=True,
        facts={"branch": branch},
        notices=(Notice("branch_created", f"Branch {branch}", {"branch": branch}),),
    )


def _planned(situation: Situation) -> Decision | None:
    made = [r for r in situation.results if r.tool == "update_plan" and r.is_ok]
    if not made:
        return None
    plan = made[-1].facts() if made[-1].data.ref is None else {}
    steps = plan.get("steps", [])
    return Decision(
        done=True,
        reason="the plan is made",
        notices=(Notice("plan_created", f"Plan of {len(steps)} step{'s' * (len(steps) != 1)}", {"steps": len(steps)}),),
    )


def _implement_brief(situation: Situation) -> Body:
    rounds = {"round": str(situation.round), "rounds": str(situation.limits.rounds)}
    validation = situation.facts.get("validation")
    if situation.round > 1 and isinstance(validation, dict):
        return Body(render("coding_mend", issues=validation_text(validation), **rounds))
    return Body(render("coding_implement", **rounds))


def _stepped(situation: Situation) -> Notice:
    calls = [{"tool": r.tool, "status": r.status} for r in situation.results]
    said = ", ".join(f"{call['tool']} {call['status']}" for call in calls)
    return Notice("implementation_step", f"Step {situation.step}: {said}", {"step": situation.step, "calls": calls})


def _finished(situation: Situation) -> Decision | None:
    ended = [r for r in situation.results if r.tool == "finish" and r.is_ok]
    if not ended:
        return None
    said = ended[-1].facts()
    return Decision(
        done=True,
        reason="the model calls its work finished",
        facts=keep(summary=str(said.get("summary", ""))[:2000], suggestions=said.get("suggestions")),
    )


def _validated(situation: Situation, result: Result) -> Decision:
    facts = result.facts()
    notice = Notice("validation_completed", validation_text(facts).partition("\n")[0], facts)
    if result.status == "no_data":
        facts = {**facts, "verified": False}
        return Decision(done=True, facts={"validation": facts}, reason="nothing to validate with", notices=(notice,))
    if facts.get("success"):
        facts = {**facts, "verified": True}
        return Decision(done=True, facts={"validation": facts}, reason="validation passed", notices=(notice,))
    facts = {**facts, "verified": False}
    return Decision(goto="implement", facts={"validation": facts}, reason="validation failed", notices=(notice,))


def _commit_message(task: CodingTask, situation: Situation) -> str:
    """Title and summary; the ids of run and task follow as trailers."""
    summary = str(situation.facts.get("summary", "")).strip()
    return f"{task.task.title.strip()}\n\n{summary}".strip()


def _committed(situation: Situation, result: Result) -> Decision:
    if result.status == "no_data":
        return Decision(
            stop="failed",
            reason="The agent finished without changing a file, so there is nothing to commit. "
            "Say in the task what should change, or what is already done.",
        )
    facts = result.facts()
    return Decision(
        done=True,
        facts=keep(commit=facts.get("commit"), files_changed=facts.get("files"), **_other_branch(situation, facts)),
        notices=(Notice("changes_committed", f"Commit {str(facts.get('commit', ''))[:12]}", facts),),
    )


def _other_branch(situation: Situation, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """The branch a git call worked on, where it is not the one made before: a forked run has a branch of its own."""
    branch = facts.get("branch")
    return {"branch": branch} if branch and branch != situation.facts.get("branch") else {}


def _pushed(situation: Situation, result: Result) -> Decision:
    other = _other_branch(situation, result.facts())
    branch = other.get("branch") or situation.facts.get("branch", "")
    return Decision(
        done=True,
        facts={"pushed": True, **other},
        notices=(Notice("changes_pushed", f"Pushed {branch}", {"branch": branch}),),
    )


def _success(task: CodingTask, situation: Situation) -> tuple[str, str]:
    validation = situation.facts.get("validation")
    checked: Mapping[str, Any] = validation if isinstance(validation, dict) else {}
    branch, commit = situation.facts.get("branch", ""), str(situation.facts.get("commit", ""))[:12]
    done = f"Pushed {branch} at {commit}"
    if checked.get("verified"):
        return "success", f"{done}; {validation_text(checked).partition(chr(10))[0]}"
    if task.validation == "none":
        return "success", f"{done}; the task asks for no validation"
    why = next(iter(checked.get("issues", ())), "no tests were found")
    advice = next(iter(checked.get("suggestions", ())), "name the commands under `validation:` in the task")
    return "unverified", f"{done}, but nothing could check it: {why}; {advice}."


def _stopped(situation: Situation, status: str, reason: str) -> tuple[Notice, ...]:
    kind = "workflow_completed" if status in ("success", "unverified") else "workflow_failed"
    return (Notice(kind, reason, {"status": status}),)
