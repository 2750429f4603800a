"""Slack incoming webhooks: blocks within Slack's limits, everything from outside escaped.

The URL fixes the channel and is a secret. Answers are plain text: `ok`, or a word that says what is wrong. Slack does
not know message ids, so a letter that may have arrived before says so.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ooda.clock import to_datetime
from ooda.governance.grant import Grant
from ooda.notify.escaping import clipped, one_line, slack_text
from ooda.notify.post import Answer, Poster
from ooda.notify.reading import posted
from ooda.notify.values import Entry, Letter, Parcel, Receipt, binding

__all__ = ["SlackChannel"]

_SIGNS = {"info": "ℹ️", "warning": "⚠️", "error": "🔴"}
_MOST_ENTRIES = 20
"""Two blocks each, with head and foot: within Slack's 50."""
_REFUSED = (400, 403, 404)


class SlackChannel:
    """Posts to one incoming webhook."""

    name = "slack"
    knows_ids = False
    gathers = True
    per_second = 1.0
    lanes = 1

    def __init__(self, poster: Poster) -> None:
        self._poster = poster
        self.host = poster.url.host
        self.endpoint = poster.digest

    def render(self, letter: Letter, recipient: str) -> bytes:
        """A header, a section for each notice with its facts below, and a foot with the message's id."""
        blocks: list[dict[str, Any]] = [
            {
                "type": "header",
                "text": {
                    "type": "plain_text",
                    "text": clipped(f"{_SIGNS[letter.severity]} {one_line(letter.title)}", 150),
                },
            }
        ]
        for entry in letter.entries[:_MOST_ENTRIES]:
            blocks += _blocks(entry)
        left_out = len(letter.entries) - _MOST_ENTRIES
        foot = [f"…and {left_out} more"] if left_out > 0 else []
        foot += [f"for {slack_text(letter.place, 100)}"] if letter.place else []
        foot += ["may have been sent before"] if letter.is_repeated else []
        foot.append(letter.id)
        blocks.append({"type": "context", "elements": [_mrkdwn(" · ".join(foot))]})
        text = slack_text(f"{letter.title}: {one_line(letter.entries[0].text)}", 1_000)
        return msgspec.json.encode({"text": text, "blocks": blocks, "unfurl_links": False, "unfurl_media": False})

    async def send(self, parcel: Parcel, grant: Grant) -> Receipt:
        """See `ooda.notify.values.Channel`."""
        grant.spend(self.name, kind="channel", arguments=binding(parcel.recipient, parcel.body))
        return await posted(
            self._poster, parcel, {"Content-Type": "application/json"}, is_taken=_is_taken, refuses=_refuses
        )


def _blocks(entry: Entry) -> list[dict[str, Any]]:
    text = slack_text(entry.text, 2_000) or "-"
    if entry.lines:
        text += "\n" + slack_text("\n".join(f"• {one_line(line)}" for line in entry.lines), 900)
    facts = [f"{name} {slack_text(one_line(value), 200)}" for name, value in entry.facts]
    facts.append(to_datetime(entry.at_ns).strftime("%Y-%m-%d %H:%M UTC"))
    return [
        {"type": "section", "text": _mrkdwn(text)},
        {"type": "context", "elements": [_mrkdwn(" · ".join(facts))]},
    ]


def _mrkdwn(text: str) -> dict[str, Any]:
    # `verbatim` keeps Slack from making links and mentions of plain names and addresses.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _is_taken(answer: Answer) -> bool:
    return answer.status == 200


def _refuses(answer: Answer) -> str | None:
    return "look at `notify.slack_webhook_url`" if answer.status in _REFUSED else None
