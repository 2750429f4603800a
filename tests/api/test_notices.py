"""Delivery from settings: which channels there are, owners told by mail, and delivery beside other work."""

from __future__ import annotations

import asyncio
import email
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from ooda.agents.steward.configuration import agents_config
from ooda.api.notices import DeliveryReport, channels_of, deliver, delivering, listed_messages
from ooda.api.session import Session
from ooda.api.steward.metrics import metrics
from ooda.errors import ConfigError
from tests.api.steward.bench import NIGHT, steward_bench
from tests.notify.mailbox import Inbox, mail_server
from tests.notify.receivers import Answered, receiving

LOCAL_MAIL = {"notify.smtp_host": "127.0.0.1", "notify.smtp_security": "none", "notify.mail_from": "ooda@example.com"}


def session_of(folder: Path, **settings: object) -> Session:
    return Session.open(environ={"HOME": str(folder)}, cwd=folder, overrides=settings)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, []),
        ({"notify.slack_webhook_url": "https://hooks.slack.com/services/x"}, ["slack"]),
        (
            {
                "notify.teams_webhook_url": "https://prod-1.westeurope.logic.azure.com/x?sig=abc",
                "notify.webhook_url": "https://example.com/hook",
                "notify.webhook_secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            },
            ["teams", "webhook"],
        ),
        ({"notify.mailtrap_token": "abcdef123456", "notify.mail_from": "ooda@example.com"}, ["mail"]),
        (LOCAL_MAIL, ["mail"]),
    ],
    ids=["none", "slack", "teams and webhook", "mailtrap", "smtp"],
)
def test_a_channel_is_there_when_it_is_configured(
    tmp_path: Path, settings: dict[str, object], names: list[str]
) -> None:
    """And only then; nothing is connected to."""
    with session_of(tmp_path, **settings) as session:
        assert [channel.name for channel in channels_of(session.settings)] == names


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"notify.smtp_host": "mail.example.com"}, "`notify.mail_from` is None"),
        ({"notify.mailtrap_token": "abcdef123456", "notify.mail_from": "nobody"}, "`notify.mail_from` is 'nobody'"),
        ({**LOCAL_MAIL, "notify.smtp_host": "mail.example.com"}, "use `starttls` or `tls`"),
        ({"notify.mail_to": ["ada@example.com\\r\\nBcc: eve@example.com"]}, "which is no mail address"),
        ({"notify.webhook_url": "https://example.com/x", "notify.webhook_secret": "whsec_YWJj"}, "3 bytes"),
        ({"notify.slack_webhook_url": "http://hooks.slack.com/services/x"}, "in clear"),
    ],
)
def test_a_half_configured_channel_names_its_setting(tmp_path: Path, settings: dict[str, object], says: str) -> None:
    """Before anything is sent."""
    with session_of(tmp_path, **settings) as session, pytest.raises(ConfigError, match=says):
        channels_of(session.settings)


async def test_owners_are_told_by_mail_once_a_stop(tmp_path: Path) -> None:
    """At the address Coder has of them; a second delivery and a second pass send nothing more."""
    inbox = Inbox()
    with mail_server(inbox) as port:
        async with steward_bench(tmp_path, settings={**LOCAL_MAIL, "notify.smtp_port": port}) as bench:
            bench.person("ada", 3)
            bench.at(NIGHT)
            await bench.carry()
            with bench.session() as session:
                reports = [await deliver(session) for _ in range(2)]
                await bench.carry(session=session)
                reports.append(await deliver(session))
    assert [report.sent for report in reports] == [1, 0, 0]
    mails = [email.message_from_bytes(content, policy=default) for _, _, content in inbox.mails]
    assert [mail["To"] for mail in mails] == ["ada@example.com"]
    assert str(mails[0]["Subject"]).startswith("[ooda] Your workspaces were stopped")
    assert str(mails[0].get_body(("plain",))).count("  - ada/") == 3


async def test_an_owner_without_mail_is_told_in_slack_and_mail_can_be_switched_off(tmp_path: Path) -> None:
    """`notifications.email_enabled: false` of the requirement's file is `notify.mail_owners`."""
    config = agents_config('{"notifications": {"email_enabled": false}}')
    with receiving() as slack:
        settings: dict[str, Any] = {**LOCAL_MAIL, "notify.smtp_port": 9, "notify.slack_webhook_url": slack.url}
        async with steward_bench(tmp_path, settings={**settings, **config.settings}) as bench:
            bench.person("ada", 1)
            bench.at(NIGHT)
            await bench.carry()
            with bench.session() as session:
                report = await deliver(session)
    assert report.sent == 1 and len(slack.posted) == 1
    assert all("ada" in posted.body.decode() for posted in slack.posted)


async def test_failed_deliveries_are_counted(tmp_path: Path) -> None:
    """`notification_failures`: every attempt that failed."""
    with receiving(lambda posted, n: Answered(500)) as slack:
        async with steward_bench(tmp_path, settings={"notify.slack_webhook_url": slack.url}) as bench:
            bench.person("ada", 1)
            bench.at(NIGHT)
            await bench.carry()
            with bench.session() as session:
                await deliver(session)
                counted = metrics(session, bench.fake.url)
    assert counted["notification_failures"] == 1


async def test_notices_are_delivered_beside_other_work(tmp_path: Path) -> None:
    """And what is under way is finished at the end."""
    with receiving() as slack:
        async with steward_bench(tmp_path, settings={"notify.slack_webhook_url": slack.url}) as bench:
            bench.person("ada", 1)
            bench.at(NIGHT)
            heard: list[DeliveryReport] = []
            arrived = asyncio.Event()

            def hear(report: DeliveryReport) -> None:
                heard.append(report)
                if sum(one.sent for one in heard) == 1:
                    arrived.set()

            with bench.session() as session:
                async with delivering(session, hear) as deliverer:
                    await bench.carry(session=session)
                    assert deliverer is not None
                    deliverer.poke()
                    await asyncio.wait_for(arrived.wait(), 20)
                assert [one.state for one in listed_messages(session)] == ["sent"]


async def test_bad_settings_stop_delivery_and_nothing_else(tmp_path: Path) -> None:
    """The daemon says so and makes its passes."""
    heard: list[DeliveryReport] = []
    with session_of(tmp_path, **{"notify.smtp_host": "mail.example.com"}) as session:
        async with delivering(session, heard.append) as deliverer:
            assert deliverer is None
    assert "notify.mail_from" in heard[0].problems[0]
