"""Delivery of notices for every face: what is configured, delivering now, looking, trying again.

    report = await deliver(session)                  # everything that is due, once
    deliverer = open_deliverer(session)              # a daemon's: `await deliverer.serve(stopping)`

Knows settings and makes channels of them; delivering itself is `ooda.notify`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import random

import msgspec

from ooda.api.session import Session
from ooda.config import Settings
from ooda.errors import ConfigError, nearest
from ooda.governance.levels import Level
from ooda.governance.notice_door import NoticeDoor
from ooda.notify.address import checked_url, mail_address
from ooda.notify.compose import told
from ooda.notify.deliver import Deliverer, DeliveryPolicy, DeliveryReport
from ooda.notify.mailtrap import MailtrapChannel
from ooda.notify.pace import Patience
from ooda.notify.post import Poster
from ooda.notify.routes import Router
from ooda.notify.signing import key_of
from ooda.notify.slack import SlackChannel
from ooda.notify.smtp import SmtpChannel, SmtpServer
from ooda.notify.teams import TeamsChannel
from ooda.notify.values import Channel
from ooda.notify.webhook import WebhookChannel
from ooda.store import Tx, messages, outbox, process_owner
from ooda.store.messages import Attempt, Message
from ooda.store.outbox import Notice

__all__ = [
    "DeliveryReport",
    "Planned",
    "Shown",
    "channels_of",
    "deliver",
    "delivering",
    "known_message",
    "listed_messages",
    "open_deliverer",
    "planned",
    "put_test_notice",
    "retry_messages",
    "said",
    "shown_message",
]

_LOCAL = ("localhost", "127.0.0.1", "::1")


class Planned(msgspec.Struct, frozen=True):
    """A notice that waits to be routed, and where it would go."""

    notice: str
    kind: str
    receivers: tuple[str, ...]
    """`slack`, `mail ada@example.com`; none when nobody is told."""
    missing: str = ""


class Shown(msgspec.Struct, frozen=True):
    """Everything about one message."""

    message: Message
    attempts: tuple[Attempt, ...]
    notices: tuple[Notice, ...]


# -- channels -------------------------------------------------------------------------------------------------


def channels_of(settings: Settings) -> tuple[Channel, ...]:
    """The channels that are configured; none when nothing is. Nothing is connected to.

    Raises:
        ConfigError: a channel is half configured, or its address is no good.
    """
    notify = settings.notify
    private, ca_file = notify.private_hosts, notify.ca_file or ""

    def poster(secret: str, setting: str) -> Poster:
        return Poster(checked_url(secret, setting, private), ca_file=ca_file)

    found: list[Channel] = []
    if (mail := _mail_channel(settings, poster)) is not None:
        found.append(mail)
    if notify.slack_webhook_url is not None:
        found.append(SlackChannel(poster(notify.slack_webhook_url.get_secret_value(), "notify.slack_webhook_url")))
    if notify.teams_webhook_url is not None:
        found.append(TeamsChannel(poster(notify.teams_webhook_url.get_secret_value(), "notify.teams_webhook_url")))
    if notify.webhook_url is not None:
        secrets = [*([notify.webhook_secret] if notify.webhook_secret else []), *notify.webhook_old_secrets]
        keys = [key_of(secret, "notify.webhook_secret") for secret in secrets]
        found.append(WebhookChannel(poster(notify.webhook_url.get_secret_value(), "notify.webhook_url"), keys))
    return tuple(found)


def _mail_channel(settings: Settings, poster: Callable[[str, str], Poster]) -> Channel | None:
    notify = settings.notify
    for address in notify.mail_to:
        if mail_address(address) is None:
            raise ConfigError(f"`notify.mail_to` holds {address!r}, which is no mail address")
    if notify.smtp_host is None and notify.mailtrap_token is None:
        return None
    sender = mail_address(notify.mail_from or "")
    if sender is None:
        what = "notify.smtp_host" if notify.smtp_host else "notify.mailtrap_token"
        raise ConfigError(
            f"`{what}` is set, and `notify.mail_from` is {notify.mail_from!r}; set it to the address mail is sent from"
        )
    if notify.smtp_host is None:
        assert notify.mailtrap_token is not None
        url = notify.mailtrap_url if "/api/send" in notify.mailtrap_url else f"{notify.mailtrap_url}/api/send"
        return MailtrapChannel(poster(url, "notify.mailtrap_url"), notify.mailtrap_token, sender)
    if notify.smtp_security == "none" and notify.smtp_host not in (*_LOCAL, *notify.private_hosts):
        raise ConfigError(
            f"`notify.smtp_security` is `none` and `{notify.smtp_host}` is another machine; use `starttls` or `tls`"
        )
    server = SmtpServer(
        host=notify.smtp_host,
        port=notify.smtp_port,
        security=notify.smtp_security,
        user=notify.smtp_user or "",
        password=notify.smtp_password,
        ca_file=notify.ca_file or "",
    )
    return SmtpChannel(server, sender)


def open_deliverer(
    session: Session,
    *,
    patience: Patience | None = None,
    jitter: Callable[[], float] = random,
) -> Deliverer:
    """A deliverer over the configured channels. Nothing is to be closed; make it inside the event loop it is for.

    Raises:
        ConfigError: see `channels_of`.
    """
    notify = session.settings.notify
    channels = channels_of(session.settings)
    router = Router(notify.routes, [c.name for c in channels], notify.mail_to, mails_owners=notify.mail_owners)
    # Rules may speak of levels; delivery acts for no agent, so it has the lowest.
    return Deliverer(
        session.store,
        NoticeDoor(session.rules, Level.SANDBOX_ONLY, f"delivery for {session.user}"),
        channels,
        router,
        clock=session.clock,
        redact=lambda text: session.redactor.redact(text).text,
        owner=process_owner(session.ids.new("ntf")),
        policy=DeliveryPolicy(
            timeout_s=notify.timeout,
            keep_trying_s=notify.keep_trying,
            digest_s=notify.digest,
            holds_unsure=notify.unsure == "hold",
            patience=patience or Patience(),
            place=notify.slack_channel or "",
        ),
        jitter=jitter,
    )


# -- delivering -------------------------------------------------------------------------------------------------


async def deliver(session: Session, *, run: str = "", wait_s: float = 0.0) -> DeliveryReport:
    """Try everything that is due once; with `wait_s`, go on for so long with what becomes due meanwhile.

    Without a configured channel nothing is done: what is queued stays queued until there is one, or grows too old.

    Args:
        run: only what this run has queued.

    Raises:
        ConfigError: see `channels_of`.
    """
    deliverer = open_deliverer(session)
    if not deliverer.channels:
        return DeliveryReport()
    return await deliverer.drain(run=run, wait_s=wait_s)


@asynccontextmanager
async def delivering(session: Session, heard: Callable[[DeliveryReport], None]) -> AsyncIterator[Deliverer | None]:
    """Deliver beside whatever the body does; at its end, what is under way is finished. None without a channel.

    Args:
        heard: is told of every round that did anything, and of settings that make delivery impossible.
    """
    try:
        deliverer = open_deliverer(session)
    except ConfigError as error:
        heard(DeliveryReport(problems=(str(error),)))
        yield None
        return
    if not deliverer.channels:
        yield None
        return
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(deliverer.serve(stopping, heard))
        try:
            yield deliverer
        finally:
            stopping.set()


def said(report: DeliveryReport) -> str:
    """A report in a line, and a line for each problem; empty when nothing happened and nothing waits."""
    words = (
        (report.sent, "sent"),
        (report.failed, "failed"),
        (report.unsure, "perhaps arrived"),
        (report.dead, "given up"),
        (report.waiting, "waiting"),
    )
    parts = [f"{count} {word}" for count, word in words if count]
    lines = [f"notices: {', '.join(parts)}"] if parts else []
    return "\n".join([*lines, *(f"  {problem}" for problem in report.problems)])


def planned(session: Session, *, run: str = "", limit: int = 200) -> list[Planned]:
    """What waits to be routed, and where it would go now. Changes nothing.

    Raises:
        ConfigError: see `channels_of`.
    """
    notify = session.settings.notify
    names = [channel.name for channel in channels_of(session.settings)]
    router = Router(notify.routes, names, notify.mail_to, mails_owners=notify.mail_owners)
    found = session.store.read(lambda tx: outbox.unrouted(tx, session.clock.now_ns(), run=run, limit=limit))
    return [_planned(router, notice) for notice in found]


def _planned(router: Router, notice: Notice) -> Planned:
    try:
        said = told(notice)
    except msgspec.MsgspecError as error:
        return Planned(notice.id, "", (), f"its payload cannot be read: {error}")
    routed = router.receivers(notice.channel, said)
    receivers = tuple(f"{to.channel} {to.recipient}".strip() for to in routed.receivers)
    return Planned(notice.id, said.notification_type, receivers, routed.missing)


def put_test_notice(session: Session, channel: str) -> str:
    """Queue a test message over one configured channel, to the first administrator where it is mail; its message id.

    Raises:
        ConfigError: the channel is not configured, or nobody is an administrator.
    """
    names = [one.name for one in channels_of(session.settings)]
    if channel not in names:
        known = ", ".join(f"`{name}`" for name in names) or "none"
        raise ConfigError(f"channel {channel!r} is not configured; configured are: {known} (settings `notify.*`)")
    admins = session.settings.notify.mail_to
    if channel == "mail" and not admins:
        raise ConfigError("nobody would get a test mail; set `notify.mail_to` to an address")
    now_ns, id = session.clock.now_ns(), session.ids.new("msg")
    text = f"This is a test by {session.user}: notices of ooda arrive here."
    payload = {"notification_type": "test", "message": text, "timestamp_ns": now_ns}

    def put(tx: Tx) -> None:
        outbox.enqueue(tx, f"test-{id}", "test", msgspec.json.encode(payload).decode(), now_ns)
        outbox.mark_routed(tx, f"test-{id}", now_ns, has_messages=True)
        message = Message(
            id=id,
            channel=channel,
            recipient=admins[0] if channel == "mail" else "",
            kind="test",
            state="waiting",
            created_ns=now_ns,
            due_ns=now_ns,
        )
        messages.add(tx, message, [f"test-{id}"])

    session.store.write_now(put)
    return id


# -- looking ----------------------------------------------------------------------------------------------------


def listed_messages(
    session: Session, *, state: str = "", channel: str = "", run: str = "", limit: int = 50
) -> list[Message]:
    """Messages, the newest first."""
    return session.store.read(lambda tx: messages.listed(tx, state=state, channel=channel, run=run, limit=limit))


def known_message(session: Session, id: str) -> Message:
    """The message with this id, or with an id that begins so.

    Raises:
        ConfigError: there is none, or more than one.
    """
    found = session.store.read(lambda tx: messages.found(tx, id))
    if len(found) == 1 or (found and found[0].id == id):
        return found[0]
    if found:
        raise ConfigError(f"{id!r} is the beginning of {len(found)} messages or more; give more of the id")
    near = nearest(id, [one.id for one in listed_messages(session)])
    raise ConfigError(
        f"there is no message {id!r}; " + (f"did you mean `{near}`?" if near else "`ooda notices list` shows them")
    )


def shown_message(session: Session, id: str) -> Shown:
    """A message with its attempts and notices. Raises as `known_message`."""
    message = known_message(session, id)

    def read(tx: Tx) -> Shown:
        return Shown(message, tuple(messages.attempts_of(tx, message.id)), tuple(messages.notices_of(tx, message.id)))

    return session.store.read(read)


def retry_messages(session: Session, ids: Sequence[str] = (), *, channel: str = "") -> list[Message]:
    """Try dead letters again (all, of a channel, or those named, which may also be waiting ones); gives which.

    A channel that had been switched off by its receiver is used again.

    Raises:
        ConfigError: see `known_message`.
    """
    named = [known_message(session, id) for id in ids]
    chosen = named or listed_messages(session, state="dead", channel=channel, limit=10_000)
    now_ns = session.clock.now_ns()

    def write(tx: Tx) -> list[Message]:
        for name in {one.channel for one in chosen}:
            messages.enable(tx, name)
        return [one for one in chosen if messages.retry(tx, one.id, now_ns)]

    return session.store.write_now(write)
