"""What git and the remote said, as an error that says what to do. Pure.

The words are git's and OpenSSH's own (LC_ALL=C); what no rule knows stays an IntegrationError with the last lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from ooda.errors import CredentialError, IntegrationError, OodaError, ToolFailedError
from ooda.services.git.remote import Remote

__all__ = ["PushLine", "explain", "mask", "push_error", "read_push"]

_AUTHENTICATION = re.compile(
    r"Authentication failed|could not read (Username|Password)|Permission denied \((publickey|password)"
    r"|returned error: 40[13]|Invalid username or password|Load key .*: |incorrect passphrase|Access denied"
    r"|terminal prompts disabled|unable to read askpass",
    re.IGNORECASE,
)
_HOST_KEY = re.compile(r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED")
_ABSENT = re.compile(
    r"repository .*not found|does not appear to be a git repository|returned error: 404|does not exist"
    r"|not a git repository|no such (repository|project)",
    re.IGNORECASE,
)
_OWNERSHIP = re.compile(r"detected dubious ownership")
_UNREACHABLE = re.compile(
    r"Could not resolve host|Temporary failure in name resolution|Connection (refused|timed out|reset|closed)"
    r"|Failed to connect|Couldn't connect|Operation timed out|early EOF|returned error: (408|429|5\d\d)|RPC failed"
    r"|unexpected disconnect|hung up unexpectedly|kex_exchange_identification|Network is unreachable"
    r"|No route to host|Empty reply|SSL_ERROR|TLS connect|Recv failure|Could not resolve hostname",
    re.IGNORECASE,
)
_REMOTE_LINE = re.compile(r"^remote: ?(.*?)\s*$", re.MULTILINE)


class PushLine(msgspec.Struct, frozen=True):
    """What `git push --porcelain` says of one reference (git-push(1), OUTPUT)."""

    flag: str
    """` ` fast-forwarded, `*` new, `=` up to date, `!` rejected."""
    target: str
    summary: str


def mask(text: str, secrets: Iterable[str]) -> str:
    """`text` without the secret values."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def explain(error: IntegrationError, remote: Remote, doing: str) -> OodaError:
    """The failure of an operation on `remote` as what it means for the person who wrote the task."""
    stderr = mask(str(error.facts.get("stderr", "")), remote.secrets())
    said = _said(stderr) or mask(str(error), remote.secrets())
    facts = {"service": "git", "operation": doing, "status": error.facts.get("status"), "remote": remote.url}
    if _HOST_KEY.search(stderr):
        return CredentialError(
            f"cannot {doing} {remote.url}: the host's ssh key is unknown or has changed. Check it with its operator, "
            "then add it to ~/.ssh/known_hosts",
            **facts,
        )
    if _AUTHENTICATION.search(stderr):
        given = f"the given {type(remote.credentials).__name__} was" if remote.credentials else "no credentials were"
        end = "rejected" if remote.credentials else "given"
        return CredentialError(
            f"cannot {doing} {remote.url}: {given} {end} ({said}). Check repository.credentials in the task", **facts
        )
    if _OWNERSHIP.search(stderr):
        return IntegrationError(
            f"cannot {doing} {remote.url}: the folder belongs to another user, so git refuses it. Run as its owner, "
            "or change the folder's owner",
            retryable=False,
            **facts,
        )
    if _ABSENT.search(stderr):
        return IntegrationError(
            f"cannot {doing} {remote.url}: there is no repository, or it is hidden from these credentials ({said}). "
            "Check repository.remote_url",
            retryable=False,
            **facts,
        )
    retryable = bool(error.facts.get("retryable")) or bool(_UNREACHABLE.search(stderr))
    hint = "Check the address and the network, then resume the run" if retryable else "Mend what git names"
    return IntegrationError(f"cannot {doing} {remote.url}: {said}. {hint}", retryable=retryable, **facts)


def read_push(porcelain: str) -> PushLine | None:
    """The line of the one reference that was pushed; None when the push did not get that far."""
    for line in porcelain.splitlines():
        flag, tab, rest = line.partition("\t")
        refs, tab2, summary = rest.partition("\t")
        if len(flag) == 1 and tab and tab2:
            return PushLine(flag, refs.rpartition(":")[2], summary)
    return None


def push_error(line: PushLine, stderr: str, remote: Remote, branch: str) -> ToolFailedError:
    """A rejected push as the sentence of the remote and what to do about it."""
    words = " ".join(text for text in _REMOTE_LINE.findall(mask(stderr, remote.secrets())) if text)
    said = f"{line.summary}. The remote says: {words}" if words else line.summary
    summary = line.summary.lower()
    if "non-fast-forward" in summary or "fetch first" in summary:
        kind, hint = "non_fast_forward", f"`{branch}` has commits of somebody else; push to another branch"
    elif "protected" in (summary + words.lower()):
        kind, hint = "protected", "the branch is protected; push to a feature branch or ask its owner"
    elif "hook declined" in summary:
        kind, hint = "hook_declined", "a hook of the remote declined it; mend what it names"
    else:
        kind, hint = "rejected", "mend what the remote names"
    return ToolFailedError(
        f"the push of `{branch}` to {remote.url} was rejected: {said}. Nothing was pushed; {hint}",
        kind=kind,
        branch=branch,
        remote=remote.url,
    )


def _said(stderr: str) -> str:
    """The telling lines of git's output: errors and what the remote printed."""
    lines = [line.strip() for line in stderr.splitlines()]
    telling = [line for line in lines if re.match(r"(fatal|error|remote|ssh|Permission|Host|Load key)\b", line)]
    return " ".join(telling[:3] or [line for line in lines if line][-2:])[:600]
