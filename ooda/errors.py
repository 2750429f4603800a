"""The error tree. It sorts by who has to act; it imports nothing of ours.

    OodaError
    ├── UserError            the caller must change something
    │   ├── ConfigError          a setting
    │   ├── TaskSpecError        a task file
    │   └── CredentialError      a key or token that is missing or was rejected
    ├── RefusedError         governance said no, and why
    │   ├── PermissionDeniedError
    │   ├── BudgetExceededError
    │   └── ApprovalRequiredError
    ├── ToolError            the model is told and the run goes on
    │   ├── ToolArgumentsError   try again with other arguments
    │   └── ToolFailedError      do not
    ├── ModelError           the provider failed
    │   ├── ModelUnavailableError    retried, then another model, then the run waits
    │   ├── ModelOutputError         re-asked, a bounded number of times
    │   └── ContextOverflowError     the window is compacted, then asked again
    ├── SandboxError         our enclosure failed; never shown as the command's own output
    ├── IntegrationError     an outside service failed (service, operation, status, retryable)
    └── RunError             the run or its record cannot go on
        ├── RunCancelledError
        ├── StepLimitError
        ├── LeaseLostError       another owner holds the run; this one writes nothing more
        ├── JournalError         a row that contradicts the journal, a broken chain, a newer version
        └── DivergenceError      a replay left its cassette

Every message answers: what was given, what was expected, what to do next. Facts are attributes too.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ApprovalRequiredError",
    "BudgetExceededError",
    "ConfigError",
    "ContextOverflowError",
    "CredentialError",
    "DivergenceError",
    "IntegrationError",
    "JournalError",
    "LeaseLostError",
    "ModelError",
    "ModelOutputError",
    "ModelUnavailableError",
    "OodaError",
    "PermissionDeniedError",
    "RefusedError",
    "RunCancelledError",
    "RunError",
    "SandboxError",
    "StepLimitError",
    "TaskSpecError",
    "ToolArgumentsError",
    "ToolError",
    "ToolFailedError",
    "UserError",
    "nearest",
]


class OodaError(Exception):
    """Every error this package raises on purpose.

    Keyword arguments become attributes, so that callers read facts instead of parsing text.
    """

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.facts = facts

    def __getattr__(self, name: str) -> object:
        facts = self.__dict__.get("facts", {})
        if name in facts:
            return facts[name]
        raise AttributeError(name)


class UserError(OodaError):
    """The caller must change something."""


class ConfigError(UserError):
    """A setting is unknown, out of range or contradicts another."""


class TaskSpecError(UserError):
    """A task file cannot be understood; the message names file, line, field and the nearest valid word."""


class CredentialError(UserError):
    """A credential is missing, unreadable or was rejected. Never retried."""


class RefusedError(OodaError):
    """Governance said no. What callers of the public API and the command line see."""


class PermissionDeniedError(RefusedError):
    """The operation is above the agent's effective level, or a rule denies it."""


class BudgetExceededError(RefusedError):
    """The reservation would pass a cap; facts: `scope`, `limit`, `used`, `asked`."""


class ApprovalRequiredError(RefusedError):
    """A person has to answer first; facts: `approval_id`."""


class ToolError(OodaError):
    """The model is told, and the run goes on."""


class ToolArgumentsError(ToolError):
    """The arguments are wrong; another try with other arguments may succeed."""


class ToolFailedError(ToolError):
    """The tool ran and failed; the same call again will fail again."""


class ModelError(OodaError):
    """The language-model provider failed."""


class ModelUnavailableError(ModelError):
    """Not reachable, overloaded or rate-limited; facts: `retry_after_s`, `status`."""


class ModelOutputError(ModelError):
    """The provider answered with something that is not a reply (truncated stream, invalid JSON)."""


class ContextOverflowError(ModelError):
    """The request is longer than the model's window."""


class SandboxError(OodaError):
    """Our enclosure failed; never shown to the model as the command's own output."""


class IntegrationError(OodaError):
    """An outside service failed; facts: `service`, `operation`, `status`, `retryable`."""


class RunError(OodaError):
    """The run, or its record, cannot go on."""


class RunCancelledError(RunError):
    """A person stopped the run."""


class StepLimitError(RunError):
    """The run used all the steps its task allows."""


class LeaseLostError(RunError):
    """Another owner holds this run now; facts: `run`, `fence`, `holder`."""


class JournalError(RunError):
    """The journal contradicts itself, is damaged, or was written by a newer version."""


class DivergenceError(RunError):
    """A replay asked for something its cassette does not hold; facts: `seq`, `expected`, `found`."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word closest to `word`, or None when nothing is close enough to be a typing slip."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None
