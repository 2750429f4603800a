"""The world of a run that asks no model and starts no other run: policies decide, notices are all it needs."""

from __future__ import annotations

from typing import Literal, NoReturn

from ooda.engines.notices import Topic, put_notice
from ooda.errors import ConfigError
from ooda.events import Notified
from ooda.governance.recorder import Recorder
from ooda.runtime.commands import CallModel, Spawn
from ooda.store import Tx

__all__ = ["PolicyWorld"]


class PolicyWorld:
    """Implements `ooda.engines.local.World` for agents whose every phase is decided by a policy."""

    def __init__(self, recorder: Recorder, topic: Topic) -> None:
        self._recorder = recorder
        self._topic = topic

    def ask_model(self, tx: Tx, command: CallModel) -> NoReturn:
        raise ConfigError(f"the {self._recorder.state.agent} agent decides by policy; this run has no model to ask")

    def abandon(self, tx: Tx, ask: str, kind: Literal["interrupted", "cancelled"], message: str) -> NoReturn:
        raise ConfigError(f"this run asked no model, so there is no call {ask!r} to close")

    def enqueue(self, tx: Tx, notified: Notified) -> None:
        """A notice becomes an outbox row for its subject and an activity of its task."""
        put_notice(tx, self._recorder, self._topic, notified)

    async def spawn(self, command: Spawn) -> NoReturn:
        raise ConfigError(f"this run starts no other one; it was asked for a {command.agent} agent")
