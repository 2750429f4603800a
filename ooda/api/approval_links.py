"""Links by which one named person answers one question, without an account: signed, expiring, good for one answer.

A link carries a token over the question, the hash of exactly what is shown, the person it was made for and its end;
each button of the page behind it carries one over the answer too. The key lies beside the settings and never leaves
this machine. A question is answered once, whoever is first, so a link is used once as well.
Knows keys and rows; must not know HTTP.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from ooda.api.people import answer_approval
from ooda.api.session import Session
from ooda.errors import ConfigError, RefusedError
from ooda.events import canonical
from ooda.store import approvals
from ooda.store.approvals import Approval

__all__ = ["ANSWERS", "LinkAnswer", "LinkClaim", "Opened", "answer_by_link", "link_token", "opened_link"]

LinkAnswer = Literal["approve", "reject", "stop"]
ANSWERS: Final[tuple[LinkAnswer, ...]] = ("approve", "reject", "stop")
_DECISION_NS: Final = 24 * 3600 * 10**9
"""How long the link to a question without an end of its own is good."""


class LinkClaim(msgspec.Struct, frozen=True):
    """What a token says, and its signature covers."""

    approval: str
    shown: str
    """SHA-256 of the text the person decides on."""
    person: str
    expires_ns: int
    answer: str = ""
    """The one answer it gives; empty for the link itself, which gives none."""


class Opened(msgspec.Struct, frozen=True):
    """A question behind a good link."""

    row: Approval
    person: str
    tokens: Mapping[str, str]
    """For each answer that can be given."""


def link_token(session: Session, approval: str, person: str) -> str:
    """The token of a link to a question that waits.

    Raises:
        ConfigError: there is no such question, or nobody is named.
        RefusedError: it does not wait any more.
    """
    row = session.store.read(lambda tx: approvals.find(tx, approval))
    if row is None:
        raise ConfigError(f"there is no question {approval!r}; `ooda approvals list` shows those that wait")
    if not person.strip() or len(person) > 200 or not person.isprintable():
        raise ConfigError(f"the link is for {person!r}; name the one person who is to answer, in up to 200 characters")
    if row.ask == "decision":
        raise RefusedError("whether an effect happened is found out by looking, not by a link; `ooda runs decide`")
    now_ns = session.clock.now_ns()
    if row.state != "waiting" or row.expires_ns <= now_ns:
        state = row.state if row.state != "waiting" else "expired"
        raise RefusedError(f"question {approval} does not wait any more: {state}")
    expires_ns = min(row.expires_ns, now_ns + _DECISION_NS)
    return _signed(session, LinkClaim(row.id, row.shown_hash, person.strip(), expires_ns))


def opened_link(session: Session, token: str) -> Opened:
    """The question a link leads to, with a token for each answer.

    Raises:
        RefusedError: the link is none of ours, has expired, or the question is another one now.
    """
    claim = _claim(session, token)
    if claim.answer:
        raise RefusedError("this is an answer and no link")
    row = _row(session, claim)
    tokens: dict[str, str] = {
        answer: _signed(session, msgspec.structs.replace(claim, answer=answer))
        for answer in (ANSWERS if row.state == "waiting" else ())
    }
    return Opened(row, claim.person, tokens)


def answer_by_link(session: Session, token: str, note: str) -> Approval:
    """Give the answer a token stands for.

    Raises:
        RefusedError: as `opened_link`; or somebody answered before.
    """
    claim = _claim(session, token)
    answer = next((word for word in ANSWERS if word == claim.answer), None)
    if answer is None:
        raise RefusedError("the link says no answer; open it and choose one")
    return answer_approval(session, _row(session, claim).id, answer, note, by=f"{claim.person} (link)")


def _row(session: Session, claim: LinkClaim) -> Approval:
    row = session.store.read(lambda tx: approvals.find(tx, claim.approval))
    if row is None:
        raise RefusedError("the question of this link is not kept any more")
    if row.shown_hash != claim.shown or hashlib.sha256(row.shown.encode()).hexdigest() != claim.shown:
        raise RefusedError("what this link was made for is not what the question says now; ask for a new link")
    return row


def _claim(session: Session, token: str) -> LinkClaim:
    body, _, signature = token.partition(".")
    wanted = _sign(session, body)
    if not hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "replace")):
        raise RefusedError("this link was not made here, or was changed on its way")
    claim = msgspec.json.decode(_bytes(body), type=LinkClaim)
    if claim.expires_ns <= session.clock.now_ns():
        raise RefusedError("this link has expired")
    return claim


def _signed(session: Session, claim: LinkClaim) -> str:
    body = base64.urlsafe_b64encode(canonical(claim)).decode().rstrip("=")
    return f"{body}.{_sign(session, body)}"


def _sign(session: Session, body: str) -> str:
    made = hmac.new(_key(session), b"ooda approval link 1\0" + body.encode("utf-8", "replace"), hashlib.sha256)
    return base64.urlsafe_b64encode(made.digest()).decode().rstrip("=")


def _bytes(body: str) -> bytes:
    return base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))


def _key(session: Session) -> bytes:
    """The key, made at its first use (mode 0600)."""
    path = session.places.config / "approvals.key"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = secrets.token_bytes(32)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:  # another process made it just now; its key counts
        return path.read_bytes()
    with open(descriptor, "wb") as file:
        file.write(key)
    return key
