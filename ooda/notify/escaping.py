"""Text made harmless for each channel: what comes from outside is shown, never obeyed. Pure.

Slack reads `<…>` as links and mentions, Teams reads Markdown, mail clients read HTML. Control characters and those
that turn the direction of writing are dropped everywhere: they hide what a text says.
"""

from __future__ import annotations

import html
import re
import unicodedata

__all__ = ["card_text", "clipped", "html_text", "one_line", "plain", "slack_text"]

_DIRECTION = re.compile("[\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_CARD_MARKS = re.compile(r"([\\`*_\[\]()#+\-!~>|])")
_AT_START = re.compile(r"^(\s*)(\d+)\.", re.MULTILINE)


def plain(text: str) -> str:
    """Without control characters (but line ends and tabs) and without marks that turn or hide text."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    kept = (c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs", "Co"))
    return _DIRECTION.sub("", "".join(kept))


def one_line(text: str) -> str:
    """The same on one line: for subjects and titles."""
    return " ".join(plain(text).split())


def clipped(text: str, most: int) -> str:
    """At most so many characters; what is cut ends with `…`."""
    return text if len(text) <= most else text[: max(0, most - 1)].rstrip() + "…"


def slack_text(text: str, most: int = 3_000) -> str:
    """For a `mrkdwn` object: no link, no mention, no formatting of its own; at most so many characters once escaped.

    `&`, `<` and `>` are the three that Slack asks to be escaped; with them gone `<!channel>`, `<@U1>` and links are
    text. The marks of bold, italics, strike and code are separated from their words by an invisible joiner.
    """
    text = plain(text)
    length = most
    while True:
        cut = clipped(text, length)
        escaped = html.escape(cut, quote=False)
        escaped = re.sub(r"([*_~`])", "\u2060\\1\u2060", escaped)
        escaped = escaped.replace(
            "@", "@\u2060"
        )  # `@channel` typed plainly is read as a mention where names are linked
        if len(escaped) <= most:
            return escaped
        length -= max(1, (len(escaped) - most) // 6)


def html_text(text: str) -> str:
    """For an element or an attribute of HTML, with line breaks kept."""
    return html.escape(plain(text), quote=True).replace("\n", "<br>\n")


def card_text(text: str, most: int = 4_000) -> str:
    """For a TextBlock of an Adaptive Card: the Markdown it understands is escaped, and `@` mentions nobody."""
    escaped = _CARD_MARKS.sub(r"\\\1", clipped(plain(text), most))
    escaped = _AT_START.sub(r"\1\2\\.", escaped)
    return escaped.replace("<", "&lt;").replace("\n", "\n\n")
