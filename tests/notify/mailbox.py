"""A real mail server on loopback that keeps what it accepts, or refuses as it is told."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope, Session

__all__ = ["Inbox", "mail_server"]


class Inbox:
    """A mail server's handler: keeps what it accepts."""

    def __init__(self, rcpt: str = "", data: str = "") -> None:
        self.mails: list[tuple[str, list[str], bytes]] = []
        self._rcpt, self._data = rcpt, data

    async def handle_RCPT(self, server: Any, session: Session, envelope: Envelope, address: str, options: Any) -> str:
        if self._rcpt:
            return self._rcpt
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        if self._data == "cut":
            server.transport.abort()
            return "250 never heard"
        if self._data:
            return self._data
        assert isinstance(envelope.content, bytes) and envelope.mail_from is not None
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 taken"


@contextmanager
def mail_server(inbox: Inbox, **options: Any) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]  # the controller connects to itself and must know it before
    controller = Controller(inbox, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()
