"""What readers see: within each service's limits, valid by its published interface, and nothing in it is obeyed."""

import email
import html.parser
import json
import os
import re
from email.policy import default
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from ooda.notify.escaping import card_text, html_text, one_line, plain, slack_text
from ooda.notify.mail_text import mail_html, mail_subject, mail_text
from ooda.notify.mailtrap import MailtrapChannel
from ooda.notify.slack import SlackChannel
from ooda.notify.smtp import SmtpChannel, SmtpServer
from ooda.notify.teams import TeamsChannel
from ooda.notify.values import Entry, Letter
from tests.notify.bench import poster
from tests.notify.samples import ATTACK, LETTERS, PLAIN

SNAPSHOTS = Path(__file__).with_name("snapshots")
SLACK = SlackChannel(poster("http://127.0.0.1:9/"))
TEAMS = TeamsChannel(poster("http://127.0.0.1:9/"))
SMTP = SmtpChannel(SmtpServer(host="127.0.0.1", port=9, security="none"), "ooda@example.com")
MAILTRAP = MailtrapChannel(poster("http://127.0.0.1:9/api/send"), SecretStr("token"), "ooda@example.com")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


def spec(path: str) -> Any:
    folder = os.environ.get("OODA_SPECS")
    if not folder:
        pytest.skip("set OODA_SPECS to the folder of published interfaces to hold payloads against them")
    text = (Path(folder) / path).read_text(encoding="utf-8")
    return yaml.safe_load(text) if path.endswith(".yml") else json.loads(text)


def letter(text: str) -> Letter:
    entry = Entry(id="n", kind="note", text=plain(text), at_ns=1, facts=(("run", one_line(text)),), lines=(text,))
    return Letter(id="msg-1", kind="note", title=one_line(text) or "-", severity="info", entries=(entry,))


# -- published interfaces -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", LETTERS.values(), ids=LETTERS)
def test_slack_takes_what_we_render(sample: Letter) -> None:
    """Within the limits of blocks, without overrides that webhooks ignore."""
    jsonschema.validate(json.loads(SLACK.render(sample, "")), spec("slack/incoming-webhook-request.schema.json"))


@pytest.mark.parametrize("sample", LETTERS.values(), ids=LETTERS)
def test_teams_takes_what_we_render(sample: Letter) -> None:
    """The envelope, the card in it, and the size."""
    body = TEAMS.render(sample, "")
    sent = json.loads(body)
    jsonschema.validate(sent, spec("teams/workflow-webhook-request.schema.json"))
    card = spec("teams/adaptive-card-1.4.0.schema.json")
    jsonschema.Draft6Validator(card).validate(sent["attachments"][0]["content"])
    assert len(body) <= 28_000


@pytest.mark.parametrize("sample", LETTERS.values(), ids=LETTERS)
def test_mailtrap_takes_what_we_render(sample: Letter) -> None:
    """By the schema of mail with text and HTML."""
    described = spec("mailtrap/email-sending-transactional.openapi.yml")
    schema = {"$ref": "#/components/schemas/EmailWithTextAndHtml", "components": described["components"]}
    sent = json.loads(MAILTRAP.render(sample, "ada@example.com"))
    jsonschema.Draft202012Validator(schema).validate(sent)
    assert sent["to"] == [{"email": "ada@example.com"}]


# -- escaping -----------------------------------------------------------------------------------------------


@given(texts)
def test_slack_text_holds_no_link_and_no_mention(text: str) -> None:
    """What Slack reads as markup is gone or broken up, whatever the text."""
    escaped = slack_text(text)
    assert "<" not in escaped and ">" not in escaped
    assert not re.search(r"&(?!amp;|lt;|gt;)", escaped)
    assert not re.search(r"@(channel|here|everyone)", escaped)
    assert not re.search(r"(^|\s)[*_~`]", escaped)


@given(texts, st.integers(1, 60))
def test_slack_text_stays_within_its_limit(text: str, most: int) -> None:
    """Once escaped."""
    assert len(slack_text(text, most)) <= most


@given(texts)
def test_html_text_is_text(text: str) -> None:
    """A parser finds no tag but the line breaks, and reads the text back."""
    found: list[str] = []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag == "br", tag

        def handle_data(self, data: str) -> None:
            found.append(data)

    reader = Reader(convert_charrefs=True)
    reader.feed(html_text(text))
    reader.close()
    assert "".join(found) == plain(text)


@given(texts)
def test_card_text_holds_no_markdown(text: str) -> None:
    """Every mark that Markdown knows stands behind a backslash; no tag is opened."""
    escaped = card_text(text)
    assert "<" not in escaped
    assert not re.search(r"(?<!\\)(?:\\\\)*[*_\[\]()`#]", escaped)


@given(texts)
def test_every_channel_renders_every_text(text: str) -> None:
    """Twice the same; a mail has one header of each name, whatever a title holds."""
    for channel in (SLACK, TEAMS, SMTP, MAILTRAP):
        assert channel.render(letter(text), "ada@example.com") == channel.render(letter(text), "ada@example.com")
    mail = email.message_from_bytes(SMTP.render(letter(text), "ada@example.com"), policy=default)
    assert mail["To"] == "ada@example.com" and len(mail.get_all("Subject")) == 1 and mail["Bcc"] is None


@given(texts)
def test_plain_text_cannot_hide_or_turn_anything(text: str) -> None:
    """No control character, no mark of direction; doing it twice changes nothing."""
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b]", plain(text))
    assert plain(plain(text)) == plain(text)


# -- snapshots ----------------------------------------------------------------------------------------------


def rendered(sample: Letter) -> dict[str, str]:
    pretty = {
        name: json.dumps(json.loads(channel.render(sample, "")), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        for name, channel in (("slack.json", SLACK), ("teams.json", TEAMS))
    }
    mail = f"Subject: {mail_subject(sample)}\n\n{mail_text(sample)}"
    return {**pretty, "mail.txt": mail, "mail.html": mail_html(sample)}


@pytest.mark.parametrize(("name", "sample"), [("plain", PLAIN), ("attack", ATTACK)], ids=["plain", "attack"])
@pytest.mark.parametrize("form", ["slack.json", "teams.json", "mail.txt", "mail.html"])
def test_texts_look_as_they_were_agreed(name: str, sample: Letter, form: str) -> None:
    """Compared with the files in `snapshots`; OODA_TEST_UPDATE=1 writes them anew, to be read in the diff."""
    path = SNAPSHOTS / f"{name}.{form}"
    if os.environ.get("OODA_TEST_UPDATE"):
        SNAPSHOTS.mkdir(exist_ok=True)
        path.write_text(rendered(sample)[form], encoding="utf-8")
    assert rendered(sample)[form] == path.read_text(encoding="utf-8")
