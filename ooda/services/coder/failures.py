"""What can go wrong between the steward and Coder, and what may be done about it.

Every failure becomes an `IntegrationError` (or a `CredentialError` for 401) with a `kind` that says what to do:
`never_sent` and `busy` may be sent again as they are, `unknown` only after a look at whether it happened,
`forbidden`, `not_found`, `conflict`, `not_ready` and `rejected` not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

import msgspec

from ooda.errors import CredentialError, IntegrationError, OodaError
from ooda.services.coder.records import Answer

__all__ = ["Kind", "failure", "kind_of", "refusal", "retry_after_s"]

Kind = Literal[
    "never_sent",  # no connection: the server saw nothing
    "busy",  # 429: refused before anything was done
    "unknown",  # a time-out, a broken connection, 5xx: it may have happened
    "protocol",  # an answer that is none of Coder's
    "forbidden",
    "not_found",
    "conflict",
    "not_ready",
    "rejected",
]

_BY_STATUS: dict[int, Kind] = {
    403: "forbidden",
    404: "not_found",
    406: "not_ready",
    409: "conflict",
    429: "busy",
}
_HINTS: dict[Kind, str] = {
    "forbidden": "the token's user may not do this; give it the role, or the scope, it needs",
    "not_found": "it does not exist, or the token's user may not see it",
    "conflict": "another build is under way, or the workspace is no longer what it was",
    "not_ready": "the template version is still being imported; try again later",
    "busy": "Coder asks for fewer requests",
    "unknown": "it may or may not have happened; look before doing it again",
    "protocol": "is `CODER_URL` the address of a Coder deployment?",
    "rejected": "Coder does not take this request as it stands",
    "never_sent": "the server could not be reached",
}
_RETRYABLE: frozenset[Kind] = frozenset({"never_sent", "busy", "unknown", "protocol"})
_SHOWN = 300


def failure(
    operation: str, kind: Kind, said: str, *, status: int = 0, retry_after_s: float | None = None, **facts: object
) -> IntegrationError:
    """A failure as an error; `retryable` says whether the same request may succeed later."""
    return IntegrationError(
        f"Coder: {operation} failed: {said.strip()[:_SHOWN]} ({_HINTS[kind]}).",
        service="coder",
        operation=operation,
        status=status,
        kind=kind,
        retryable=kind in _RETRYABLE,
        retry_after_s=retry_after_s,
        **facts,
    )


def refusal(operation: str, status: int, headers: Mapping[str, str], body: bytes, now: datetime) -> OodaError:
    """The error an answer with a status of 300 and above stands for."""
    said = _said(body)
    if status == 401:
        return CredentialError(
            f"Coder: {operation} was refused, the token is not valid (401: {said.message}). "
            "Make a new one (`coder tokens create`) and set `CODER_TOKEN`.",
            service="coder",
            operation=operation,
            status=status,
        )
    if 300 <= status < 400:
        return failure(operation, "protocol", f"{status}, redirected elsewhere", status=status)
    kind: Kind = _BY_STATUS.get(status, "unknown" if status >= 500 else "rejected")
    wrong = "; ".join(f"`{entry.field}`: {entry.detail}" for entry in said.validations)
    words = " ".join(part for part in (f"{status}:", said.message, said.detail, wrong) if part)
    return failure(
        operation, kind, words, status=status, retry_after_s=retry_after_s(headers, now), said_by_coder=said.message
    )


def kind_of(error: BaseException) -> Kind | None:
    """The kind of a failure of this room; None for any other error."""
    if isinstance(error, IntegrationError) and error.facts.get("service") == "coder":
        kind: Kind | None = error.facts.get("kind")  # type: ignore[assignment]
        return kind
    return None


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds an answer asks to wait (RFC 9110 section 10.2.3), never negative; None when it does not say."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isdecimal():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now.timestamp())


def _said(body: bytes) -> Answer:
    try:
        return msgspec.json.decode(body, type=Answer)
    except msgspec.DecodeError:
        # A proxy's page: its first words say more than nothing.
        text = " ".join(body[:2_000].decode(errors="replace").split())
        return Answer(message=text[:_SHOWN] or "no text")
