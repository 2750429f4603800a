"""Secrets leave the task at the door.

Works on the plain values of a document before any model sees them, so that no validator, error or dump can hold a
secret. Inline secrets become references named after their field; `${NAME}` becomes a reference to the environment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import SecretStr

from ooda.errors import CredentialError
from ooda.problems import Path, dotted
from ooda.task.document import MAX_DEPTH
from ooda.task.parts import SecretRef

__all__ = ["extract_secrets", "may_show", "resolve_secrets"]

_CREDENTIALS = ("password", "private_key", "key_password", "access_token")
_ENVIRON = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
_SECRET_NAME = re.compile(
    r"(^|[_.-])(token|secret|passw(or)?d|passphrase|pwd|credentials?|api_?key|private_?key|access_?key|secret_?key)$",
    re.I,
)


def extract_secrets(data: Any) -> tuple[Any, dict[str, SecretStr], list[str]]:
    """The document without its secrets, the secrets by reference name, and what the user should know about it.

    Secrets are: the secret fields of `repository.credentials`, a user name and password in `repository.remote_url`,
    those lent in `environment.credentials`,
    and every text in `environment.env` or `task.context` whose name says so (`*_TOKEN`, `password` …).
    """
    door = _Door()
    return door.open(data), door.secrets, door.warnings


def may_show(path: Path) -> bool:
    """Whether a value found at `path` may appear in an error message."""
    return path[-1:] == ("credential_type",) or not {"credentials", "env", "context"}.intersection(path)


def resolve_secrets(
    references: Iterable[SecretRef], inline: Mapping[str, SecretStr], environ: Mapping[str, str]
) -> dict[str, SecretStr]:
    """The value of every reference, by its name.

    Raises:
        CredentialError: a variable is not set, or an inline secret is gone because the task came from a record.
    """
    values: dict[str, SecretStr] = {}
    missing = []
    for reference in references:
        name, variable = reference.secret_ref, reference.environ_name
        if variable and environ.get(variable):
            values[name] = SecretStr(environ[variable])
        elif name in inline:
            values[name] = inline[name]
        else:
            missing.append(
                f"environment variable `{variable}` is not set"
                if variable
                else f"`{name}` stood in the task file and is stored nowhere; give the file again, or use `${{NAME}}`"
            )
    if missing:
        raise CredentialError("The task's credentials are incomplete: " + "; ".join(missing) + ".", missing=missing)
    return values


class _Door:
    def __init__(self) -> None:
        self.secrets: dict[str, SecretStr] = {}
        self.warnings: list[str] = []

    def open(self, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if isinstance(repository := data.get("repository"), dict):
            data["repository"] = self._repository(dict(repository))
        if isinstance(environment := data.get("environment"), dict):
            environment = data["environment"] = dict(environment)
            if isinstance(environment.get("env"), dict):
                environment["env"] = self._env(environment["env"])
            if isinstance(environment.get("credentials"), list | tuple):
                environment["credentials"] = self._lent(environment["credentials"])
        if isinstance(task := data.get("task"), dict) and "context" in task:
            data["task"] = task | {"context": self._context(task["context"], ("task", "context"))}
        return data

    def _repository(self, repository: dict[str, Any]) -> dict[str, Any]:
        path = ("repository", "credentials")
        credentials = repository.get("credentials")
        if isinstance(credentials, dict):
            repository["credentials"] = {
                key: self._reference(value, (*path, key)) if key in _CREDENTIALS else value
                for key, value in credentials.items()
            }
        url = repository.get("remote_url")
        if credentials is None and isinstance(url, str) and (split := _split_userinfo(url)):
            address, username, password = split
            repository["remote_url"] = address
            repository["credentials"] = {
                "credential_type": "username_password",
                "username": username,
                "password": self._reference(password, (*path, "password")),
            }
            self.warnings.append(
                "`repository.remote_url` carried a user name and password; they were moved to "
                "`repository.credentials` and are not stored. Write them there, or as `${NAME}`."
            )
        return repository

    def _env(self, env: dict[Any, Any]) -> dict[Any, Any]:
        kept = dict(env)
        for key, value in env.items():
            if not isinstance(value, str) or not value:
                continue
            if _ENVIRON.fullmatch(value.strip()):
                kept[key] = self._reference(value, ("environment", "env", str(key)))
            elif _SECRET_NAME.search(str(key)):
                kept[key] = self._reference(value, ("environment", "env", str(key)))
                self.warnings.append(f"`environment.env.{key}` is taken for a secret by its name: used, never stored.")
        return kept

    def _lent(self, lent: Iterable[Any]) -> list[Any]:
        path = ("environment", "credentials")
        return [
            one | {"secret": self._reference(one["secret"], (*path, at, "secret"))}
            if isinstance(one, dict) and "secret" in one
            else one
            for at, one in enumerate(lent)
        ]

    def _context(self, value: Any, path: Path) -> Any:
        """Texts under names that speak of secrets, at any depth. The agent sees the reference, never the text."""
        if len(path) > MAX_DEPTH:
            return value  # refused later, by the model
        if isinstance(value, list | tuple):
            return [self._context(item, (*path, at)) for at, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        kept = {key: self._context(item, (*path, str(key))) for key, item in value.items()}
        for key, item in value.items():
            if isinstance(item, str) and item and _SECRET_NAME.search(str(key)):
                where = (*path, str(key))
                kept[key] = self._reference(item, where)
                self.warnings.append(f"`{dotted(where)}` is taken for a secret by its name: the agent does not see it.")
        return kept

    def _reference(self, value: Any, path: Path) -> Any:
        """The reference that replaces a secret text; anything but text is left for the model to judge."""
        if not isinstance(value, str) or not value.strip():
            return value
        if found := _ENVIRON.fullmatch(value.strip()):
            return {"secret_ref": f"env:{found[1]}"}
        name = dotted(path)
        self.secrets[name] = SecretStr(value)
        return {"secret_ref": name}


def _split_userinfo(url: str) -> tuple[str, str, str] | None:
    """`https://user:pass@host/path` as address, user and password; None when there is no password in it."""
    try:
        parts = urlsplit(url.strip())
        password = parts.password
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.username or not password:
        return None
    address = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return address, unquote(parts.username), unquote(password)
