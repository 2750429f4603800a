"""Errors of the `openai` client, and of `litellm` which raises the same family, as our attempt failures."""

from __future__ import annotations

import importlib
from typing import Any

import msgspec

from ooda.errors import ConfigError
from ooda.models.failures import AttemptFailure, from_provider_error, from_status, output_failure, unreachable
from ooda.models.reply import Asked

__all__ = ["failure_of", "load_extra", "transport_errors"]


def load_extra(module: str, extra: str) -> Any:
    """The module of an optional dependency.

    Raises:
        ConfigError: it is not installed; the message has the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the `{extra}` back end needs the package `{error.name}`, which is not installed; "
            f"run: pip install 'ooda-agents[{extra}]', or use the default back end `http`"
        ) from error


def transport_errors() -> tuple[type[Exception], ...]:
    """What the client's HTTP library may raise past it: connections cut within a stream."""
    found: list[type[Exception]] = []
    for name in ("httpx2", "httpx"):  # openai 3 brings the former, earlier ones the latter
        try:
            found.append(importlib.import_module(name).HTTPError)
        except ModuleNotFoundError:
            continue
    return tuple(found)


def failure_of(error: Exception, asked: Asked) -> AttemptFailure:
    """What an exception of the client means; the HTTP exchange behind it decides, not its class."""
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", 0)
    if any(kind.__name__ == "APIConnectionError" for kind in type(error).__mro__) or not hasattr(error, "body"):
        cause = error.__cause__
        never_sent = type(cause).__name__ in ("ConnectError", "ConnectTimeout")
        problem = asked.scrub(str(cause or error) or type(error).__name__)
        return unreachable(problem, asked.who, sent=not never_sent, sort="unreachable" if never_sent else "busy")
    said: Any = getattr(error, "body", None) or {"message": getattr(error, "message", str(error))}
    if isinstance(status, int) and status >= 300:
        headers = {
            name.lower().encode(): value.encode() for name, value in dict(getattr(response, "headers", {})).items()
        }
        body = said.encode() if isinstance(said, str) else msgspec.json.encode(said)
        return from_status(status, headers, body, asked.who, asked.scrub)
    if isinstance(error, ValueError):
        return output_failure(f"something that is no chat completion ({error})", asked.who)
    return from_provider_error(said, asked.who, asked.scrub)
