"""Reports as documents: a title, sentences and tables, rendered as Markdown or HTML; and any report as JSON.

A report is values; what it looks like is decided here once for all of them. Every text from outside (user and
workspace names, template names) is escaped for the form it goes into.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from ooda.agents.steward.instants import spelled

__all__ = ["Document", "Table", "as_json", "html_page", "html_tables", "markdown"]


class Table(msgspec.Struct, frozen=True):
    """Rows under a heading."""

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    empty: str = "none"
    """Said in place of no rows."""


class Document(msgspec.Struct, frozen=True):
    """A report for people."""

    title: str
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]


def markdown(document: Document) -> str:
    """GitHub-flavoured Markdown."""
    lines = [f"# {_md(document.title)}", "", *(f"{_md(sentence)}  " for sentence in document.sentences), ""]
    for table in document.tables:
        lines += [f"## {_md(table.heading)}", ""]
        if not table.rows:
            lines += [table.empty, ""]
            continue
        lines += [_md_row(table.columns), _md_row(("---",) * len(table.columns), is_raw=True)]
        lines += [_md_row(row) for row in table.rows]
        lines.append("")
    return "\n".join(lines)


def _md_row(cells: tuple[str, ...], *, is_raw: bool = False) -> str:
    return "| " + " | ".join(cell if is_raw else _md(cell) for cell in cells) + " |"


def _md(text: str) -> str:
    """Text that means nothing to Markdown, on one line."""
    entities = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
    escaped = (entities.get(letter, "\\" + letter if letter in "\\`*_{}[]#|!~" else letter) for letter in text)
    return " ".join("".join(escaped).split())


def html_page(document: Document, figure: str = "") -> str:
    """A page that needs nothing else: no script, no font, no request. `figure` is trusted markup above the tables."""
    title = html.escape(document.title)
    said = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in document.sentences)
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>{said}{figure}{html_tables(document)}</body></html>\n"
    )


def html_tables(document: Document) -> str:
    """The tables alone, to be put into another page."""
    return "".join(_html_table(table) for table in document.tables)


def _html_table(table: Table) -> str:
    heading = f"<h2>{html.escape(table.heading)}</h2>"
    if not table.rows:
        return f"{heading}<p>{html.escape(table.empty)}</p>"
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in table.columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f'{heading}<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:80rem;padding:0 1rem;color:#1d2430;"
    "background:#fff}table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem;font-variant-numeric:tabular-nums}"
    "th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #dde2ea;vertical-align:top}"
    "th{background:#f4f6f9}svg{width:100%;height:auto}h1{font-size:1.5rem}h2{font-size:1.1rem}"
    "tbody tr:hover{background:#f4f6f9}.scroll{overflow-x:auto}.scroll:focus-visible{outline:2px solid #5a6fd0}"
    "@media (prefers-color-scheme:dark){body{background:#14181f;color:#dfe5ee}th,tbody tr:hover{background:#1f2630}"
    "th,td{border-color:#2d3643}}@media print{body{margin:0;max-width:none}.scroll{overflow:visible}}"
)


def as_json(value: object) -> Any:
    """A report as JSON-able values: instants (`…_ns`) as RFC 3339 under their plain names, amounts as texts."""
    match value:
        case msgspec.Struct():
            return {name.removesuffix("_ns"): _field(name, getattr(value, name)) for name in value.__struct_fields__}
        case Decimal():
            return f"{value:f}"
        case Mapping():
            return {str(key): as_json(item) for key, item in value.items()}
        case list() | tuple() | frozenset():
            return [as_json(item) for item in value]
        case _:
            return msgspec.to_builtins(value)


def _field(name: str, value: object) -> Any:
    return spelled(value) if name.endswith("_ns") and isinstance(value, int) else as_json(value)
