"""The subject, the text and the HTML of a letter as mail. Pure."""

from __future__ import annotations

from typing import Final

from ooda.clock import to_datetime
from ooda.notify.escaping import clipped, html_text, one_line, plain
from ooda.notify.values import Entry, Letter

__all__ = ["mail_html", "mail_subject", "mail_text"]

_COLORS: Final = {"info": "#2563eb", "warning": "#b45309", "error": "#b91c1c"}


def mail_subject(letter: Letter) -> str:
    """One line: the title, and what it is about when it is about one thing."""
    first = letter.entries[0]
    more = f" ({len(letter.entries)} notices)" if len(letter.entries) > 1 else ""
    about = "" if more else f": {one_line(first.text)}"
    return clipped(one_line(f"[ooda] {letter.title}{about}"), 150) + more


def mail_text(letter: Letter) -> str:
    """Plain text."""
    title = one_line(letter.title)
    parts = [title, "=" * min(72, len(title)), ""]
    for entry in letter.entries:
        parts += [plain(entry.text) or "-", *(f"  - {one_line(line)}" for line in entry.lines), ""]
        parts += [*(f"{name}: {value}" for name, value in _facts(entry)), ""]
    return "\n".join([*parts, "-- ", _foot(letter), ""])


def mail_html(letter: Letter) -> str:
    """HTML without scripts, images, links or styles from elsewhere; readable in light and dark."""
    entries = "\n".join(map(_entry_html, letter.entries))
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>{
        html_text(letter.title)
    }</title></head>
<body style="font-family:system-ui,sans-serif;line-height:1.5;max-width:42rem;margin:1.5rem auto;padding:0 1rem">
<h1 style="font-size:1.25rem;border-left:.3rem solid {_COLORS[letter.severity]};padding-left:.6rem">{
        html_text(letter.title)
    }</h1>
{entries}
<p style="font-size:.8rem;opacity:.7">{html_text(_foot(letter))}</p>
</body>
</html>
"""


def _entry_html(entry: Entry) -> str:
    lines = "".join(f"<li>{html_text(one_line(line))}</li>" for line in entry.lines)
    facts = "".join(
        f'<tr><th scope="row" style="text-align:left;padding-right:1rem;font-weight:normal;opacity:.7">'
        f"{html_text(name)}</th><td>{html_text(value)}</td></tr>"
        for name, value in _facts(entry)
    )
    listed = f"<ul>{lines}</ul>\n" if lines else ""
    return f'<p>{html_text(entry.text) or "-"}</p>\n{listed}<table style="font-size:.9rem">{facts}</table>'


def _facts(entry: Entry) -> list[tuple[str, str]]:
    facts = [(name, one_line(value)) for name, value in entry.facts]
    return [*facts, ("at", to_datetime(entry.at_ns).strftime("%Y-%m-%d %H:%M UTC"))]


def _foot(letter: Letter) -> str:
    repeated = "This may have been sent before. " if letter.is_repeated else ""
    return f"{repeated}Sent by ooda; message {letter.id}."
