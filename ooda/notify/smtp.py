"""Mail over SMTP: one message to one recipient, encrypted, under a Message-ID made of the message's id.

Python's smtplib on a thread of its own. The same message has the same Message-ID in every attempt, by which mail
systems and readers tell a repetition. A connection lost while the text is handed over leaves the outcome unknown.
"""

from __future__ import annotations

import hashlib
import smtplib
import ssl
import threading
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, formataddr
from typing import Literal

import msgspec
from pydantic import SecretStr

from ooda.clock import to_datetime
from ooda.governance.grant import Grant
from ooda.notify.aside import aside
from ooda.notify.mail_text import mail_html, mail_subject, mail_text
from ooda.notify.values import Letter, Parcel, Receipt, binding

__all__ = ["SmtpChannel", "SmtpServer"]

_OWN_WORD = "ooda"


class SmtpServer(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the mail server."""

    host: str
    port: int
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password: SecretStr | None = None
    ca_file: str = ""


class SmtpChannel:
    """Hands messages to one mail server."""

    name = "mail"
    knows_ids = True
    gathers = True
    per_second = 10.0
    lanes = 4

    def __init__(self, server: SmtpServer, sender: str) -> None:
        """`sender` is a mail address."""
        self._server = server
        self._sender = sender
        self.host = server.host
        about = f"{server.host}:{server.port}:{server.user}:{sender}"
        self.endpoint = hashlib.sha256(about.encode()).hexdigest()[:16]

    def render(self, letter: Letter, recipient: str) -> bytes:
        """The whole message as it is handed over; its date is the notice's, so that every attempt is the same."""
        message = EmailMessage(policy=SMTP)
        message["From"] = formataddr((_OWN_WORD, self._sender))
        message["To"] = recipient
        message["Subject"] = mail_subject(letter)
        message["Date"] = format_datetime(to_datetime(letter.entries[0].at_ns))
        message["Message-ID"] = f"<{letter.id}@{self._sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday replies
        message.set_content(mail_text(letter))
        message.add_alternative(mail_html(letter), subtype="html")
        # The boundary would be drawn by lot.
        message.set_boundary("=_" + hashlib.sha256(letter.id.encode()).hexdigest()[:24])
        return message.as_bytes()

    async def send(self, parcel: Parcel, grant: Grant) -> Receipt:
        """See `ooda.notify.values.Channel`."""
        grant.spend(self.name, kind="channel", arguments=binding(parcel.recipient, parcel.body))
        handing_over, given_up = threading.Event(), threading.Event()
        try:
            return await aside(lambda: self._hand_over(parcel, handing_over, given_up), parcel.deadline_s)
        except TimeoutError:
            given_up.set()
            detail = f"no answer of {self.host} within {parcel.deadline_s:g} s"
            return Receipt(outcome="unknown" if handing_over.is_set() else "failed", detail=detail)

    def _hand_over(self, parcel: Parcel, handing_over: threading.Event, given_up: threading.Event) -> Receipt:
        """Blocking. Sets `handing_over` before the text goes, from when it may have arrived; ends when given up."""
        try:
            with self._connected(parcel.deadline_s) as connection:
                code, said = connection.mail(self._sender)
                if code != 250:
                    return self._refused(code, said)
                code, said = connection.rcpt(parcel.recipient)
                if code not in (250, 251):
                    return self._refused(code, said)
                handing_over.set()
                if given_up.is_set():
                    raise TimeoutError("nobody waits for it any more")
                code, said = connection.data(parcel.body)
                if code != 250:
                    return self._refused(code, said)
                return Receipt(outcome="sent", status=code, detail=f"{self.host} answered {code}")
        except smtplib.SMTPResponseException as error:
            return self._refused(error.smtp_code, error.smtp_error)
        except (smtplib.SMTPException, OSError, ssl.SSLError) as error:
            what = (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or "no answer"
            return Receipt(
                outcome="unknown" if handing_over.is_set() else "failed",
                detail=f"talking to {self.host} failed: {what}",
            )

    def _connected(self, timeout_s: float) -> smtplib.SMTP:
        server = self._server
        tls = ssl.create_default_context(cafile=server.ca_file or None)
        connection: smtplib.SMTP
        if server.security == "tls":
            connection = smtplib.SMTP_SSL(server.host, server.port, timeout=timeout_s, context=tls)
        else:
            connection = smtplib.SMTP(server.host, server.port, timeout=timeout_s)
        try:
            connection.ehlo_or_helo_if_needed()
            if server.security == "starttls":
                connection.starttls(context=tls)
                connection.ehlo()
            if server.user and server.password is not None:
                connection.login(server.user, server.password.get_secret_value())
        except BaseException:
            connection.close()
            raise
        return connection

    def _refused(self, code: int, said: bytes | str) -> Receipt:
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        return Receipt(
            outcome="failed",
            status=code,
            detail=f"{self.host} answered {code}: {' '.join(text.split())[:200]}",
            is_final=500 <= code < 600,
        )
