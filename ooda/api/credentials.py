"""Secrets lent to the commands of a run: a placeholder inside, the secret at the egress proxy.

From the task (`environment.credentials`) and from the settings (`sandbox.credentials`), whose variables are this
process's own. A task's variable comes before a setting's of the same name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec
from pydantic import SecretStr

from ooda.api.session import Session
from ooda.errors import ConfigError
from ooda.sandbox import Credential
from ooda.task import Task

__all__ = ["Lent", "lent_to"]


class Lent(msgspec.Struct, frozen=True):
    """What a run may use without seeing it."""

    credentials: tuple[Credential, ...]
    env: Mapping[str, str]
    """Variable -> placeholder."""


def lent_to(session: Session, task: Task, secrets: Mapping[str, SecretStr]) -> Lent:
    """Every secret lent to the commands of `task`; those of the settings are registered for redaction.

    Args:
        secrets: the task's own by reference name.

    Raises:
        ConfigError: a variable named in `sandbox.credentials` is not set.
    """
    lent = {one.variable: (one.hosts, secrets[one.secret.secret_ref]) for one in task.environment.credentials}
    for line in session.settings.sandbox.credentials:
        variable, *hosts = line.split(" ")
        if variable in lent or variable in task.environment.env:
            continue
        value = session.environ.get(variable)
        if not value:
            raise ConfigError(
                f"`sandbox.credentials` lends the variable `{variable}` to {', '.join(hosts)}, and it is not set; "
                "set it, or take the line out of the settings"
            )
        session.register_secrets(variable, [value])
        lent[variable] = (tuple(hosts), SecretStr(value))
    return Lent(
        tuple(
            Credential(host, _placeholder(variable), secret.get_secret_value)
            for variable, (hosts, secret) in lent.items()
            for host in hosts
        ),
        {variable: _placeholder(variable) for variable in lent},
    )


def _placeholder(variable: str) -> str:
    """No secret, and the same in every run: a prepared environment is found again, and a resumed run goes on."""
    return f"ooda-placeholder-{hashlib.sha256(variable.encode()).hexdigest()[:24]}"
