"""What the gate would say to a call, and why: a question that reserves, records and begins nothing.

The verdict is the gate's own, asked about a run that does not exist, and the chain is what its judges said. Knows how
a run's policy is made of settings, task and reputation; must not know how an answer is shown.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import msgspec

from ooda.api.coding import git_target
from ooda.api.kinds import tools_of
from ooda.api.runs import known_run, state_of, task_of
from ooda.api.session import Session
from ooda.api.standing import Registered, agent_name, registered
from ooda.errors import ToolError, UserError, nearest
from ooda.events import EMPTY, Limits
from ooda.governance.call import Allowed, NeedsApproval, ProposedCall, Refused
from ooda.governance.gate import Gate
from ooda.governance.levels import Cell, Level, cell
from ooda.governance.operations import Answer, Operation, operation_named
from ooda.governance.policy import DoorPolicy
from ooda.governance.recorder import Recorder
from ooda.governance.reputation_store import Agent, agent_named
from ooda.governance.rules import SHELL_ARGUMENTS
from ooda.governance.weighing import Said, weigh
from ooda.labels import UNTRUSTED, Label
from ooda.runtime.agent import AgentSpec
from ooda.runtime.decide import Situation, Spent
from ooda.runtime.loop import Loop
from ooda.services.git import WorkRepo
from ooda.task import CodingTask, StewardTask, Task
from ooda.tools.all import ALL
from ooda.tools.room import FolderSpool, GitTarget, ToolRoom
from ooda.tools.toolbox import BoundToolbox

__all__ = ["Explanation", "Row", "explain", "matrix"]

_SHELL = "run_shell_command"
_NOBODY = "run-explained"


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A call, what each judge says to it, and what comes of that."""

    tool: str
    operation: str
    effect: str
    arguments: str
    """Canonical JSON; empty when they could not be read."""
    targets: tuple[str, ...] = ()
    agent: str
    level: str
    level_from: str
    """Where the level comes from, in a sentence."""
    grants: tuple[str, ...] = ()
    """Operations the task grants."""
    chain: tuple[Said, ...] = ()
    """What the judges say, in the order in which they are asked; empty when nothing reached them."""
    matched: tuple[str, ...] = ()
    """Every rule that matches, also those a stricter one overrules."""
    verdict: Answer
    decided_by: str
    """The judge whose answer it is: `level`, `rules`, `labels`, or `arguments`."""
    reason: str


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One operation at the level in force."""

    operation: str
    risk: str
    cells: tuple[str, ...]
    """The table's cells, lowest level first."""
    now: str
    """What comes of it here: `yes`, `asks`, `no`, `if low risk`."""


def explain(
    session: Session,
    words: Sequence[str],
    *,
    kind: str = "coding",
    task: Task | None = None,
    run: str = "",
    label: Label | None = None,
    folder: Path = Path(),
    is_attended: bool = True,
) -> Explanation:
    """What the gate would say to a call.

    Args:
        words: A tool's name and its arguments as JSON, or a shell command line.
        task: Whose grants and targets count; none grants nothing.
        run: A run whose task, label and branch count instead.
        folder: Where relative remotes of the task start.
        label: What the run has read; that of untrusted text when nothing says otherwise.

    Raises:
        ConfigError: there is no such run.
        UserError: `words` is no call.
    """
    branch = ""
    if run:
        known_run(session, run)
        task, state = task_of(session, run), state_of(session, run)
        label, branch = label or state.label, str(state.facts.get("branch") or "")
    if task is not None:
        kind = task.kind
    agent = _agent(session, kind)
    target = _target(task, folder)
    policy = _policy(session, agent, task, target, branch, is_attended=is_attended)
    places = session.places.run(run)
    git = WorkRepo(places.git, places.workspace) if branch and places.git.exists() else None
    room = ToolRoom(run=_NOBODY, clock=session.clock, git=git, target=target)
    toolbox = BoundToolbox(tools_of(task) if task is not None else ALL, room)
    call = _call(words, toolbox)
    situation = _situation(session, kind, label or UNTRUSTED, toolbox.names())
    return _explained(session, policy, toolbox, call, situation, agent)


def matrix(session: Session, *, kind: str = "coding", task: Task | None = None) -> tuple[Registered, list[Row]]:
    """Every operation at every level, and what an agent of a kind may do now."""
    agent = _agent(session, task.kind if task is not None else kind)
    grants = {operation_named(word) for word in task.grants} if task is not None else set()
    rows = []
    for operation in Operation:
        cells = tuple(str(cell(operation, level)) for level in Level)
        here = cell(operation, agent.level)
        words = {
            Cell.ALLOW: "yes",
            Cell.GRANT: "granted" if operation in grants else "asks",
            Cell.LOW_RISK: "if low risk",
            Cell.DENY: "no",
        }
        rows.append(Row(operation=str(operation), risk=operation.risk.name.lower(), cells=cells, now=words[here]))
    return agent, rows


def _agent(session: Session, kind: str) -> Registered:
    name = agent_name(kind.removesuffix("_agent"))
    found = session.store.read(lambda tx: agent_named(tx, name))
    return registered(session, found or Agent(id=UUID(int=0), name=name, created_ns=0))


def _target(task: Task | None, folder: Path) -> GitTarget | None:
    if not isinstance(task, CodingTask):
        return None
    # Credentials have no part in the decision, and need not be at hand to ask about it.
    bare = task.repository.model_copy(update={"credentials": None})
    return git_target(task.model_copy(update={"repository": bare}), {}, folder)


def _policy(
    session: Session, agent: Registered, task: Task | None, target: GitTarget | None, branch: str, *, is_attended: bool
) -> DoorPolicy:
    # The branch is the host's own choice in a run; before there is one, its name is not known and none is asked for.
    named: tuple[str, ...] = (target.remote.url, branch) if target is not None else ()
    if isinstance(task, StewardTask) and session.settings.coder.url is not None:
        named = (str(session.settings.coder.url),)
    return DoorPolicy(
        actor="a question",
        level=agent.level,
        grants=frozenset(operation_named(word) for word in task.grants) if task is not None else frozenset(),
        named=lambda: named,
        rules=session.rules,
        version="",
        is_attended=is_attended,
    )


def _call(words: Sequence[str], toolbox: BoundToolbox) -> ProposedCall:
    if not words or not words[0].strip():
        raise UserError("there is no call; give a tool's name and its arguments as JSON, or a shell command line")
    name, rest = words[0], words[1:]
    first, _, behind = name.partition(" ")
    if not rest and toolbox.find(first) is not None and behind.lstrip().startswith("{"):  # all in one pair of quotes
        name, rest = first, [behind]
    if toolbox.find(name) is not None and (not rest or rest[0].lstrip().startswith("{")):
        return ProposedCall(call="c1", tool=name, arguments=" ".join(rest) or "{}")
    if rest and rest[0].lstrip().startswith("{"):
        near = nearest(name, toolbox.names())
        hint = f"did you mean `{near}`?" if near else f"known are {', '.join(toolbox.names())}"
        raise UserError(f"there is no tool {name!r}; {hint}")
    command = name if not rest else shlex.join(words)
    argument, _ = SHELL_ARGUMENTS[_SHELL]
    return ProposedCall(call="c1", tool=_SHELL, arguments=msgspec.json.encode({argument: command}).decode())


def _situation(session: Session, kind: str, label: Label, tools: tuple[str, ...]) -> Situation:
    return Situation(
        run=_NOBODY,
        agent=kind,
        phase="a question",
        round=0,
        step=0,
        now_ns=session.clock.now_ns(),
        results=(),
        facts={},
        plan=EMPTY,
        spent=Spent(),
        limits=Limits(),
        label=label,
        upto_seq=0,
        prefix_hash="",
        tools=tools,
    )


def _explained(
    session: Session,
    policy: DoorPolicy,
    toolbox: BoundToolbox,
    call: ProposedCall,
    situation: Situation,
    agent: Registered,
) -> Explanation:
    tool = toolbox.find(call.tool)
    if tool is None:
        raise UserError(f"a {situation.agent} agent has no tool `{call.tool}`; it has {', '.join(toolbox.names())}")
    answered = _gate(session, policy, toolbox).decide(call, situation)
    found = Explanation(
        tool=call.tool,
        operation=str(tool.operation),
        effect=tool.effect,
        arguments="",
        agent=agent.name,
        level=policy.level.word,
        level_from=agent.reason,
        grants=tuple(sorted(policy.grants)),
        verdict="allow",
        decided_by="",
        reason="",
    )
    try:
        parsed = tool.parse(call.arguments)
    except ToolError as error:
        return msgspec.structs.replace(found, verdict="deny", decided_by="arguments", reason=str(error))
    targets = tool.targets(parsed)
    weighed = weigh(policy, call.tool, tool.operation, parsed.canonical, targets, situation.label)
    chain = tuple(weighed.said())
    match answered:
        case Allowed():
            verdict, reason, by = "allow", "every judge lets it through", "all"
        case Refused(why=why, reason=reason):
            by = {"permission": "level", "rule": "rules", "label": "labels"}.get(why, why)
            verdict = "deny"
        case NeedsApproval(reason=reason):
            verdict = "ask"
            by = next((said.judge for said in chain if said.decision == "ask"), "hooks")
    return msgspec.structs.replace(
        found,
        arguments=parsed.canonical.decode(),
        targets=targets,
        chain=chain,
        matched=weighed.ruled.matched,
        verdict=verdict,
        decided_by=by,
        reason=reason,
    )


def _gate(session: Session, policy: DoorPolicy, toolbox: BoundToolbox) -> Gate:
    """A gate in front of a run that does not exist: it can be asked, and what it allows begins nothing."""
    agent = AgentSpec(name="question", phases=(), rules=EMPTY, brief=EMPTY, traits=toolbox.traits())
    recorder = Recorder(
        run=_NOBODY, loop=Loop(agent), store=session.store, redactor=session.redactor, clock=session.clock, fence=0
    )
    outputs = FolderSpool(session.places.run(_NOBODY).spool)
    return Gate(recorder=recorder, toolbox=toolbox, policy=policy, ids=session.ids, outputs=outputs)
