"""The tasks of the ops, triage, steward and chat agents, and the union of all kinds.

Narrow on purpose: each says what its agent's requirement names as input, and what decides harm (project,
environment, cluster, namespace, workspaces) stands here as typed fields, never in free text.
"""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, TypeAdapter

from ooda.fields import Line, Says, Seconds, Text
from ooda.task.coding import Branch, CodingTask
from ooda.task.parts import JsonObject, TaskBase, TaskModel

__all__ = [
    "KINDS",
    "ChatTask",
    "Deployment",
    "Incident",
    "OpsTask",
    "StewardTask",
    "Task",
    "TriageTask",
    "task_schema",
]

Priority = Literal["critical", "high", "medium", "low"]


class Deployment(TaskModel):
    """What may be deployed, and where to. An ops task without it can deploy nothing."""

    project: Line = Field(description="Vercel project, by name or id.")
    environment: Literal["preview", "staging", "production"] = Field("preview", description="Target environment.")
    branch: Branch = Field("main", description="Branch that is deployed.")


class OpsTask(TaskBase):
    """Deploy, monitor, analyse logs, raise alerts, remediate, notify."""

    kind: Literal["ops"]
    task: Text = Field(min_length=1, description="What is to be done, in words.")
    priority: Priority = Field("medium", description="How urgent it is.")
    deployment: Deployment | None = Field(None, description="What may be deployed, and where to.")
    services: tuple[Line, ...] = Field((), max_length=100, description="Services whose health and logs are looked at.")
    time_range: Seconds = Field(3_600, ge=1, le=31_622_400, description="How far back logs and metrics are read.")


class Incident(TaskModel):
    """What triage was called for."""

    id: Annotated[UUID, Says("a UUID")] = Field(description="Incident id; names the workspace.")
    cluster: Line = Field(description="Kubernetes cluster.")
    namespace: Annotated[
        str,
        Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"),
        Says("a Kubernetes namespace (RFC 1123 label)"),
    ] = Field(description="Namespace the incident is in.")
    severity: Priority = Field(description="How bad it is.")
    timestamp: Annotated[AwareDatetime, Says("a time with zone such as `2026-11-21T08:00:00Z`")] = Field(
        description="When it was seen."
    )
    event: JsonObject = Field({}, description="The raw event.")
    logs: Text = Field("", description="Log excerpts that came with it.")
    resources: tuple[Line, ...] = Field((), max_length=500, description="Affected resources, `kind/name`.")


class TriageTask(TaskBase):
    """Investigate an incident, read-only."""

    kind: Literal["triage"]
    incident: Incident = Field(description="What triage was called for.")


class StewardTask(TaskBase):
    """Look after a fleet of Coder workspaces. Stops and starts nothing unless `dry_run` is false."""

    kind: Literal["steward"]
    check: Literal["quiet_hours", "ttl", "autostop", "stop", "rollback", "start_all", "extend", "notify"] = Field(
        description="Which policy is applied; `stop`, `extend` and `notify` are about the named workspaces, `rollback` "
        "takes back the last run that stopped any, `start_all` every stop within `threshold`."
    )
    dry_run: bool = Field(True, description="Report what would be done, and do nothing.")
    timezone: Line | None = Field(None, description="IANA time zone instead of the configured one.")
    user: Line | None = Field(None, description="Only workspaces of this user.")
    threshold: Seconds = Field(
        3_600,
        ge=1,
        le=31_622_400,
        description="How soon counts as stopping soon; by how long `extend` extends; how far back `start_all` looks.",
    )
    workspaces: tuple[Line, ...] = Field(
        (), max_length=10_000, description="Only these workspaces, `owner/name` or id; all when empty."
    )
    batch_size: int = Field(
        10, ge=1, le=1_000, description="Of `autostop`: builds that may be under way before the next one is asked for."
    )
    deployment: Line | None = Field(
        None, description="Address of the deployment it is about; on another one it is refused."
    )
    reason: Line | None = Field(None, description="Why, for the record.")
    message: Text | None = Field(None, description="What `notify` tells the owners of the named workspaces.")


class ChatTask(TaskBase):
    """Many turns with a person, in a folder of this machine."""

    kind: Literal["chat"]
    about: Literal["folder", "fleet"] = Field(
        "folder",
        description="`folder`: work in it with the coding tools. `fleet`: look at the steward's Coder workspaces.",
    )
    folder: Line = Field(".", description="Folder worked in; relative to the task file, or to where the chat starts.")
    message: Text | None = Field(None, description="First message.")


Task = CodingTask | OpsTask | TriageTask | StewardTask | ChatTask
"""A task of any kind, told apart by `kind`."""

KINDS: dict[str, type[CodingTask] | type[OpsTask] | type[TriageTask] | type[StewardTask] | type[ChatTask]] = {
    "coding": CodingTask,
    "ops": OpsTask,
    "triage": TriageTask,
    "steward": StewardTask,
    "chat": ChatTask,
}


def task_schema() -> dict[str, object]:
    """The published JSON Schema of a task file (draft 2020-12)."""
    adapter: TypeAdapter[Task] = TypeAdapter(Annotated[Task, Field(discriminator="kind")])
    schema = adapter.json_schema(mode="validation")
    # A discriminator would make `kind` necessary for every kind; a coding task may leave it out.
    schema.pop("discriminator", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ooda task",
        "description": "A task spec for `ooda run`, as YAML or JSON.",
        **schema,
    }
