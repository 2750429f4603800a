"""The coding task: the required CodingAgentRequest (agent, repository, task) with the common parts around it.

Every document that is a CodingAgentRequest is a coding task; `kind: coding` may be left out. Credentials are three
models told apart by `credential_type`; their secrets are references, never values.
"""

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from ooda.fields import Line, Says, Text
from ooda.problems import sentence
from ooda.task.parts import Grants, JsonObject, Secret, SecretRef, TaskBase, TaskModel

__all__ = [
    "AccessToken",
    "CodingTask",
    "Credentials",
    "KeyCert",
    "Repository",
    "TaskDetails",
    "UsernamePassword",
]


class UsernamePassword(TaskModel):
    """Git over HTTP(S) with a name and a password."""

    credential_type: Literal["username_password"]
    username: Line = Field(description="User name at the git host.")
    password: Secret = Field(description="Its password.")


class KeyCert(TaskModel):
    """Git over SSH with a private key: its text or its path, exactly one of them."""

    credential_type: Literal["key_cert"]
    private_key: Secret | None = Field(None, description="The private key itself, PEM or OpenSSH.")
    private_key_path: Line | None = Field(None, description="File of the private key, `~/…` or absolute.")
    key_password: Secret | None = Field(None, description="Passphrase of the key; null when it has none.")

    @model_validator(mode="after")
    def _exactly_one_key(self) -> Self:
        if (self.private_key is None) == (self.private_key_path is None):
            given = "both" if self.private_key else "neither"
            raise sentence(f"gives {given} of `private_key` and `private_key_path`; give exactly one")
        if self.private_key_path and not self.private_key_path.startswith(("/", "~/")):
            raise sentence("`private_key_path` must be absolute or start with `~/`")
        return self


class AccessToken(TaskModel):
    """Git over HTTP(S) with an access token."""

    credential_type: Literal["access_token"]
    access_token: Secret = Field(description="The token.")


Credentials = UsernamePassword | KeyCert | AccessToken
"""The requirement's three ways to authenticate to a git host, told apart by `credential_type`."""

_SCP = re.compile(r"[^/@]+@[^/:]+:")
_REMOTE_SAYS = (
    "a git remote: `https://host/path.git`, `ssh://git@host/path.git`, `git@host:path.git`, `file:///path` or a path"
)


def _remote_url(value: str) -> str:
    url = value.strip()
    # `ext::sh -c …` runs a program, a leading dash is an option to git, a control character forges lines.
    if not url.isprintable() or url.startswith("-") or "::" in url.split("/", 1)[0]:
        raise ValueError(_REMOTE_SAYS)
    carries = sentence(
        "carries a name or password before `@`, where it would be logged; write the address without it and "
        "give `repository.credentials`"
    )
    if "://" not in url:
        if re.match(r"[^/]*:[^/]*@", url):  # `name:password@host`, not the `git@host:path` of SSH
            raise carries
        return url
    try:
        parts = urlsplit(url)
        port_is_number = parts.port is None or parts.port > 0
    except ValueError:
        port_is_number = False
    if not port_is_number or parts.scheme not in ("https", "http", "ssh", "file"):
        raise ValueError(_REMOTE_SAYS)
    if parts.scheme != "file" and not parts.hostname:
        raise ValueError(_REMOTE_SAYS)
    if parts.password is not None or (parts.username is not None and parts.scheme != "ssh"):
        raise carries
    return url


RemoteUrl = Annotated[str, Field(min_length=1, max_length=2_000), AfterValidator(_remote_url), Says(_REMOTE_SAYS)]


def _branch(value: str) -> str:
    """A branch name as git-check-ref-format(1) allows it."""
    forbidden = re.search(r"[\s~^:?*\[\\\x00-\x1f\x7f]|\.\.|@\{|//|/\.|\.lock(/|$)", value)
    if forbidden or value.startswith(("-", "/", ".")) or value.endswith(("/", ".")) or value in ("@", "HEAD"):
        raise ValueError("a branch name git allows (no spaces, no `..`, no leading `-`, none of ~ ^ : ? * [ \\)")
    return value


Branch = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_branch), Says("a branch name")]


class Repository(TaskModel):
    """What is cloned, and where the feature branch is pushed."""

    remote_url: RemoteUrl = Field(description="Git repository; the only remote the task pushes to.")
    branch: Branch = Field("main", description="Base branch.")
    credentials: Credentials | None = Field(
        None,
        discriminator="credential_type",
        description="Git authentication; null for a public or local repository.",
    )

    @model_validator(mode="after")
    def _credentials_fit(self) -> Self:
        if self.credentials is None:
            return self
        is_web = self.remote_url.lower().startswith(("http://", "https://"))
        is_ssh = self.remote_url.lower().startswith("ssh://") or bool(_SCP.match(self.remote_url))
        kind = self.credentials.credential_type
        if (is_web and kind == "key_cert") or (is_ssh and kind != "key_cert"):
            needed = "`username_password` or `access_token`" if is_web else "`key_cert`"
            way = "HTTP" if is_web else "SSH"
            raise sentence(f"`{kind}` does not work over {way}; `remote_url` wants {needed}")
        return self


class TaskDetails(TaskModel):
    """What has to be done, and under which names it is reported."""

    id: Line = Field(description="Task identifier, in commits, notifications and results.")
    project_id: Line = Field("local", description="Project, in notification subjects and budgets.")
    company_id: Line = Field("local", description="Company, in notification subjects and budgets.")
    title: Line = Field(description="One line: what is to be done; the branch is named after it.")
    description: Text = Field(description="The task in full.")
    requirements: tuple[Text, ...] = Field((), max_length=200, description="What must hold when it is done.")
    tags: tuple[Line, ...] = Field((), max_length=100, description="Words to find the task by.")
    context: JsonObject = Field({}, description="Further data for the agent.")


class CodingTask(TaskBase):
    """Clone, branch, plan, implement, validate, commit, push, report."""

    kind: Literal["coding"] = "coding"
    repository: Repository = Field(description="What is cloned, and where the feature branch is pushed.")
    task: TaskDetails = Field(description="What has to be done.")
    # A CodingAgentRequest ends with a push of its feature branch: who writes one asks for that (docs/adr/0014).
    grants: Grants = Field(
        ("push_feature_branch",),
        description="Operations this task grants by name, within the agent's level. Left out, it grants the push of "
        "its feature branch to its own remote, which every coding task ends with; `grants: []` grants nothing.",
    )

    def secret_refs(self) -> tuple[SecretRef, ...]:
        credentials = self.repository.credentials
        own = [value for _, value in credentials if isinstance(value, SecretRef)] if credentials else []
        return (*own, *super().secret_refs())
