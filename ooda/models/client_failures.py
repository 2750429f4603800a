"""Errors of the `openai` client, and of `litellm` which raises the same family, as our attempt failures."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import msgspec

from ooda.errors import ConfigError
from ooda.models.failures import AttemptFailure, from_provider_error, from_status, output_failure, unreachable
from ooda.models.reply import Asked

__all__ = ["failure_of", "load_extra", "transport_errors"]

_NEVER_SENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout"})
_CUT = frozenset({"ReadError", "ReadTimeout", "WriteError", "WriteTimeout", "RemoteProtocolError"})
"""Names of httpx's exceptions (httpx2's are the same): neither library is a dependency of ours."""


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
    """What an exception of a client means: what happened on the wire decides, not the class it was wrapped in.

    litellm wraps a refused connection, and a stream that was cut, into a server error of its own making.
    """
    kinds = {type(link).__name__ for link in _chain(error)}
    if kinds & _NEVER_SENT:
        return unreachable(_words(error, asked), asked.who, sent=False)
    status = getattr(error, "status_code", 0)
    if kinds & _CUT or (not status and "APIConnectionError" in kinds):
        return unreachable(_words(error, asked), asked.who, sent=True, sort="busy")
    if isinstance(error, ValueError):
        return output_failure(f"something that is no chat completion ({_words(error, asked)})", asked.who)
    said: Any = getattr(error, "body", None) or {"message": str(getattr(error, "message", error))}
    if not isinstance(status, int) or status < 300:
        return from_provider_error(said, asked.who, asked.scrub)
    given = dict(getattr(getattr(error, "response", None), "headers", None) or {})
    headers = {name.lower().encode(): value.encode() for name, value in given.items()}
    body = said.encode() if isinstance(said, str) else msgspec.json.encode(said)
    return from_status(status, headers, body, asked.who, asked.scrub)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from, as far as it goes."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _words(error: Exception, asked: Asked) -> str:
    return asked.scrub(str(error) or type(error).__name__)[:400]
