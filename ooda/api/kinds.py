"""What each kind of task makes of a run: its agent, tools, workspace, targets, limits and environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ooda.agents.chat import chat_agent, fleet_chat_agent
from ooda.agents.coding import coding_agent
from ooda.agents.steward.agent import steward_agent
from ooda.amounts import usd_to_nano
from ooda.api.coding import CODING_TOOLS, git_target
from ooda.api.compare import spare_recorded
from ooda.api.credentials import lent_to
from ooda.api.request import Launch
from ooda.api.session import Session
from ooda.config import Settings
from ooda.engines.world import Topic
from ooda.errors import ConfigError, UserError
from ooda.events import Limits
from ooda.runtime.agent import AgentSpec
from ooda.sandbox import Bind, Network
from ooda.services.git import WorkRepo
from ooda.task import ChatTask, CodingTask, SecretRef, StewardTask, Task
from ooda.tools.all import ALL, CODER, FLEET
from ooda.tools.declare import ToolDeclaration
from ooda.tools.room import GitTarget

__all__ = ["RunKind", "agent_for", "kind_of", "tools_of", "topic_of"]

VENV = "/opt/venv"
"""Where a task's virtual environment is shown inside the sandbox."""


class RunKind(msgspec.Struct, frozen=True, kw_only=True):
    """A run's makings, as its kind and its task say."""

    agent: AgentSpec
    tools: tuple[ToolDeclaration, ...]
    workspace: Path
    limits: Limits
    model: str
    base_url: str
    temperature_milli: int | None
    grants: tuple[str, ...]
    targets: tuple[str, ...]
    """What in the outside world the typed task names."""
    topic: Topic
    git: WorkRepo | None = None
    target: GitTarget | None = None
    validation: tuple[str, ...] = ()
    image: str | None = None
    network: Network = Network()
    binds: tuple[Bind, ...] = ()
    env: Mapping[str, Any] = {}
    setup: tuple[str, ...] = ()
    """Commands that prepare the environment once the repository is there."""
    asks_first_write: bool = False

    def named(self) -> tuple[str, ...]:
        """The typed targets, and the feature branch the host made of the task's title."""
        branch = self.git.branch if self.git is not None and self.target is not None else ""
        return (*self.targets, branch) if branch else self.targets

    def environment(self, secrets: Mapping[str, Any]) -> dict[str, str]:
        """The environment of every command; references become the secrets they name."""
        filled = {
            name: secrets[value.secret_ref].get_secret_value() if isinstance(value, SecretRef) else value
            for name, value in self.env.items()
        }
        # An agent changes a file and runs it within one second, and Python trusts a cache of the same second and size;
        # besides, caches would be committed where a repository does not ignore them.
        filled.setdefault("PYTHONDONTWRITEBYTECODE", "1")
        if any(bind.target == VENV for bind in self.binds):
            filled.setdefault("PATH", f"{VENV}/bin:/usr/local/bin:/usr/bin:/bin")
            filled.setdefault("VIRTUAL_ENV", VENV)
        return filled


def tools_of(task: Task) -> tuple[ToolDeclaration, ...]:
    """The tools a task's agent may be given.

    Raises:
        UserError: this version has no agent for the kind.
    """
    if isinstance(task, ChatTask) and task.about == "fleet":
        return (*FLEET, *(tool for tool in ALL if tool.name in ("read_output", "update_plan")))
    if isinstance(task, CodingTask | ChatTask):
        return CODING_TOOLS
    if isinstance(task, StewardTask):
        return CODER
    raise _no_agent(task)


def _no_agent(task: Task) -> UserError:
    return UserError(
        f"tasks of kind `{task.kind}` can be checked but not run by this version; "
        "`coding`, `steward` and `chat` can be run"
    )


def kind_of(session: Session, launch: Launch, run: str, secrets: Mapping[str, Any]) -> RunKind:
    """The makings of a run of this task.

    Raises:
        UserError: no agent for this kind, or a path in the task does not exist.
    """
    task = launch.loaded.task
    match task:
        case CodingTask():
            return _coding(session, launch, task, run, secrets)
        case ChatTask():
            return _chat(session, launch, task, run, secrets)
        case StewardTask():
            raise UserError(
                "a task of kind `steward` needs neither a model nor a sandbox: carry it with "
                "`ooda.api.steward.passes.make_pass`, or `ooda run` on the command line"
            )
        case _:
            raise _no_agent(task)


def agent_for(settings: Settings, task: Task) -> AgentSpec:
    """The agent of a task, as every run of it gets.

    Raises:
        UserError: this version has no agent for the kind.
    """
    traits = {declaration.name: declaration.traits for declaration in tools_of(task)}
    match task:
        case CodingTask():
            return coding_agent(task, traits)
        case ChatTask():
            instructions = task.agent.instructions or ""
            if task.about == "fleet":
                return fleet_chat_agent(task.message or "", instructions, settings.chat.steps_per_turn, traits)
            folder = Path(task.folder).resolve().name
            return chat_agent(task.message or "", instructions, folder, settings.chat.steps_per_turn, traits)
        case StewardTask():
            return steward_agent(task, traits)
        case _:
            raise _no_agent(task)


def topic_of(task: Task, run: str) -> Topic:
    """Whose a run's notices are; a task that names no company and project is its run's own."""
    if isinstance(task, CodingTask):
        about = task.task
        return Topic(company_id=about.company_id, project_id=about.project_id, task_id=about.id)
    return Topic(company_id="local", project_id=task.kind, task_id=run)


def _coding(session: Session, launch: Launch, task: CodingTask, run: str, secrets: Mapping[str, Any]) -> RunKind:
    places = session.places.run(run)
    target = git_target(task, secrets, launch.loaded.folder)
    if launch.cassette is not None and not launch.run:
        spare_recorded(launch.cassette, target, task.repository.remote_url)
    kind = _common(
        session,
        launch,
        secrets,
        workspace=places.workspace,
        topic=topic_of(task, run),
        git=WorkRepo(places.git, places.workspace),
    )
    return msgspec.structs.replace(
        kind,
        target=target,
        targets=(target.remote.url,),
        validation=task.validation if isinstance(task.validation, tuple) else (),
    )


def _chat(session: Session, launch: Launch, task: ChatTask, run: str, secrets: Mapping[str, Any]) -> RunKind:
    folder = (launch.loaded.folder / Path(task.folder).expanduser()).resolve()
    if not folder.is_dir():
        raise ConfigError(f"the chat's folder {str(folder)!r} is no folder; name one that exists")
    is_fleet = task.about == "fleet"
    places = session.places.run(run)
    kind = _common(
        session,
        launch,
        secrets,
        # About a fleet no file is touched: its tools look at a deployment, and the folder is the run's own empty one.
        workspace=places.workspace if is_fleet else folder,
        topic=topic_of(task, run),
        git=None if is_fleet else WorkRepo(places.git, folder, is_owned=False),
    )
    # A session lasts as long as its person likes; money and the steps of a turn are what bounds it.
    limits = msgspec.structs.replace(
        kind.limits, steps=100_000, cost_nano=usd_to_nano(task.limits.usd or session.settings.chat.session_usd)
    )
    targets = (str(session.settings.coder.url),) if is_fleet and session.settings.coder.url else ()
    return msgspec.structs.replace(kind, limits=limits, targets=targets, asks_first_write=not is_fleet)


def _common(
    session: Session, launch: Launch, secrets: Mapping[str, Any], *, workspace: Path, topic: Topic, git: WorkRepo | None
) -> RunKind:
    task, settings = launch.loaded.task, session.settings
    lent = lent_to(session, task, secrets)
    model = launch.model or task.agent.model or settings.model.name
    temperature = task.model.temperature if task.model.temperature is not None else settings.model.temperature
    return RunKind(
        agent=agent_for(settings, task),
        tools=tools_of(task),
        workspace=workspace,
        limits=task.limits.to_limits(settings.limit_defaults()),
        model=launch.cassette.started.model if launch.cassette is not None else model,
        base_url=launch.base_url or str(task.model.base_url or settings.model.base_url or ""),
        temperature_milli=round(temperature * 1000) if temperature is not None else None,
        grants=task.grants,
        targets=(),
        topic=topic,
        git=git,
        image=task.environment.image,
        network=Network((*settings.sandbox.hosts, *task.environment.hosts), lent.credentials),
        binds=_binds(task, launch.loaded.folder),
        env={**task.environment.env, **lent.env},
        setup=task.environment.setup,
    )


def _binds(task: Task, folder: Path) -> tuple[Bind, ...]:
    """The host folders shown inside, the virtual environment first; its interpreter's own folder comes along."""
    binds = []
    if task.environment.venv:
        venv = _folder(task.environment.venv, folder, "environment.venv")
        binds.append(Bind(venv, VENV))
        python = venv / "bin" / "python"
        home = python.resolve().parent.parent if python.exists() else None
        if home is not None and not home.is_relative_to("/usr") and home != venv:
            binds.append(Bind(home, str(home)))
        binds.append(Bind(venv, str(venv)))  # scripts of a venv name their interpreter by its own path
    for bind in task.environment.binds:
        binds.append(Bind(_folder(bind.source, folder, "environment.binds"), bind.target))
    return tuple(binds)


def _folder(given: str, base: Path, field: str) -> Path:
    path = (base / Path(given).expanduser()).absolute()
    if not path.is_dir():
        raise ConfigError(f"`{field}` names {given!r}, and {path} is no folder")
    return path
