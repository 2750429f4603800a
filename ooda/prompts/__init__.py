"""Prompt templates: one Markdown file each, filled by `render`. Snapshot-tested, so a change shows in review.

Placeholders are `$name`; a missing value is an error, never an empty string. Templates hold no logic: what differs
by situation is decided in the agent's pure functions.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from string import Template

__all__ = ["names", "render"]


def render(name: str, **values: str) -> str:
    """The template `name` (without `.md`) with its placeholders filled.

    Raises:
        KeyError: a placeholder has no value.
        FileNotFoundError: there is no such template.
    """
    return _template(name).substitute(values).strip() + "\n"


def names() -> tuple[str, ...]:
    """Every template, sorted."""
    return tuple(sorted(f.name.removesuffix(".md") for f in files(__name__).iterdir() if f.name.endswith(".md")))


@cache
def _template(name: str) -> Template:
    return Template((files(__name__) / f"{name}.md").read_text(encoding="utf-8"))
