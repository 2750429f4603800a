"""Task specs: what a person asks an agent to do, typed, with its limits and grants, parsed at the door.

`load_task` reads YAML or JSON and gives a `LoadedTask`: a frozen task of one of five kinds, its canonical JSON and
digest, and its secrets apart from it. Below the door nothing checks a task again. This room reads the one file it
is given; it knows no settings, no environment and no agent.
"""

from ooda.task.coding import AccessToken, CodingTask, Credentials, KeyCert, Repository, TaskDetails, UsernamePassword
from ooda.task.kinds import (
    KINDS,
    ChatTask,
    Deployment,
    Incident,
    OpsTask,
    StewardTask,
    Task,
    TriageTask,
    task_schema,
)
from ooda.task.load import LoadedTask, canonical_task, load_task, load_task_text, parse_task, task_digest
from ooda.task.parts import (
    GRANTABLE,
    Agent,
    Bind,
    Environment,
    LimitsSpec,
    ModelOverrides,
    Operation,
    SecretRef,
    TaskBase,
    Validation,
)

__all__ = [
    "GRANTABLE",
    "KINDS",
    "AccessToken",
    "Agent",
    "Bind",
    "ChatTask",
    "CodingTask",
    "Credentials",
    "Deployment",
    "Environment",
    "Incident",
    "KeyCert",
    "LimitsSpec",
    "LoadedTask",
    "ModelOverrides",
    "Operation",
    "OpsTask",
    "Repository",
    "SecretRef",
    "StewardTask",
    "Task",
    "TaskBase",
    "TaskDetails",
    "TriageTask",
    "UsernamePassword",
    "Validation",
    "canonical_task",
    "load_task",
    "load_task_text",
    "parse_task",
    "task_digest",
    "task_schema",
]
