"""One suite for every channel: what a receiver's answers mean, over real sockets; then what is each one's own."""

import asyncio
import email
import socket
import ssl
import time
from collections.abc import Callable
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
import trustme
from aiosmtpd.smtp import AuthResult, Envelope, Session
from pydantic import SecretStr

from ooda.errors import ConfigError
from ooda.governance.grant import Grant, Mint
from ooda.governance.operations import Operation
from ooda.notify.address import checked_url
from ooda.notify.mailtrap import MailtrapChannel
from ooda.notify.post import Poster
from ooda.notify.signing import key_of, signature_headers
from ooda.notify.slack import SlackChannel
from ooda.notify.smtp import SmtpChannel, SmtpServer
from ooda.notify.teams import TeamsChannel
from ooda.notify.values import Channel, Parcel, Receipt, binding
from ooda.notify.webhook import WebhookChannel
from tests.notify.bench import NOW, poster
from tests.notify.mailbox import Inbox, mail_server
from tests.notify.receivers import Answered, receiving
from tests.notify.samples import PLAIN

MAILTRAP_OK = '{"success":true,"message_ids":["0c7fd939-02cf-11ed-88c2-0a58a9feac02"]}'
WEB: dict[str, tuple[Callable[[str], Channel], Answered]] = {
    "slack": (lambda url: SlackChannel(poster(url)), Answered()),
    "teams": (lambda url: TeamsChannel(poster(url)), Answered(202, "")),
    "webhook": (lambda url: WebhookChannel(poster(url), [b"k" * 32]), Answered(204, "")),
    "mailtrap": (
        lambda url: MailtrapChannel(poster(f"{url}/api/send"), SecretStr("tok-123456"), "ooda@example.com"),
        Answered(200, MAILTRAP_OK),
    ),
}


def parcel_of(channel: Channel, deadline_s: float = 5.0) -> Parcel:
    to = "ada@example.com" if channel.name == "mail" else ""
    return Parcel(id=PLAIN.id, recipient=to, body=channel.render(PLAIN, to), at_ns=NOW, deadline_s=deadline_s)


def grant_for(channel: Channel, parcel: Parcel) -> Grant:
    return Mint().grant(
        kind="channel",
        run="",
        seq=0,
        call=parcel.id,
        tool=channel.name,
        definition=channel.name,
        arguments=binding(parcel.recipient, parcel.body),
        operation=Operation.NOTIFY,
        effect="once",
        key=parcel.id,
        fence=1,
        deadline_ns=2**62,
    )


async def sent(channel: Channel, deadline_s: float = 5.0) -> Receipt:
    parcel = parcel_of(channel, deadline_s)
    return await channel.send(parcel, grant_for(channel, parcel))


# -- over HTTP ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "good"), WEB.values(), ids=WEB)
async def test_what_is_accepted_is_sent(make: Callable[[str], Channel], good: Answered) -> None:
    """One request, of JSON, with nothing of the URL in the receipt."""
    with receiving(lambda posted, n: good) as server:
        receipt = await sent(make(server.url))
    assert (receipt.outcome, receipt.status) == ("sent", good.status)
    assert len(server.posted) == 1
    assert server.posted[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize(("make", "good"), WEB.values(), ids=WEB)
@pytest.mark.parametrize(
    ("answer", "outcome", "after"),
    [
        (Answered(500, "rollup_error"), "failed", None),
        (Answered(429, "rate_limited", {"Retry-After": "30"}), "failed", 30.0),
        (Answered(302, "", {"Location": "http://127.0.0.1:1/"}), "failed", None),
        (Answered(410, "channel_is_archived"), "failed", None),
        (Answered(cut=True), "unknown", None),
    ],
    ids=["500", "429", "redirect", "410", "cut off"],
)
async def test_what_is_not_accepted_is_told_apart(
    make: Callable[[str], Channel], good: Answered, answer: Answered, outcome: str, after: float | None
) -> None:
    """The same for every channel: an answer is a failure, silence after the request is unknown."""
    with receiving(lambda posted, n: answer) as server:
        receipt = await sent(make(server.url))
    assert (receipt.outcome, receipt.retry_after_s) == (outcome, after)
    assert receipt.is_gone == (answer.status == 410 and not answer.cut)
    assert len(server.posted) == 1


@pytest.mark.parametrize(("make", "good"), WEB.values(), ids=WEB)
async def test_a_receiver_that_is_not_there_has_got_nothing(make: Callable[[str], Channel], good: Answered) -> None:
    """Refused connections are failures, not unknown."""
    receipt = await sent(make("http://127.0.0.1:9"))
    assert receipt.outcome == "failed"


@pytest.mark.parametrize(("make", "good"), WEB.values(), ids=WEB)
async def test_a_receiver_that_says_nothing_is_left_at_the_deadline(
    make: Callable[[str], Channel], good: Answered
) -> None:
    """And nobody knows what it did."""

    with socket.create_server(("127.0.0.1", 0)) as server:  # the kernel takes the request; nobody reads it
        receipt = await sent(make(f"http://127.0.0.1:{server.getsockname()[1]}"), deadline_s=0.2)
    assert receipt.outcome == "unknown" and "within 0.2 s" in receipt.detail


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_slack_refusals_are_final(status: int) -> None:
    """As its published answers say; the word it gives is in the receipt."""
    with receiving(lambda posted, n: Answered(status, "invalid_payload")) as server:
        receipt = await sent(WEB["slack"][0](server.url))
    assert receipt.is_final and "invalid_payload" in receipt.detail


async def test_a_webhook_is_tried_again_after_any_refusal() -> None:
    """Standard Webhooks: only 2xx is success, and only 410 the end."""
    for status in (400, 401, 404, 422):
        with receiving(lambda posted, n, status=status: Answered(status)) as server:  # type: ignore[misc]
            receipt = await sent(WEB["webhook"][0](server.url))
        assert (receipt.outcome, receipt.is_final, receipt.is_gone) == ("failed", False, False)


async def test_mailtrap_says_success_in_words() -> None:
    """A 200 with `success: false`, or a proxy's page, is no delivery; the token goes into its header."""
    for body in ('{"success":false,"errors":["no"]}', "<html>", "[]"):
        with receiving(lambda posted, n, body=body: Answered(200, body)) as server:  # type: ignore[misc]
            receipt = await sent(WEB["mailtrap"][0](server.url))
        assert receipt.outcome == "failed"
    assert server.posted[0].headers["authorization"] == "Bearer tok-123456"
    assert server.posted[0].path == "/api/send"


# -- signatures ---------------------------------------------------------------------------------------------

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


async def test_signatures_verify_with_the_reference_library_while_a_secret_is_replaced() -> None:
    """With either secret; and not with a third, nor after a change of the body."""
    keys = [key_of(SecretStr(secret), "x") for secret in (SECRET, OTHER)]
    with receiving() as server:
        channel = WebhookChannel(poster(server.url), keys)
        parcel = parcel_of(channel)
        now = Parcel(id="msg-1", recipient="", body=parcel.body, at_ns=time.time_ns(), deadline_s=5)
        assert (await channel.send(now, grant_for(channel, now))).outcome == "sent"
    (posted,) = server.posted
    for secret in (SECRET, OTHER):
        assert standardwebhooks.Webhook(secret).verify(posted.body, posted.headers) == posted.json
    for secret, body in ((f"whsec_{'A' * 32}", posted.body), (SECRET, posted.body + b" ")):
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            standardwebhooks.Webhook(secret).verify(body, posted.headers)


def test_our_signature_is_the_reference_librarys() -> None:
    """For one key, text by text."""
    from datetime import UTC, datetime

    made = signature_headers([key_of(SecretStr(SECRET), "x")], "msg-1", 1_700_000_000, b'{"a": "\xc3\xa9"}')
    at = datetime.fromtimestamp(1_700_000_000, tz=UTC)
    assert made["webhook-signature"] == standardwebhooks.Webhook(SECRET).sign("msg-1", at, '{"a": "é"}')


@pytest.mark.parametrize(
    ("secret", "says"),
    [("whsec_!!!", "base64"), ("whsec_YWJj", "3 bytes"), ("", "empty"), ("whsec_" + "A" * 120, "90 bytes")],
)
def test_a_poor_secret_is_refused_without_being_shown(secret: str, says: str) -> None:
    """The message names the setting."""
    with pytest.raises(ConfigError, match=says) as caught:
        key_of(SecretStr(secret), "notify.webhook_secret")
    assert "`notify.webhook_secret`" in str(caught.value) and (not secret or secret not in str(caught.value))


# -- TLS ----------------------------------------------------------------------------------------------------


async def test_a_certificate_is_checked(tmp_path: Path) -> None:
    """One by an authority nobody named is refused before anything is sent; with `notify.ca_file` it is taken."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "localhost", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        url = checked_url(f"https://localhost:{port}/x", "notify.slack_webhook_url")
        distrusted = await sent(SlackChannel(Poster(url)))
        trusted = await sent(SlackChannel(Poster(url, ca_file=str(tmp_path / "ca.pem"))))
    assert (distrusted.outcome, trusted.outcome) == ("failed", "sent")
    assert "certificate" in distrusted.detail


# -- mail ---------------------------------------------------------------------------------------------------


def mailer(port: int, **more: Any) -> SmtpChannel:
    return SmtpChannel(
        SmtpServer(**{"host": "127.0.0.1", "port": port, "security": "none", **more}), "ooda@example.com"
    )


async def test_a_mail_arrives_in_both_forms_under_its_message_id() -> None:
    """Text and HTML; the id is the same in every attempt."""
    inbox = Inbox()
    with mail_server(inbox) as port:
        receipts = [await sent(mailer(port)) for _ in range(2)]
    assert [receipt.outcome for receipt in receipts] == ["sent", "sent"]
    assert inbox.mails[0] == inbox.mails[1]
    sender, recipients, content = inbox.mails[0]
    mail = email.message_from_bytes(content, policy=default)
    assert (sender, recipients) == ("ooda@example.com", ["ada@example.com"])
    assert mail["Message-ID"] == f"<{PLAIN.id}@example.com>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("inbox", "outcome", "is_final"),
    [
        (Inbox(rcpt="550 no such user"), "failed", True),
        (Inbox(rcpt="450 try later"), "failed", False),
        (Inbox(data="554 spam"), "failed", True),
        (Inbox(data="451 greylisted"), "failed", False),
        (Inbox(data="cut"), "unknown", False),
    ],
    ids=["no user", "later", "spam", "greylisted", "cut off"],
)
async def test_a_mail_servers_answers_are_told_apart(inbox: Inbox, outcome: str, is_final: bool) -> None:
    """5xx is final, 4xx is not, and a connection lost while the text is handed over is unknown."""
    with mail_server(inbox) as port:
        receipt = await sent(mailer(port))
    assert (receipt.outcome, receipt.is_final) == (outcome, is_final)
    assert inbox.mails == []


async def test_no_mail_server_is_a_failure() -> None:
    """Nothing was handed over."""
    assert (await sent(mailer(9))).outcome == "failed"


def _tls(tmp_path: Path) -> ssl.SSLContext:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


async def test_mail_is_encrypted_before_the_password_goes(tmp_path: Path) -> None:
    """STARTTLS with a checked certificate, then LOGIN; without STARTTLS at the server nothing is sent."""
    seen: list[bytes] = []

    def authenticate(server: Any, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert session.ssl is not None
        seen.append(data.password)
        return AuthResult(success=data.password == b"hunter2-hunter2", handled=False)

    login = {"user": "ooda", "password": SecretStr("hunter2-hunter2"), "security": "starttls"}
    inbox = Inbox()
    with mail_server(inbox, tls_context=_tls(tmp_path), authenticator=authenticate, auth_required=True) as port:
        good = await sent(mailer(port, **login, ca_file=str(tmp_path / "ca.pem")))
        wrong = await sent(
            mailer(port, **{**login, "password": SecretStr("wrong-wrong")}, ca_file=str(tmp_path / "ca.pem"))
        )
        distrusted = await sent(mailer(port, **login))
    with mail_server(inbox) as port:
        clear = await sent(mailer(port, **login))
    assert [receipt.outcome for receipt in (good, wrong, distrusted, clear)] == ["sent", "failed", "failed", "failed"]
    assert set(seen) == {b"hunter2-hunter2", b"wrong-wrong"}
    assert len(inbox.mails) == 1 and wrong.is_final


# -- addresses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://hooks.slack.com/services/T/B/secret", "in clear"),
        ("https://user:secret@hooks.slack.com/x", "user name"),
        ("ftp://hooks.slack.com/secret", "no http"),
        ("https://hooks.slack.com:0/secret", "no http"),
        ("https://hooks slack.com/secret", "no http"),
        ("https:///secret", "no http"),
    ],
)
def test_a_bad_url_is_refused_without_being_shown(url: str, says: str) -> None:
    """It is a secret."""
    with pytest.raises(ConfigError, match=says) as caught:
        checked_url(url, "notify.slack_webhook_url")
    assert "secret" not in str(caught.value)


async def test_a_public_name_must_not_lead_into_our_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that resolves to this machine is not connected to, unless it is listed."""
    real = socket.getaddrinfo

    def resolve(host: str, port: int, **more: Any) -> Any:
        return real("127.0.0.1" if host == "hooks.example.com" else host, port, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)  # the name server is not ours to run
    with receiving() as server:
        port = server.url.rpartition(":")[2]
        url = f"http://hooks.example.com:{port}/x"
        with pytest.raises(ConfigError):
            checked_url(url, "x")
        https = checked_url(f"https://hooks.example.com:{port}/x", "x")
        refused = await sent(SlackChannel(Poster(https)))
        listed = await sent(SlackChannel(Poster(checked_url(url, "x", ("hooks.example.com",)))))
    assert (refused.outcome, listed.outcome) == ("failed", "sent")
    assert "leads to a private address" in refused.detail and len(server.posted) == 1
