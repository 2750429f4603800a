"""What a coding run is made of: its tools, its repository, its agent, its result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ooda.errors import ConfigError
from ooda.services.git import AccessToken, Credentials, KeyCert, Remote, UsernamePassword
from ooda.task import CodingTask, SecretRef
from ooda.tools.all import ALL
from ooda.tools.declare import ToolDeclaration
from ooda.tools.room import GitTarget

__all__ = ["CODING_TOOLS", "git_target"]

CODING_TOOLS: tuple[ToolDeclaration, ...] = ALL
"""Every tool; which of them a phase may use, its agent says."""


class _Secret(Protocol):
    def get_secret_value(self) -> str: ...


def git_target(task: CodingTask, secrets: Mapping[str, _Secret], folder: Path) -> GitTarget:
    """Where the task's git operations may go, and with which credentials.

    Args:
        secrets: By reference name; what the task's credentials refer to must be there.
        folder: Where relative remote paths start.

    Raises:
        ConfigError: a secret the task refers to is not there.
        TaskSpecError: the remote is none.
    """
    url = task.repository.remote_url
    if "://" not in url and ":" not in url.split("/", 1)[0] and not url.startswith("/"):
        url = str((folder / Path(url).expanduser()).resolve())
    return GitTarget(
        remote=Remote.parse(url, _credentials(task, secrets)),
        base=task.repository.branch,
        title=task.task.title,
        task=task.task.id,
    )


def _credentials(task: CodingTask, secrets: Mapping[str, _Secret]) -> Credentials | None:
    from pydantic import SecretStr

    def value(ref: SecretRef | None) -> SecretStr | None:
        if ref is None:
            return None
        found = secrets.get(ref.secret_ref)
        if found is None:
            raise ConfigError(
                f"the task's credentials need {ref.secret_ref!r}, which is kept nowhere; give the task file again "
                "(`ooda runs resume RUN --task FILE`), or write it there as `${NAME}` and set the variable"
            )
        return SecretStr(found.get_secret_value())

    def needed(ref: SecretRef) -> SecretStr:
        found = value(ref)
        if found is None:
            raise ConfigError(f"the task's credentials need {ref.secret_ref!r}")
        return found

    given = task.repository.credentials
    if given is None:
        return None
    match given.credential_type:
        case "username_password":
            return UsernamePassword(given.username, needed(given.password))
        case "access_token":
            return AccessToken(needed(given.access_token))
        case "key_cert":
            return KeyCert(
                private_key=value(given.private_key),
                private_key_path=str(Path(given.private_key_path).expanduser()) if given.private_key_path else "",
                key_password=value(given.key_password),
            )
