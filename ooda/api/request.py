"""What a caller asks for when it wants a run: values only."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ooda.api.cassette import Cassette
from ooda.engines.local import Person
from ooda.events import Entry
from ooda.models.request import Attempt, ModelAccess
from ooda.task import LimitsSpec, LoadedTask

__all__ = ["Launch", "Watch"]


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """Who follows a run while it happens: telemetry, never part of the journal."""

    heard: Callable[[int, Entry], None] = lambda seq, entry: None
    on_piece: Callable[[str], None] | None = None
    """Streamed text of the model."""
    on_attempt: Callable[[Attempt], None] | None = None
    """Failed attempts at a model call."""
    on_governance: Callable[[str], None] = lambda text: None
    """What people must see when governance cannot be reached."""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for."""

    loaded: LoadedTask
    run: str = ""
    """An earlier run to go on with; empty for a new one."""
    parent: str = ""
    """The run that starts this one; its budgets pay too. Empty when a person starts it."""
    model: str = ""
    """Instead of the task's and the settings'."""
    base_url: str = ""
    limits: LimitsSpec | None = None
    """Ceilings of an earlier run from here on, over those it has."""
    cassette: Cassette | None = None
    """Take the model's replies from here."""
    person: Person | None = None
    watch: Watch = Watch()
    access: ModelAccess | None = None
    """A model of the caller's own (tests); closed by the caller."""
