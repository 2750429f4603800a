"""Mail through Mailtrap's sending API: one message to one recipient.

The token goes into a header. The message's id goes along as a header and a custom variable, by which it can be found
at Mailtrap; Mailtrap itself does not tell repetitions by it.
"""

from __future__ import annotations

import hashlib

import msgspec
from pydantic import SecretStr

from ooda.governance.grant import Grant
from ooda.notify.mail_text import mail_html, mail_subject, mail_text
from ooda.notify.post import Answer, Poster
from ooda.notify.reading import posted
from ooda.notify.values import Letter, Parcel, Receipt, binding

__all__ = ["MailtrapChannel"]

_REFUSED = (400, 401, 403, 404)


class MailtrapChannel:
    """Posts to the sending API of one account."""

    name = "mail"
    knows_ids = False
    gathers = True
    per_second = 10.0
    lanes = 2

    def __init__(self, poster: Poster, token: SecretStr, sender: str) -> None:
        self._poster = poster
        self._token = token
        self._sender = sender
        self.host = poster.url.host
        about = f"{poster.digest}:{token.get_secret_value()}:{sender}"
        self.endpoint = hashlib.sha256(about.encode()).hexdigest()[:16]

    def render(self, letter: Letter, recipient: str) -> bytes:
        """The request's body."""
        message_id = f"<{letter.id}@{self._sender.rpartition('@')[2]}>"
        body = {
            "from": {"email": self._sender, "name": "ooda"},
            "to": [{"email": recipient}],
            "subject": mail_subject(letter),
            "text": mail_text(letter),
            "html": mail_html(letter),
            "category": letter.kind[:255],
            "headers": {"X-Message-Source": "ooda", "X-Ooda-Message-Id": message_id},
            "custom_variables": {"ooda_message": letter.id},
        }
        return msgspec.json.encode(body)

    async def send(self, parcel: Parcel, grant: Grant) -> Receipt:
        """See `ooda.notify.values.Channel`."""
        grant.spend(self.name, kind="channel", arguments=binding(parcel.recipient, parcel.body))
        headers = {"Authorization": f"Bearer {self._token.get_secret_value()}", "Content-Type": "application/json"}
        return await posted(self._poster, parcel, headers, is_taken=_is_taken, refuses=_refuses)


class _Said(msgspec.Struct):
    success: bool = False


def _is_taken(answer: Answer) -> bool:
    if answer.status != 200:
        return False
    try:
        return msgspec.json.decode(answer.body, type=_Said).success
    except msgspec.MsgspecError:
        return False


def _refuses(answer: Answer) -> str | None:
    return "look at `notify.mailtrap_token` and `notify.mail_from`" if answer.status in _REFUSED else None
