"""Microsoft Teams through a Workflows URL: an Adaptive Card 1.4 in its envelope, below Teams' 28 KB.

The URL carries its own signature and is a secret. A 2xx means that the flow was started, not that anybody sees the
card. Teams does not know message ids, so a letter that may have arrived before says so.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ooda.clock import to_datetime
from ooda.governance.grant import Grant
from ooda.notify.escaping import card_text, clipped, one_line
from ooda.notify.post import Answer, Poster
from ooda.notify.reading import posted
from ooda.notify.values import Entry, Letter, Parcel, Receipt, binding

__all__ = ["TeamsChannel"]

_COLORS = {"info": "default", "warning": "warning", "error": "attention"}
_MOST_BYTES = 26_000
_REFUSED = (400, 401, 403, 404)


class TeamsChannel:
    """Posts to one flow."""

    name = "teams"
    knows_ids = False
    gathers = True
    per_second = 1.0
    lanes = 1

    def __init__(self, poster: Poster) -> None:
        self._poster = poster
        self.host = poster.url.host
        self.endpoint = poster.digest

    def render(self, letter: Letter, recipient: str) -> bytes:
        """The card; what does not fit into Teams' limit is left out and counted."""
        kept = len(letter.entries)
        most_text = 4_000
        while True:
            body = msgspec.json.encode(_envelope(letter, kept, most_text))
            if len(body) <= _MOST_BYTES or (kept == 1 and most_text < 100):
                return body
            if kept > 1:
                kept -= 1
            else:
                most_text //= 2

    async def send(self, parcel: Parcel, grant: Grant) -> Receipt:
        """See `ooda.notify.values.Channel`."""
        grant.spend(self.name, kind="channel", arguments=binding(parcel.recipient, parcel.body))
        return await posted(self._poster, parcel, {"Content-Type": "application/json"}, refuses=_refuses)


def _envelope(letter: Letter, kept: int, most_text: int) -> dict[str, Any]:
    body: list[dict[str, Any]] = [
        {
            "type": "TextBlock",
            "text": card_text(clipped(one_line(letter.title), 200)),
            "size": "large",
            "weight": "bolder",
            "color": _COLORS[letter.severity],
            "wrap": True,
        }
    ]
    for entry in letter.entries[:kept]:
        body += _elements(entry, most_text)
    foot = [f"…and {len(letter.entries) - kept} more"] if kept < len(letter.entries) else []
    foot += ["may have been sent before"] if letter.is_repeated else []
    foot.append(card_text(letter.id))
    body.append({"type": "TextBlock", "text": " · ".join(foot), "size": "small", "isSubtle": True, "wrap": True})
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": clipped(one_line(f"{letter.title}: {letter.entries[0].text}"), 300),
        "body": body,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _elements(entry: Entry, most_text: int) -> list[dict[str, Any]]:
    text = card_text(entry.text, most_text) or "-"
    found: list[dict[str, Any]] = [{"type": "TextBlock", "text": text, "wrap": True, "separator": True}]
    if entry.lines:
        lines = [card_text(clipped(one_line(line), 200)) for line in entry.lines[: max(1, most_text // 80)]]
        found.append({"type": "TextBlock", "text": "- " + "\n- ".join(lines), "wrap": True})
    at = to_datetime(entry.at_ns).strftime("%Y-%m-%d %H:%M UTC")
    facts = [
        {"title": name, "value": card_text(clipped(one_line(value), 200))} for name, value in (*entry.facts, ("at", at))
    ]
    found.append({"type": "FactSet", "facts": facts})
    return found


def _refuses(answer: Answer) -> str | None:
    return "look at `notify.teams_webhook_url`" if answer.status in _REFUSED else None
